//! Whether the agents of all nodes say that they do what the API holds: a signal beside the traffic of the other checks, and the
//! only one for pods that are not this run's.

mod reading;

use super::actor::SCENARIO;
use super::enforced_within;
use async_trait::async_trait;
use meshproof_contract::{Check, CheckContext, CheckId, CheckText, ClaimKind, Needs, Scope, Tally, Verdict};
use reading::Reading;
use std::time::Duration;
use tokio::time::{Instant, sleep_until};

/// Every agent against the API, and against itself a moment before.
pub struct AgentsAgree;

/// Between two readings.
const LOOK: Duration = Duration::from_secs(2);

#[async_trait]
impl Check for AgentsAgree {
    fn id(&self) -> CheckId {
        CheckId::from("policy::agents_agree")
    }

    fn text(&self) -> CheckText {
        CheckText {
            title: "Every node's agent has the policies of the API, and its endpoints have realized them",
            proves: "No agent has missed a policy or kept a deleted one, no endpoint of any pod is stuck before it is ready or behind its agent's policies, and none only audits what it should enforce.",
            how: "`cilium-dbg policy get` and `endpoint list` of every agent are read beside the API's policies, 2 s apart, until nothing deviates in two readings in a row, or for `policyEnforcement` of the thresholds (10 s by default). Only what deviates in every reading is a finding: endpoints that are not ready, a realized revision below the agent's of the first reading, PolicyAuditMode, and names that only the API or only the agent has.",
            control: "Each agent must answer with a list of endpoints; one that does not is inconclusive, and so are policies that may not be listed.",
            when_red: "`kubectl -n kube-system exec CILIUM-POD-OF-THE-NODE -- cilium-dbg endpoint get ID` (its log says what failed), `kubectl -n kube-system logs CILIUM-POD-OF-THE-NODE --tail=100` for policies that could not be imported.",
        }
    }

    fn scope(&self) -> Scope {
        Scope::Cluster
    }
    fn needs(&self) -> Needs {
        Needs {
            scenario: Some(SCENARIO),
            claim: Some(ClaimKind::Policy),
            ..Needs::default()
        }
    }
    fn faults(&self) -> &'static [&'static str] {
        &["policy-endpoints-behind"]
    }

    async fn run(&self, context: &CheckContext) -> Verdict {
        let cluster = context.instance.from();
        let end = Instant::now() + enforced_within(context);
        let first = match Reading::of(context, cluster).await {
            Ok(reading) => reading,
            Err(why) => return Verdict::inconclusive(why),
        };
        let mut lasting = first.deviations(&first);
        let (mut begun, mut readings) = (Instant::now(), 1);
        let last = loop {
            sleep_until(begun + LOOK).await;
            begun = Instant::now();
            let reading = match Reading::of(context, cluster).await {
                Ok(reading) => reading,
                Err(why) => return Verdict::inconclusive(why),
            };
            readings += 1;
            let now = reading.deviations(&first).into_iter();
            lasting = now.filter(|(subject, _)| lasting.contains_key(subject)).collect();
            if lasting.is_empty() || begun >= end {
                break reading;
            }
        };
        let mut tally = Tally::new();
        for (subject, (expected, seen)) in lasting {
            tally.finding(subject, expected, format!("{seen}, in the last of {readings} readings"));
        }
        for silent in &last.silent {
            tally.unknown(silent);
        }
        tally.witness(format!(
            "{} endpoints of {} agents are ready with {} policies",
            last.endpoints(),
            last.agents(),
            last.policies()
        ));
        tally.verdict()
    }
}

#[cfg(test)]
mod tests;
