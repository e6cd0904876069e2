//! Traffic between two nodes' pods is counted by WireGuard on both of them.

use super::TRAFFIC_NEEDS;
use crate::kit::cilium::nodes::{MeshNode, meshed};
use super::peers::{Device, Exchange, Mesh, PAYLOAD, exchange, missing};
use async_trait::async_trait;
use meshproof_contract::{AgentFacts, Check, CheckContext, CheckId, CheckText, Needs, Scope, Tally, Verdict};

/// WireGuard's counters.
pub struct CountersRise;

#[async_trait]
impl Check for CountersRise {
    fn id(&self) -> CheckId {
        CheckId::from("encryption::counters_rise")
    }
    fn text(&self) -> CheckText {
        CheckText {
            title: "What pods exchange between nodes is counted by WireGuard, both ways",
            proves: "Pod traffic between nodes really goes through the tunnel, in both directions, and not beside it.",
            how: "The counters of every peer (`transfer-rx`, `transfer-tx` in `cilium-dbg debuginfo --output json`) are read before and after a pod on every node has exchanged 4 KiB with a pod on every other node of the mesh; both must have risen by at least that.",
            control: "Only exchanges that were delivered count; one that was not is inconclusive, as is a counter that fell, which tells of an agent or device that was restarted meanwhile.",
            when_red: "The traffic went beside the tunnel: run encryption::pod_traffic, which shows the packets; `kubectl --context CONTEXT -n kube-system exec POD -c cilium-agent -- cilium-dbg encrypt status` on both nodes.",
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
        let before = mesh.devices(context, &mut tally).await;
        let sent = exchange(context, &mesh.cluster, &clusters).await;
        // The same things are missing or wrong as before.
        let after = mesh.devices(context, &mut Tally::new()).await;
        let mut rose = 0;
        for Exchange { from, to, outcome } in &sent {
            let (Some(a), Some(b)) = (node_of(&mesh, from), node_of(&mesh, to)) else {
                continue;
            };
            let subject = format!("{} -> {}", a.place(), b.place());
            if let Err(why) = outcome {
                tally.unknown(format!("{subject}: nothing was delivered that could be counted: {why}"));
                continue;
            }
            let (Some(old), Some(new)) = (counters(&before, a, b), counters(&after, a, b)) else {
                tally.unknown(format!("{subject}: the counters could not be read before and after"));
                continue;
            };
            if new.0 < old.0 || new.1 < old.1 {
                tally.unknown(format!(
                    "{subject}: the counters fell from {old:?} to {new:?}: the device was made anew meanwhile"
                ));
                continue;
            }
            let (received, transmitted) = (new.0 - old.0, new.1 - old.1);
            if received.min(transmitted) >= u64::from(PAYLOAD) {
                rose += 1;
            } else {
                tally.finding(
                    subject,
                    format!(
                        "at least {PAYLOAD} bytes more received and sent, which pods of the two just exchanged: {}",
                        mesh.claimed.by
                    ),
                    format!("{received} bytes more received, {transmitted} more sent"),
                );
            }
        }
        if rose > 0 {
            tally.witness(format!(
                "{rose} of {} pairs of nodes: both counters rose by at least the {PAYLOAD} bytes exchanged",
                sent.len()
            ));
        }
        tally.verdict()
    }
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
