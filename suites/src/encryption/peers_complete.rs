//! Every node has every other node of its mesh as a WireGuard peer, once, and no other peer.

use super::{
    STATUS_NEEDS,
    peers::{self, Device, Mesh},
};
use crate::kit::{
    cilium::{nodes, remotes},
    next_steps,
    recent::Age,
};
use async_trait::async_trait;
use meshproof_contract::{Check, CheckContext, CheckId, CheckText, Facts, Needs, Scope, Tally, Verdict};
use std::{collections::BTreeSet, net::IpAddr, time::Duration};

/// Time between the two reads that must both see an extra peer: nodes come and go.
const RETRY_AFTER: Duration = Duration::from_secs(10);

/// Peers as the agents report them.
pub struct PeersComplete;

#[async_trait]
impl Check for PeersComplete {
    fn id(&self) -> CheckId {
        CheckId::from("encryption::peers_complete")
    }
    fn text(&self) -> CheckText {
        CheckText {
            title: "Every node has every other node of the mesh as a WireGuard peer, and no other peer",
            proves: "Every node has a tunnel to every other node; without a peer, pod traffic is dropped in \
                     cilium_wg0 or, if the key is unknown and strict mode is off, sent in plaintext. No outdated or \
                     foreign key is accepted for a node.",
            how: "`cilium-dbg debuginfo --output json` of every agent must list one peer, matched by its endpoint \
                  address, for each other node of the mesh. A duplicate endpoint, or one that belongs to no \
                  CiliumNode (only where all clusters of the mesh are in the run), is a finding if it is still there \
                  after 10 s.",
            control: "Every node must have a CiliumNode and an agent that lists its peers; otherwise the check is \
                      inconclusive.",
            when_red: "`kubectl --context CONTEXT get ciliumnode NODE -o yaml` of the missing node (annotation \
                       network.cilium.io/wg-pub-key), then the agent's log on the node in the finding: `kubectl \
                       --context CONTEXT -n kube-system logs AGENT_POD -c cilium-agent | grep -i wireguard`.",
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
        let devices = mesh.devices(context, Age::STATE, &mut tally).await;
        let extra = unexpected(context, &mesh, &devices).await;
        if !extra.is_empty() {
            tokio::time::sleep(RETRY_AFTER).await;
            // What cannot be read now could be read before, so it is not part of the verdict.
            let now = mesh.devices(context, Age::now(), &mut Tally::new()).await;
            for (place, problem) in unexpected(context, &mesh, &now).await.intersection(&extra) {
                let expected = mesh.claimed.expects("one peer for each other node and no other");
                tally.finding(place, expected, problem);
            }
        }
        for device in &devices {
            for other in mesh.others(&device.node) {
                match device.peer(other) {
                    Some(_) => found += 1,
                    None => {
                        tally.finding(
                            device.node.label().to_string(),
                            mesh.claimed.expects(format_args!("a peer for {}", other.label())),
                            format!(
                                "none of its {} peers has an endpoint on {}",
                                device.interface.peers.len(),
                                other.label()
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
                "the nodes of {} have {found} peers, one for each other node of the mesh",
                mesh.cluster
            ));
        }
        tally.verdict()
    }
}

/// Peers that should not be, with the places that have them.
async fn unexpected(context: &CheckContext, mesh: &Mesh, devices: &[Device]) -> BTreeSet<(String, String)> {
    let facts = context.environment.facts();
    let clusters = nodes::meshed(&facts, &mesh.cluster);
    let known = if is_whole(&facts, mesh) {
        nodes::announced(context, &clusters).await
    } else {
        None
    };
    let mut problems = BTreeSet::new();
    for device in devices {
        let mut seen: BTreeSet<IpAddr> = BTreeSet::new();
        for peer in &device.interface.peers {
            let Some(address) = peers::endpoint(peer) else { continue };
            let problem = match &known {
                Some(known) if !known.contains(&address) => "the endpoint of a peer belongs to no node",
                _ if !seen.insert(address) => "two peers have the same endpoint",
                _ => continue,
            };
            problems.insert((device.node.label().to_string(), format!("{problem}: {address}")));
        }
    }
    problems
}

/// Whether every cluster that this one is configured to join is in the run.
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
