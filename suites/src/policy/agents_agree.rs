//! Whether the agents of all nodes report what the API holds: a signal beside the traffic of the other checks, and the
//! only one for pods that are not this run's.

mod snapshot;

use super::{enforced_within, participant::SCENARIO};
use crate::kit::next_steps;
use async_trait::async_trait;
use meshproof_contract::{
    Check, CheckContext, CheckId, CheckText, ClaimKind, ClusterName, Needs, Scope, Tally, Verdict, text,
};
use snapshot::{Deviation, Snapshot};
use std::{collections::BTreeMap, time::Duration};
use tokio::time::{Instant, sleep_until};

/// Every agent against the API, and against its own state a moment before.
pub struct AgentsAgree;

/// Between two readings.
const READING_INTERVAL: Duration = Duration::from_secs(2);
/// Deviations for which a command is suggested; the others are likely of the same kind.
const SUGGESTED: usize = 3;

#[async_trait]
impl Check for AgentsAgree {
    fn id(&self) -> CheckId {
        CheckId::from("policy::agents_agree")
    }

    fn text(&self) -> CheckText {
        CheckText {
            title: "Every node's agent has the policies of the API, and its endpoints have realized them",
            proves: "No agent has missed a policy or kept a deleted one. No endpoint of any pod is not ready, behind \
                     its agent's policy revision, or in policy audit mode.",
            how: "`cilium-dbg policy get` and `endpoint list` of every agent are read beside the API's policies. \
                  While something deviates they are read again, 2 s apart, for `policyEnforcement` of the \
                  thresholds. Only what deviates in every reading is a finding.",
            control: "Each agent must answer with a list of endpoints. An agent that does not, or policies that may \
                      not be listed, make it inconclusive.",
            when_red: "`kubectl --context CONTEXT -n kube-system exec AGENT_POD -c cilium-agent -- cilium-dbg \
                       endpoint get ID` shows what failed. `kubectl --context CONTEXT -n kube-system logs AGENT_POD \
                       -c cilium-agent --tail=100` shows policies that could not be imported.",
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
        let first = match Snapshot::read(context, cluster, None).await {
            Ok(snapshot) => snapshot,
            Err(why) => return Verdict::inconclusive(why),
        };
        let mut lasting = first.deviations(&first);
        let (mut begun, mut readings) = (Instant::now(), 1);
        let mut last: Option<Snapshot> = None;
        // What does not deviate now cannot last.
        while !lasting.is_empty() && begun < end {
            sleep_until(begun + READING_INTERVAL).await;
            begun = Instant::now();
            let before = last.as_ref().unwrap_or(&first);
            let snapshot = match Snapshot::read(context, cluster, Some(before)).await {
                Ok(snapshot) => snapshot,
                Err(why) => return Verdict::inconclusive(why),
            };
            readings += 1;
            let now = snapshot.deviations(&first).into_iter();
            lasting = now.filter(|(subject, _)| lasting.contains_key(subject)).collect();
            last = Some(snapshot);
        }
        let last = last.as_ref().unwrap_or(&first);
        suggest_commands(context, cluster, &lasting);
        let mut tally = Tally::new();
        for (subject, deviation) in lasting {
            let observed = format!("{}, in the last of {readings} readings", deviation.seen);
            tally.finding(subject, deviation.expected, observed);
        }
        for unread in &last.unread {
            tally.unknown(unread);
        }
        tally.witness(format!(
            "{} of {}: ready, with {}",
            text::counted(last.endpoints(), "endpoint"),
            text::counted(last.agents(), "agent"),
            counted_policies(last.policies())
        ));
        tally.verdict()
    }
}

fn counted_policies(number: usize) -> String {
    match number {
        1 => "1 policy".to_owned(),
        _ => format!("{number} policies"),
    }
}

fn suggest_commands(context: &CheckContext, cluster: &ClusterName, deviations: &BTreeMap<String, Deviation>) {
    let facts = context.environment.facts();
    for deviation in deviations.values().take(SUGGESTED) {
        let command = match deviation.endpoint {
            Some(id) => format!("cilium-dbg endpoint get {id}"),
            None => "cilium-dbg policy get".to_owned(),
        };
        context.suggest(next_steps::in_agent(&facts, cluster, Some(&deviation.node), &command));
    }
}

#[cfg(test)]
mod tests;
