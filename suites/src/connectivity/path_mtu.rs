//! The largest packet that passes unfragmented is the one that the pod's kernel expects to pass.

use crate::kit::{
    matrix::{self, Cell, Deviation, Judged, Locality, Path, Paths, Quantity, Seen, Wording},
    path_check::PathProbe,
};
use async_trait::async_trait;
use meshproof_contract::{
    Action, AgentId, CheckContext, CheckId, CheckText, Outcome, Probe, Tally, Unit, Verdict, port,
};
use std::{collections::BTreeMap, time::Duration};

/// The path MTU between pods.
#[derive(Clone, Copy, Debug)]
pub struct PathMtu;

/// The search takes several rounds, some of which wait for what never comes.
const SEARCH: Duration = Duration::from_secs(8);
const WORDING: Wording = Wording {
    what: "path MTU",
    ok: "carry the full route MTU unfragmented, both ways",
    figure: None,
};

fn search(path: &Path) -> Vec<Probe> {
    let to = path.target(port::UDP);
    vec![Probe::once(Action::PathMtu { to }, SEARCH)]
}

fn judge(path: &Path, outcome: &Outcome, expected_mtu: u32) -> Cell {
    let Outcome::PathMtu {
        largest,
        route,
        blackhole,
        reported,
        ..
    } = outcome
    else {
        return match matrix::no_answer(outcome, "a path MTU") {
            Cell::NoAnswer(d) => Cell::Unknown(format!(
                "not even a small packet came back ({}), so the path MTU cannot be measured",
                d.symptom
            )),
            other => other,
        };
    };
    if *largest == 0 {
        return Cell::Unknown("not even a small packet came back, so the path MTU cannot be measured".to_owned());
    }
    if *route == 0 {
        return Cell::Unknown("the agent could not read the MTU of the route".to_owned());
    }
    if *largest >= expected_mtu {
        return Cell::Ok(Some(Quantity::bytes(*largest)));
    }
    let (symptom, detail) = if let Some(size) = blackhole {
        (
            "path MTU blackhole: larger packets are lost without an ICMP message",
            format!("{size} B are lost, {largest} B pass"),
        )
    } else if let Some(reported) = reported {
        (
            "the path carries less than the route says; ICMP reports it, so connections recover after a loss",
            format!("{largest} B pass, ICMP \"fragmentation needed\" reported {reported} B"),
        )
    } else if *route < expected_mtu {
        (
            "the kernel has learnt a smaller path MTU than for the other destinations",
            format!("{route} B towards {}", path.to.id),
        )
    } else {
        ("the path carries less than the route says", format!("{largest} B pass"))
    };
    let expected = format!("packets of {expected_mtu} B, the route MTU of the client's kernel, pass unfragmented");
    let deviation = Deviation::new(expected, symptom).with_detail(detail);
    Cell::Mismatch(deviation.with_quantity(Quantity::bytes(*largest)))
}

/// The largest route MTU that each client knows towards any destination: a path MTU learnt from ICMP lowers only the
/// destinations concerned, and must not become what is expected of them.
fn route_mtu(paths: &[Path], seen: &[Seen]) -> BTreeMap<AgentId, u32> {
    let mut known: BTreeMap<AgentId, u32> = BTreeMap::new();
    for (path, seen) in paths.iter().zip(seen) {
        for outcome in seen.iter().flatten() {
            if let Outcome::PathMtu { route, .. } = outcome {
                let largest = known.entry(path.from.id.clone()).or_default();
                *largest = (*largest).max(*route);
            }
        }
    }
    known
}

#[async_trait]
impl PathProbe for PathMtu {
    fn id(&self, locality: Locality) -> CheckId {
        locality.id("connectivity::path_mtu")
    }

    fn text(&self, locality: Locality) -> CheckText {
        CheckText {
            title: locality.by(
                "Path MTU on a node equals the pods' route MTU",
                "Path MTU between nodes equals the pods' route MTU",
                "Path MTU between the clusters equals the pods' route MTU",
            ),
            proves: "Packets as large as a pod's own route allows arrive whole: the overhead of the tunnel and of \
                     WireGuard is subtracted at the source, and nothing on the path is smaller.",
            how: "Every client sends datagrams with the don't-fragment bit to every server and searches for the \
                  largest one that comes back. It is compared with the largest route MTU that the client's kernel \
                  knows towards any of the destinations and the addresses next to them, so that a value learnt from \
                  an earlier ICMP message does not become the expectation. A smaller result is measured once more \
                  before it counts.",
            control: "A small packet on the same path: if it does not come back either, the result is inconclusive.",
            when_red: "Blackhole: a device drops packets without an ICMP message. Compare `ip -d link show` along the \
                       path and `kubectl --context CONTEXT -n kube-system exec AGENT_POD -c cilium-agent -- \
                       cilium-dbg status --verbose | grep -i mtu`: the route MTU must be the underlay's less 50 \
                       (VXLAN) or 60 to 80 (WireGuard); set `MTU` in the Helm values. Reported by ICMP: the same, but \
                       less urgent. Learnt smaller: `ip route get ADDRESS` in the pod shows `cache expires`.",
        }
    }

    fn faults(&self, locality: Locality) -> &'static [&'static str] {
        locality.by(
            &["mtu-blackhole-same-node"],
            &["mtu-blackhole", "mtu-too-small"],
            &["mtu-blackhole-mesh"],
        )
    }

    fn dimmed_by(&self, locality: Locality) -> &'static [&'static str] {
        locality.by(&[], &["corrupted-payload"], &["corrupted-payload-mesh"])
    }

    fn blinded_by(&self, locality: Locality) -> &'static [&'static str] {
        locality.by(
            &["endpoint-blackhole", "same-node-dropped"],
            &["node-pair-blackhole", "tunnel-down", "udp-dropped"],
            &[
                "one-way-blackhole",
                "other-cluster-blackhole",
                "tunnel-down-mesh",
                "udp-dropped",
            ],
        )
    }

    async fn run(&self, context: &CheckContext, paths: &Paths) -> Verdict {
        let environment = context.environment.as_ref();
        let first = matrix::observe(environment, &paths.list, search).await;
        let route_mtu = route_mtu(&paths.list, &first);
        let judged = |path: &Path, seen: &Seen| Judged {
            path: path.clone(),
            cell: match seen {
                Ok(outcomes) => {
                    let expected = route_mtu.get(&path.from.id).copied().unwrap_or_default();
                    matrix::judge_tries(outcomes, |outcome| judge(path, outcome, expected))
                }
                Err(error) => Cell::Unknown(error.to_string()),
            },
        };
        let pairs = || paths.list.iter().zip(&first);
        let mut cells: Vec<Judged> = pairs().map(|(path, seen)| judged(path, seen)).collect();
        // A second search does not help where nothing came back; whether the path carries packets is not judged here.
        let is_silent = |seen: &Seen| matches!(seen.as_deref(), Ok([Outcome::Timeout { .. }]));
        let doubtful: Vec<usize> = (0..cells.len())
            .filter(|at| !matches!(cells[*at].cell, Cell::Ok(_)) && !is_silent(&first[*at]))
            .collect();
        let again: Vec<Path> = doubtful.iter().map(|at| paths.list[*at].clone()).collect();
        let retried = matrix::observe(environment, &again, search).await;
        for (at, seen) in doubtful.into_iter().zip(&retried) {
            cells[at] = judged(&paths.list[at], seen);
        }
        for (path, seen) in pairs() {
            for outcome in seen.iter().flatten() {
                if let Outcome::PathMtu { largest, .. } = outcome {
                    context.measure("path_mtu", path, f64::from(*largest), Unit::Bytes);
                }
            }
        }
        let mut tally = Tally::new();
        matrix::conclude(context, paths, WORDING, &cells, &mut tally).await;
        tally.verdict()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        kit::path_check::PathCheck,
        testing::{Fake, infra_to_apps, instance_of, timeout},
    };

    fn found(largest: u32, route: u32, blackhole: Option<u32>, reported: Option<u32>) -> Outcome {
        Outcome::PathMtu {
            largest,
            route,
            device: 1500,
            blackhole,
            reported,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_full_route_mtu_is_green() {
        for check in PathCheck::all(PathMtu) {
            let text = Fake::healthy().expect(&check, instance_of(&check), "pass").await;
            assert!(
                text.contains("evidence: path MTU: infra-1 -> ") && text.contains(" ok 1420 B"),
                "{text}"
            );
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_blackhole_is_named_as_one() {
        for check in PathCheck::all(PathMtu) {
            let fake = Fake::healthy().rule(|_| Some(found(1280, 1420, Some(1350), None)));
            let text = fake.expect(&check, instance_of(&check), "fail").await;
            assert!(
                text.contains("blackhole") && text.contains("mismatch 1280 B (1350 B are lost, 1280 B pass)"),
                "{text}"
            );
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_smaller_mtu_that_icmp_reports_is_not_called_a_blackhole() {
        let fake = Fake::healthy().rule(|_| Some(found(1280, 1420, None, Some(1280))));
        let text = fake
            .expect(&PathCheck::other_cluster(PathMtu), infra_to_apps(), "fail")
            .await;
        assert!(text.contains("ICMP reports") && !text.contains("blackhole:"), "{text}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_value_learnt_earlier_does_not_become_the_expectation() {
        let fake = Fake::healthy()
            .rule(|p| (p.to_node() == Some("apps-2")).then(|| found(1280, 1280, None, None)))
            .rule(|_| Some(found(1420, 1420, None, None)));
        let text = fake
            .expect(&PathCheck::other_cluster(PathMtu), infra_to_apps(), "fail")
            .await;
        assert!(
            text.contains("learnt a smaller path MTU") && text.contains("to apps-2"),
            "{text}"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn no_small_packet_either_is_inconclusive() {
        for check in PathCheck::all(PathMtu) {
            for outcome in [found(0, 1420, None, None), timeout()] {
                let fake = Fake::healthy().rule(move |_| Some(outcome.clone()));
                fake.expect(&check, instance_of(&check), "inconclusive").await;
            }
        }
    }
}
