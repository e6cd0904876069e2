//! The place that red checks have in common: many checks that fail on the same pair of nodes, or at one node, are one
//! thing to look at. Read from the cells of their matrices; no text is compared.

use super::{RunState, TrialState};
use crate::{ClusterName, Evidence, NodeLabel, Standing, TrialName, evidence::CellOutcome, text::counted};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeSet, fmt};

/// So many checks at least make a place worth telling; fewer name it themselves.
const CHECKS: usize = 3;
/// Of the cells there, in the checks that fail there, at least this share is not as expected. Otherwise it is a
/// smaller place, or none.
const FULL: f64 = 0.75;
/// Kinds of probe named in the sentence.
const NAMED: usize = 4;

/// A place in the clusters, from small to large.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "place", rename_all = "snake_case")]
pub enum Place {
    /// Between the pods, or the pods and the host, of one node.
    WithinNode {
        /// The node.
        node: NodeLabel,
    },
    /// What one node's pods ask of another's, and not the other way round.
    Way {
        /// Who asks.
        from: NodeLabel,
        /// Who answers.
        to: NodeLabel,
    },
    /// Between two nodes.
    Pair {
        /// One of them.
        a: NodeLabel,
        /// The other.
        b: NodeLabel,
    },
    /// Between a node and the other nodes of a cluster, its own or another.
    NodeAndCluster {
        /// The node.
        node: NodeLabel,
        /// The cluster.
        cluster: ClusterName,
    },
    /// Whatever begins or ends at a node.
    Node {
        /// The node.
        node: NodeLabel,
    },
    /// Between nodes of two clusters, or of one.
    Clusters {
        /// One of them.
        a: ClusterName,
        /// The other, or the same.
        b: ClusterName,
    },
}

impl Place {
    /// The places that hold this path.
    fn around(from: &NodeLabel, to: &NodeLabel) -> Vec<Self> {
        if from == to {
            let node = from.clone();
            return vec![Self::WithinNode { node: node.clone() }, Self::Node { node }];
        }
        let ordered = |a: &NodeLabel, b: &NodeLabel| (a.min(b).clone(), a.max(b).clone());
        let (a, b) = ordered(from, to);
        let clusters = (
            a.cluster.clone().min(b.cluster.clone()),
            a.cluster.clone().max(b.cluster.clone()),
        );
        let towards = |node: &NodeLabel, other: &NodeLabel| Self::NodeAndCluster {
            node: node.clone(),
            cluster: other.cluster.clone(),
        };
        vec![
            Self::Way {
                from: from.clone(),
                to: to.clone(),
            },
            towards(&a, &b),
            towards(&b, &a),
            Self::Node { node: a.clone() },
            Self::Node { node: b.clone() },
            Self::Pair { a, b },
            Self::Clusters {
                a: clusters.0,
                b: clusters.1,
            },
        ]
    }

    fn holds(&self, from: &NodeLabel, to: &NodeLabel) -> bool {
        Self::around(from, to).contains(self)
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::WithinNode { node } => write!(f, "within node {node}"),
            Self::Way { from, to } => write!(f, "from node {from} to node {to}"),
            Self::Pair { a, b } => write!(f, "between nodes {a} and {b}"),
            Self::NodeAndCluster { node, cluster } if &node.cluster == cluster => {
                write!(f, "between node {node} and the other nodes of {cluster}")
            }
            Self::NodeAndCluster { node, cluster } => write!(f, "between node {node} and cluster {cluster}"),
            Self::Node { node } => write!(f, "at node {node}"),
            Self::Clusters { a, b } if a == b => write!(f, "between the nodes of {a}"),
            Self::Clusters { a, b } => write!(f, "between clusters {a} and {b}"),
        }
    }
}

/// The place that red checks have in common.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CommonPlace {
    /// Where.
    #[serde(flatten)]
    pub place: Place,
    /// The same as a sentence without a full stop.
    pub text: String,
    /// The checks that are red nowhere else, in the order of the plan.
    pub red: Vec<TrialName>,
}

impl CommonPlace {
    /// Whether this trial is red there and nowhere else.
    pub fn concerns(&self, trial: &TrialName) -> bool {
        self.red.contains(trial)
    }
}

/// What a trial saw on one path.
struct Observed<'a> {
    what: &'a str,
    from: NodeLabel,
    to: NodeLabel,
    outcome: CellOutcome,
}

impl RunState {
    /// The place to which most red checks with a matrix are confined, the smallest of several; none where they have
    /// none in common.
    pub fn common_place(&self) -> Option<CommonPlace> {
        let all: Vec<(&TrialState, Vec<Observed<'_>>)> =
            self.trials.iter().map(|trial| (trial, observed(trial))).collect();
        let is_bad = |cell: &&Observed<'_>| cell.outcome != CellOutcome::Ok;
        let red: Vec<&(&TrialState, Vec<Observed<'_>>)> = all
            .iter()
            .filter(|(trial, cells)| is_red(trial) && cells.iter().any(|cell| is_bad(&cell)))
            .collect();
        let mut candidates = BTreeSet::new();
        for cell in red.iter().flat_map(|(_, cells)| cells) {
            if matches!(cell.outcome, CellOutcome::NoAnswer | CellOutcome::Mismatch) {
                candidates.extend(Place::around(&cell.from, &cell.to));
            }
        }
        let places = candidates.into_iter().filter_map(|place| {
            let there = |cell: &&Observed<'_>| place.holds(&cell.from, &cell.to);
            let confined = red
                .iter()
                .filter(|(_, cells)| cells.iter().filter(is_bad).all(|cell| there(&cell)));
            let confined: Vec<_> = confined.collect();
            if confined.len() < CHECKS || confined.len() * 2 < red.len() {
                return None;
            }
            let cells: Vec<_> = confined
                .iter()
                .flat_map(|(_, cells)| cells.iter().filter(there))
                .collect();
            let bad = cells.iter().filter(|cell| is_bad(cell)).count();
            if (bad as f64) < FULL * cells.len() as f64 {
                return None;
            }
            let failing: BTreeSet<&str> = cells.iter().filter(|cell| is_bad(cell)).map(|cell| cell.what).collect();
            let everywhere = all.iter().flat_map(|(_, cells)| cells.iter().filter(there));
            let passing = everywhere.filter(|cell| cell.outcome == CellOutcome::Ok && !failing.contains(cell.what));
            let passing: BTreeSet<&str> = passing.map(|cell| cell.what).collect();
            let red = confined
                .iter()
                .map(|(trial, _)| trial.planned.trial.clone())
                .collect::<Vec<_>>();
            Some(CommonPlace {
                text: sentence(&place, red.len(), &passing),
                place: place.clone(),
                red,
            })
        });
        // Sorted from small to large, and of equals the first is taken.
        places.reduce(|best, place| if place.red.len() > best.red.len() { place } else { best })
    }
}

fn sentence(place: &Place, red: usize, passing: &BTreeSet<&str>) -> String {
    let also = match passing.len() {
        0 => "nothing that was probed passes there".to_owned(),
        n => {
            let named: Vec<&str> = passing.iter().copied().take(NAMED).collect();
            let more = match n - named.len() {
                0 => String::new(),
                more => format!(" and {more} more"),
            };
            format!("what passes there: {}{more}", named.join(", "))
        }
    };
    format!("{} fail {place} and nowhere else; {also}", counted(red, "check"))
}

fn is_red(trial: &TrialState) -> bool {
    matches!(trial.standing(), Some(Standing::Failed | Standing::Inconclusive))
}

/// The cells of a trial's matrices; whether an end is a pod or the host makes no other place.
fn observed(trial: &TrialState) -> Vec<Observed<'_>> {
    let node = |label: &NodeLabel| NodeLabel::pod(&label.cluster, &label.node);
    let rows = trial.finished.iter().flat_map(|finished| &finished.evidence);
    rows.filter_map(|evidence| match evidence {
        Evidence::Row(row) => Some(row),
        _ => None,
    })
    .flat_map(|row| {
        row.cells.iter().map(move |cell| Observed {
            what: &row.what,
            from: node(&row.from),
            to: node(&cell.to),
            outcome: cell.outcome,
        })
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Finding, Verdict,
        evidence::{Cell, Row},
        run_state::FinishedTrial,
    };

    fn label(node: &str) -> NodeLabel {
        let cluster = node.split('-').next().expect("a cluster");
        NodeLabel::pod(&cluster.into(), &node.into())
    }

    /// A trial over these nodes in which these pairs fail.
    fn trial(name: &str, what: &str, nodes: [&str; 4], failing: &[(&str, &str)]) -> TrialState {
        let row = |from: &str| {
            let cell = |to: &str| Cell {
                to: label(to),
                outcome: match failing.contains(&(from, to)) {
                    true => CellOutcome::NoAnswer,
                    false => CellOutcome::Ok,
                },
                value: None,
                unit: None,
                detail: None,
            };
            let others = nodes.iter().filter(|to| **to != from);
            Evidence::Row(Row {
                what: what.to_owned(),
                from: label(from),
                cells: others.map(|to| cell(to)).collect(),
            })
        };
        let verdict = match failing {
            [] => Verdict::Pass { witnesses: Vec::new() },
            _ => Verdict::Fail {
                findings: vec![Finding {
                    subject: String::new(),
                    expected: String::new(),
                    observed: String::new(),
                }],
            },
        };
        TrialState {
            finished: Some(FinishedTrial {
                verdict,
                micros: 0,
                measurements: Vec::new(),
                evidence: nodes.iter().map(|from| row(from)).collect(),
                silent: Vec::new(),
                waiver: None,
                at: "2026-12-01T00:00:00Z".parse().expect("a time"),
            }),
            ..TrialState::unplanned(&name.into())
        }
    }

    fn run(failing: &[(&str, &str)]) -> RunState {
        let nodes = ["infra-1", "infra-2", "apps-1", "apps-2"];
        let mut state = RunState::default();
        for (name, what) in [("c::http", "HTTP"), ("c::tcp", "TCP"), ("c::udp", "UDP")] {
            state.trials.push(trial(name, what, nodes, failing));
        }
        state.trials.push(trial("c::icmp", "ICMP echo", nodes, &[]));
        state
    }

    fn text(state: &RunState) -> Option<String> {
        state.common_place().map(|place| place.text)
    }

    #[test]
    fn a_pair_is_told_with_what_passes_there() {
        let state = run(&[("infra-1", "apps-2"), ("apps-2", "infra-1")]);
        assert_eq!(
            text(&state).as_deref(),
            Some("3 checks fail between nodes apps-2 and infra-1 and nowhere else; what passes there: ICMP echo")
        );
        assert!(state.common_place().expect("a place").concerns(&"c::tcp".into()));
    }

    #[test]
    fn a_node_is_told_where_no_pair_says_it() {
        let mut failing = Vec::new();
        for other in ["infra-2", "apps-1", "apps-2"] {
            failing.extend([("infra-1", other), (other, "infra-1")]);
        }
        let told = text(&run(&failing)).expect("a place");
        assert!(
            told.starts_with("3 checks fail at node infra-1 and nowhere else"),
            "{told}"
        );
        let to_apps: Vec<_> = failing
            .iter()
            .copied()
            .filter(|(a, b)| *a != "infra-2" && *b != "infra-2")
            .collect();
        let told = text(&run(&to_apps)).expect("a place");
        assert!(
            told.starts_with("3 checks fail between node infra-1 and cluster apps"),
            "{told}"
        );
    }

    #[test]
    fn clusters_are_told_when_every_pair_of_them_fails() {
        let mut failing = Vec::new();
        for (a, b) in [
            ("infra-1", "apps-1"),
            ("infra-1", "apps-2"),
            ("infra-2", "apps-1"),
            ("infra-2", "apps-2"),
        ] {
            failing.extend([(a, b), (b, a)]);
        }
        let told = text(&run(&failing)).expect("a place");
        assert!(
            told.starts_with("3 checks fail between clusters apps and infra"),
            "{told}"
        );
    }

    #[test]
    fn pairs_without_a_place_in_common_and_few_checks_are_not_told() {
        assert_eq!(text(&run(&[])), None);
        // A quarter of what is between the clusters is no place.
        assert_eq!(text(&run(&[("infra-1", "apps-1"), ("infra-2", "apps-2")])), None);
        let mut few = run(&[("infra-1", "apps-2")]);
        few.trials.truncate(2);
        assert_eq!(text(&few), None);
    }

    #[test]
    fn one_direction_of_a_pair_is_told_as_one() {
        let told = text(&run(&[("infra-1", "apps-2")])).expect("a place");
        assert!(
            told.starts_with("3 checks fail from node infra-1 to node apps-2 and nowhere else"),
            "{told}"
        );
    }
}
