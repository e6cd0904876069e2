//! While a Cilium agent restarts, nothing that its node's pods send or receive is readable between the nodes.

use super::{
    LISTENER, TRAFFIC_NEEDS, capture::Capture, claim, flow::Flow, flows, judge::Reading, traffic_kind::TrafficKind,
};
use crate::kit::paths::sample;
use async_trait::async_trait;
use meshproof_contract::{
    Admission, Check, CheckContext, CheckId, CheckText, Consent, Disruption, End, EnvironmentError, Footprint, Needs,
    NodeName,
    Part::{Nodes, Workload},
    Scope, Tally, Verdict,
};
use std::time::Duration;

/// A capture while an agent restarts.
pub struct AgentRestart;

/// After so many seconds a capture ends although nobody stopped it: pulling an image can take a while.
const LIFETIME: u32 = 600;
/// How long is captured after the next agent is ready: it goes on reading what the other nodes announce.
const AFTER: Duration = Duration::from_secs(3);

#[async_trait]
impl Check for AgentRestart {
    fn id(&self) -> CheckId {
        CheckId::from("encryption::agent_restart")
    }
    fn text(&self) -> CheckText {
        CheckText {
            title: "While a Cilium agent restarts, traffic of its node's pods is not readable between the nodes",
            proves: "An agent that ends and starts again, as in an upgrade, leaves no moment in which its node or its \
                     peers send pod traffic in plaintext.",
            how: "As encryption::pod_traffic, but the markers are sent again and again between the pods of one drawn \
                  node and those of the other nodes, from before the pod of its agent is deleted until 3 s after the \
                  next one is ready. Packets may be lost meanwhile: failover::agent_restart judges that.",
            control: "The controls of encryption::pod_traffic, before and after the restart; the last of the markers \
                      must arrive, and the capture must not have lost a packet.",
            when_red: "The evidence shows the first packet. `kubectl --context CONTEXT -n kube-system logs AGENT_POD \
                       -c cilium-agent --since=5m | grep -i -E 'wireguard|ipsec|ipcache'` of the agent that started \
                       shows when it had its peers; strict mode drops what would leave in plaintext meanwhile.",
        }
    }
    fn scope(&self) -> Scope {
        Scope::Cluster
    }
    fn needs(&self) -> Needs {
        Needs {
            mutates: true,
            admission: Admission::Footprint(Footprint {
                disturbs: &[(End::From, Nodes)],
                relies_on: &[(End::From, Workload(LISTENER))],
            }),
            ..TRAFFIC_NEEDS
        }
    }
    fn faults(&self) -> &'static [&'static str] {
        &["agent-restart-plaintext"]
    }

    async fn run(&self, context: &CheckContext) -> Verdict {
        let facts = context.environment.facts();
        let cluster = context.instance.from();
        let claimed = match claim::of(&facts, cluster) {
            Ok(claimed) if claimed.mode == claim::Mode::None => {
                return Verdict::skipped(format!(
                    "not claimed: {cluster} does not claim encryption ({})",
                    claimed.by
                ));
            }
            Ok(claimed) => claimed,
            Err(verdict) => return verdict,
        };
        if facts.consent == Consent::Withheld {
            return Verdict::skipped("this check disrupts the clusters, and the run was started without --disruptive");
        }
        let mut tally = Tally::new();
        let Some(capture) = Capture::prepare(context, std::slice::from_ref(cluster), &mut tally).await else {
            return tally.verdict();
        };
        let Some(node) = sample::nodes(&facts, cluster, 1).into_iter().next() else {
            return Verdict::inconclusive(format!("{cluster} has no node"));
        };
        let flows = match flows::of(TrafficKind::Pods, &facts, &context.instance) {
            Ok(flows) => of_node(flows, &node),
            Err(verdict) => return verdict,
        };
        if flows.is_empty() {
            return Verdict::inconclusive(format!(
                "no pods of {node} and another node of {cluster} can exchange data"
            ));
        }
        let restart = restart(context, &node);
        let (window, restarted, rounds) = capture.observe_during(context, &flows, LIFETIME, restart).await;
        if let Err(error) = restarted {
            tally.unknown(format!("the agent on {node} could not be restarted: {error}"));
        }
        context.note(format!("{rounds} rounds of flows from before the restart to after it"));
        let subject = format!("the pods of {node} while its agent restarted");
        Reading::of(&window).conclude(context, &claimed, &subject, &mut tally);
        claimed.settle(tally.verdict())
    }
}

/// The flows that begin or end on the node.
fn of_node(flows: Vec<Flow>, node: &NodeName) -> Vec<Flow> {
    let ends = |flow: &Flow| flow.from.node == *node || flow.to.as_ref().is_some_and(|(_, to)| to == node);
    flows.into_iter().filter(ends).collect()
}

/// Restarts the agent, and comes back a while after the next one is ready.
async fn restart(context: &CheckContext, node: &NodeName) -> Result<(), EnvironmentError> {
    let (environment, cluster) = (&context.environment, context.instance.from());
    let disruption = Disruption::AgentRestart { node: node.clone() };
    let disrupted = environment.disrupt(cluster, &disruption).await;
    // Waits for the next agent.
    let restored = environment.restore(cluster, &disruption).await;
    tokio::time::sleep(AFTER).await;
    disrupted.and(restored)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        encryption::tests::{wire::Shown, world::World},
        testing::infra,
    };
    use meshproof_contract::Action;

    fn world() -> World {
        let mut world = World::healthy();
        world.facts.consent = Consent::Given;
        world
    }

    #[tokio::test(start_paused = true)]
    async fn what_leaks_meanwhile_is_red_and_without_consent_it_is_skipped() {
        let said = world().expect(&AgentRestart, infra(), "pass").await;
        assert!(said.contains("while its agent restarted"), "{said}");
        let leaks = |_: &str, _: &str, _: &Action| Shown::Everything;
        world().wire(leaks).expect(&AgentRestart, infra(), "fail").await;
        World::healthy().expect(&AgentRestart, infra(), "skipped").await;
        world().claims("none").expect(&AgentRestart, infra(), "skipped").await;
    }
}
