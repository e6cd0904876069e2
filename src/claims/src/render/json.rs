//! Everything as JSON.

use crate::{check::Report, finding::Severity, place::Place};
use serde_json::{Value, json};

/// The report as JSON. Values that the claim table does not know are not in it.
pub fn json(report: &Report) -> String {
    let place = |place: Place| json!({"file": report.path(place.file), "line": place.line, "column": place.column});
    let findings = report.findings.iter().map(|finding| {
        json!({
            "rule": finding.rule,
            "severity": finding.severity.to_string(),
            "place": place(finding.place),
            "message": finding.what,
        })
    });
    let claims = report.claims.iter().map(|claim| {
        json!({
            "cluster": claim.cluster,
            "value": claim.value,
            "claimed": claim.shown,
            "place": place(claim.place),
            "checks": claim.checks,
        })
    });
    let clusters = report.mapping.iter().map(|mapping| {
        let files: Vec<_> = mapping.files.iter().map(|file| report.path(*file)).collect();
        json!({
            "cluster": mapping.cluster,
            "origin": mapping.origin.words(),
            "files": files,
            "complete": mapping.is_complete,
        })
    });
    let notes = report
        .notes()
        .iter()
        .map(|note| json!({"file": report.path(note.file), "message": note.what}));
    let report = json!({
        "version": 1,
        "errors": report.count(Severity::Error),
        "warnings": report.count(Severity::Warning),
        "findings": findings.collect::<Value>(),
        "claims": claims.collect::<Value>(),
        "clusters": clusters.collect::<Value>(),
        "assumptions": report.assumptions,
        "notes": notes.collect::<Value>(),
    });
    format!("{report:#}\n")
}
