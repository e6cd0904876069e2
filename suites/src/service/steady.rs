//! Whether the pods behind the suite's services were ready all the time. A pod that was not, by its kubelet's word, is rightly
//! spared by every node, so what is expected of it cannot be judged.

use super::side::pods;
use crate::kit::object::pod;
use futures::future::join_all;
use meshproof_contract::{AgentFacts, CheckContext, Verdict};

/// The workload behind the services that nothing is done to.
const WORKLOAD: &str = "backend";

/// A pod's condition Ready.
#[derive(Debug, PartialEq, Eq)]
struct Readiness {
    is_ready: bool,
    since: String,
}

/// What `observe` concludes; a failure becomes inconclusive if a pod behind the services turned unready, or ready, or went
/// meanwhile.
pub async fn while_steady(context: &CheckContext, observe: impl Future<Output = Result<Verdict, Verdict>>) -> Verdict {
    let facts = context.environment.facts();
    let clusters = facts.clusters.iter();
    let backends: Vec<AgentFacts> = clusters.flat_map(|c| pods(&facts, &c.name, WORKLOAD)).collect();
    let before = join_all(backends.iter().map(|pod| read(context, pod))).await;
    let (Ok(verdict) | Err(verdict)) = observe.await;
    let Verdict::Fail { findings } = &verdict else {
        return verdict;
    };
    let after = join_all(backends.iter().map(|pod| read(context, pod))).await;
    let pods = backends.iter().zip(before.iter().zip(&after));
    let unsteady: Vec<String> = pods
        .filter_map(|(pod, (b, a))| tell(pod, b.as_ref(), a.as_ref()))
        .collect();
    if unsteady.is_empty() {
        return verdict;
    }
    for finding in findings {
        context.note(format!("{}: {}", finding.subject, finding.observed));
    }
    Verdict::inconclusive(format!(
        "{}, so nodes may rightly have spared it: what was seen says nothing",
        unsteady.join("; ")
    ))
}

/// The pod's readiness as the API shows it; none if it cannot be read, or is not there.
async fn read(context: &CheckContext, pod: &AgentFacts) -> Option<Readiness> {
    let found = context.environment.get(&pod.id.cluster, &pod::of(pod)).await.ok()??;
    let ready = pod::ready(&found)?;
    Some(Readiness {
        is_ready: ready["status"] == "True",
        since: ready["lastTransitionTime"].as_str().unwrap_or_default().to_owned(),
    })
}

/// What was not steady about a pod; nothing if it was never seen, since that excuses nothing.
fn tell(pod: &AgentFacts, before: Option<&Readiness>, after: Option<&Readiness>) -> Option<String> {
    let (before, id) = (before?, &pod.id);
    match after {
        None => Some(format!("pod {id} has gone, or cannot be read any more")),
        Some(after) if !after.is_ready => Some(format!("pod {id} is not ready since {}", after.since)),
        Some(after) if after != before => Some(format!("pod {id} was not ready until {}", after.since)),
        Some(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::tests::backends;

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
        assert_eq!(tell(pod, Some(&ready), Some(&readiness(true, "12:00:00Z"))), None);
        assert_eq!(tell(pod, None, Some(&again)), None, "never seen otherwise");
        assert_eq!(tell(pod, None, None), None);
        let told = |before, after: Option<&Readiness>| tell(pod, Some(before), after).expect("unsteady");
        assert!(told(&ready, Some(&again)).contains("was not ready until 12:00:09Z"));
        let unready = readiness(false, "12:00:05Z");
        assert!(told(&ready, Some(&unready)).contains("is not ready since 12:00:05Z"));
        assert!(told(&ready, None).contains("has gone"));
    }
}
