//! `claims.sarif`: broken claims at the lines of the operators' files that state them, for code scanning (SARIF 2.1.0).

use crate::model::RunReport;
use meshproof_contract::{ClaimSource, run_state::ClaimReport};
use serde_json::{Value, json};

/// The rule of every result.
const RULE: &str = "claim-broken";

/// The broken claims that a file states; none where the run was given no files.
pub fn sarif(report: &RunReport) -> Option<String> {
    report.facts.as_ref()?.git.as_ref()?;
    let results: Vec<Value> = report.claims.iter().filter_map(result).collect();
    let rule = json!({
        "id": RULE,
        "shortDescription": {"text": "What a file states is not what runs."},
        "help": {"text": "The result names the first link that breaks, and what closes it; see docs/suites/gitops.md."},
        "defaultConfiguration": {"level": "error"},
    });
    let sarif = json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": {"driver": {"name": "meshproof", "semanticVersion": report.version, "rules": [rule]}},
            "columnKind": "unicodeCodePoints",
            "results": results,
        }],
    });
    Some(format!("{sarif:#}\n"))
}

fn result(claim: &ClaimReport) -> Option<Value> {
    let broken = claim.chain.broken.as_ref()?;
    let Some(ClaimSource::File { path, line }) = &claim.chain.source else {
        return None;
    };
    let (cluster, name) = (&claim.chain.cluster, &claim.chain.claim);
    let text = format!(
        "{cluster} {name}: {}: {}. To close it: {}",
        broken.at, broken.why, broken.next
    );
    Some(json!({
        "ruleId": RULE,
        "ruleIndex": 0,
        "level": "error",
        "message": {"text": text},
        "locations": [{
            "physicalLocation": {"artifactLocation": {"uri": uri(path)}, "region": {"startLine": line}},
        }],
    }))
}

/// A path as a reference of a URI.
fn uri(path: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~' | b'/');
    let escaped = path.bytes().map(|byte| {
        if plain(byte) {
            char::from(byte).to_string()
        } else {
            format!("%{byte:02X}")
        }
    });
    escaped.collect()
}
