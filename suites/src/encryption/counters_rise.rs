//! What pods exchange between nodes crosses as WireGuard's ciphertext, and both nodes count it.

use super::{
    TRAFFIC_NEEDS,
    capture::Capture,
    marks::{self, Marked, Marks},
    peers::{Device, Mesh},
};
use crate::kit::{
    cilium::nodes::{MeshNode, meshed},
    recent::Age,
};
use async_trait::async_trait;
use meshproof_contract::{
    AgentFacts, Check, CheckContext, CheckId, CheckText, ClusterName, Evidence, Needs, NodeLabel, Scope, Tally, Unit,
    Verdict,
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
            title: "What pods exchange between nodes is WireGuard's ciphertext, which both nodes count",
            proves: "Pod traffic between nodes goes through the tunnel in both directions, and not past it. No other \
                     traffic can be taken for it.",
            how: "A pod on every node sends 32 datagrams of one size, drawn for the pair, to a pod on every other node \
                  of the mesh, which sends them back; with more than 16 nodes in a cluster, in a sample that covers \
                  every node. The captures on both nodes must see as many WireGuard messages of that size (padding \
                  and tunnel added) in each direction, beyond those of the sizes beside it. The peer's counters \
                  (`transfer-rx` and `transfer-tx` in `cilium-dbg debuginfo --output json`) must rise by as much.",
            control: "Only datagrams that came back count; if none did, the pair is inconclusive. So is a capture that \
                      lost packets, other traffic of so many sizes that the datagrams do not stand out, and a counter \
                      that fell, which means that an agent or device restarted.",
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
        &[
            "plaintext-node-pair",
            "plaintext-mesh",
            "plaintext-one-way",
            "plaintext-second-link",
            "plaintext-udp",
        ]
    }
    fn blinded_by(&self) -> &'static [&'static str] {
        &["capture-wrong-device"]
    }
    fn dimmed_by(&self) -> &'static [&'static str] {
        super::PAIR_CUT_OFF
    }

    async fn run(&self, context: &CheckContext) -> Verdict {
        let mut tally = Tally::new();
        let mesh = match Mesh::of(context, &mut tally).await {
            Ok(mesh) => mesh,
            Err(verdict) => return verdict,
        };
        let facts = context.environment.facts();
        let clusters = meshed(&facts, &mesh.cluster);
        let Some(capture) = Capture::prepare(context, &clusters, &mut tally).await else {
            return tally.verdict();
        };
        let mut attempt = exchange(context, &capture, &mesh, &clusters).await;
        // What else was of one size will not be of another that is drawn.
        for _ in 1..ATTEMPTS {
            if !attempt.is_hidden {
                break;
            }
            attempt = exchange(context, &capture, &mesh, &clusters).await;
        }
        for (from, cells) in attempt.rows {
            let what = "WireGuard counters".to_owned();
            context.evidence(Evidence::Row(Row { what, from, cells }));
        }
        tally.absorb(attempt.tally);
        tally.verdict()
    }
}

/// So often is it tried, while other traffic has the sizes that were drawn.
const ATTEMPTS: usize = 3;

/// What one exchange showed.
struct Attempt {
    tally: Tally,
    rows: BTreeMap<NodeLabel, Vec<Cell>>,
    /// Whether other traffic hid what was sent, and nothing else is known to be wrong.
    is_hidden: bool,
}

async fn exchange(context: &CheckContext, capture: &Capture, mesh: &Mesh, clusters: &[ClusterName]) -> Attempt {
    let mut tally = Tally::new();
    let before = mesh.devices(context, Age::now(), &mut tally).await;
    let sent = marks::send(context, capture, &mesh.cluster, clusters).await;
    // The same things are missing or wrong as before.
    let after = mesh.devices(context, Age::now(), &mut Tally::new()).await;
    let (mut rose, mut hidden) = (0, 0);
    let mut rows: BTreeMap<NodeLabel, Vec<Cell>> = BTreeMap::new();
    for one in &sent.marks {
        let (Some(a), Some(b)) = (node_of(mesh, &one.from), node_of(mesh, &one.to)) else {
            continue;
        };
        let cell = judge(&sent, one, (a, b), (&before, &after), mesh, &mut tally);
        rose += usize::from(cell.outcome == CellOutcome::Ok);
        hidden += usize::from(cell.outcome == CellOutcome::Unknown && cell.value.is_some());
        rows.entry(NodeLabel::from(&one.from)).or_default().push(cell);
    }
    if rose > 0 {
        tally.witness(format!(
            "{rose} of {} node pairs: the datagrams of their size were seen as ciphertext in both directions on both \
             nodes, and both counters rose by them",
            sent.marks.len()
        ));
    }
    Attempt {
        is_hidden: hidden > 0 && !tally.has_findings(),
        tally,
        rows,
    }
}

/// Judges one pair of nodes: its cell shows by how much the smaller counter rose.
fn judge(
    sent: &Marked,
    one: &Marks,
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
    let risen = match counted(one, (a, b), (before, after)) {
        Ok(risen) => risen,
        Err(why) => {
            tally.unknown(format!("{subject}: {why}"));
            cell.detail = Some(why);
            return cell;
        }
    };
    (cell.value, cell.unit) = (Some(risen.least() as f64), Some(Unit::Bytes));
    let mut wrong = Vec::new();
    if risen.least() < risen.expected {
        wrong.push(format!(
            "the counters rose by {} B (received) and {} B (sent), {} B were exchanged each way",
            risen.received, risen.transmitted, risen.expected
        ));
    }
    let mut unclear = Vec::new();
    for (at, way) in [(a, (a, b)), (a, (b, a)), (b, (a, b)), (b, (b, a))] {
        let direction = format!("{} to {}", way.0.label(), way.1.label());
        match sent.seen(at, way, one.payload) {
            Ok(seen) if seen.has(risen.marks) => {}
            Ok(seen) if seen.counted < risen.marks => wrong.push(format!(
                "{} saw {} of {} datagrams as ciphertext from {direction}",
                at.label(),
                seen.counted,
                risen.marks
            )),
            Ok(seen) => unclear.push(format!(
                "{}: {} messages of the datagrams' size from {direction}, but {} of a size beside it: other traffic \
                 hides them",
                at.label(),
                seen.counted,
                seen.beside
            )),
            Err(why) => unclear.push(why),
        }
    }
    if wrong.is_empty() && unclear.is_empty() {
        cell.outcome = CellOutcome::Ok;
        return cell;
    }
    for why in &unclear {
        tally.unknown(format!("{subject}: {why}"));
    }
    cell.detail = Some(
        wrong
            .iter()
            .chain(&unclear)
            .map(String::as_str)
            .collect::<Vec<_>>()
            .join("; "),
    );
    if !wrong.is_empty() {
        cell.outcome = CellOutcome::Mismatch;
        let expected = "all datagrams that their pods exchanged as ciphertext, both ways, and counted on both nodes";
        tally.finding(subject, mesh.claimed.expects(expected), wrong.join("; "));
    }
    cell
}

/// By how much a node's counters of a peer rose, and by how much at least they had to.
struct Risen {
    received: u64,
    transmitted: u64,
    expected: u64,
    /// How many datagrams went each way.
    marks: u64,
}

impl Risen {
    fn least(&self) -> u64 {
        self.received.min(self.transmitted)
    }
}

/// The rise of the counters; the error says why it cannot be told.
fn counted(one: &Marks, (a, b): (&MeshNode, &MeshNode), read: (&[Device], &[Device])) -> Result<Risen, String> {
    let delivered = one.delivered.as_ref();
    let marks = *delivered.map_err(|why| format!("nothing was delivered: {why}"))?;
    let (Some(old), Some(new)) = (counters(read.0, a, b), counters(read.1, a, b)) else {
        return Err("the counters could not be read before and after".to_owned());
    };
    if new.0 < old.0 || new.1 < old.1 {
        return Err(format!(
            "the counters fell from {old:?} B to {new:?} B (received, sent): the device was recreated"
        ));
    }
    Ok(Risen {
        received: new.0 - old.0,
        transmitted: new.1 - old.1,
        expected: marks * u64::from(one.payload),
        marks,
    })
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
