//! The gate's word as Markdown, for a step summary or a comment.

use super::{
    ChangeKind, Decision, GateReport, Meaning,
    text::{KINDS, MEANINGS, baseline, one_line, run},
};
use crate::markdown::{clip, escape};
use meshproof_contract::text::capitalized;
use std::fmt::{self, Write};

/// Rows of one table; JSON has all.
const ROWS: usize = 25;
/// Rows of one table once the page has so many bytes: others take 65,535 at most.
const LATER_ROWS: usize = 5;
const LONG: usize = 30_000;

/// The comparison as Markdown, less than 65,535 bytes.
pub fn markdown(report: &GateReport) -> String {
    let mut out = String::new();
    let icon = match report.decision {
        Decision::Go => "✅",
        Decision::NoGo => "❌",
        Decision::CannotTell => "⚠️",
    };
    push(
        &mut out,
        format_args!("## {icon} meshproof gate: {}\n\n", report.decision),
    );
    for reason in &report.reasons {
        push(&mut out, format_args!("- {}\n", cell(&capitalized(&reason.text))));
    }
    push(&mut out, format_args!("\nBaseline: {}\n", cell(&baseline(report))));
    push(&mut out, format_args!("\nCurrent: {}\n", cell(&run(&report.current))));
    for difference in &report.differences {
        push(&mut out, format_args!("\n> {}\n", cell(&capitalized(difference))));
    }
    for (kind, heading) in KINDS {
        let all: Vec<_> = report.of(*kind).collect();
        let words = if *kind == ChangeKind::Waived { "waiver" } else { "why" };
        table(&mut out, heading, all.len(), &["check", "before", "now", words]);
        let shown = shown(&out, all.len());
        for change in all.iter().take(shown) {
            let name = format!("`{}`", change.trial);
            let cells = [&change.before, &change.now, &change.why].map(|text| cell(text));
            push(&mut out, format_args!("| {name} | {} |\n", cells.join(" | ")));
        }
        rest(&mut out, all.len() - shown);
    }
    let heading = "claims that are no longer made, or no longer true";
    table(
        &mut out,
        heading,
        report.claims.len(),
        &["cluster", "claim", "before", "now"],
    );
    let shown_claims = shown(&out, report.claims.len());
    for claim in report.claims.iter().take(shown_claims) {
        let cells = [&claim.cluster, &claim.claim, &claim.before, &claim.now].map(|text| cell(text));
        push(&mut out, format_args!("| {} |\n", cells.join(" | ")));
    }
    rest(&mut out, report.claims.len() - shown_claims);
    if !report.spent_waivers.is_empty() {
        out.push_str("\n### Waivers that must go\n\n");
        for spent in report.spent_waivers.iter().take(ROWS) {
            push(&mut out, format_args!("- {}\n", cell(&spent.to_string())));
        }
    }
    for (meaning, heading) in MEANINGS {
        let all: Vec<_> = report.figures(*meaning).collect();
        table(
            &mut out,
            heading,
            all.len(),
            &["figure", "before", "now", "samples", "effect", "p"],
        );
        let shown = shown(&out, all.len());
        for figure in all.iter().take(shown) {
            let side = |side| figure.quantity(side);
            push(
                &mut out,
                format_args!(
                    "| {} | {} | {} | {} / {} | {:.2} | {:.4} |\n",
                    cell(&figure.label()),
                    side(figure.before),
                    side(figure.now),
                    figure.before.samples,
                    figure.now.samples,
                    figure.effect,
                    figure.p
                ),
            );
        }
        rest(&mut out, all.len() - shown);
        if *meaning == Meaning::Regression && !all.is_empty() {
            out.push_str("\nMedians, or shares that were lost. The rule is in `docs/gate.md`.\n");
        }
    }
    out
}

fn table(out: &mut String, heading: &str, rows: usize, columns: &[&str]) {
    if rows == 0 {
        return;
    }
    let rule = "---|".repeat(columns.len());
    push(
        out,
        format_args!(
            "\n### {} ({rows})\n\n| {} |\n|{rule}\n",
            capitalized(heading),
            columns.join(" | ")
        ),
    );
}

/// How many of so many rows are shown: few, and fewer where the page is long already.
fn shown(out: &str, rows: usize) -> usize {
    rows.min(if out.len() < LONG { ROWS } else { LATER_ROWS })
}

fn rest(out: &mut String, rows: usize) {
    if rows > 0 {
        push(out, format_args!("\n… and {rows} more, see `--format json`.\n"));
    }
}

/// A text that fits into a cell.
fn cell(text: &str) -> String {
    escape(&clip(&one_line(text), 120))
}

fn push(out: &mut String, text: fmt::Arguments<'_>) {
    out.write_fmt(text).expect("a String takes everything");
}
