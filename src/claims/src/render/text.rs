//! For a terminal: what is wrong, line by line, and how much was looked at.

use crate::{check::Report, finding::Severity};
use std::fmt::Write;

/// The report as text.
pub fn text(report: &Report) -> String {
    let mut out = String::new();
    let mut line = |text: String| {
        let _ = writeln!(out, "{text}");
    };
    for mapping in &report.mapping {
        let files: Vec<_> = mapping.files.iter().map(|file| report.path(*file)).collect();
        let missing = if mapping.is_complete {
            ""
        } else {
            " (parts of it cannot be read here)"
        };
        let origin = mapping.origin.words();
        line(format!(
            "{:<8} {origin:<12} {}{missing}",
            mapping.cluster,
            files.join(", then ")
        ));
    }
    if report.mapping.is_empty() {
        line("no values of Cilium's chart were found; --values ROLE=FILE names them".to_owned());
    }
    for assumption in &report.assumptions {
        line(format!("assumed: {assumption}"));
    }
    for note in report.notes() {
        line(format!("{}: {}", report.path(note.file), note.what));
    }
    line(String::new());
    for finding in &report.findings {
        let (path, at) = (report.path(finding.place.file), finding.place.line);
        line(format!(
            "{path}:{at}  {}: {} [{}]",
            finding.severity, finding.what, finding.rule
        ));
    }
    if !report.findings.is_empty() {
        line(String::new());
    }
    line(format!("{} (exit {})", summary(report), report.exit().code()));
    out
}

/// `3 errors, 5 warnings, 61 claims, 12 of them claimed and verified by no check`.
pub fn summary(report: &Report) -> String {
    let plural = |count: usize, word: &str| format!("{count} {word}{}", if count == 1 { "" } else { "s" });
    let unverified = report.claims.iter().filter(|claim| claim.checks.is_empty()).count();
    let unverified = match unverified {
        0 => String::new(),
        count => format!(" ({count} of them claimed, not verified by any check of a run)"),
    };
    format!(
        "{}, {}, {}{unverified}",
        plural(report.count(Severity::Error), "error"),
        plural(report.count(Severity::Warning), "warning"),
        plural(report.claims.len(), "claim"),
    )
}
