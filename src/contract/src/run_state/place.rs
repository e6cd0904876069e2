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
    /// Its kind as in `report.json`.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::WithinNode { .. } => "within_node",
            Self::Way { .. } => "way",
            Self::Pair { .. } => "pair",
            Self::NodeAndCluster { .. } => "node_and_cluster",
            Self::Node { .. } => "node",
            Self::Clusters { .. } => "clusters",
        }
    }

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

    /// Whether it is one of those [`around`](Self::around) this path. Asked of every cell for every place.
    fn holds(&self, from: &NodeLabel, to: &NodeLabel) -> bool {
        let is_between = |a: &ClusterName, b: &ClusterName| from.cluster == *a && to.cluster == *b;
        match self {
            Self::WithinNode { node } => from == to && from == node,
            Self::Way {
                from: asks,
                to: answers,
            } => from == asks && to == answers,
            Self::Pair { a, b } => (from == a && to == b) || (from == b && to == a),
            Self::NodeAndCluster { node, cluster } => {
                let leads = |end: &NodeLabel, other: &NodeLabel| end == node && other.cluster == *cluster;
                from != to && (leads(from, to) || leads(to, from))
            }
            Self::Node { node } => from == node || to == node,
            Self::Clusters { a, b } => from != to && (is_between(a, b) || is_between(b, a)),
        }
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

impl Observed<'_> {
    fn is_bad(&self) -> bool {
        self.outcome != CellOutcome::Ok
    }

    fn is_at(&self, place: &Place) -> bool {
        place.holds(&self.from, &self.to)
    }
}

/// A trial, and what it saw.
type Seen<'a> = (&'a TrialState, Vec<Observed<'a>>);

impl RunState {
    /// The place to which most red checks with a matrix are confined, the smallest of several; none where they have
    /// none in common.
    pub fn common_place(&self) -> Option<CommonPlace> {
        let all: Vec<Seen<'_>> = self.trials.iter().map(|trial| (trial, observed(trial))).collect();
        let is_red_somewhere = |(trial, cells): &&Seen<'_>| is_red(trial) && cells.iter().any(Observed::is_bad);
        let red: Vec<&Seen<'_>> = all.iter().filter(is_red_somewhere).collect();
        let mut candidates = BTreeSet::new();
        for cell in red.iter().flat_map(|(_, cells)| cells) {
            if matches!(cell.outcome, CellOutcome::NoAnswer | CellOutcome::Mismatch) {
                candidates.extend(Place::around(&cell.from, &cell.to));
            }
        }
        let found = candidates
            .into_iter()
            .filter_map(|place| Some((confined(&place, &red)?, place)));
        // Sorted from small to large, and of equals the first is taken.
        let (confined, place) = found.reduce(|best, next| if next.0.len() > best.0.len() { next } else { best })?;
        Some(CommonPlace {
            text: sentence(&place, confined.len(), &passing(&place, &confined, &all)),
            place,
            red: confined.iter().map(|(trial, _)| trial.planned.trial.clone()).collect(),
        })
    }
}

/// The red trials that are red at a place and nowhere else, if they are enough and it is not mostly fine there.
fn confined<'a, 'b>(place: &Place, red: &[&'a Seen<'b>]) -> Option<Vec<&'a Seen<'b>>> {
    let is_confined = |(_, cells): &&&Seen<'_>| {
        let mut bad = cells.iter().filter(|cell| cell.is_bad());
        bad.all(|cell| cell.is_at(place))
    };
    let confined: Vec<_> = red.iter().filter(is_confined).copied().collect();
    if confined.len() < CHECKS || confined.len() * 2 < red.len() {
        return None;
    }
    let there = || {
        confined
            .iter()
            .flat_map(|(_, cells)| cells)
            .filter(|cell| cell.is_at(place))
    };
    let bad = there().filter(|cell| cell.is_bad()).count();
    (bad as f64 >= FULL * there().count() as f64).then_some(confined)
}

/// What passes at a place, of what does not fail there in the trials that are confined to it.
fn passing<'a>(place: &Place, confined: &[&Seen<'_>], all: &'a [Seen<'a>]) -> BTreeSet<&'a str> {
    let failing = confined.iter().flat_map(|(_, cells)| cells);
    let failing: BTreeSet<&str> = failing
        .filter(|cell| cell.is_bad() && cell.is_at(place))
        .map(|cell| cell.what)
        .collect();
    let fine = all.iter().flat_map(|(_, cells)| cells);
    fine.filter(|cell| !cell.is_bad() && cell.is_at(place) && !failing.contains(cell.what))
        .map(|cell| cell.what)
        .collect()
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
    fn a_place_holds_exactly_the_paths_that_it_is_around() {
        let nodes = ["infra-1", "infra-2", "apps-1", "apps-2"].map(label);
        let paths = || nodes.iter().flat_map(|from| nodes.iter().map(move |to| (from, to)));
        let places: BTreeSet<Place> = paths().flat_map(|(from, to)| Place::around(from, to)).collect();
        for (place, (from, to)) in places.iter().flat_map(|place| paths().map(move |path| (place, path))) {
            let is_around = Place::around(from, to).contains(place);
            assert_eq!(place.holds(from, to), is_around, "{place}: {from} -> {to}");
        }
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
