//! Every node knows the key that the other side announces.

use super::STATUS_NEEDS;
use super::peers::Mesh;
use async_trait::async_trait;
use meshproof_contract::{Check, CheckContext, CheckId, CheckText, Needs, Scope, Tally, Verdict};

/// Keys by the word of the agents and of the API.
pub struct KeysAgree;

#[async_trait]
impl Check for KeysAgree {
    fn id(&self) -> CheckId {
        CheckId::from("encryption::keys_agree")
    }
    fn text(&self) -> CheckText {
        CheckText {
            title: "Every node knows the WireGuard key that each other node announces",
            proves: "No node holds an outdated or foreign key of another, with which it would send what nobody can read; and each node uses the key that it announces.",
            how: "The peers of `cilium-dbg debuginfo --output json` on every node are compared with annotation network.cilium.io/wg-pub-key of the other nodes' CiliumNodes, read in their own clusters; so is each node's own key.",
            control: "A node whose CiliumNode announces no key, or that could not be asked, is inconclusive. Missing peers are encryption::peers_complete's.",
            when_red: "A node that was restarted comes with a new key: `kubectl --context CONTEXT get ciliumnode NODE -o yaml`; if the announcement is right, the other cluster did not hear of it: see suite mesh.",
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
        for device in mesh.devices(context, &mut tally).await {
            let at = device.node.place();
            match &device.node.announced_key {
                Some(key) if *key == device.interface.public_key => own += 1,
                Some(key) => tally.finding(
                    &at,
                    format!("uses the key that its CiliumNode announces, {key}"),
                    format!("its device has {}", device.interface.public_key),
                ),
                None => tally.unknown(format!("{at}: its CiliumNode announces no key")),
            }
            for other in mesh.others(&device.node) {
                let (Some(peer), Some(announced)) = (device.peer(other), &other.announced_key) else {
                    continue;
                };
                match peer.public_key == *announced {
                    true => agree += 1,
                    false => tally.finding(
                        &at,
                        format!(
                            "knows {} by the key that its CiliumNode announces, {announced}",
                            other.place()
                        ),
                        format!("has {} for {}", peer.public_key, peer.endpoint),
                    ),
                }
            }
        }
        if agree > 0 {
            tally.witness(format!(
                "{agree} keys of peers and {own} keys of the nodes of {} themselves are those announced",
                mesh.cluster
            ));
        }
        tally.verdict()
    }
}
