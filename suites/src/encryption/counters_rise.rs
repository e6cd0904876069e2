//! WireGuard counts traffic between two nodes' pods on both of them.

use super::{
    TRAFFIC_NEEDS,
    peers::{Device, Exchange, Mesh, PAYLOAD, exchange, missing},
};
use crate::kit::{
    cilium::nodes::{MeshNode, meshed},
    recent::Age,
};
use async_trait::async_trait;
use meshproof_contract::{
    AgentFacts, Check, CheckContext, CheckId, CheckText, Evidence, Needs, NodeLabel, Scope, Tally, Unit, Verdict,
    evidence::{Cell, CellOutcome, Row},
};
use std::collections::BTreeMap;

/// WireGuard's counters.
pub struct CountersRise;

#[async_trait]
impl Check for CountersRise {
    fn id(&self) -> CheckId {
        CheckId::from("encryption::counters_rise")
    }
    fn text(&self) -> CheckText {
        CheckText {
            title: "WireGuard counts the traffic that pods exchange between nodes, in both directions",
            proves: "Pod traffic between nodes goes through the tunnel in both directions, and not past it.",
            how: "A pod on every node exchanges 4 KiB with a pod on every other node of the mesh; with more than 6 \
                  nodes in a cluster, with a sample of them that covers every node. The peer's counters \
                  (`transfer-rx` and `transfer-tx` in `cilium-dbg debuginfo --output json`) must both rise by at \
                  least that much.",
            control: "Only delivered exchanges count; an undelivered one is inconclusive. So is a counter that fell, \
                      which means that an agent or device restarted.",
            when_red: "The traffic bypassed the tunnel; encryption::pod_traffic shows the packets. Run `kubectl \
                       --context CONTEXT -n kube-system exec AGENT_POD -c cilium-agent -- cilium-dbg encrypt status` \
                       on both nodes.",
        }
    }
    fn scope(&self) -> Scope {
        Scope::Cluster
    }
    fn needs(&self) -> Needs {
        TRAFFIC_NEEDS
    }
    fn faults(&self) -> &'static [&'static str] {
        &["plaintext-node-pair", "plaintext-mesh", "plaintext-one-way"]
    }

    async fn run(&self, context: &CheckContext) -> Verdict {
        let mut tally = Tally::new();
        let mesh = match Mesh::of(context, &mut tally).await {
            Ok(mesh) => mesh,
            Err(verdict) => return verdict,
        };
        let facts = context.environment.facts();
        let clusters = meshed(&facts, &mesh.cluster);
        for absent in clusters.iter().flat_map(|cluster| missing(&facts, cluster)) {
            tally.unknown(absent);
        }
        let before = mesh.devices(context, Age::now(), &mut tally).await;
        let sent = exchange(context, &mesh.cluster, &clusters).await;
        // The same things are missing or wrong as before.
        let after = mesh.devices(context, Age::now(), &mut Tally::new()).await;
        let mut rose = 0;
        let mut rows: BTreeMap<NodeLabel, Vec<Cell>> = BTreeMap::new();
        for one in &sent {
            let (Some(a), Some(b)) = (node_of(&mesh, &one.from), node_of(&mesh, &one.to)) else {
                continue;
            };
            let cell = judge(one, (a, b), (&before, &after), &mesh, &mut tally);
            rose += usize::from(cell.outcome == CellOutcome::Ok);
            rows.entry(NodeLabel::from(&one.from)).or_default().push(cell);
        }
        for (from, cells) in rows {
            let what = "WireGuard counters".to_owned();
            context.evidence(Evidence::Row(Row { what, from, cells }));
        }
        if rose > 0 {
            tally.witness(format!(
                "{rose} of {} node pairs: both counters rose by at least the {PAYLOAD} B exchanged",
                sent.len()
            ));
        }
        tally.verdict()
    }
}

/// Judges one pair of nodes: its cell shows by how much the smaller counter rose.
fn judge(
    one: &Exchange,
    (a, b): (&MeshNode, &MeshNode),
    (before, after): (&[Device], &[Device]),
    mesh: &Mesh,
    tally: &mut Tally,
) -> Cell {
    let subject = format!("{} -> {}", a.label(), b.label());
    let mut cell = Cell {
        to: NodeLabel::from(&one.to),
        outcome: CellOutcome::Unknown,
        value: None,
        unit: None,
        detail: None,
    };
    let mut unknown = |why: String| {
        tally.unknown(format!("{subject}: {why}"));
        Some(why)
    };
    if let Err(why) = &one.outcome {
        cell.detail = unknown(format!("the exchange was not delivered: {why}"));
        return cell;
    }
    let (Some(old), Some(new)) = (counters(before, a, b), counters(after, a, b)) else {
        cell.detail = unknown("the counters could not be read before and after".to_owned());
        return cell;
    };
    if new.0 < old.0 || new.1 < old.1 {
        cell.detail = unknown(format!(
            "the counters fell from {old:?} B to {new:?} B (received, sent): the device was recreated"
        ));
        return cell;
    }
    let (received, transmitted) = (new.0 - old.0, new.1 - old.1);
    let risen = received.min(transmitted);
    (cell.value, cell.unit) = (Some(risen as f64), Some(Unit::Bytes));
    if risen >= u64::from(PAYLOAD) {
        cell.outcome = CellOutcome::Ok;
        return cell;
    }
    let observed = format!("received {received} B more, sent {transmitted} B more");
    cell.outcome = CellOutcome::Mismatch;
    cell.detail = Some(observed.clone());
    let expected = format!("both counters rise by the {PAYLOAD} B that their pods exchanged");
    tally.finding(subject, mesh.claimed.expects(expected), observed);
    cell
}

fn node_of<'a>(mesh: &'a Mesh, agent: &AgentFacts) -> Option<&'a MeshNode> {
    mesh.nodes
        .iter()
        .find(|node| node.cluster == agent.id.cluster && node.name == agent.node)
}

/// What `a` counts about `b`: received, sent.
fn counters(devices: &[Device], a: &MeshNode, b: &MeshNode) -> Option<(u64, u64)> {
    let device = devices.iter().find(|device| device.node == *a)?;
    device.peer(b).map(|peer| (peer.transfer_rx, peer.transfer_tx))
}
