//! What one trial has changed and not undone: each trial sees the world through one of these, and what a trial left that could not
//! end by itself (its time was over, it panicked) is undone for it, before another one may observe it.

use async_trait::async_trait;
use meshproof_contract::{
    AgentFacts, AgentId, CaptureId, CaptureReport, CaptureSpec, CiliumAnswer, CiliumQuery, ClockReading, ClusterName,
    Disruption, Environment, EnvironmentError, Facts, ObjectRef, Outcome, Probe, Readiness, StreamId, StreamReport,
    StreamSpec,
};
use serde_json::{Map, Value};
use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// An environment that remembers what is changed through it.
pub(crate) struct Footprint {
    world: Arc<dyn Environment>,
    left: Mutex<Left>,
}

#[derive(Default)]
struct Left {
    disruptions: BTreeSet<(ClusterName, Disruption)>,
    unready: BTreeSet<AgentId>,
    applied: Vec<(ClusterName, ObjectRef)>,
    patched: Vec<Patched>,
}

/// An object that was there before the trial.
struct Patched {
    cluster: ClusterName,
    object: ObjectRef,
    before: Value,
    /// All changes of the trial, merged.
    change: Value,
}

impl Footprint {
    pub(crate) fn new(world: Arc<dyn Environment>) -> Self {
        Self {
            world,
            left: Mutex::default(),
        }
    }

    /// Undoes what is left; what could not be undone.
    pub(crate) async fn erase(&self) -> Vec<EnvironmentError> {
        let left = std::mem::take(&mut *self.left());
        let mut failures = Vec::new();
        // First of all: the rest may need the node, or the mesh.
        for (cluster, disruption) in left.disruptions {
            failures.extend(self.world.restore(&cluster, &disruption).await.err());
        }
        for agent in left.unready {
            failures.extend(self.world.set_ready(&agent, Readiness::Ready).await.err());
        }
        for one in left.patched {
            let back = undoing(&one.change, &one.before);
            failures.extend(self.world.patch(&one.cluster, &one.object, back).await.err());
        }
        for (cluster, object) in left.applied {
            failures.extend(self.world.delete(&cluster, &object).await.err());
        }
        failures
    }

    fn left(&self) -> MutexGuard<'_, Left> {
        self.left.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a change to what is known of the object.
    fn remember(&self, cluster: &ClusterName, object: &ObjectRef, change: &Value) {
        let mut left = self.left();
        let mut known = left.patched.iter_mut();
        if let Some(one) = known.find(|one| (&one.cluster, &one.object) == (cluster, object)) {
            merge(&mut one.change, change);
        }
    }

    /// Whether the trial changes an object for the first time that it has not made itself.
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

/// The merge patch that takes a merge patch back (RFC 7386: null removes).
fn undoing(change: &Value, before: &Value) -> Value {
    let Value::Object(changes) = change else {
        return before.clone();
    };
    let back = changes.iter().map(|(key, change)| {
        let back = match before.get(key) {
            None => Value::Null,
            Some(before) if before.is_object() => undoing(change, before),
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

#[async_trait]
impl Environment for Footprint {
    fn facts(&self) -> Arc<Facts> {
        self.world.facts()
    }
    async fn probe(&self, agent: &AgentId, batch: Vec<Probe>) -> Result<Vec<Outcome>, EnvironmentError> {
        self.world.probe(agent, batch).await
    }
    async fn cilium(&self, cluster: &ClusterName, query: CiliumQuery) -> Result<Vec<CiliumAnswer>, EnvironmentError> {
        self.world.cilium(cluster, query).await
    }
    async fn get(&self, cluster: &ClusterName, object: &ObjectRef) -> Result<Option<Value>, EnvironmentError> {
        self.world.get(cluster, object).await
    }
    async fn list(
        &self,
        cluster: &ClusterName,
        api_version: &str,
        kind: &str,
        namespace: Option<&str>,
    ) -> Result<Vec<Value>, EnvironmentError> {
        self.world.list(cluster, api_version, kind, namespace).await
    }
    async fn apply(&self, cluster: &ClusterName, object: Value) -> Result<Value, EnvironmentError> {
        let target = ObjectRef::of(&object);
        // Remembered first: a call that is given up may have acted.
        if self.is_untouched(cluster, &target) {
            self.left().applied.push((cluster.clone(), target));
        }
        self.world.apply(cluster, object).await
    }
    async fn patch(&self, cluster: &ClusterName, object: &ObjectRef, change: Value) -> Result<Value, EnvironmentError> {
        if self.is_untouched(cluster, object)
            && let Some(before) = self.world.get(cluster, object).await?
        {
            self.left().patched.push(Patched {
                cluster: cluster.clone(),
                object: object.clone(),
                before,
                change: Value::Null,
            });
        }
        self.remember(cluster, object, &change);
        self.world.patch(cluster, object, change).await
    }
    async fn delete(&self, cluster: &ClusterName, object: &ObjectRef) -> Result<(), EnvironmentError> {
        self.world.delete(cluster, object).await?;
        let mut left = self.left();
        left.applied.retain(|(c, o)| (c, o) != (cluster, object));
        left.patched
            .retain(|one| (&one.cluster, &one.object) != (cluster, object));
        Ok(())
    }
    async fn agents(
        &self,
        cluster: &ClusterName,
        scenario: &str,
        workload: &str,
    ) -> Result<Vec<AgentFacts>, EnvironmentError> {
        self.world.agents(cluster, scenario, workload).await
    }
    async fn set_ready(&self, agent: &AgentId, readiness: Readiness) -> Result<(), EnvironmentError> {
        if readiness == Readiness::Unready {
            self.left().unready.insert(agent.clone());
        }
        self.world.set_ready(agent, readiness).await?;
        if readiness == Readiness::Ready {
            self.left().unready.remove(agent);
        }
        Ok(())
    }
    async fn clock(&self, agent: &AgentId) -> Result<ClockReading, EnvironmentError> {
        self.world.clock(agent).await
    }
    async fn start_stream(&self, agent: &AgentId, spec: StreamSpec) -> Result<StreamId, EnvironmentError> {
        self.world.start_stream(agent, spec).await
    }
    async fn collect_stream(&self, agent: &AgentId, stream: StreamId) -> Result<StreamReport, EnvironmentError> {
        self.world.collect_stream(agent, stream).await
    }
    async fn stop_stream(&self, agent: &AgentId, stream: StreamId) -> Result<StreamReport, EnvironmentError> {
        self.world.stop_stream(agent, stream).await
    }
    async fn start_capture(&self, agent: &AgentId, spec: CaptureSpec) -> Result<CaptureId, EnvironmentError> {
        self.world.start_capture(agent, spec).await
    }
    async fn collect_capture(&self, agent: &AgentId, capture: CaptureId) -> Result<CaptureReport, EnvironmentError> {
        self.world.collect_capture(agent, capture).await
    }
    async fn stop_capture(&self, agent: &AgentId, capture: CaptureId) -> Result<CaptureReport, EnvironmentError> {
        self.world.stop_capture(agent, capture).await
    }
    async fn disrupt(&self, cluster: &ClusterName, disruption: &Disruption) -> Result<(), EnvironmentError> {
        let key = (cluster.clone(), disruption.clone());
        self.left().disruptions.insert(key);
        self.world.disrupt(cluster, disruption).await
    }
    async fn restore(&self, cluster: &ClusterName, disruption: &Disruption) -> Result<(), EnvironmentError> {
        self.world.restore(cluster, disruption).await?;
        self.left().disruptions.remove(&(cluster.clone(), disruption.clone()));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::World;
    use serde_json::json;

    fn infra() -> ClusterName {
        "infra".into()
    }
    fn policy() -> Value {
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "p", "namespace": "meshproof"}})
    }

    #[tokio::test]
    async fn what_a_trial_left_is_undone_in_order_and_once() {
        let world = Arc::new(World::willing());
        let footprint = Footprint::new(world.clone());
        footprint.apply(&infra(), policy()).await.expect("applied");
        footprint
            .disrupt(&infra(), &Disruption::MeshApiServerDown)
            .await
            .expect("disrupted");
        world.forget();
        assert_eq!(footprint.erase().await, []);
        assert_eq!(
            world.calls(),
            ["restore infra: scale clustermesh-apiserver to zero", "delete p"]
        );
        world.forget();
        assert_eq!(footprint.erase().await, []);
        assert_eq!(world.calls(), [""; 0]);
    }

    #[tokio::test]
    async fn what_a_trial_undid_itself_stays_as_it_is() {
        let world = Arc::new(World::willing());
        let footprint = Footprint::new(world.clone());
        footprint.apply(&infra(), policy()).await.expect("applied");
        footprint
            .delete(&infra(), &ObjectRef::of(&policy()))
            .await
            .expect("deleted");
        let disruption = Disruption::MeshApiServerDown;
        footprint.disrupt(&infra(), &disruption).await.expect("disrupted");
        footprint.restore(&infra(), &disruption).await.expect("restored");
        world.forget();
        assert_eq!(footprint.erase().await, []);
        assert_eq!(world.calls(), [""; 0]);
    }

    #[tokio::test]
    async fn what_cannot_be_undone_is_told() {
        let footprint = Footprint::new(Arc::new(World::default()));
        footprint
            .apply(&infra(), policy())
            .await
            .expect_err("a world that refuses");
        assert_eq!(footprint.erase().await.len(), 1, "it may have acted all the same");
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
            undoing(&change, &before),
            json!({"spec": {"replicas": 2}, "metadata": {"annotations": {"a": "1", "b": null}, "labels": null}})
        );
    }
}
