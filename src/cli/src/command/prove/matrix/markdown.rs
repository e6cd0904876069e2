//! The matrix as Markdown: a table a suite, with a numbered column a check and a row for each fault that met it.

use super::{Matrix, Row};
use meshproof_contract::CheckId;
use std::{collections::BTreeMap, fmt::Write};

const HEAD: &str = "\
# Checks and the faults that they catch

**red**: the check caught the fault; ·: it passed; ?: it was inconclusive; empty: it did not run. `@` and a
number are the fault's size: below 1 of what is promised, from 1 of what is found for certain.
";

impl Matrix {
    /// The page.
    pub fn markdown(&self) -> String {
        let mut text = HEAD.to_owned();
        let mut suites: BTreeMap<&str, Vec<&CheckId>> = BTreeMap::new();
        for check in self.checks.keys() {
            suites.entry(check.suite()).or_default().push(check);
        }
        for (suite, checks) in suites {
            let _ = write!(text, "\n## {suite}\n\n");
            for (number, check) in checks.iter().enumerate() {
                let _ = writeln!(text, "{}. `{check}`", number + 1);
            }
            text.push_str("\n| fault |");
            for number in 1..=checks.len() {
                let _ = write!(text, " {number} |");
            }
            text.push_str("\n| --- |");
            text.push_str(&" --- |".repeat(checks.len()));
            let met = |row: &&Row| checks.iter().any(|check| row.ran.contains(*check));
            for row in self.rows.iter().filter(met) {
                let _ = write!(text, "\n| {} |", row.fault);
                for check in &checks {
                    let _ = write!(text, " {} |", cell(row, check));
                }
            }
            text.push('\n');
        }
        text.push_str("\n## The faults\n\n");
        for row in &self.rows {
            let _ = writeln!(text, "- **{}**: {}", row.fault, row.summary);
        }
        if !self.unconcerned.is_empty() {
            text.push_str("\n## Faults that concern nothing in this configuration\n\n");
            let names: Vec<String> = self.unconcerned.iter().map(ToString::to_string).collect();
            let _ = writeln!(text, "{}", names.join(", "));
        }
        text
    }
}

fn cell(row: &Row, check: &CheckId) -> &'static str {
    if row.caught.contains_key(check) {
        "**red**"
    } else if row.inconclusive.contains_key(check) {
        "?"
    } else if row.ran.contains(check) {
        "·"
    } else {
        ""
    }
}
