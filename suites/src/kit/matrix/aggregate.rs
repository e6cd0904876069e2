//! Turns the cells of a matrix into as few findings as say everything: all pairs, a node's pairs, then single ones.

use super::{
    cell::{Cell, Deviation, Judged},
    elsewhere,
    observe::{Attempt, probe_with_retry},
    reference::broken_part,
};
use crate::kit::{
    next_steps,
    paths::{Path, Paths},
};
use meshproof_contract::{
    CheckContext, Evidence, NodeLabel, Outcome, Probe, Tally, Verdict,
    evidence::{self, CellOutcome, Row},
};
use std::collections::{BTreeMap, BTreeSet};

/// How a matrix is described.
#[derive(Clone, Copy, Debug)]
pub struct Wording {
    /// What went over the paths: `HTTP`.
    pub what: &'static str,
    /// What the cells that are as expected showed, after "n of m pairs": `answered, each by the pod asked`.
    pub ok: &'static str,
    /// Name under which the quantity of each cell that is as expected is recorded.
    pub figure: Option<&'static str>,
}

/// Single pairs listed one by one; more are counted.
const LISTED: usize = 12;

/// Probes every path as [`probe_with_retry`] does, and concludes.
pub async fn probe_and_conclude(
    context: &CheckContext,
    paths: &Paths,
    wording: Wording,
    probes: impl Fn(&Path, Attempt) -> Vec<Probe>,
    judge: impl Fn(&Path, Attempt, &[Outcome]) -> Cell,
) -> Verdict {
    let judged = probe_with_retry(context, &paths.list, probes, judge).await;
    let mut tally = Tally::new();
    conclude(context, paths, wording, &judged, &mut tally).await;
    tally.verdict()
}

/// Tallies every cell, leaves the matrix as evidence and the quantities as figures.
pub async fn conclude(context: &CheckContext, paths: &Paths, wording: Wording, judged: &[Judged], tally: &mut Tally) {
    let hint = broken_part(context, paths, judged).await;
    let facts = context.environment.facts();
    for why in &paths.missing {
        tally.unknown(why.clone());
    }
    leave_rows(context, wording, judged);

    let ok = judged.iter().filter(|j| matches!(j.cell, Cell::Ok(_))).count();
    if ok > 0 {
        let (what, how, all) = (wording.what, wording.ok, paths.counted(judged.len()));
        tally.witness(format!("{what}, {}: {ok} of {all} {how}", paths.describe()));
    }
    if let Some(figure) = wording.figure {
        for j in judged {
            if let Cell::Ok(Some(quantity)) = j.cell {
                context.measure(figure, &j.path, quantity.value, quantity.unit);
            }
        }
    }
    for (why, at) in unknowns(judged) {
        tally.unknown(match at.as_slice() {
            [one] => format!("{one}: {why}"),
            [first, rest @ ..] => format!("{first} and {} more pairs: {why}", rest.len()),
            [] => why,
        });
    }
    let groups = groups(judged);
    let found: Vec<_> = groups
        .iter()
        .flat_map(|group| {
            let subjects = group.subjects(paths, wording.what, judged).into_iter();
            subjects.map(move |(subject, cells)| (group, subject, cells))
        })
        .collect();
    let elsewhere = match hint {
        Some(_) => Vec::new(),
        None => {
            let firsts: Vec<&Judged> = found.iter().filter_map(|(.., cells)| cells.first().copied()).collect();
            elsewhere::ask(context, &firsts).await
        }
    };
    let mut elsewhere = elsewhere.into_iter();
    for (group, subject, cells) in found {
        let others = judged.len() - group.cells.len();
        let known = elsewhere.next().flatten();
        let observed = observed(group.deviation, &cells, others, hint.as_deref().or(known.as_deref()));
        tally.finding(subject, group.deviation.expected.clone(), observed);
        for command in cells
            .first()
            .iter()
            .flat_map(|first| next_steps::for_path(&facts, &first.path))
        {
            context.suggest(command);
        }
    }
}

fn observed(deviation: &Deviation, cells: &[&Judged], others: usize, hint: Option<&str>) -> String {
    let mut text = deviation.symptom.clone();
    if let Some(first) = cells.first()
        && let Cell::NoAnswer(d) | Cell::Mismatch(d) = &first.cell
        && let Some(detail) = &d.detail
    {
        match cells.len() {
            1 => text.push_str(&format!(" ({detail})")),
            _ => text.push_str(&format!(" ({}: {detail})", first.path)),
        }
    }
    if let Some(hint) = hint {
        text.push_str(&format!("; {hint}"));
    }
    if others > 0 {
        text.push_str(&format!("; {others} other pairs do not show this"));
    }
    text
}

/// The cells that deviate in the same way.
struct Group<'a> {
    deviation: &'a Deviation,
    cells: Vec<&'a Judged>,
}

impl<'a> Group<'a> {
    /// The findings that it becomes: all pairs at once, all pairs of a node, or single pairs.
    fn subjects(&self, paths: &Paths, what: &str, judged: &[Judged]) -> Vec<(String, Vec<&'a Judged>)> {
        let mut left = self.cells.clone();
        if left.len() == judged.len() && judged.len() > 1 {
            let all = paths.counted(left.len());
            return vec![(format!("{what}: all {all} {}", paths.describe()), left)];
        }
        let mut subjects = Vec::new();
        for (side, word) in [(source as fn(&Path) -> NodeLabel, "from"), (target, "to")] {
            for node in left.iter().map(|j| side(&j.path)).collect::<BTreeSet<_>>() {
                let of_node = judged.iter().filter(|j| side(&j.path) == node).count();
                let (here, rest): (Vec<&Judged>, Vec<&Judged>) = left.iter().partition(|j| side(&j.path) == node);
                if here.len() == of_node && of_node > 1 {
                    let all = paths.counted(of_node);
                    let subject = format!("{what}: all {all} {word} {node} ({})", paths.describe());
                    subjects.push((subject, here));
                    left = rest;
                }
            }
        }
        let more = left.split_off(left.len().min(LISTED));
        subjects.extend(left.into_iter().map(|one| (format!("{what}: {}", one.path), vec![one])));
        if !more.is_empty() {
            subjects.push((format!("{what}: {} more pairs", more.len()), more));
        }
        subjects
    }
}

fn source(path: &Path) -> NodeLabel {
    NodeLabel::from(&path.from)
}
fn target(path: &Path) -> NodeLabel {
    NodeLabel::from(&path.to)
}

fn groups(judged: &[Judged]) -> Vec<Group<'_>> {
    let mut groups: Vec<Group<'_>> = Vec::new();
    for j in judged {
        let (Cell::NoAnswer(d) | Cell::Mismatch(d)) = &j.cell else {
            continue;
        };
        match groups
            .iter_mut()
            .find(|g| g.deviation.expected == d.expected && g.deviation.symptom == d.symptom)
        {
            Some(group) => group.cells.push(j),
            None => groups.push(Group {
                deviation: d,
                cells: vec![j],
            }),
        }
    }
    groups
}

fn unknowns(judged: &[Judged]) -> BTreeMap<String, Vec<String>> {
    let mut reasons: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for j in judged {
        if let Cell::Unknown(why) = &j.cell {
            reasons.entry(why.clone()).or_default().push(j.path.to_string());
        }
    }
    reasons
}

/// One row of evidence for each node that asks.
fn leave_rows(context: &CheckContext, wording: Wording, judged: &[Judged]) {
    let mut rows: BTreeMap<NodeLabel, Vec<evidence::Cell>> = BTreeMap::new();
    for j in judged {
        rows.entry(source(&j.path)).or_default().push(evidence_of(j));
    }
    for (from, cells) in rows {
        context.evidence(Evidence::Row(Row {
            what: wording.what.to_owned(),
            from,
            cells,
        }));
    }
}

fn evidence_of(judged: &Judged) -> evidence::Cell {
    let seen = |d: &Deviation| Some(d.detail.clone().unwrap_or_else(|| d.symptom.clone()));
    let (outcome, quantity, detail) = match &judged.cell {
        Cell::Ok(quantity) => (CellOutcome::Ok, *quantity, None),
        Cell::NoAnswer(d) => (CellOutcome::NoAnswer, d.quantity, seen(d)),
        Cell::Mismatch(d) => (CellOutcome::Mismatch, d.quantity, seen(d)),
        Cell::Unknown(why) => (CellOutcome::Unknown, None, Some(why.clone())),
    };
    evidence::Cell {
        to: target(&judged.path),
        outcome,
        value: quantity.map(|quantity| quantity.value),
        unit: quantity.map(|quantity| quantity.unit),
        detail,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        kit::matrix::{Locality, Quantity, WorkloadPair, no_answer},
        testing::Fake,
    };
    use meshproof_contract::{Instance, outcome::Timing, verdict::Finding};
    use std::sync::Arc;

    const WORDING: Wording = Wording {
        what: "HTTP",
        ok: "answered",
        figure: None,
    };

    async fn findings(broken: impl Fn(&Path) -> bool) -> Vec<Finding> {
        let fake = Arc::new(Fake::healthy());
        let instance = Instance::Direction {
            from: "infra".into(),
            to: "apps".into(),
        };
        let paths = Paths::of(&fake.facts, &instance, Locality::OtherCluster, WorkloadPair::PODS).expect("paths");
        let judged: Vec<Judged> = paths
            .list
            .iter()
            .map(|path| Judged {
                path: path.clone(),
                cell: if broken(path) {
                    let timing = Timing::default();
                    no_answer(&Outcome::Timeout { timing }, "an answer")
                } else {
                    Cell::Ok(Some(Quantity::micros(900)))
                },
            })
            .collect();
        let mut tally = Tally::new();
        conclude(&CheckContext::new(fake, instance), &paths, WORDING, &judged, &mut tally).await;
        match tally.verdict() {
            Verdict::Fail { findings } => findings,
            other => panic!("expected findings, got {other:?}"),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn nine_broken_pairs_are_one_finding() {
        let found = findings(|_| true).await;
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(found[0].subject, "HTTP: all 9 pairs infra -> apps");
    }

    #[tokio::test(start_paused = true)]
    async fn a_node_that_all_failures_share_is_named() {
        let found = findings(|p| p.from.node.as_str() == "infra-2").await;
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(found[0].subject, "HTTP: all 3 pairs from infra-2 (infra -> apps)");
        assert!(found[0].observed.contains("6 other pairs"), "{}", found[0].observed);
        let found = findings(|p| p.to.node.as_str() == "apps-3").await;
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(found[0].subject, "HTTP: all 3 pairs to apps-3 (infra -> apps)");
    }

    #[tokio::test(start_paused = true)]
    async fn what_else_passes_between_the_pair_is_told() {
        let found = findings(|p| p.from.node.as_str() == "infra-1" && p.to.node.as_str() == "apps-1").await;
        let observed = &found[0].observed;
        assert!(observed.contains("20 of 20 small datagrams came back"), "{observed}");
        assert!(observed.contains("a loss for some seconds"), "{observed}");
        let all = findings(|_| true).await;
        assert!(!all[0].observed.contains("datagrams"), "{}", all[0].observed);
    }

    #[tokio::test(start_paused = true)]
    async fn a_single_pair_is_listed_beside_a_broken_node() {
        let found = findings(|p| {
            p.from.node.as_str() == "infra-2" || (p.from.node.as_str() == "infra-1" && p.to.node.as_str() == "apps-1")
        })
        .await;
        let subjects: Vec<&str> = found.iter().map(|f| f.subject.as_str()).collect();
        assert_eq!(
            subjects,
            [
                "HTTP: all 3 pairs from infra-2 (infra -> apps)",
                "HTTP: infra-1 -> apps-1"
            ]
        );
    }
}
