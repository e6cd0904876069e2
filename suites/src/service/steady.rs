//! Whether the pods behind the suite's Services were ready all the time. Nodes rightly send nothing to a pod that its
//! kubelet reports as not ready, so what is expected of it cannot be judged.

use super::side::pods;
use crate::kit::{object::pod, once::Once};
use futures::future::join_all;
use meshproof_contract::{AgentFacts, AgentId, CheckContext, Verdict};
use std::sync::{Arc, Mutex, PoisonError};

/// The workload behind the Services that stay as they are.
const WORKLOAD: &str = "backend";

/// A pod's condition Ready.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Readiness {
    is_ready: bool,
    since: String,
}

/// How pods were when they were last read. Only failures need them read again, so a run reads each pod once while all
/// goes well.
#[derive(Default)]
struct LastRead(Once<AgentId, Arc<Mutex<Readiness>>>);

impl LastRead {
    /// How a pod was; read if it never was.
    async fn of(&self, context: &CheckContext, pod: &AgentFacts) -> Option<Readiness> {
        let first = async || {
            read(context, pod)
                .await
                .map(|readiness| Arc::new(Mutex::new(readiness)))
                .ok_or(())
        };
        let known = self.0.get(pod.id.clone(), first).await.ok()?;
        let known = known.lock().unwrap_or_else(PoisonError::into_inner);
        Some(known.clone())
    }

    /// Reads a pod again.
    async fn again(&self, context: &CheckContext, pod: &AgentFacts) -> Option<Readiness> {
        let now = read(context, pod).await?;
        let first = async || Ok::<_, ()>(Arc::new(Mutex::new(now.clone())));
        if let Ok(known) = self.0.get(pod.id.clone(), first).await {
            *known.lock().unwrap_or_else(PoisonError::into_inner) = now.clone();
        }
        Some(now)
    }
}

/// What `observe` concludes; a failure becomes inconclusive if a pod behind the Services became ready or unready, or
/// was deleted, meanwhile.
pub async fn while_steady(context: &CheckContext, observe: impl Future<Output = Result<Verdict, Verdict>>) -> Verdict {
    let facts = context.environment.facts();
    let clusters = facts.clusters.iter();
    let backends: Vec<AgentFacts> = clusters.flat_map(|c| pods(&facts, &c.name, WORKLOAD)).collect();
    let known = context.observed.of::<LastRead>();
    let before = join_all(backends.iter().map(|pod| known.of(context, pod))).await;
    let (Ok(verdict) | Err(verdict)) = observe.await;
    let Verdict::Fail { findings } = &verdict else {
        return verdict;
    };
    let after = join_all(backends.iter().map(|pod| known.again(context, pod))).await;
    let pods = backends.iter().zip(before.iter().zip(&after));
    let unsteady: Vec<String> = pods
        .filter_map(|(pod, (b, a))| change(pod, b.as_ref(), a.as_ref()))
        .collect();
    if unsteady.is_empty() {
        return verdict;
    }
    for finding in findings {
        context.note(format!("{}: {}", finding.subject, finding.observed));
    }
    Verdict::inconclusive(format!(
        "{}, so nodes may rightly have sent no requests to it, and the failure proves nothing",
        unsteady.join("; ")
    ))
}

/// The pod's readiness as the API shows it; none if it cannot be read, or is not there.
async fn read(context: &CheckContext, pod: &AgentFacts) -> Option<Readiness> {
    let found = context.environment.get(&pod.id.cluster, &pod::of(pod)).await.ok()??;
    let ready = pod::ready(&found)?;
    Some(Readiness {
        is_ready: pod::is_ready(&found),
        since: ready["lastTransitionTime"].as_str().unwrap_or_default().to_owned(),
    })
}

/// How a pod's readiness changed; none if it was never read, since that excuses nothing.
fn change(pod: &AgentFacts, before: Option<&Readiness>, after: Option<&Readiness>) -> Option<String> {
    let (before, id) = (before?, &pod.id);
    match after {
        None => Some(format!("pod {id} was deleted or can no longer be read")),
        Some(after) if !after.is_ready => Some(format!("pod {id} has not been ready since {}", after.since)),
        Some(after) if after != before => Some(format!("pod {id} was not ready until {}", after.since)),
        Some(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::tests::world::backends;

    fn readiness(is_ready: bool, since: &str) -> Readiness {
        Readiness {
            is_ready,
            since: since.to_owned(),
        }
    }

    #[test]
    fn only_what_the_api_showed_otherwise_excuses_a_failure() {
        let pod = &backends()[0];
        let (ready, again) = (readiness(true, "12:00:00Z"), readiness(true, "12:00:09Z"));
        assert_eq!(change(pod, Some(&ready), Some(&readiness(true, "12:00:00Z"))), None);
        assert_eq!(change(pod, None, Some(&again)), None, "never read otherwise");
        assert_eq!(change(pod, None, None), None);
        let changed = |before, after: Option<&Readiness>| change(pod, Some(before), after).expect("unsteady");
        assert!(changed(&ready, Some(&again)).contains("was not ready until 12:00:09Z"));
        let unready = readiness(false, "12:00:05Z");
        assert!(changed(&ready, Some(&unready)).contains("has not been ready since 12:00:05Z"));
        assert!(changed(&ready, None).contains("was deleted"));
    }
}
