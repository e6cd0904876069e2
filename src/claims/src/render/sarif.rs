//! SARIF 2.1.0, which code scanning of GitHub, GitLab and others reads.

use crate::{check::Report, finding::Severity, rules};
use serde_json::{Value, json};

/// Where the rules are documented.
const PAGE: &str = "docs/claims.md";

/// The report as SARIF, every rule with its reason.
pub fn sarif(report: &Report) -> String {
    let level = |severity: Severity| match severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
    };
    let described = rules::described();
    let rules = described.iter().map(|rule| {
        json!({
            "id": rule.id,
            "shortDescription": {"text": rule.finds},
            "fullDescription": {"text": rule.reason},
            "help": {"text": format!("{} See {PAGE}, or `meshproof explain {}`.", rule.reason, rule.id)},
            "defaultConfiguration": {"level": level(rule.severity)},
        })
    });
    let results = report.findings.iter().map(|finding| {
        let index = described.iter().position(|rule| rule.id == finding.rule);
        json!({
            "ruleId": finding.rule,
            "ruleIndex": index,
            "level": level(finding.severity),
            "message": {"text": finding.what},
            "locations": [{
                "physicalLocation": {
                    "artifactLocation": {"uri": uri(report.path(finding.place.file))},
                    "region": {"startLine": finding.place.line, "startColumn": finding.place.column},
                },
            }],
        })
    });
    let sarif = json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": {
                "driver": {
                    "name": "meshproof",
                    "semanticVersion": env!("CARGO_PKG_VERSION"),
                    "rules": rules.collect::<Value>(),
                },
            },
            "columnKind": "unicodeCodePoints",
            "results": results.collect::<Value>(),
        }],
    });
    format!("{sarif:#}\n")
}

/// A path as a reference of a URI: what may not stand in one is escaped.
fn uri(path: &str) -> String {
    let mut out = String::new();
    for byte in path.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_becomes_a_reference() {
        assert_eq!(uri("a b/ü.yaml"), "a%20b/%C3%BC.yaml");
    }
}
