//! Under traffic, every pair of nodes has completed a handshake less than three minutes ago.

use super::TRAFFIC_NEEDS;
use crate::kit::cilium::nodes::{MeshNode, meshed};
use super::peers::{Mesh, exchange, missing};
use crate::kit::wait::{self, Waited};
use async_trait::async_trait;
use jiff::Timestamp;
use meshproof_contract::cilium::{NEVER, WireGuardPeer};
use meshproof_contract::{AgentFacts, Check, CheckContext, CheckId, CheckText, Needs, Scope, Tally, Unit, Verdict};
use std::time::Duration;

/// Handshakes by the word of the agents.
pub struct HandshakesFresh;

/// WireGuard refuses to use a session older than this (Reject-After-Time, section 6.1 of its paper).
const REJECT_AFTER: i64 = 180;
/// How far apart the clocks of nodes and harness may be, in seconds: handshakes are told in the nodes' time.
const CLOCKS: i64 = 10;
/// What was delivered went through a session, so its handshake is shown at once, or after one that is just being renewed.
const DEADLINE: Duration = Duration::from_secs(3);
const INTERVAL: Duration = Duration::from_millis(300);

#[derive(Clone, Debug)]
enum Age {
    Seconds(i64),
    Never,
    Unreadable(String),
}

impl Age {
    fn of(peer: &WireGuardPeer, now: Timestamp) -> Self {
        match peer.last_handshake_time.as_str() {
            "" | NEVER => Age::Never,
            text => match text.parse::<Timestamp>() {
                Ok(at) if at.as_second() <= 0 => Age::Never,
                Ok(at) => Age::Seconds(now.as_second() - at.as_second()),
                Err(_) => Age::Unreadable(text.to_owned()),
            },
        }
    }
    fn is_fresh(&self) -> bool {
        matches!(self, Age::Seconds(age) if (-CLOCKS..REJECT_AFTER).contains(age))
    }
}

struct Aged {
    from: MeshNode,
    to: MeshNode,
    age: Age,
}

#[async_trait]
impl Check for HandshakesFresh {
    fn id(&self) -> CheckId {
        CheckId::from("encryption::handshakes_fresh")
    }
    fn text(&self) -> CheckText {
        CheckText {
            title: "Under traffic every pair of nodes has a WireGuard handshake younger than 180 s",
            proves: "The tunnels are alive: keys are renewed under traffic, as WireGuard demands every two minutes; a session older than three is not used any more.",
            how: "A pod on every node exchanges 4 KiB with a pod on every other node of the mesh, and then `last-handshake-time` of every peer in `cilium-dbg debuginfo --output json` must be younger than 180 s by the harness's clock; asked again for 3 s, since one that was just begun takes a round trip.",
            control: "The traffic itself: a peer that was sent nothing may be old, so a pair without a delivered exchange is inconclusive unless its handshake is fresh.",
            when_red: "Clocks more than ten seconds apart (`date -u` on the node) look like it. Otherwise UDP 51871 between the two nodes: firewalls, or a key that differs (encryption::keys_agree).",
        }
    }
    fn scope(&self) -> Scope {
        Scope::Cluster
    }
    fn needs(&self) -> Needs {
        TRAFFIC_NEEDS
    }
    fn faults(&self) -> &'static [&'static str] {
        &["wireguard-handshake-stale"]
    }

    async fn run(&self, context: &CheckContext) -> Verdict {
        let mut tally = Tally::new();
        let mesh = match Mesh::of(context, &mut tally).await {
            Ok(mesh) => mesh,
            Err(verdict) => return verdict,
        };
        let facts = context.environment.facts();
        let clusters = meshed(&facts, &mesh.cluster);
        let sent = exchange(context, &mesh.cluster, &clusters).await;
        for absent in clusters.iter().flat_map(|cluster| missing(&facts, cluster)) {
            tally.unknown(absent);
        }
        let delivered = |aged: &Aged| {
            let is = |agent: &AgentFacts, node: &MeshNode| agent.id.cluster == node.cluster && agent.node == node.name;
            let mut between = sent.iter().filter(|e| is(&e.from, &aged.from) && is(&e.to, &aged.to));
            between.any(|exchange| exchange.outcome.is_ok())
        };
        let look = || async {
            let mut read = Tally::new();
            let devices = mesh.devices(context, &mut read).await;
            let now = Timestamp::now();
            let mut aged: Vec<Aged> = Vec::new();
            for device in &devices {
                aged.extend(mesh.others(&device.node).filter_map(|other| {
                    let age = Age::of(device.peer(other)?, now);
                    Some(Aged {
                        from: device.node.clone(),
                        to: other.clone(),
                        age,
                    })
                }));
            }
            // Without traffic there is nothing to wait for.
            match aged.iter().all(|aged| aged.age.is_fresh() || !delivered(aged)) {
                true => Ok((aged, read)),
                false => Err((aged, read)),
            }
        };
        let (aged, read) = match wait::until(DEADLINE, INTERVAL, look).await {
            Waited::Seen(_, seen) | Waited::GaveUp(seen) => seen,
        };
        // What could not be read, or is wrong with a device as such.
        tally.absorb(read);
        let mut fresh = 0;
        for one in &aged {
            let Aged { from, to, age } = one;
            if let Age::Seconds(age) = age {
                context.measure(
                    "handshake_age",
                    format!("{} -> {}", from.place(), to.place()),
                    *age as f64,
                    Unit::Seconds,
                );
            }
            let observed = match age {
                age if age.is_fresh() => {
                    fresh += 1;
                    continue;
                }
                Age::Seconds(age) if *age < 0 => {
                    tally.unknown(format!(
                        "{}: the handshake with {} is {} s in the future: the clocks of the node and of this machine differ",
                        from.place(),
                        to.place(),
                        -age
                    ));
                    continue;
                }
                Age::Seconds(age) => format!("{age} s ago"),
                Age::Never => "never".to_owned(),
                Age::Unreadable(text) => {
                    tally.unknown(format!("{}: a time is not understood: {text:?}", from.place()));
                    continue;
                }
            };
            if delivered(one) {
                tally.finding(
                    format!("{} -> {}", from.place(), to.place()),
                    format!(
                        "a handshake less than {REJECT_AFTER} s ago, since pods of the two just exchanged data: {}",
                        mesh.claimed.by
                    ),
                    format!("the last one was {observed}"),
                );
            } else {
                tally.unknown(format!(
                    "{} -> {}: the last handshake was {observed}, and no traffic could be sent that would have caused one",
                    from.place(),
                    to.place()
                ));
            }
        }
        if fresh > 0 {
            tally.witness(format!(
                "{fresh} of {} peers of the nodes of {} had a handshake less than {REJECT_AFTER} s ago; {} exchanges were sent and delivered before",
                aged.len(),
                mesh.cluster,
                sent.iter().filter(|e| e.outcome.is_ok()).count()
            ));
        }
        tally.verdict()
    }
}
