//! The largest packet that passes unfragmented is the one that the pod's kernel believes in.

use super::NEEDS;
use crate::kit::matrix::Judged;
use crate::kit::matrix::{self, Cell, Deviation, Locality, Path, Paths, Seen, Wording, WorkloadPair};
use async_trait::async_trait;
use meshproof_contract::{
    Action, Check, CheckContext, CheckId, CheckText, Needs, Outcome, Probe, Scope, Tally, Unit, Verdict, port,
};
use std::collections::BTreeMap;
use std::time::Duration;

/// Path MTU over one locality of paths.
pub struct PathMtu {
    locality: Locality,
}

/// On one node.
pub const SAME_NODE: PathMtu = PathMtu {
    locality: Locality::SameNode,
};
/// Between the nodes of a cluster.
pub const OTHER_NODE: PathMtu = PathMtu {
    locality: Locality::OtherNode,
};
/// Between clusters.
pub const OTHER_CLUSTER: PathMtu = PathMtu {
    locality: Locality::OtherCluster,
};

/// The search takes several rounds, some of which wait for what never comes.
const SEARCH: Duration = Duration::from_secs(8);
const WORDING: Wording = Wording {
    what: "path MTU",
    right: "carry the full route MTU unfragmented, both ways",
    figure: None,
};

fn judge(path: &Path, outcome: &Outcome, expected_mtu: u32) -> Cell {
    let Outcome::PathMtu {
        largest,
        route,
        blackhole,
        reported,
        ..
    } = outcome
    else {
        return match matrix::silence(outcome, "a path MTU") {
            Cell::NoAnswer(d) => Cell::Unknown(format!(
                "not even a small packet came back ({}), so there is no path to measure",
                d.symptom
            )),
            other => other,
        };
    };
    let expected =
        format!("packets of {expected_mtu} bytes, the route MTU that the client's kernel knows, pass unfragmented");
    if *largest == 0 {
        return Cell::Unknown("not even a small packet came back, so there is no path to measure".to_owned());
    }
    if *route == 0 {
        return Cell::Unknown("the agent could not read the route's MTU".to_owned());
    }
    if *largest >= expected_mtu {
        return Cell::Ok(None);
    }
    let deviation = if let Some(size) = blackhole {
        Deviation::new(
            expected,
            "a path MTU blackhole: larger packets vanish and no ICMP message tells",
        )
        .with_detail(format!("{size} bytes vanish, {largest} pass"))
    } else if let Some(reported) = reported {
        Deviation::new(
            expected,
            "the path carries less than the route says; ICMP tells, so connections work after a loss",
        )
        .with_detail(format!(
            "{largest} pass, ICMP \"fragmentation needed\" reported {reported}"
        ))
    } else if *route < expected_mtu {
        Deviation::new(
            expected,
            "the kernel has learnt a smaller path MTU than for the other destinations",
        )
        .with_detail(format!("{route} towards {}", path.to.id))
    } else {
        Deviation::new(expected, "the path carries less than the route says").with_detail(format!("{largest} pass"))
    };
    Cell::Mismatch(deviation)
}

/// The largest route MTU that each client knows towards any destination seen: a path MTU learnt from ICMP lowers only the
/// destinations concerned, and must not become what is expected of them.
fn expected(paths: &[Path], seen: &[Seen]) -> BTreeMap<String, u32> {
    let mut known: BTreeMap<String, u32> = BTreeMap::new();
    for (path, seen) in paths.iter().zip(seen) {
        for outcome in seen.iter().flatten() {
            if let Outcome::PathMtu { route, .. } = outcome {
                let largest = known.entry(path.from.id.to_string()).or_default();
                *largest = (*largest).max(*route);
            }
        }
    }
    known
}

#[async_trait]
impl Check for PathMtu {
    fn id(&self) -> CheckId {
        CheckId::from(self.locality.by(
            "connectivity::path_mtu_same_node",
            "connectivity::path_mtu_other_node",
            "connectivity::path_mtu_other_cluster",
        ))
    }

    fn text(&self) -> CheckText {
        CheckText {
            title: self.locality.by(
                "The path MTU on a node is the one that its pods believe in",
                "The path MTU between nodes is the one that pods believe in",
                "The path MTU between the clusters is the one that pods believe in",
            ),
            proves: "A pod may send packets as large as its own route says, and they arrive whole: the tunnel's and WireGuard's overhead is \
                     taken off at the source, and nothing on the way is smaller.",
            how: "Every client sends datagrams with the don't-fragment bit to every server and searches the largest that comes back. \
                  It is compared with the largest route MTU that the client's kernel knows towards any of the destinations and the addresses \
                  beside them, so that a value learnt from an earlier ICMP message does not become the expectation. A smaller result is measured once more before it counts.",
            control: "A small packet on the same path: if it does not come back either, the result is inconclusive, not an MTU.",
            when_red: "Blackhole: a device drops without telling; `ip -d link show` along the path, `cilium-dbg status --verbose | grep -i mtu`, and compare \
                       underlay MTU minus 50 (VXLAN) or 60 to 80 (WireGuard) with the route's: set `MTU` in the Helm values. Told by ICMP: the same, less urgent. \
                       Learnt smaller: `ip route get ADDRESS` in the pod shows `cache expires`.",
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
            &["mtu-blackhole-same-node"],
            &["mtu-blackhole", "mtu-too-small"],
            &["mtu-blackhole-mesh"],
        )
    }

    async fn run(&self, context: &CheckContext) -> Verdict {
        let facts = context.environment.facts();
        let paths = match Paths::of(&facts, &context.instance, self.locality, WorkloadPair::PODS) {
            Ok(paths) => paths,
            Err(verdict) => return verdict,
        };
        let search = |path: &Path| {
            vec![Probe::once(
                Action::PathMtu {
                    to: path.target(port::UDP),
                },
                SEARCH,
            )]
        };
        let environment = context.environment.as_ref();
        let first = matrix::observe(environment, &paths.list, search).await;
        let expected = expected(&paths.list, &first);
        let mtu = |path: &Path| expected.get(&path.from.id.to_string()).copied().unwrap_or_default();
        let judged = |path: &Path, seen: &Seen| Judged {
            path: path.clone(),
            cell: match seen {
                Ok(outcomes) => matrix::judge_tries(outcomes, |outcome| judge(path, outcome, mtu(path))),
                Err(error) => Cell::Unknown(error.to_string()),
            },
        };
        let mut cells: Vec<Judged> = paths
            .list
            .iter()
            .zip(&first)
            .map(|(path, seen)| judged(path, seen))
            .collect();
        // Of silence no search makes anything; whether the path carries packets is connectivity's to judge.
        let is_silent = |seen: &Seen| matches!(seen.as_deref(), Ok([Outcome::Timeout { .. }]));
        let doubtful: Vec<Path> = cells
            .iter()
            .zip(&first)
            .filter(|(judged, seen)| !matches!(judged.cell, Cell::Ok(_)) && !is_silent(seen))
            .map(|(judged, _)| judged.path.clone())
            .collect();
        let second = matrix::observe(environment, &doubtful, search).await;
        for (path, seen) in doubtful.iter().zip(&second) {
            if let Some(cell) = cells.iter_mut().find(|j| j.path == *path) {
                *cell = judged(path, seen);
            }
        }
        for (path, seen) in paths.list.iter().zip(&first) {
            for outcome in seen.iter().flatten() {
                if let Outcome::PathMtu { largest, .. } = outcome {
                    context.measure("path_mtu", path.to_string(), f64::from(*largest), Unit::Bytes);
                }
            }
        }
        let mut tally = Tally::new();
        matrix::conclude(context, &paths, WORDING, &cells, &mut tally).await;
        tally.verdict()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Fake, infra, infra_to_apps, timeout};
    use meshproof_contract::Instance;

    fn all() -> [(PathMtu, Instance); 3] {
        [
            (SAME_NODE, infra()),
            (OTHER_NODE, infra()),
            (OTHER_CLUSTER, infra_to_apps()),
        ]
    }
    fn found(largest: u32, route: u32, blackhole: Option<u32>, reported: Option<u32>) -> Outcome {
        Outcome::PathMtu {
            largest,
            route,
            device: 1500,
            blackhole,
            reported,
        }
    }

    #[tokio::test]
    async fn the_full_route_mtu_is_green() {
        for (check, instance) in all() {
            Fake::healthy().expect(&check, instance, "pass").await;
        }
    }

    #[tokio::test]
    async fn a_blackhole_is_named_as_one() {
        for (check, instance) in all() {
            let fake = Fake::healthy().rule(|_| Some(found(1280, 1420, Some(1350), None)));
            let text = fake.expect(&check, instance, "fail").await;
            assert!(text.contains("blackhole") && text.contains("1280"), "{text}");
        }
    }

    #[tokio::test]
    async fn a_smaller_mtu_that_icmp_tells_has_its_own_words() {
        let fake = Fake::healthy().rule(|_| Some(found(1280, 1420, None, Some(1280))));
        let text = fake.expect(&OTHER_CLUSTER, infra_to_apps(), "fail").await;
        assert!(text.contains("ICMP tells") && !text.contains("blackhole:"), "{text}");
    }

    #[tokio::test]
    async fn a_value_learnt_earlier_does_not_become_the_expectation() {
        let fake = Fake::healthy()
            .rule(|p| (p.to_node() == Some("apps-2")).then(|| found(1280, 1280, None, None)))
            .rule(|_| Some(found(1420, 1420, None, None)));
        let text = fake.expect(&OTHER_CLUSTER, infra_to_apps(), "fail").await;
        assert!(
            text.contains("learnt a smaller path MTU") && text.contains("to apps-2"),
            "{text}"
        );
    }

    #[tokio::test]
    async fn no_small_packet_either_is_inconclusive() {
        for (check, instance) in all() {
            for outcome in [found(0, 1420, None, None), timeout()] {
                let fake = Fake::healthy().rule(move |_| Some(outcome.clone()));
                fake.expect(&check, instance.clone(), "inconclusive").await;
            }
        }
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
