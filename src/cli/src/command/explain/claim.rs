//! What a Helm value claims, and what a rule of `claims check` finds, as pages.

use meshproof_claims::{
    chart::{CHART_VERSION, Chart},
    prediction::Prediction,
    rules::{Described, described},
    table::{Row, Table},
};
use std::fmt::Write;

/// The claim table and the rules.
pub struct Claims {
    table: Table,
    rules: Vec<Described>,
}

impl Claims {
    /// Reads them.
    pub fn new() -> Self {
        Self {
            table: Table::new(&Chart::new(), &Prediction::new()),
            rules: described(),
        }
    }

    /// Whether a value or a rule has this very name.
    pub fn has(&self, name: &str) -> bool {
        self.table.row(name).is_some() || self.rules.iter().any(|rule| rule.id == name)
    }

    /// The pages of the values and rules of this name, else of those that contain it; `None` without any.
    pub fn pages(&self, wanted: &str) -> Option<String> {
        let exact = self.has(wanted);
        let rules = self.rules.iter().filter(|rule| {
            if exact {
                rule.id == wanted
            } else {
                rule.id.contains(wanted)
            }
        });
        let rows = self
            .table
            .matching(wanted)
            .into_iter()
            .filter(|row| !exact || row.value == wanted);
        let pages: Vec<String> = rows.map(value).chain(rules.map(rule)).collect();
        (!pages.is_empty()).then(|| pages.concat())
    }
}

fn value(row: &Row) -> String {
    let needs: Vec<_> = row.needs.iter().map(ToString::to_string).collect();
    let checks = if row.checks.is_empty() {
        "no check of a run: claimed, not verified".to_owned()
    } else {
        row.checks.join("\n")
    };
    let short = row
        .short
        .as_ref()
        .map(|short| format!("{short} (under claims, by cluster)"))
        .unwrap_or_default();
    let sections = [
        ("Default of the chart", row.default.clone()),
        ("Needs beside it", needs.join("\n")),
        ("Keys of ConfigMap cilium-config", row.config_keys.join("\n")),
        ("Where an agent shows it", row.agent.clone().unwrap_or_default()),
        ("Objects that must be ready", row.objects.join("\n")),
        ("Verified by", checks),
        ("Short name in meshproof.yaml", short),
    ];
    page(
        &format!("{} (Helm value, chart {CHART_VERSION})\n{}", row.value, row.about),
        &sections,
    )
}

fn rule(rule: &Described) -> String {
    let (breaks, holds) = rule.examples.clone().unwrap_or_default();
    let sections = [
        ("Why", rule.reason.clone()),
        ("Found in", breaks),
        ("Not found in", holds),
    ];
    page(
        &format!("{} (rule of claims check, {})\n{}", rule.id, rule.severity, rule.finds),
        &sections,
    )
}

fn page(head: &str, sections: &[(&str, String)]) -> String {
    let mut out = format!("{head}\n\n");
    for (heading, body) in sections.iter().filter(|(_, body)| !body.is_empty()) {
        let _ = writeln!(out, "{heading}\n  {}\n", body.replace('\n', "\n  "));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use meshproof_contract::ClaimKind;

    #[test]
    fn every_check_that_a_claim_names_exists() {
        let checks: Vec<String> = meshproof_suites::ALL
            .iter()
            .flat_map(|suite| suite.checks.iter().map(|check| check.id().to_string()))
            .collect();
        let claims = Claims::new();
        let named = claims.table.rows().iter().flat_map(|row| &row.checks);
        let missing: Vec<_> = named.filter(|check| !checks.contains(check)).collect();
        assert!(missing.is_empty(), "{missing:?}");
    }

    #[test]
    fn every_short_name_is_a_key_of_meshproof_yaml() {
        let kinds = [
            ClaimKind::ClusterMesh,
            ClaimKind::Encryption,
            ClaimKind::StrictEncryption,
            ClaimKind::NodeEncryption,
            ClaimKind::Policy,
            ClaimKind::L7Policy,
            ClaimKind::FqdnPolicy,
            ClaimKind::MutualAuth,
            ClaimKind::KubeProxyReplacement,
        ]
        .map(|kind| kind.to_string());
        for row in Claims::new().table.rows() {
            assert!(row.short.as_ref().is_none_or(|short| kinds.contains(short)), "{row:?}");
        }
    }

    #[test]
    fn a_value_and_a_rule_are_explained() {
        let claims = Claims::new();
        let page = claims.pages("encryption.nodeEncryption").expect("a page");
        for part in ["encrypt-node", "encryption.enabled is on", "encryption::node_traffic"] {
            assert!(page.contains(part), "{page}");
        }
        assert!(claims.pages("dsr-with-wireguard").expect("a page").contains("SNAT"));
        assert_eq!(claims.pages("no such thing"), None);
    }
}
