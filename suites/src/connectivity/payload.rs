//! Payloads of every size come back unchanged: from one byte to 1 MiB.

use crate::kit::{
    matrix::{self, Cell, Deviation, Judged, Locality, Path, Paths, Wording},
    path_check::PathProbe,
    probes::{self, DEADLINE},
};
use async_trait::async_trait;
use futures::future::join_all;
use meshproof_contract::{CheckContext, CheckId, CheckText, Outcome, Probe, Tally, Verdict};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

/// Payloads of several sizes between pods.
#[derive(Clone, Copy, Debug)]
pub struct Payload;

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
const EXPECTED: &str = "every byte comes back unchanged from the pod asked";

impl Load {
    fn probes(&self, path: &Path, deadline: Duration) -> Vec<Probe> {
        match self.carrier {
            Carrier::Http => vec![probes::http_echo(path, self.bytes, deadline)],
            Carrier::Tcp => vec![probes::tcp_echo(path, self.bytes, deadline)],
            Carrier::Udp => vec![probes::udp_echo(path, self.bytes); 3],
        }
    }
    /// A transfer in slow start needs some tens of round trips, and one retransmission of the first packet a second;
    /// the rest is for machines that are busy, since only what never arrives is to be found here.
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
    async fn transfer(
        &self,
        context: &CheckContext,
        rounds: &[Vec<Path>],
        round_trips: &BTreeMap<String, Duration>,
    ) -> Vec<Judged> {
        let deadline = |path: &Path| self.deadline(round_trips.get(&path.to_string()).copied().unwrap_or_default());
        let mut judged = Vec::new();
        for paths in rounds {
            let probes = |path: &Path, _| self.probes(path, deadline(path));
            let seen = matrix::probe_with_retry(context, paths, probes, |path, _, outcomes| {
                matrix::judge_tries(outcomes, |outcome| self.judge(path, outcome))
            });
            judged.extend(seen.await);
        }
        // Smaller payloads passed here, so the size fails and not the path.
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

/// Sends all loads at once, round by round, and concludes each; returns the paths that carried all of them.
async fn carry(
    context: &CheckContext,
    all: &Paths,
    loads: &[Load],
    over: &[Vec<Path>],
    round_trips: &mut BTreeMap<String, Duration>,
    tally: &mut Tally,
) -> BTreeSet<String> {
    let known = round_trips.clone();
    let seen = join_all(loads.iter().map(|load| load.transfer(context, over, &known))).await;
    let mut carried: BTreeSet<String> = over.iter().flatten().map(ToString::to_string).collect();
    for (load, judged) in loads.iter().zip(&seen) {
        for j in judged {
            let path = j.path.to_string();
            match j.cell {
                Cell::Ok(Some(time)) if load.bytes == 1 => {
                    let known = round_trips.entry(path).or_default();
                    *known = (*known).max(Duration::from_micros(time.value as u64));
                }
                Cell::Ok(_) => {}
                _ => {
                    carried.remove(&path);
                }
            }
        }
        let wording = Wording {
            what: load.what,
            ok: "echoed every byte",
            figure: (load.bytes == 1 << 20).then_some("transfer_1_mib"),
        };
        matrix::conclude(context, all, wording, judged, tally).await;
    }
    carried
}

/// The paths of these rounds that carried what was sent before.
fn only(carried: &BTreeSet<String>, rounds: Vec<Vec<Path>>) -> Vec<Vec<Path>> {
    let passed = |round: Vec<Path>| round.into_iter().filter(|p| carried.contains(&p.to_string())).collect();
    let rounds = rounds.into_iter().map(passed);
    rounds.filter(|round: &Vec<Path>| !round.is_empty()).collect()
}

#[async_trait]
impl PathProbe for Payload {
    fn id(&self, locality: Locality) -> CheckId {
        locality.id("connectivity::payload")
    }

    fn text(&self, locality: Locality) -> CheckText {
        CheckText {
            title: locality.by(
                "Payloads of every size come back between pods on the same node",
                "Payloads of every size come back between pods on different nodes",
                "Payloads of every size come back between pods of the two clusters",
            ),
            proves: "Small and large packets pass unchanged in both directions: no device has too small an MTU, a \
                     broken segmentation or checksum offload, or a limit that cuts long transfers.",
            how: "Clients send 1 B, 1,400 B and 64 KiB of random bytes over HTTP and TCP between all pairs, and 1 MiB \
                  between all pairs where there are at most 12, else over a set of pairs in which every node is \
                  source and target; the server echoes them and they are compared. UDP carries the smallest datagram \
                  (a sequence number) and 1,400 B with fragments allowed, three datagrams each, of which one must \
                  come back. Larger sizes are sent only where the smaller ones passed. Deadlines follow the measured \
                  round trip: at least 1 s, 3 s for 64 KiB and 15 s for 1 MiB. A transfer without an answer is tried \
                  twice before it counts.",
            control: "The small payload on the same path: if it passes and the large one does not, the size is the \
                      cause.",
            when_red: "Small passes and large stalls: an MTU. See connectivity::path_mtu_*, then `ip route get \
                       ADDRESS` in the pod, `ip -d link` on the nodes, and `kubectl --context CONTEXT -n kube-system \
                       get cm cilium-config -o yaml | grep -i mtu`. Corrupted: `ethtool -k` (checksum and \
                       segmentation offload) of the node's device and of the tunnel.",
        }
    }

    fn faults(&self, locality: Locality) -> &'static [&'static str] {
        locality.by(
            &["corrupted-payload-same-node", "mtu-blackhole-same-node"],
            &["corrupted-payload", "mtu-blackhole"],
            &["corrupted-payload-mesh", "mtu-blackhole-mesh"],
        )
    }

    async fn run(&self, context: &CheckContext, paths: &Paths) -> Verdict {
        let mut tally = Tally::new();
        let mut round_trips = BTreeMap::new();
        let all = vec![paths.list.clone()];
        let mut carried = carry(context, paths, &SMALL, &all, &mut round_trips, &mut tally).await;
        let medium = only(&carried, all);
        if !medium.is_empty() {
            carried = carry(context, paths, &MEDIUM, &medium, &mut round_trips, &mut tally).await;
        }
        let large = only(&carried, paths.rounds());
        if !large.is_empty() {
            carry(context, paths, &LARGE, &large, &mut round_trips, &mut tally).await;
        }
        tally.verdict()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        kit::path_check::PathCheck,
        testing::{Fake, infra, infra_to_apps, instance_of, timeout},
    };
    use meshproof_contract::{Action, outcome::Timing};

    fn size(action: &Action) -> u32 {
        match action {
            Action::Http { body, .. } => *body,
            Action::TcpEcho { payload, .. } | Action::UdpEcho { payload, .. } => *payload,
            _ => 0,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn every_size_is_green() {
        for check in PathCheck::all(Payload) {
            let text = Fake::healthy().expect(&check, instance_of(&check), "pass").await;
            assert!(text.contains("1 MiB over TCP"), "{text}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn large_packets_that_vanish_are_red_while_small_ones_pass() {
        for check in PathCheck::all(Payload) {
            let fake = Fake::healthy().rule(|p| {
                (size(p.action) >= 1400).then_some(Outcome::Stalled {
                    received: 0,
                    timing: Timing::default(),
                })
            });
            let text = fake.expect(&check, instance_of(&check), "fail").await;
            assert!(
                text.contains("64 KiB over TCP") && !text.contains("1 B over TCP: all"),
                "{text}"
            );
        }
    }

    #[tokio::test(start_paused = true)]
    async fn only_the_largest_failing_is_red() {
        let fake = Fake::healthy().rule(|p| (size(p.action) == 1 << 20).then(timeout));
        let text = fake
            .expect(&PathCheck::other_cluster(Payload), infra_to_apps(), "fail")
            .await;
        assert!(text.contains("1 MiB over HTTP: all 9 pairs"), "{text}");
    }

    #[tokio::test(start_paused = true)]
    async fn corrupted_and_short_answers_are_red() {
        let corrupted = Fake::healthy().rule(|p| {
            (size(p.action) > 1).then(|| Outcome::Corrupted {
                detail: "byte 17 differs".into(),
                timing: Timing::default(),
            })
        });
        corrupted.expect(&PathCheck::other_node(Payload), infra(), "fail").await;
        let short = Fake::healthy().rule(|p| (size(p.action) > 1).then(|| p.answered_with_bytes(1)));
        let text = short.expect(&PathCheck::other_node(Payload), infra(), "fail").await;
        assert!(text.contains("fewer bytes"), "{text}");
    }
}
