//! What a look at the wire needs: the devices between nodes, who captures there, and the pods that speak.

use super::judge::Reading;
use crate::kit::cilium::nodes::{self, MeshNode};
use super::peers::{agents, missing};
use super::window::{Flow, Watch, Window, observe, watches};
use super::{CAPTURE, LISTENER, TALKER};
use ipnet::IpNet;
use meshproof_contract::{Action, AgentFacts, CheckContext, CiliumQuery, ClusterName, Tally, Unit, Verdict};
use std::time::Duration;

/// How often traffic is watched before something that was lost counts.
const WINDOWS: usize = 3;
/// Pauses before the second and the third: a burst on a busy machine passes.
const PAUSES: [Duration; WINDOWS - 1] = [Duration::from_secs(1), Duration::from_secs(2)];

/// Nodes that can be watched, and the addresses to look for.
pub struct Stage {
    /// Every node of the clusters.
    pub nodes: Vec<MeshNode>,
    watches: Vec<Watch>,
    pods: Vec<IpNet>,
}

impl Stage {
    /// Sets it up in these clusters. What is missing goes to the tally; none if fewer than two nodes can be watched.
    pub async fn of(context: &CheckContext, clusters: &[ClusterName], tally: &mut Tally) -> Option<Self> {
        let facts = context.environment.facts();
        for absent in clusters.iter().flat_map(|cluster| missing(&facts, cluster)) {
            tally.unknown(absent);
        }
        let nodes = nodes::nodes(context, clusters, tally).await;
        let answers = nodes::ask(context, clusters, CiliumQuery::Status, tally).await;
        let captures: Vec<AgentFacts> = clusters
            .iter()
            .flat_map(|c| agents(&facts, c, CAPTURE))
            .cloned()
            .collect();
        let (watches, lacking) = watches(&nodes, &answers, &captures);
        for why in lacking {
            tally.unknown(why);
        }
        if watches.len() < 2 {
            tally.unknown("fewer than two nodes can be watched, and between them is where something could be read");
            return None;
        }
        // The pods that the flows are between, one by one: not every IPAM mode tells where pods get addresses from.
        let ours = clusters
            .iter()
            .flat_map(|c| agents(&facts, c, TALKER).chain(agents(&facts, c, LISTENER)));
        let replicas = clusters
            .iter()
            .filter_map(|c| facts.cluster(c)?.dns.as_ref())
            .flat_map(|dns| &dns.replicas);
        let pods = ours
            .map(|agent| agent.address)
            .chain(replicas.map(|replica| replica.address));
        let pods = pods.map(IpNet::from).collect();
        Some(Self { nodes, watches, pods })
    }

    /// Watches fresh flows, and others where something was lost.
    pub async fn watch(
        &self,
        context: &CheckContext,
        flows: impl Fn() -> Result<Vec<Flow>, Verdict>,
    ) -> Result<Window, Verdict> {
        let mut pauses = PAUSES.into_iter();
        let mut windows = 0;
        loop {
            let flows = flows()?;
            let mut pods = self.pods.clone();
            pods.extend(flows.iter().flat_map(|flow| &flow.others).copied().map(IpNet::from));
            let mut window = observe(context, &self.watches, &flows, &pods).await;
            leave_out_pings(context, &mut window);
            windows += 1;
            match pauses.next() {
                Some(pause) if Reading::of(&window).wants_another() => tokio::time::sleep(pause).await,
                _ => {
                    context.measure("windows", "", f64::from(windows), Unit::Count);
                    return Ok(window);
                }
            }
        }
    }
}

/// Leaves out the pings that pods may not send (`net.ipv4.ping_group_range` of their node): they were never on the wire.
fn leave_out_pings(context: &CheckContext, window: &mut Window) {
    window.flows.retain(|(flow, outcome, _)| {
        let is_ping = matches!(flow.probe.action, Action::IcmpEcho { .. });
        match outcome {
            Ok(outcome) if is_ping && outcome.is_local_error() => {
                context.note(format!("{}: left out: {outcome}", flow.what));
                false
            }
            _ => true,
        }
    });
}
