//! A capture between nodes, prepared: where to capture, which pod addresses to look for, and when to capture again.

use super::{
    CAPTURE, LISTENER, TALKER,
    capture_point::{CapturePoint, capture_points, is_inside},
    flow::Flow,
    judge::Reading,
    peers::{agents, missing},
    window::{Window, observe, observe_during},
};
use crate::kit::{
    cilium::nodes::{self, MeshNode},
    once::Once,
    recent::Age,
};
use ipnet::IpNet;
use meshproof_contract::{Action, AgentFacts, CheckContext, CiliumQuery, ClusterName, Tally, Unit, Verdict};
use std::time::Duration;

/// How often traffic is captured before something that was lost counts.
const WINDOWS: usize = 3;
/// Pauses before the second and the third: a burst on a busy machine passes.
const PAUSES: [Duration; WINDOWS - 1] = [Duration::from_secs(1), Duration::from_secs(2)];

/// The capture points of some clusters, and the addresses to look for.
pub struct Capture {
    /// Every node of the clusters.
    pub nodes: Vec<MeshNode>,
    points: Vec<CapturePoint>,
    pods: Vec<IpNet>,
}

impl Capture {
    /// Prepares it in these clusters. What is missing goes to the tally; none with fewer than two capture points.
    pub async fn prepare(context: &CheckContext, clusters: &[ClusterName], tally: &mut Tally) -> Option<Self> {
        let facts = context.environment.facts();
        for absent in clusters.iter().flat_map(|cluster| missing(&facts, cluster)) {
            tally.unknown(absent);
        }
        let (mut nodes, mut answers) = (Vec::new(), Vec::new());
        for cluster in clusters {
            let (of_cluster, by_agents) = known(context, cluster, tally).await;
            nodes.extend(of_cluster);
            answers.extend(by_agents);
        }
        let captures: Vec<AgentFacts> = clusters
            .iter()
            .flat_map(|c| agents(&facts, c, CAPTURE))
            .cloned()
            .collect();
        let (points, lacking) = capture_points(&nodes, &answers, &captures);
        for why in lacking {
            tally.unknown(why);
        }
        if points.len() < 2 {
            tally.unknown("fewer than two nodes can capture, so traffic between nodes cannot be observed");
            return None;
        }
        // The pods that the flows are between, one by one: not every IPAM mode reports where pods get addresses from.
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
        Some(Self { nodes, points, pods })
    }

    /// Where it captures.
    pub fn points(&self) -> &[CapturePoint] {
        &self.points
    }

    /// Captures these flows again and again while something is done, for at most so many seconds; also how often they
    /// were sent.
    pub async fn observe_during<T>(
        &self,
        context: &CheckContext,
        flows: &[Flow],
        lifetime: u32,
        work: impl Future<Output = T>,
    ) -> (Window, T, usize) {
        let seen = observe_during(context, &self.points, flows, &self.pods, lifetime, work).await;
        note_left_out(context, &seen.0);
        seen
    }

    /// Captures new flows, and others again where something was lost.
    pub async fn observe(
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
            let mut window = observe(context, &self.points, &flows, &pods).await;
            leave_out_pings(context, &mut window);
            note_left_out(context, &window);
            windows += 1;
            match pauses.next() {
                Some(pause) if Reading::of(&window).needs_retry() => tokio::time::sleep(pause).await,
                _ => {
                    context.measure("windows", "", f64::from(windows), Unit::Count);
                    return Ok(window);
                }
            }
        }
    }
}

/// Nodes of a cluster and what their agents answer, read once a run: where to capture follows from them, and does not
/// change while checks of this suite run.
#[derive(Default)]
struct Known(Once<ClusterName, (Vec<MeshNode>, Vec<nodes::Answer>)>);

/// What is missing goes to the tally, and is read again by the next check.
async fn known(
    context: &CheckContext,
    cluster: &ClusterName,
    tally: &mut Tally,
) -> (Vec<MeshNode>, Vec<nodes::Answer>) {
    let read = async || {
        let (mut own, cluster) = (Tally::new(), std::slice::from_ref(cluster));
        let nodes = nodes::nodes(context, cluster, &mut own).await;
        let answers = nodes::ask(context, cluster, CiliumQuery::Status, Age::OfThisRun, &mut own).await;
        if own.has_unknown() {
            Err((own, (nodes, answers)))
        } else {
            Ok((nodes, answers))
        }
    };
    let known = context.observed.of::<Known>();
    known.0.get(cluster.clone(), read).await.unwrap_or_else(|(own, found)| {
        tally.absorb(own);
        found
    })
}

/// Notes the links that were not watched and whose names do not say why.
fn note_left_out(context: &CheckContext, window: &Window) {
    for (point, report) in &window.captures {
        let links = report.iter().flat_map(|report| &report.left_out);
        let links: Vec<&str> = links.map(String::as_str).filter(|link| !is_inside(link)).collect();
        if !links.is_empty() {
            let (node, links) = (point.node.label(), links.join(", "));
            context.note(format!(
                "{node}: not watched, since they do not leave the node: {links}"
            ));
        }
    }
}

/// Leaves out the pings that pods may not send (`net.ipv4.ping_group_range` of their node): they never left the pod.
fn leave_out_pings(context: &CheckContext, window: &mut Window) {
    window.flows.retain(|(flow, outcome, _)| {
        let is_ping = matches!(flow.probe.action, Action::IcmpEcho { .. });
        match outcome {
            Ok(outcome) if is_ping && outcome.is_local_error() => {
                context.note(format!("{}: left out, the agent may not ping: {outcome}", flow.name));
                false
            }
            _ => true,
        }
    });
}
