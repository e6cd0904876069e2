//! Every node has the WireGuard key that each other node announces.

use super::{STATUS_NEEDS, peers::Mesh};
use crate::kit::recent::Age;
use async_trait::async_trait;
use meshproof_contract::{Check, CheckContext, CheckId, CheckText, Needs, Scope, Tally, Verdict};

/// Keys as the agents report and the API announces them.
pub struct KeysAgree;

#[async_trait]
impl Check for KeysAgree {
    fn id(&self) -> CheckId {
        CheckId::from("encryption::keys_agree")
    }
    fn text(&self) -> CheckText {
        CheckText {
            title: "Every node has the WireGuard key that each other node announces",
            proves: "No node holds an outdated or foreign key of another node, with which traffic could not be \
                     decrypted. Each node uses the key that it announces.",
            how: "The peers in `cilium-dbg debuginfo --output json` of every node, and the node's own key, are \
                  compared with annotation network.cilium.io/wg-pub-key of the CiliumNodes in their own clusters.",
            control: "A node whose CiliumNode announces no key, or whose agent does not answer, is inconclusive. \
                      encryption::peers_complete reports missing peers.",
            when_red: "A restarted node has a new key: `kubectl --context CONTEXT get ciliumnode NODE -o yaml`. If \
                       the announcement is correct, it has not reached the other cluster: see suite mesh.",
        }
    }
    fn scope(&self) -> Scope {
        Scope::Cluster
    }
    fn needs(&self) -> Needs {
        STATUS_NEEDS
    }
    fn faults(&self) -> &'static [&'static str] {
        &["wireguard-key-mismatch"]
    }

    async fn run(&self, context: &CheckContext) -> Verdict {
        let mut tally = Tally::new();
        let mesh = match Mesh::of(context, &mut tally).await {
            Ok(mesh) => mesh,
            Err(verdict) => return verdict,
        };
        let (mut agree, mut own) = (0, 0);
        for device in mesh.devices(context, Age::STATE, &mut tally).await {
            let at = device.node.label().to_string();
            match &device.node.announced_key {
                Some(key) if *key == device.interface.public_key => own += 1,
                Some(key) => tally.finding(
                    &at,
                    mesh.claimed
                        .expects(format_args!("the key that its CiliumNode announces, {key}")),
                    format!("its device uses {}", device.interface.public_key),
                ),
                None => tally.unknown(format!("{at}: its CiliumNode announces no key")),
            }
            for other in mesh.others(&device.node) {
                let (Some(peer), Some(announced)) = (device.peer(other), &other.announced_key) else {
                    continue;
                };
                if peer.public_key == *announced {
                    agree += 1;
                } else {
                    let expected = format!("the announced key of {}, {announced}", other.label());
                    tally.finding(
                        &at,
                        mesh.claimed.expects(expected),
                        format!("has {} for {}", peer.public_key, peer.endpoint),
                    );
                }
            }
        }
        if agree > 0 {
            tally.witness(format!(
                "{agree} peer keys and {own} own keys of the nodes of {} are the announced ones",
                mesh.cluster
            ));
        }
        tally.verdict()
    }
}
