//! What the template shows, prepared so that it holds no logic of its own.

mod filters;
mod red;

use crate::{
    figure::{
        axis::Axis,
        distribution::plots,
        matrix::{Matrix, matrices},
        statistics::statistics,
    },
    model::{RunReport, SuiteReport, TrialReport},
};
use askama::Template;
use meshproof_contract::{
    Exit, LinkKind, LinkState, Standing, Verdict, api_requests_line,
    run_state::{ClaimReport, Counts, claims_line},
    text::{capitalized, counted, duration},
};
use red::{RedTrial, by_reason, red, unobserved};

#[derive(Template)]
#[template(path = "report.html")]
pub(super) struct Page<'a> {
    pub(super) report: &'a RunReport,
    /// Whose claims were not the operators' own.
    notice: Option<String>,
    /// What the failed checks point to.
    diagnosis: Vec<String>,
    /// `good`, `bad` or `unsure`.
    class: &'static str,
    mark: &'static str,
    title: String,
    meaning: String,
    when: String,
    took: String,
    share: Vec<Share>,
    failed: Vec<RedTrial<'a>>,
    /// Of the same reason each.
    inconclusive: Vec<Vec<RedTrial<'a>>>,
    /// Of the same cause each.
    unobserved: Vec<(String, Vec<&'a TrialReport>)>,
    waived: Vec<RedTrial<'a>>,
    spent: Vec<String>,
    /// How many claims hold; empty without any.
    claims_line: String,
    claims: Vec<ClaimLine<'a>>,
    matrices: Vec<Figure>,
    plots: Vec<Figure>,
    statistics: Vec<[String; 6]>,
    suites: Vec<Suite<'a>>,
    phases: Vec<(String, String)>,
    requests: String,
    command: String,
}

/// A part of the bar below the verdict.
struct Share {
    class: &'static str,
    number: usize,
    word: &'static str,
}

/// A claim's row.
struct ClaimLine<'a> {
    claim: &'a ClaimReport,
    place: String,
    /// Git, Helm, live, agents, each with the class of its cell.
    links: Vec<(&'a str, &'static str)>,
    why: &'a str,
    next: &'a str,
}

struct Figure {
    caption: String,
    note: String,
    class: &'static str,
    svg: String,
}

struct Suite<'a> {
    name: &'a str,
    class: &'static str,
    tally: String,
    took: String,
    open: bool,
    trials: Vec<TrialLine<'a>>,
}

struct TrialLine<'a> {
    class: &'static str,
    mark: &'static str,
    word: &'static str,
    title: &'a str,
    name: &'a str,
    seen: String,
    took: String,
}

impl<'a> Page<'a> {
    pub(super) fn of(report: &'a RunReport) -> Self {
        let (class, mark) = match report.exit() {
            Some(Exit::Passed) => ("good", "✓"),
            Some(Exit::Failed) => ("bad", "✕"),
            _ => ("unsure", "?"),
        };
        let axis = Axis::of(report.facts.as_ref());
        Self {
            report,
            notice: report.live_claims_notice().map(|notice| capitalized(&notice)),
            diagnosis: report
                .diagnosis_sentences()
                .iter()
                .map(|sentence| capitalized(sentence))
                .collect(),
            class,
            mark,
            title: capitalized(&report.verdict),
            meaning: capitalized(&report.meaning()),
            when: report.started.map_or("unknown time".to_owned(), |at| {
                at.strftime("%-d %B %Y, %H:%M UTC").to_string()
            }),
            took: duration(report.seconds),
            share: share(report.counts),
            failed: report.failed().into_iter().map(red).collect(),
            inconclusive: by_reason(report),
            unobserved: unobserved(report),
            waived: report.waived().into_iter().map(red).collect(),
            spent: report
                .spent_waivers
                .iter()
                .map(|spent| capitalized(&spent.to_string()))
                .collect(),
            claims_line: claims_line(&report.claims).map_or(String::new(), |line| capitalized(&line)),
            claims: report.claims.iter().map(claim).collect(),
            matrices: figures(report, &axis),
            plots: plots(report, &axis)
                .into_iter()
                .map(|plot| Figure {
                    caption: heading(plot.name),
                    note: match plot.left_out {
                        0 => String::new(),
                        n => format!(
                            "the slowest {}; {n} faster ones are in report.json",
                            counted(plot.rows.len(), "pair")
                        ),
                    },
                    class: "",
                    svg: plot.svg(),
                })
                .collect(),
            statistics: statistics(report)
                .iter()
                .map(|s| {
                    let [low, middle, high] = s.spread();
                    [
                        heading(&s.name),
                        s.check.clone(),
                        s.count().to_string(),
                        low,
                        middle,
                        high,
                    ]
                })
                .collect(),
            suites: report.suites.iter().map(suite).collect(),
            requests: api_requests_line(&report.api_requests).unwrap_or_default(),
            phases: report
                .phases
                .iter()
                .map(|p| (p.phase.to_string(), duration(p.seconds)))
                .collect(),
            command: report.command.join(" "),
        }
    }
}

fn claim(claim: &ClaimReport) -> ClaimLine<'_> {
    let broken = claim.chain.broken.as_ref();
    let kinds = [LinkKind::Git, LinkKind::Helm, LinkKind::Live, LinkKind::Agents];
    let links = kinds.into_iter().map(|kind| {
        let class = match claim.chain.link(kind).map(|link| link.state) {
            Some(LinkState::Broken) => "bad",
            Some(LinkState::Holds) => "",
            Some(LinkState::NotRead) | None => "soft",
        };
        (claim.says(kind), class)
    });
    ClaimLine {
        claim,
        place: claim.chain.source.as_ref().map(ToString::to_string).unwrap_or_default(),
        links: links.collect(),
        why: broken.map_or("", |broken| &broken.why),
        next: broken.map_or("", |broken| &broken.next),
    }
}

/// The matrices, those with failures first.
fn figures(report: &RunReport, axis: &Axis) -> Vec<Figure> {
    let mut found: Vec<Matrix<'_>> = report.suites.iter().flat_map(|suite| matrices(suite, axis)).collect();
    found.sort_by_key(|matrix| (matrix.wrong() == 0, matrix.unknown() == 0));
    found.iter().map(matrix).collect()
}

fn share(counts: Counts) -> Vec<Share> {
    [
        ("bad", counts.failed, "failed"),
        ("unsure", counts.inconclusive, "inconclusive"),
        ("good", counts.passed, "passed"),
        ("none", counts.waived, "waived"),
        ("none", counts.skipped, "skipped"),
    ]
    .into_iter()
    .filter(|(_, number, _)| *number > 0)
    .map(|(class, number, word)| Share { class, number, word })
    .collect()
}

/// A measurement's name as a heading: `Cross cluster overhead`.
fn heading(name: &str) -> String {
    capitalized(&name.replace('_', " "))
}

fn matrix(matrix: &Matrix<'_>) -> Figure {
    let (wrong, unknown, pairs) = (matrix.wrong(), matrix.unknown(), matrix.pairs());
    let (class, seen) = match (wrong, unknown) {
        (0, 0) => ("good", format!("all {pairs} pairs ok")),
        (0, n) => ("unsure", format!("{n} of {pairs} pairs unknown")),
        (n, _) => ("bad", format!("{n} of {pairs} pairs failed")),
    };
    let unit = match matrix.scale() {
        Some(scale) if !scale.symbol.is_empty() => format!(", in {}", scale.symbol),
        _ => String::new(),
    };
    Figure {
        caption: capitalized(matrix.what),
        note: seen + &unit,
        class,
        svg: matrix.svg(),
    }
}

fn suite(suite: &SuiteReport) -> Suite<'_> {
    let counts = suite.counts;
    let class = if counts.failed > 0 {
        "bad"
    } else if counts.inconclusive > 0 {
        "unsure"
    } else if counts.passed > 0 {
        "good"
    } else {
        "none"
    };
    let tally: Vec<String> = share(counts)
        .iter()
        .map(|part| format!("{} {}", part.number, part.word))
        .collect();
    Suite {
        name: &suite.name,
        class,
        tally: tally.join(", "),
        took: duration(suite.seconds),
        open: counts.failed + counts.inconclusive > 0,
        trials: suite.trials.iter().map(line).collect(),
    }
}

fn line(trial: &TrialReport) -> TrialLine<'_> {
    let standing = trial.standing();
    let mark = match standing {
        Standing::Passed => "✓",
        Standing::Failed => "✕",
        Standing::Inconclusive => "?",
        Standing::Waived | Standing::Unobserved => "!",
        Standing::Skipped => "–",
    };
    let seen = match &trial.verdict {
        Verdict::Pass { witnesses } => witnesses.iter().map(|w| w.what.as_str()).collect::<Vec<_>>().join("; "),
        _ => trial.verdict.headline(),
    };
    TrialLine {
        class: class(standing),
        mark,
        word: standing.word(),
        title: &trial.title,
        name: trial.trial.short(),
        seen,
        took: duration(trial.seconds),
    }
}

fn class(standing: Standing) -> &'static str {
    match standing {
        Standing::Passed => "good",
        Standing::Failed => "bad",
        Standing::Inconclusive => "unsure",
        Standing::Waived | Standing::Unobserved | Standing::Skipped => "none",
    }
}
