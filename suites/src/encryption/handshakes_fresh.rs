//! Under traffic, every pair of nodes has completed a handshake less than three minutes ago.

use super::{
    TRAFFIC_NEEDS,
    peers::{Exchange, Mesh, exchange, missing},
};
use crate::kit::{
    cilium::nodes::{MeshNode, meshed},
    recent,
    wait::{self, Waited},
};
use async_trait::async_trait;
use jiff::Timestamp;
use meshproof_contract::{
    AgentFacts, Check, CheckContext, CheckId, CheckText, Needs, Scope, Tally, Unit, Verdict,
    cilium::{NEVER, WireGuardPeer},
};
use std::time::Duration;

/// Handshakes as the agents report them.
pub struct HandshakesFresh;

/// WireGuard refuses to use a session older than this (Reject-After-Time, section 6.1 of its paper).
const REJECT_AFTER: i64 = 180;
/// How far apart the clocks of nodes and harness may be, in seconds: agents report handshakes in the nodes' time.
const CLOCKS: i64 = 10;
/// What was delivered went through a session, so its handshake is shown at once, or after one that is being renewed.
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

/// The age of the last handshake of one node with another.
struct Handshake {
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
            title: "Under traffic every pair of nodes has a recent WireGuard handshake",
            proves: "The tunnels work: under traffic WireGuard renews its keys every 120 s, and it no longer uses a \
                     session that is older than 180 s.",
            how: "A pod on every node exchanges 4 KiB with a pod on every other node of the mesh; with more than 16 \
                  nodes in a cluster, with a sample of them that covers every node. Then `last-handshake-time` of \
                  these peers in `cilium-dbg debuginfo --output json` must be less than 180 s ago by the harness's \
                  clock, within 3 s.",
            control: "The traffic itself: a peer without traffic may have an old handshake, so a pair without a \
                      delivered exchange is inconclusive unless its handshake is recent.",
            when_red: "First compare the clocks (`date -u` on the node): more than 10 s apart looks like an old \
                       handshake. Then check UDP port 51871 between the two nodes (firewalls) and \
                       encryption::keys_agree.",
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
        let sent = exchange(context, &mesh.cluster, &clusters).await;
        for absent in clusters.iter().flat_map(|cluster| missing(&facts, cluster)) {
            tally.unknown(absent);
        }
        let handshakes = observe(context, &mesh, &sent, &mut tally).await;
        let mut fresh = 0;
        for one in &handshakes {
            if let Age::Seconds(age) = one.age {
                let pair = (one.from.label(), one.to.label());
                context.measure("handshake_age", pair, age as f64, Unit::Seconds);
            }
            fresh += usize::from(one.age.is_fresh());
            judge(one, &mesh, &sent, &mut tally);
        }
        if fresh > 0 {
            tally.witness(format!(
                "{fresh} of {} peers with traffic of the nodes of {} had a handshake less than {REJECT_AFTER} s ago, \
                 after {} delivered exchanges",
                handshakes.len(),
                mesh.cluster,
                sent.iter().filter(|e| e.outcome.is_ok()).count()
            ));
        }
        tally.verdict()
    }
}

/// Whether the agent runs on the node.
fn is(agent: &AgentFacts, node: &MeshNode) -> bool {
    agent.id.cluster == node.cluster && agent.node == node.name
}

/// Whether data was exchanged between pods of the two nodes.
fn delivered(sent: &[Exchange], one: &Handshake) -> bool {
    let mut between = sent.iter().filter(|e| is(&e.from, &one.from) && is(&e.to, &one.to));
    between.any(|exchange| exchange.outcome.is_ok())
}

/// All handshakes, read until those with traffic are fresh or time is up. What cannot be read, or is wrong with a
/// device as such, goes to the tally.
async fn observe(context: &CheckContext, mesh: &Mesh, sent: &[Exchange], tally: &mut Tally) -> Vec<Handshake> {
    let read = || async {
        let mut problems = Tally::new();
        let devices = mesh.devices(context, recent::Age::now(), &mut problems).await;
        let now = Timestamp::now();
        let mut all: Vec<Handshake> = Vec::new();
        for device in &devices {
            // Without traffic an old handshake is right.
            let partners = sent.iter().filter(|e| is(&e.from, &device.node)).map(|e| &e.to);
            let partners = partners.filter_map(|to| mesh.nodes.iter().find(|node| is(to, node)));
            all.extend(partners.filter_map(|other| {
                Some(Handshake {
                    from: device.node.clone(),
                    to: other.clone(),
                    age: Age::of(device.peer(other)?, now),
                })
            }));
        }
        // Without traffic there is nothing to wait for.
        if all.iter().all(|one| one.age.is_fresh() || !delivered(sent, one)) {
            Ok((all, problems))
        } else {
            Err((all, problems))
        }
    };
    // A handshake does not become older than it is: one read is enough.
    let (all, problems) = match wait::once(DEADLINE, INTERVAL, read).await {
        Waited::Seen(_, seen) | Waited::GaveUp(seen) => seen,
    };
    tally.absorb(problems);
    all
}

/// Judges one handshake; a fresh one has nothing to report.
fn judge(one: &Handshake, mesh: &Mesh, sent: &[Exchange], tally: &mut Tally) {
    let (from, to) = (one.from.label(), one.to.label());
    let observed = match &one.age {
        age if age.is_fresh() => return,
        Age::Seconds(age) if *age < 0 => {
            return tally.unknown(format!(
                "{from}: the handshake with {to} is {} s in the future: the clocks of the node and this machine differ",
                -age
            ));
        }
        Age::Unreadable(text) => return tally.unknown(format!("{from}: invalid last-handshake-time {text:?}")),
        Age::Seconds(age) => format!("last handshake {age} s ago"),
        Age::Never => "no handshake yet".to_owned(),
    };
    let pair = format!("{from} -> {to}");
    if delivered(sent, one) {
        let expected = format!("a handshake less than {REJECT_AFTER} s ago, since pods of both nodes exchanged data");
        tally.finding(pair, mesh.claimed.expects(expected), observed);
    } else {
        tally.unknown(format!(
            "{pair}: {observed}, but no traffic was delivered that would cause one"
        ));
    }
}
