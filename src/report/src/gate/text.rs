//! The gate's word as lines for a terminal.

use super::{ChangeKind, Decision, GateReport, GateRun, Meaning};
use meshproof_contract::text::{capitalized, counted};
use std::fmt::{self, Write};

/// Trials and figures shown of one kind; JSON has all.
const SHOWN: usize = 20;

/// The kinds of change with their headings, as both texts show them.
pub(super) const KINDS: &[(ChangeKind, &str)] = &[
    (ChangeKind::NewFailure, "newly failed"),
    (ChangeKind::MorePlaces, "failed before, and now at more places"),
    (ChangeKind::CoverageLost, "ran before and not now"),
    (ChangeKind::NewInconclusive, "newly inconclusive"),
    (ChangeKind::StillFailing, "failed before, too"),
    (ChangeKind::StillInconclusive, "inconclusive before, too"),
    (ChangeKind::Waived, "waived"),
    (ChangeKind::Fixed, "fixed"),
    (ChangeKind::NewCheck, "new, and passed"),
];

/// The meanings of figures with their headings.
pub(super) const MEANINGS: &[(Meaning, &str)] = &[
    (Meaning::Regression, "figures that became worse"),
    (
        Meaning::Informs,
        "figures that look worse and decide nothing (few samples, or a late client)",
    ),
    (Meaning::Improvement, "figures that became better"),
];

/// The comparison as lines, the decision first; ends with a newline.
pub fn text(report: &GateReport) -> String {
    let mut out = String::new();
    let word = report.decision.to_string();
    for (index, reason) in report.reasons.iter().enumerate() {
        let first = if index == 0 { word.as_str() } else { "" };
        let also = match reason.decides == report.decision {
            true => "",
            false => "also: ",
        };
        line(
            &mut out,
            format_args!("{first:<width$}  {also}{}", reason.text, width = word.len()),
        );
    }
    line(&mut out, format_args!("\nbaseline  {}", baseline(report)));
    line(&mut out, format_args!("current   {}", run(&report.current)));
    for difference in &report.differences {
        line(&mut out, format_args!("changed   {difference}"));
    }
    for (kind, heading) in KINDS {
        let all: Vec<_> = report.of(*kind).collect();
        section(&mut out, heading, all.len());
        for change in all.iter().take(SHOWN) {
            line(&mut out, format_args!("  {}: {}", change.trial, one_line(&change.why)));
            if *kind == ChangeKind::NewFailure || *kind == ChangeKind::MorePlaces {
                if change.failed_before > 0 && *kind == ChangeKind::NewFailure {
                    let runs = counted(change.failed_before, "run");
                    line(&mut out, format_args!("      failed in {runs} of the baseline, too"));
                }
                line(&mut out, format_args!("      {}", change.again));
            }
        }
        rest(&mut out, all.len());
    }
    section(
        &mut out,
        "claims that are no longer made, or no longer true",
        report.claims.len(),
    );
    for claim in report.claims.iter().take(SHOWN) {
        let (cluster, name) = (&claim.cluster, &claim.claim);
        line(
            &mut out,
            format_args!("  {cluster} {name}: {} before, {} now", claim.before, claim.now),
        );
    }
    rest(&mut out, report.claims.len());
    section(&mut out, "waivers that must go", report.spent_waivers.len());
    for spent in report.spent_waivers.iter().take(SHOWN) {
        line(&mut out, format_args!("  {spent}"));
    }
    for (meaning, heading) in MEANINGS {
        let all: Vec<_> = report.figures(*meaning).collect();
        section(&mut out, heading, all.len());
        for figure in all.iter().take(SHOWN) {
            line(&mut out, format_args!("  {figure}"));
        }
        rest(&mut out, all.len());
    }
    let meaning = match report.decision {
        Decision::Go => "nothing became worse",
        Decision::NoGo => "something became worse: go back, or find out why first",
        Decision::CannotTell => "too little was observed to say so",
    };
    let code = report.decision.exit().code();
    line(&mut out, format_args!("\n{word}: {meaning} (exit code {code})"));
    out
}

/// The runs of the baseline in a line.
pub(super) fn baseline(report: &GateReport) -> String {
    match report.baseline.as_slice() {
        [] => "none".to_owned(),
        [one] => run(one),
        [first, .., last] => format!(
            "{} from {} to {}",
            counted(report.baseline.len(), "run"),
            first.run,
            run(last)
        ),
    }
}

/// A run in a line: `20261201-…, passed, meshproof 0.1.0`.
pub(super) fn run(run: &GateRun) -> String {
    let ended = match &run.unfinished {
        Some(why) => format!("{}, {}", run.verdict, one_line(why)),
        None => run.verdict.clone(),
    };
    format!("{}, {ended}, meshproof {}", run.run, run.version)
}

/// A text without what would break a line.
pub(super) fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn section(out: &mut String, heading: &str, count: usize) {
    if count > 0 {
        line(out, format_args!("\n{} ({count})", capitalized(heading)));
    }
}

fn rest(out: &mut String, count: usize) {
    if count > SHOWN {
        line(out, format_args!("  and {} more, see --format json", count - SHOWN));
    }
}

fn line(out: &mut String, text: fmt::Arguments<'_>) {
    writeln!(out, "{text}").expect("a String takes everything");
}
