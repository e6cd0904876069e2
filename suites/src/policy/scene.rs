//! Scenes: the policies of cases that are ready at about the same time are put in force together, in as few objects as
//! hold them, and taken away together. Each case has subject pods of its own, so that none sees the others' rules.
//!
//! A case that nobody joins has the objects that it was written with. One whose object was refused, or had no effect at
//! all, is to be tried [`Member::alone`]: one rule that Cilium does not understand takes its whole object with it.

use super::subjects::SubjectGroup;
use crate::kit::object::policy as object;
use futures::future::{join_all, try_join_all};
use meshproof_contract::{CheckContext, ClusterName, EnvironmentError, ObjectRef};
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{
    sync::{Notify, OnceCell},
    time::{Instant, sleep_until},
};

/// How long a case waits for others that hold subject pods.
const JOINED_WITHIN: Duration = Duration::from_secs(1);

/// The scenes that cases may still join, by cluster.
#[derive(Debug, Default)]
struct Board(Mutex<BTreeMap<ClusterName, (Arc<Scene>, Instant)>>);

#[derive(Debug, Default)]
struct Scene {
    members: Mutex<Members>,
    changed: Notify,
    in_force: OnceCell<Result<InForce, EnvironmentError>>,
    gone: OnceCell<Result<Instant, EnvironmentError>>,
}

#[derive(Debug, Default)]
struct Members {
    /// The policies of each, without those of members that ended before all were in.
    policies: Vec<Vec<Value>>,
    /// Whether nobody may join any more.
    closed: bool,
    left: usize,
    /// Whether somebody saw a policy in force.
    effective: bool,
    /// Who applied the objects: they may be deleted when its trial is ended.
    applied_by: Option<usize>,
    abandoned: bool,
}

/// Objects in force.
#[derive(Clone, Debug)]
pub struct InForce {
    /// When the call began that applied them.
    pub since: Instant,
    objects: Arc<[Value]>,
}

impl InForce {
    /// Their names.
    pub fn names(&self) -> Vec<String> {
        self.objects.iter().map(|object| ObjectRef::of(object).name).collect()
    }
}

/// How a scene ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended {
    /// When the call began that deleted the objects.
    pub since: Instant,
    /// Whether its objects were more than this case's, and nobody saw any of them in force.
    pub without_effect: bool,
    /// Whether the trial that had applied the objects was ended meanwhile, and perhaps the objects with it.
    pub abandoned: bool,
}

/// A case in a scene.
#[derive(Debug)]
pub struct Member {
    scene: Arc<Scene>,
    cluster: ClusterName,
    number: usize,
    has_left: bool,
}

impl Member {
    /// Joins the cases of the cluster that are about to be tried, with named policies; returns when all that are under
    /// way have joined, or after a second.
    pub async fn join(context: &CheckContext, group: &SubjectGroup, policies: Vec<Value>) -> Self {
        let (board, cluster) = (context.shared.of::<Board>(), group.cluster());
        let (member, ends) = {
            let mut open = board.lock();
            let begin = || (Arc::default(), Instant::now() + JOINED_WITHIN);
            let (scene, ends) = open.entry(cluster.clone()).or_insert_with(begin);
            (Self::of(scene.clone(), cluster, policies), *ends)
        };
        let scene = &member.scene;
        loop {
            let (changed, returned) = (scene.changed.notified(), group.returned());
            tokio::pin!(changed, returned);
            changed.as_mut().enable();
            returned.as_mut().enable();
            {
                let mut open = board.lock();
                let mut members = scene.lock();
                if members.closed {
                    break;
                }
                if members.policies.len() >= group.lent() || Instant::now() >= ends {
                    members.closed = true;
                    open.retain(|_, (other, _)| !Arc::ptr_eq(other, scene));
                    scene.changed.notify_waiters();
                    break;
                }
            }
            tokio::select! {
                () = changed => {}
                () = returned => {}
                () = sleep_until(ends) => {}
            }
        }
        member
    }

    /// A scene of its own.
    pub fn alone(cluster: &ClusterName, policies: Vec<Value>) -> Self {
        let member = Self::of(Arc::default(), cluster, policies);
        member.scene.lock().closed = true;
        member
    }

    fn of(scene: Arc<Scene>, cluster: &ClusterName, policies: Vec<Value>) -> Self {
        let number = {
            let mut members = scene.lock();
            members.policies.push(policies);
            members.policies.len() - 1
        };
        Self {
            scene,
            cluster: cluster.clone(),
            number,
            has_left: false,
        }
    }

    /// How many cases have their policies in the same objects.
    pub fn companions(&self) -> usize {
        self.scene.lock().policies.len() - 1
    }

    /// Puts the scene's objects in force; the first that calls does it for all.
    pub async fn enforce(&self, context: &CheckContext) -> Result<InForce, EnvironmentError> {
        let apply = || async {
            let objects = {
                let mut members = self.scene.lock();
                members.applied_by = Some(self.number);
                merged(&members.policies)
            };
            let since = Instant::now();
            let environment = &context.environment;
            let calls = objects.iter().map(|o| environment.apply(&self.cluster, o.clone()));
            let applied = try_join_all(calls).await.map(drop);
            if let Err(error) = applied {
                // Those that were taken may hold the rules of others.
                let _ = self.delete(context, &objects).await;
                return Err(error);
            }
            Ok(InForce {
                since,
                objects: objects.into(),
            })
        };
        self.scene.in_force.get_or_init(apply).await.clone()
    }

    /// Leaves the scene, having seen its policies in force or not, and waits until all have left; the last one deletes
    /// the objects.
    pub async fn leave(mut self, context: &CheckContext, effective: bool) -> Result<Ended, EnvironmentError> {
        self.has_left = true;
        {
            let mut members = self.scene.lock();
            members.left += 1;
            members.effective |= effective;
        }
        self.scene.changed.notify_waiters();
        loop {
            let changed = self.scene.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if self.scene.lock().is_over() {
                break;
            }
            changed.await;
        }
        let delete = || async {
            let since = Instant::now();
            let objects = match self.scene.in_force.get() {
                Some(Ok(in_force)) => in_force.objects.clone(),
                Some(Err(_)) | None => Arc::default(),
            };
            self.delete(context, &objects).await.map(|()| since)
        };
        let since = self.scene.gone.get_or_init(delete).await.clone()?;
        let members = self.scene.lock();
        Ok(Ended {
            since,
            without_effect: members.policies.len() > 1 && !members.effective,
            abandoned: members.abandoned,
        })
    }

    async fn delete(&self, context: &CheckContext, objects: &[Value]) -> Result<(), EnvironmentError> {
        let (environment, cluster) = (&context.environment, &self.cluster);
        let deleting = objects.iter().map(|object| {
            let object = ObjectRef::of(object);
            async move { environment.delete(cluster, &object).await }
        });
        join_all(deleting).await.into_iter().collect()
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        {
            let mut members = self.scene.lock();
            members.abandoned |= members.applied_by == Some(self.number) && !members.is_over();
            if !self.has_left {
                members.left += 1;
                if let Some(policies) = members.policies.get_mut(self.number) {
                    policies.clear();
                }
            }
        }
        self.scene.changed.notify_waiters();
    }
}

impl Board {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<ClusterName, (Arc<Scene>, Instant)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Scene {
    fn lock(&self) -> MutexGuard<'_, Members> {
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Members {
    fn is_over(&self) -> bool {
        self.closed && self.left == self.policies.len()
    }
}

/// The fewest objects that hold these policies: the first CiliumNetworkPolicies of all cases in one, the second ones in
/// another, since a case with two tests that two objects add up. Other kinds hold one rule each.
fn merged(cases: &[Vec<Value>]) -> Vec<Value> {
    let (mut bundles, mut objects): (Vec<Vec<&Value>>, Vec<Value>) = (Vec::new(), Vec::new());
    for case in cases {
        let (cilium, other): (Vec<&Value>, Vec<&Value>) = case.iter().partition(|o| o["kind"] == "CiliumNetworkPolicy");
        objects.extend(other.into_iter().cloned());
        for (number, policy) in cilium.into_iter().enumerate() {
            match bundles.get_mut(number) {
                Some(bundle) => bundle.push(policy),
                None => bundles.push(vec![policy]),
            }
        }
    }
    objects.extend(bundles.into_iter().map(|bundle| match bundle.as_slice() {
        [one] => (*one).clone(),
        several => {
            let specs: Vec<Value> = several.iter().flat_map(|policy| specs(policy)).collect();
            let namespace = several[0]["metadata"]["namespace"].as_str().unwrap_or_default();
            object::named(object::cilium_specs(&specs), namespace)
        }
    }));
    objects
}

/// The rules of a policy, each with the policy's name as its description, which agents show.
fn specs(policy: &Value) -> impl Iterator<Item = Value> {
    let several = policy["specs"].as_array().into_iter().flatten();
    let one = Some(&policy["spec"]).filter(|spec| spec.is_object());
    several.chain(one).map(|spec| {
        let mut spec = spec.clone();
        spec["description"] = json!(policy["metadata"]["name"]);
        spec
    })
}

#[cfg(test)]
mod tests;
