//! Every node knows every other node of its mesh as a WireGuard peer, once, and nobody else.

use super::peers::{self, Device, Mesh};
use super::STATUS_NEEDS;
use crate::kit::cilium::nodes;
use crate::kit::cilium::remotes;
use crate::kit::next_steps;
use async_trait::async_trait;
use meshproof_contract::{Check, CheckContext, CheckId, CheckText, Facts, Needs, Scope, Tally, Verdict};
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

/// Time between the two looks that must both see a peer too many: nodes come and go.
const AGAIN: Duration = Duration::from_secs(10);

/// Peers by the word of the agents.
pub struct PeersComplete;

#[async_trait]
impl Check for PeersComplete {
    fn id(&self) -> CheckId {
        CheckId::from("encryption::peers_complete")
    }
    fn text(&self) -> CheckText {
        CheckText {
            title: "Every node has every other node of both clusters as a WireGuard peer, and no other",
            proves: "No node is without a tunnel to another one: without a peer its pod traffic is lost in cilium_wg0 (Cilium 1.18 in tunnel mode) or, where the node's key is not known, sent in clear unless strict mode is on. And no key that belongs to no node, or to a node that has another one by now, can speak for it.",
            how: "`cilium-dbg debuginfo --output json` of every agent, the only place with peers; expected is a peer, found by the address of its endpoint, for each other node of the cluster and of the clusters it is one mesh with. A peer whose endpoint is of no CiliumNode of these, and two peers with one endpoint, are findings if they are still there ten seconds later; the former is not judged where the mesh has clusters that are no part of the run.",
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
        let devices = mesh.devices(context, &mut tally).await;
        let too_many = strange(context, &mesh, &devices).await;
        if !too_many.is_empty() {
            tokio::time::sleep(AGAIN).await;
            // What cannot be read now could be read before, so it is no part of the verdict.
            let now = mesh.devices(context, &mut Tally::new()).await;
            for (place, problem) in strange(context, &mesh, &now).await.intersection(&too_many) {
                let expected = format!("one peer for each other node and no other: {}", mesh.claimed.by);
                tally.finding(place, expected, problem);
            }
        }
        for device in &devices {
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
                        let command = next_steps::kubectl(
                            &facts,
                            &other.cluster,
                            &format!("get ciliumnode {} -o yaml", other.name),
                        );
                        context.suggest(command);
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

/// Peers that should not be, with the places that have them.
async fn strange(context: &CheckContext, mesh: &Mesh, devices: &[Device]) -> BTreeSet<(String, String)> {
    let facts = context.environment.facts();
    let clusters = nodes::meshed(&facts, &mesh.cluster);
    let known = match is_whole(&facts, mesh) {
        true => nodes::announced(context, &clusters).await,
        false => None,
    };
    let mut problems = BTreeSet::new();
    for device in devices {
        let mut seen: BTreeSet<IpAddr> = BTreeSet::new();
        for peer in &device.interface.peers {
            let Some(address) = peers::endpoint(peer) else { continue };
            let problem = match &known {
                Some(known) if !known.contains(&address) => "a peer whose endpoint is no node's",
                _ if !seen.insert(address) => "two peers whose endpoint is the same",
                _ => continue,
            };
            problems.insert((device.node.place(), format!("{problem}: {address}")));
        }
    }
    problems
}

/// Whether every cluster that this one is configured to join is a part of the run.
fn is_whole(facts: &Facts, mesh: &Mesh) -> bool {
    let cilium = facts.cluster(&mesh.cluster).and_then(|c| c.cilium.as_ref());
    let Some(remotes) = cilium.and_then(|cilium| cilium.remotes.as_ref()) else {
        return false;
    };
    let here = |remote: &String| {
        facts
            .clusters
            .iter()
            .any(|c| &remotes::mesh_name(facts, &c.name) == remote)
    };
    remotes.iter().all(here)
}
