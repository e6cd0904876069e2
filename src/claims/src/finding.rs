//! What is wrong, where, and by which rule.

use crate::place::Place;
use std::fmt;

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// It will not do what is meant.
    Error,
    /// It has no effect, or is about to have none.
    Warning,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Severity::Error => "error",
            Severity::Warning => "warning",
        })
    }
}

/// A rule of `claims check`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Its name, for reports and for good.
    pub id: &'static str,
    /// How bad what it finds is.
    pub severity: Severity,
    /// What it finds, in one sentence.
    pub finds: &'static str,
    /// Why that is wrong: what Cilium, Helm or Kubernetes does with it.
    pub reason: &'static str,
}

/// One thing found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The rule's id.
    pub rule: String,
    /// How bad it is.
    pub severity: Severity,
    /// Where.
    pub place: Place,
    /// What, in a sentence or two.
    pub what: String,
}

/// Findings as they come in; the same one, found twice, counts once.
#[derive(Debug, Default)]
pub struct Findings(Vec<Finding>);

impl Findings {
    /// Adds a finding of a rule.
    pub fn add(&mut self, rule: &Rule, place: Place, what: impl Into<String>) {
        self.push(rule.id, rule.severity, place, what.into());
    }

    /// Adds a finding of a rule that stands in a data file.
    pub fn push(&mut self, rule: &str, severity: Severity, place: Place, what: String) {
        let finding = Finding {
            rule: rule.to_owned(),
            severity,
            place,
            what,
        };
        if !self
            .0
            .iter()
            .any(|known| known.rule == finding.rule && known.place == finding.place)
        {
            self.0.push(finding);
        }
    }

    /// Whether anything was found at a place.
    pub fn has(&self, place: Place) -> bool {
        self.0.iter().any(|finding| finding.place == place)
    }

    /// In the order of files and lines.
    pub fn sorted(mut self) -> Vec<Finding> {
        self.0.sort_by_key(|finding| (finding.place, finding.severity));
        self.0
    }
}
