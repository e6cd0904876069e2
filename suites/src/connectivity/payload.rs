//! Payloads of every size come back unchanged: from one byte to 1 MiB.

use super::NEEDS;
use crate::kit::matrix::{self, Cell, Deviation, Judged, Locality, Path, Paths, Wording, WorkloadPair};
use crate::kit::probes::{self, DEADLINE};
use async_trait::async_trait;
use futures::future::join_all;
use meshproof_contract::{Check, CheckContext, CheckId, CheckText, Needs, Outcome, Probe, Scope, Tally, Verdict};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Payloads over one locality of paths.
pub struct Payload {
    locality: Locality,
}

/// On one node.
pub const SAME_NODE: Payload = Payload {
    locality: Locality::SameNode,
};
/// Between the nodes of a cluster.
pub const OTHER_NODE: Payload = Payload {
    locality: Locality::OtherNode,
};
/// Between clusters.
pub const OTHER_CLUSTER: Payload = Payload {
    locality: Locality::OtherCluster,
};

#[derive(Clone, Copy)]
enum Carrier {
    Http,
    Tcp,
    Udp,
}

#[derive(Clone, Copy)]
struct Load {
    what: &'static str,
    carrier: Carrier,
    bytes: u32,
}

const fn load(what: &'static str, carrier: Carrier, bytes: u32) -> Load {
    Load { what, carrier, bytes }
}

const SMALL: [Load; 3] = [
    load("1 B over HTTP", Carrier::Http, 1),
    load("1 B over TCP", Carrier::Tcp, 1),
    load("the smallest datagram over UDP", Carrier::Udp, 1),
];
const MEDIUM: [Load; 5] = [
    load("1,400 B over HTTP", Carrier::Http, 1400),
    load("1,400 B over TCP", Carrier::Tcp, 1400),
    load("1,400 B over UDP, fragments allowed", Carrier::Udp, 1400),
    load("64 KiB over HTTP", Carrier::Http, 64 << 10),
    load("64 KiB over TCP", Carrier::Tcp, 64 << 10),
];
const LARGE: [Load; 2] = [
    load("1 MiB over HTTP", Carrier::Http, 1 << 20),
    load("1 MiB over TCP", Carrier::Tcp, 1 << 20),
];
const EXPECTED: &str = "every byte comes back from the pod asked, unchanged";

impl Load {
    fn probes(&self, path: &Path, deadline: Duration) -> Vec<Probe> {
        match self.carrier {
            Carrier::Http => vec![probes::http_echo(path, self.bytes, deadline)],
            Carrier::Tcp => vec![probes::tcp_echo(path, self.bytes, deadline)],
            Carrier::Udp => vec![probes::udp_echo(path, self.bytes); 3],
        }
    }
    /// A transfer in slow start needs some tens of round trips, and one retransmission of the first packet a second; the rest is
    /// for machines that are busy, since only what never arrives is to be found here.
    fn deadline(&self, round_trip: Duration) -> Duration {
        match self.bytes {
            0..=1400 => DEADLINE.max(4 * round_trip),
            1401..=65_536 => Duration::from_secs(3).max(40 * round_trip),
            _ => Duration::from_secs(15).max(60 * round_trip),
        }
    }
    fn judge(&self, path: &Path, outcome: &Outcome) -> Cell {
        let cell = matrix::answered_by(path, outcome, EXPECTED);
        match (&cell, outcome) {
            (Cell::Ok(_), Outcome::Answered { bytes, .. }) if *bytes < u64::from(self.bytes) => Cell::Mismatch(
                Deviation::new(EXPECTED, "fewer bytes came back than were sent")
                    .with_detail(format!("{bytes} of {}", self.bytes)),
            ),
            _ => cell,
        }
    }
    async fn look(
        &self,
        context: &CheckContext,
        rounds: &[Vec<Path>],
        round_trips: &BTreeMap<String, Duration>,
    ) -> Vec<Judged> {
        let deadline = |path: &Path| self.deadline(round_trips.get(&path.to_string()).copied().unwrap_or_default());
        let probes = |path: &Path| self.probes(path, deadline(path));
        let mut judged = Vec::new();
        for paths in rounds {
            let seen = matrix::probe_with_retry(context, paths, probes, probes, |path, outcomes| {
                matrix::judge_tries(outcomes, |outcome| self.judge(path, outcome))
            });
            judged.extend(seen.await);
        }
        // Smaller payloads passed here, so the silence is about the size and not about the path.
        if self.bytes > 1 {
            for j in &mut judged {
                if let Cell::NoAnswer(deviation) = &j.cell {
                    j.cell = Cell::Mismatch(deviation.clone());
                }
            }
        }
        judged
    }
}

/// Looks at the loads at once, round by round, and concludes each; returns the paths that carried all of them.
async fn carry(
    context: &CheckContext,
    all: &Paths,
    loads: &[Load],
    over: &[Vec<Path>],
    round_trips: &mut BTreeMap<String, Duration>,
    tally: &mut Tally,
) -> BTreeSet<String> {
    let known = round_trips.clone();
    let seen = join_all(loads.iter().map(|load| load.look(context, over, &known))).await;
    let mut carried: BTreeSet<String> = over.iter().flatten().map(ToString::to_string).collect();
    for (load, judged) in loads.iter().zip(&seen) {
        for j in judged {
            let path = j.path.to_string();
            match j.cell {
                Cell::Ok(Some(micros)) if load.bytes == 1 => {
                    let known = round_trips.entry(path).or_default();
                    *known = (*known).max(Duration::from_micros(micros));
                }
                Cell::Ok(_) => {}
                _ => {
                    carried.remove(&path);
                }
            }
        }
        let wording = Wording {
            what: load.what,
            right: "brought back every byte",
            figure: (load.bytes == 1 << 20).then_some("transfer_1_mib"),
        };
        matrix::conclude(context, all, wording, judged, tally).await;
    }
    carried
}

#[async_trait]
impl Check for Payload {
    fn id(&self) -> CheckId {
        CheckId::from(self.locality.by(
            "connectivity::payload_same_node",
            "connectivity::payload_other_node",
            "connectivity::payload_other_cluster",
        ))
    }

    fn text(&self) -> CheckText {
        CheckText {
            title: self.locality.by(
                "Payloads of every size come back between pods on the same node",
                "Payloads of every size come back between pods on different nodes",
                "Payloads of every size come back between pods of the two clusters",
            ),
            proves: "Small and large packets pass, in both directions and unchanged: no MTU that is too large somewhere, no broken \
                     segmentation or checksum offload, no device that cuts long transfers.",
            how: "1 B, 1,400 B and 64 KiB of random bytes go over HTTP and TCP between all pairs, and 1 MiB between all pairs where there are no more than 12, else a set in which \
                  every node asks and is asked; the server sends them back and they are compared. UDP carries the smallest datagram \
                  (a sequence number is the least that can be told apart) and 1,400 B, for which fragments are allowed, three \
                  datagrams each, of which one must come back. Larger sizes are only tried where the smaller ones passed. Deadlines follow the measured \
                  round trip, at least 1 s, 3 s for 64 KiB and 15 s for 1 MiB. Silence is looked at twice before it counts.",
            control: "The small payload on the same path: where it passes and the large one does not, size is what matters.",
            when_red: "Small passes and large stalls: an MTU; see connectivity::path_mtu, then `ip route get ADDRESS` in the pod and `ip -d link` on the \
                       nodes, and `kubectl --context CONTEXT -n kube-system get cm cilium-config -o yaml | grep -i mtu`. Corrupted: `ethtool -k` \
                       (checksum and segmentation offload) of the node's device and the tunnel.",
        }
    }

    fn scope(&self) -> Scope {
        self.locality.scope()
    }
    fn needs(&self) -> Needs {
        NEEDS
    }
    fn faults(&self) -> &'static [&'static str] {
        self.locality.by(
            &["corrupted-payload-same-node", "mtu-blackhole-same-node"],
            &["corrupted-payload", "mtu-blackhole"],
            &["corrupted-payload-mesh", "mtu-blackhole-mesh"],
        )
    }

    async fn run(&self, context: &CheckContext) -> Verdict {
        let facts = context.environment.facts();
        let paths = match Paths::of(&facts, &context.instance, self.locality, WorkloadPair::PODS) {
            Ok(paths) => paths,
            Err(verdict) => return verdict,
        };
        let mut tally = Tally::new();
        let mut round_trips = BTreeMap::new();
        let only = |carried: &BTreeSet<String>, rounds: Vec<Vec<Path>>| -> Vec<Vec<Path>> {
            let passed = |round: Vec<Path>| round.into_iter().filter(|p| carried.contains(&p.to_string())).collect();
            let rounds = rounds.into_iter().map(passed);
            rounds.filter(|round: &Vec<Path>| !round.is_empty()).collect()
        };
        let all = vec![paths.list.clone()];
        let mut carried = carry(context, &paths, &SMALL, &all, &mut round_trips, &mut tally).await;
        let medium = only(&carried, all);
        if !medium.is_empty() {
            carried = carry(context, &paths, &MEDIUM, &medium, &mut round_trips, &mut tally).await;
        }
        let large = only(&carried, paths.rounds());
        if !large.is_empty() {
            carry(context, &paths, &LARGE, &large, &mut round_trips, &mut tally).await;
        }
        tally.verdict()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Fake, infra, infra_to_apps, timeout};
    use meshproof_contract::{Action, Instance, outcome::Timing};

    fn all() -> [(Payload, Instance); 3] {
        [
            (SAME_NODE, infra()),
            (OTHER_NODE, infra()),
            (OTHER_CLUSTER, infra_to_apps()),
        ]
    }
    fn size(action: &Action) -> u32 {
        match action {
            Action::Http { body, .. } => *body,
            Action::TcpEcho { payload, .. } | Action::UdpEcho { payload, .. } => *payload,
            _ => 0,
        }
    }

    #[tokio::test]
    async fn every_size_is_green() {
        for (check, instance) in all() {
            let text = Fake::healthy().expect(&check, instance, "pass").await;
            assert!(text.contains("1 MiB over TCP"), "{text}");
        }
    }

    #[tokio::test]
    async fn large_packets_that_vanish_are_red_while_small_ones_pass() {
        for (check, instance) in all() {
            let fake = Fake::healthy().rule(|p| {
                (size(p.action) >= 1400).then_some(Outcome::Stalled {
                    received: 0,
                    timing: Timing::default(),
                })
            });
            let text = fake.expect(&check, instance, "fail").await;
            assert!(
                text.contains("64 KiB over TCP") && !text.contains("1 B over TCP: all"),
                "{text}"
            );
        }
    }

    #[tokio::test]
    async fn only_the_largest_failing_is_red() {
        let fake = Fake::healthy().rule(|p| (size(p.action) == 1 << 20).then(timeout));
        let text = fake.expect(&OTHER_CLUSTER, infra_to_apps(), "fail").await;
        assert!(text.contains("1 MiB over HTTP: all 9 pairs"), "{text}");
    }

    #[tokio::test]
    async fn corrupted_and_short_answers_are_red() {
        let corrupted = Fake::healthy().rule(|p| {
            (size(p.action) > 1).then(|| Outcome::Corrupted {
                detail: "byte 17 differs".into(),
                timing: Timing::default(),
            })
        });
        corrupted.expect(&OTHER_NODE, infra(), "fail").await;
        let short = Fake::healthy().rule(|p| (size(p.action) > 1).then(|| p.answered_with_bytes(1)));
        let text = short.expect(&OTHER_NODE, infra(), "fail").await;
        assert!(text.contains("fewer bytes"), "{text}");
    }

    #[tokio::test]
    async fn what_the_harness_could_not_see_is_inconclusive() {
        for (check, instance) in all() {
            Fake::healthy()
                .local_errors()
                .expect(&check, instance.clone(), "inconclusive")
                .await;
            Fake::healthy()
                .agents_gone()
                .expect(&check, instance.clone(), "inconclusive")
                .await;
            Fake::healthy()
                .without_agents()
                .expect(&check, instance, "inconclusive")
                .await;
        }
    }
}
