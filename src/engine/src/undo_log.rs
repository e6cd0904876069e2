//! What one trial has changed and not undone. Each trial uses the environment through one of these; what a trial left
//! that could not end by itself (a timeout, a panic) is undone for it before another one may observe it. What did not
//! answer the trial is kept beside it.

mod environment;

use crate::silence::Silence;
use meshproof_contract::{
    AgentId, ClusterName, Disruption, Environment, EnvironmentError, ObjectRef, Readiness, Silent,
};
use serde_json::{Map, Value};
use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// An environment that records what is changed through it.
pub(crate) struct UndoLog {
    environment: Arc<dyn Environment>,
    left: Mutex<Left>,
    silence: Silence,
}

#[derive(Default)]
struct Left {
    disruptions: BTreeSet<(ClusterName, Disruption)>,
    unready: BTreeSet<AgentId>,
    applied: Vec<(ClusterName, ObjectRef)>,
    patched: Vec<Patched>,
}

/// An object that existed before the trial.
struct Patched {
    cluster: ClusterName,
    object: ObjectRef,
    before: Value,
    /// All changes of the trial, merged.
    change: Value,
}

impl UndoLog {
    pub(crate) fn new(environment: Arc<dyn Environment>) -> Self {
        Self {
            environment,
            left: Mutex::default(),
            silence: Silence::default(),
        }
    }

    /// Undoes what is left, each change once; the failures.
    pub(crate) async fn undo_all(&self) -> Vec<EnvironmentError> {
        let left = std::mem::take(&mut *self.left());
        let mut failures = Vec::new();
        // First of all: the rest may need the node, or the mesh.
        for (cluster, disruption) in left.disruptions {
            failures.extend(self.environment.restore(&cluster, &disruption).await.err());
        }
        for agent in left.unready {
            failures.extend(self.environment.set_ready(&agent, Readiness::Ready).await.err());
        }
        for one in left.patched {
            let back = inverse(&one.change, &one.before);
            failures.extend(self.environment.patch(&one.cluster, &one.object, back).await.err());
        }
        for (cluster, object) in left.applied {
            failures.extend(self.environment.delete(&cluster, &object).await.err());
        }
        failures
    }

    /// What did not answer since the last time.
    pub(crate) fn take_silent(&self) -> Vec<Silent> {
        self.silence.take()
    }

    fn heard<T>(&self, result: Result<T, EnvironmentError>) -> Result<T, EnvironmentError> {
        self.silence.heard(&self.environment.facts(), result)
    }

    fn left(&self) -> MutexGuard<'_, Left> {
        self.left.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Nothing of the object is to be undone any more.
    fn forget(&self, cluster: &ClusterName, object: &ObjectRef) {
        let mut left = self.left();
        left.applied.retain(|(c, o)| (c, o) != (cluster, object));
        left.patched
            .retain(|one| (&one.cluster, &one.object) != (cluster, object));
    }

    /// Adds a change to those recorded of the object.
    fn record_change(&self, cluster: &ClusterName, object: &ObjectRef, change: &Value) {
        let mut left = self.left();
        let mut known = left.patched.iter_mut();
        if let Some(one) = known.find(|one| (&one.cluster, &one.object) == (cluster, object)) {
            merge(&mut one.change, change);
        }
    }

    /// Whether the trial neither created nor changed the object before.
    fn is_untouched(&self, cluster: &ClusterName, object: &ObjectRef) -> bool {
        let left = self.left();
        let applied = left.applied.iter().any(|(c, o)| (c, o) == (cluster, object));
        !applied
            && !left
                .patched
                .iter()
                .any(|one| (&one.cluster, &one.object) == (cluster, object))
    }
}

/// The merge patch that undoes a merge patch (RFC 7386: null removes).
fn inverse(change: &Value, before: &Value) -> Value {
    let Value::Object(changes) = change else {
        return before.clone();
    };
    let back = changes.iter().map(|(key, change)| {
        let back = match before.get(key) {
            None => Value::Null,
            Some(before) if before.is_object() => inverse(change, before),
            Some(before) => before.clone(),
        };
        (key.clone(), back)
    });
    Value::Object(back.collect::<Map<_, _>>())
}

/// Adds a merge patch to another.
fn merge(into: &mut Value, change: &Value) {
    match (into, change) {
        (Value::Object(into), Value::Object(change)) => {
            for (key, change) in change {
                merge(into.entry(key.clone()).or_insert(Value::Null), change);
            }
        }
        (into, change) => *into = change.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::FakeEnvironment;
    use serde_json::json;

    fn infra() -> ClusterName {
        "infra".into()
    }
    fn policy() -> Value {
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "p", "namespace": "meshproof"}})
    }

    #[tokio::test]
    async fn what_a_trial_left_is_undone_in_order_and_once() {
        let environment = Arc::new(FakeEnvironment::recording());
        let undo_log = UndoLog::new(environment.clone());
        undo_log.apply(&infra(), policy()).await.expect("applied");
        undo_log
            .disrupt(&infra(), &Disruption::MeshApiServerDown)
            .await
            .expect("disrupted");
        environment.forget();
        assert_eq!(undo_log.undo_all().await, []);
        assert_eq!(
            environment.calls(),
            ["restore infra: scale clustermesh-apiserver to zero", "delete p"]
        );
        environment.forget();
        assert_eq!(undo_log.undo_all().await, []);
        assert_eq!(environment.calls(), [""; 0]);
    }

    #[tokio::test]
    async fn what_a_trial_undid_itself_stays_as_it_is() {
        let environment = Arc::new(FakeEnvironment::recording());
        let undo_log = UndoLog::new(environment.clone());
        undo_log.apply(&infra(), policy()).await.expect("applied");
        undo_log
            .delete(&infra(), &ObjectRef::of(&policy()))
            .await
            .expect("deleted");
        let disruption = Disruption::MeshApiServerDown;
        undo_log.disrupt(&infra(), &disruption).await.expect("disrupted");
        undo_log.restore(&infra(), &disruption).await.expect("restored");
        environment.forget();
        assert_eq!(undo_log.undo_all().await, []);
        assert_eq!(environment.calls(), [""; 0]);
    }

    #[tokio::test]
    async fn what_cannot_be_undone_is_returned() {
        let undo_log = UndoLog::new(Arc::new(FakeEnvironment::default()));
        undo_log
            .apply(&infra(), policy())
            .await
            .expect_err("the environment refuses");
        assert_eq!(undo_log.undo_all().await.len(), 1, "it may have acted all the same");
    }

    #[test]
    fn patches_are_taken_back_to_what_was_before_the_first() {
        let before = json!({"metadata": {"annotations": {"a": "1"}}, "spec": {"replicas": 2, "x": 1}});
        let mut change = Value::Null;
        for patch in [
            json!({"spec": {"replicas": 0}, "metadata": {"annotations": {"a": null, "b": "2"}}}),
            json!({"spec": {"replicas": 1}, "metadata": {"labels": {"c": "3"}}}),
        ] {
            merge(&mut change, &patch);
        }
        assert_eq!(
            inverse(&change, &before),
            json!({"spec": {"replicas": 2}, "metadata": {"annotations": {"a": "1", "b": null}, "labels": null}})
        );
    }
}
