//! Every node knows every other node of its mesh as a WireGuard peer.

use super::STATUS_NEEDS;
use super::peers::Mesh;
use crate::next;
use async_trait::async_trait;
use meshproof_contract::{Check, CheckContext, CheckId, CheckText, Needs, Scope, Tally, Verdict};

/// Peers by the word of the agents.
pub struct PeersComplete;

#[async_trait]
impl Check for PeersComplete {
    fn id(&self) -> CheckId {
        CheckId::from("encryption::peers_complete")
    }
    fn text(&self) -> CheckText {
        CheckText {
            title: "Every node has every other node of both clusters as a WireGuard peer",
            proves: "No node is without a tunnel to another one: without a peer, Cilium sends that node's pod traffic in clear unless strict mode is on.",
            how: "`cilium-dbg debuginfo --output json` of every agent, the only place with peers; expected is a peer, found by the address of its endpoint, for each other node of the cluster and of the clusters it is one mesh with.",
            control: "Every node must have an agent that shows its peers, and a CiliumNode; what cannot be read is inconclusive.",
            when_red: "`kubectl --context CONTEXT get ciliumnode NODE -o yaml` of the node that is missing (annotation network.cilium.io/wg-pub-key), then the agent's log on the node named: `kubectl --context CONTEXT -n kube-system logs POD -c cilium-agent | grep -i wireguard`.",
        }
    }
    fn scope(&self) -> Scope {
        Scope::Cluster
    }
    fn needs(&self) -> Needs {
        STATUS_NEEDS
    }
    fn faults(&self) -> &'static [&'static str] {
        &["wireguard-peer-missing", "encryption-off"]
    }

    async fn run(&self, context: &CheckContext) -> Verdict {
        let mut tally = Tally::new();
        let mesh = match Mesh::of(context, &mut tally).await {
            Ok(mesh) => mesh,
            Err(verdict) => return verdict,
        };
        let mut found = 0;
        for device in mesh.devices(context, &mut tally).await {
            for other in mesh.others(&device.node) {
                match device.peer(other) {
                    Some(_) => found += 1,
                    None => {
                        tally.finding(
                            device.node.place(),
                            format!("a peer for {}: {}", other.place(), mesh.claimed.by),
                            format!(
                                "{} peers, none with an endpoint of {}",
                                device.interface.peers.len(),
                                other.place()
                            ),
                        );
                        let facts = context.environment.facts();
                        let command = next::kubectl(
                            &facts,
                            &other.cluster,
                            &format!("get ciliumnode {} -o yaml", other.name),
                        );
                        context.evidence(format!("next: {command}"));
                    }
                }
            }
        }
        if found > 0 {
            tally.witness(format!(
                "{found} peers of nodes of {} are there, one for each other node",
                mesh.cluster
            ));
        }
        tally.verdict()
    }
}
