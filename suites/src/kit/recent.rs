//! Reads that trials share: what one of them has read lately is what the others would read. How old it may be is the
//! reader's to say, and a check that must see a change says [`Age::Since`]: it reads anew, and lends what it read.

use meshproof_contract::{CheckContext, CiliumAnswer, CiliumQuery, ClusterName, EnvironmentError, NodeName, ObjectRef};
use serde_json::Value;
use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::time::Instant;

/// How long a state is taken as the present one, by checks that look once and read anew before they call it wrong.
const STATE: Duration = Duration::from_secs(10);

/// How old an answer may be, by when its reading began.
#[derive(Clone, Copy, Debug)]
pub enum Age {
    /// Of this run: what follows from the configuration, and does not change while checks run.
    OfThisRun,
    /// No older than this.
    AtMost(Duration),
    /// From after this.
    Since(Instant),
}

impl Age {
    /// For a state that changes by itself: as old as ten seconds.
    pub const STATE: Age = Age::AtMost(STATE);

    /// Read anew, or by somebody who began after this call.
    pub fn now() -> Self {
        Age::Since(Instant::now())
    }

    fn admits(self, begun: Instant, now: Instant) -> bool {
        match self {
            Age::OfThisRun => true,
            Age::AtMost(most) => now.saturating_duration_since(begun) <= most,
            Age::Since(earliest) => begun > earliest,
        }
    }
}

/// The last reading of each thing. It hangs on [`CheckContext::observed`].
#[derive(Debug)]
struct Recent<K, V>(Mutex<HashMap<K, Slot<V>>>);

/// Locked while it is read.
type Slot<V> = Arc<tokio::sync::Mutex<Option<Reading<V>>>>;

#[derive(Clone, Debug)]
struct Reading<V> {
    begun: Instant,
    ended: Instant,
    /// Whether nothing is missing: only then somebody who comes later may have it.
    complete: bool,
    value: V,
}

impl<K, V> Default for Recent<K, V> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Eq + Hash, V: Clone> Recent<K, V> {
    /// A reading that is not too old, or else what `read` gives. Those who ask while it is read get it whatever it
    /// says; one that is incomplete is not kept for others.
    async fn get(&self, key: K, age: Age, complete: impl Fn(&V) -> bool, read: impl AsyncFnOnce() -> V) -> V {
        let slot = {
            let mut slots = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            slots.entry(key).or_default().clone()
        };
        let asked = Instant::now();
        let mut slot = slot.lock().await;
        if let Some(last) = &*slot
            && (last.complete || last.ended > asked)
            && age.admits(last.begun, asked)
        {
            return last.value.clone();
        }
        let begun = Instant::now();
        let value = read().await;
        *slot = Some(Reading {
            begun,
            ended: Instant::now(),
            complete: complete(&value),
            value: value.clone(),
        });
        value
    }
}

/// A question to the agents on some nodes.
type OnNodes = (ClusterName, CiliumQuery, Vec<NodeName>);
type Answers = Result<Vec<CiliumAnswer>, EnvironmentError>;
type Objects = Result<Arc<[Value]>, EnvironmentError>;

/// What Cilium's pods of a cluster answer, as [`meshproof_contract::Environment::cilium`] gives it.
pub async fn cilium(context: &CheckContext, cluster: &ClusterName, query: CiliumQuery, age: Age) -> Answers {
    let complete = |answers: &Answers| {
        let answers = answers.as_deref().unwrap_or_default();
        !answers.is_empty() && answers.iter().all(|answer| answer.output.is_ok())
    };
    let read = async || context.environment.cilium(cluster, query).await;
    let known = context.observed.of::<Recent<(ClusterName, CiliumQuery), Answers>>();
    known.get((cluster.clone(), query), age, complete, read).await
}

/// What the agents on these nodes answer.
pub async fn cilium_on(
    context: &CheckContext,
    cluster: &ClusterName,
    query: CiliumQuery,
    nodes: &[NodeName],
    age: Age,
) -> Answers {
    let complete = |answers: &Answers| {
        let answers = answers.as_deref().unwrap_or_default();
        answers.len() >= nodes.len() && answers.iter().all(|answer| answer.output.is_ok())
    };
    let read = async || context.environment.cilium_on(cluster, query, nodes).await;
    let known = context.observed.of::<Recent<OnNodes, Answers>>();
    known
        .get((cluster.clone(), query, nodes.to_vec()), age, complete, read)
        .await
}

/// The CiliumNodes of a cluster.
pub async fn cilium_nodes(context: &CheckContext, cluster: &ClusterName, age: Age) -> Objects {
    list(context, cluster, ("cilium.io/v2", "CiliumNode"), age).await
}

/// All objects of a kind (its version and name) in a cluster, of which there are some: an empty list is not kept.
pub async fn list(
    context: &CheckContext,
    cluster: &ClusterName,
    kind: (&'static str, &'static str),
    age: Age,
) -> Objects {
    read_list(context, cluster, kind, age, |objects| !objects.is_empty()).await
}

/// The same of a kind of which there may be none.
pub async fn list_any(
    context: &CheckContext,
    cluster: &ClusterName,
    kind: (&'static str, &'static str),
    age: Age,
) -> Objects {
    read_list(context, cluster, kind, age, |_| true).await
}

async fn read_list(
    context: &CheckContext,
    cluster: &ClusterName,
    (version, kind): (&'static str, &'static str),
    age: Age,
    is_whole: fn(&[Value]) -> bool,
) -> Objects {
    let complete = |objects: &Objects| objects.as_ref().is_ok_and(|objects| is_whole(objects));
    let read = async || {
        let listed = context.environment.list(cluster, version, kind, None).await;
        listed.map(Arc::from)
    };
    let known = context.observed.of::<Recent<(ClusterName, &'static str), Objects>>();
    known.get((cluster.clone(), kind), age, complete, read).await
}

/// An object that no check changes; none where there is none.
pub async fn object(
    context: &CheckContext,
    cluster: &ClusterName,
    object: &ObjectRef,
) -> Result<Option<Value>, EnvironmentError> {
    let complete = |found: &Result<Option<Value>, EnvironmentError>| matches!(found, Ok(Some(_)));
    let read = async || context.environment.get(cluster, object).await;
    let known = context.observed.of::<Recent<(ClusterName, ObjectRef), _>>();
    known
        .get((cluster.clone(), object.clone()), Age::OfThisRun, complete, read)
        .await
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn reading(recent: &Recent<&'static str, u32>, age: Age, value: u32) -> u32 {
        recent.get("a", age, |value| *value > 0, async || value).await
    }

    #[tokio::test(start_paused = true)]
    async fn a_reading_is_lent_until_it_is_too_old_for_the_reader() {
        let recent = Recent::default();
        assert_eq!(reading(&recent, Age::STATE, 1).await, 1);
        tokio::time::advance(STATE).await;
        assert_eq!(reading(&recent, Age::STATE, 2).await, 1);
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(reading(&recent, Age::OfThisRun, 3).await, 1);
        assert_eq!(reading(&recent, Age::STATE, 4).await, 4);
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(reading(&recent, Age::now(), 5).await, 5, "read anew");
        assert_eq!(reading(&recent, Age::STATE, 6).await, 5, "and lent");
    }

    #[tokio::test(start_paused = true)]
    async fn an_incomplete_reading_is_for_those_who_waited_for_it() {
        let recent = Arc::new(Recent::default());
        let slow = {
            let recent = recent.clone();
            tokio::spawn(async move {
                let read = async || {
                    tokio::time::sleep(Duration::from_secs(1)).await;
                    0
                };
                recent.get("a", Age::STATE, |value| *value > 0, read).await
            })
        };
        tokio::time::sleep(Duration::from_millis(500)).await;
        assert_eq!(reading(&recent, Age::STATE, 7).await, 0);
        assert_eq!(slow.await.expect("it ends"), 0);
        assert_eq!(reading(&recent, Age::STATE, 8).await, 8);
    }
}
