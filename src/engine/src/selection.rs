//! From suites, clusters and a filter to a plan; a filter that selects nothing is an error of its own.

use crate::plan::{Plan, Trial};
use meshproof_contract::{Check, ClusterName, Exit, Flow, Instance, Scope, Suite};
use strsim::osa_distance;

/// Which trials to run. The default selects all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Only trials that match one of these; all when empty.
    pub patterns: Vec<String>,
    /// Trials that match one of these are skipped.
    pub skip: Vec<String>,
    /// Patterns are whole trial names or check ids, not parts of trial names.
    pub exact: bool,
    /// Only these suites; all when empty.
    pub suites: Vec<String>,
}

impl Filter {
    fn matches(&self, pattern: &str, trial: &Trial) -> bool {
        if self.exact {
            trial.name.as_str() == pattern || trial.check.id().as_str() == pattern
        } else {
            trial.name.as_str().contains(pattern)
        }
    }
    /// Whether it admits a check that has no trial on these clusters.
    fn admits_check(&self, check: &dyn Check) -> bool {
        let id = check.id();
        let named = |pattern: &String| id.as_str().contains(pattern.as_str());
        (self.patterns.is_empty() || self.patterns.iter().any(named)) && !self.skip.iter().any(named)
    }
    fn admits(&self, trial: &Trial) -> bool {
        (self.patterns.is_empty() || self.patterns.iter().any(|p| self.matches(p, trial)))
            && !self.skip.iter().any(|p| self.matches(p, trial))
    }
}

/// Why a plan cannot be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SelectError {
    /// A suite that does not exist.
    #[error("unknown suite '{name}'{}", did_you_mean(close))]
    UnknownSuite {
        /// As given.
        name: String,
        /// The names nearest to it, or all when none is near.
        close: Vec<String>,
    },
    /// The filter selects nothing: a run without trials is never green.
    #[error("no check matches {filter}{}; `--list` prints all names", did_you_mean(close))]
    NothingMatches {
        /// The filter, for people.
        filter: String,
        /// Check ids near to the patterns.
        close: Vec<String>,
    },
    /// Everything selected is about flows of the operators, and they have written none.
    #[error("no flow is written down: add `flows` to meshproof.yaml, or give a file with --flows")]
    NoFlows,
    /// Everything selected needs two clusters.
    #[error(
        "the selected checks need two clusters, and only {given} was given; add a second one (--apps-context or \
         --context ROLE=CONTEXT)"
    )]
    NeedsTwoClusters {
        /// The clusters given.
        given: String,
    },
}

impl SelectError {
    /// What it means for the run.
    pub fn exit(&self) -> Exit {
        match self {
            SelectError::UnknownSuite { .. } => Exit::Usage,
            SelectError::NothingMatches { .. } | SelectError::NoFlows | SelectError::NeedsTwoClusters { .. } => {
                Exit::TooLittle
            }
        }
    }
}

fn did_you_mean(close: &[String]) -> String {
    match close {
        [] => String::new(),
        names => format!("; did you mean {}?", names.join(", ")),
    }
}

/// Makes the plan: one trial for each selected check and each instance of its scope over `clusters` and `flows`.
///
/// # Errors
/// A suite name that does not exist, or a filter that selects nothing.
pub fn select(
    suites: &[Suite],
    clusters: &[ClusterName],
    flows: &[Flow],
    filter: &Filter,
) -> Result<Plan, SelectError> {
    let checks = checks_of(suites, filter)?;
    let mut trials = Vec::new();
    let mut without_instance = Vec::new();
    for check in &checks {
        let instances = Instance::of(check.scope(), clusters, flows);
        if instances.is_empty() && filter.admits_check(*check) {
            without_instance.push(check.id());
        }
        let all = instances.into_iter().map(|instance| Trial::new(*check, instance));
        trials.extend(all.filter(|trial| filter.admits(trial)));
    }
    if !trials.is_empty() {
        return Ok(Plan::new(trials, without_instance));
    }
    let is_of_flows = |check: &&dyn Check| matches!(check.scope(), Scope::Flow(_));
    let named = checks
        .iter()
        .copied()
        .filter(|check| without_instance.contains(&check.id()));
    let (of_flows, others): (Vec<_>, Vec<_>) = named.partition(is_of_flows);
    if others.is_empty() && !of_flows.is_empty() {
        return Err(SelectError::NoFlows);
    }
    if !without_instance.is_empty() {
        let given: Vec<_> = clusters.iter().map(ClusterName::to_string).collect();
        let given = if given.is_empty() {
            "none".to_owned()
        } else {
            given.join(", ")
        };
        return Err(SelectError::NeedsTwoClusters { given });
    }
    let ids = || checks.iter().map(|check| check.id().to_string());
    let mut close: Vec<String> = filter
        .patterns
        .iter()
        .flat_map(|pattern| nearest(pattern, ids()))
        .collect();
    close.dedup();
    close.truncate(3);
    Err(SelectError::NothingMatches {
        filter: describe(filter),
        close,
    })
}

/// The checks of the suites that the filter names, or of all.
fn checks_of(suites: &[Suite], filter: &Filter) -> Result<Vec<&'static dyn Check>, SelectError> {
    for name in &filter.suites {
        if !suites.iter().any(|suite| suite.name == name) {
            let names = || suites.iter().map(|suite| suite.name.to_owned());
            let mut close = nearest(name, names());
            if close.is_empty() {
                close = names().collect();
            }
            return Err(SelectError::UnknownSuite {
                name: name.clone(),
                close,
            });
        }
    }
    let wanted = |suite: &&Suite| filter.suites.is_empty() || filter.suites.iter().any(|name| name == suite.name);
    let checks = suites.iter().filter(wanted).flat_map(|suite| suite.checks);
    Ok(checks.copied().collect())
}

fn describe(filter: &Filter) -> String {
    let quoted = |words: &[String]| words.iter().map(|w| format!("'{w}'")).collect::<Vec<_>>().join(" or ");
    let mut parts = Vec::new();
    if !filter.patterns.is_empty() {
        let exactly = if filter.exact { "exactly " } else { "" };
        parts.push(format!("{exactly}{}", quoted(&filter.patterns)));
    }
    if !filter.suites.is_empty() {
        parts.push(format!("suite {}", quoted(&filter.suites)));
    }
    if !filter.skip.is_empty() {
        parts.push(format!("--skip {}", quoted(&filter.skip)));
    }
    if parts.is_empty() {
        "an empty list of suites".to_owned()
    } else {
        parts.join(" with ")
    }
}

/// Names within a third of their length of what was typed (whole, or the last `::` part; neighbours swapped count as
/// one step), nearest first, at most three.
pub fn nearest(typed: &str, names: impl Iterator<Item = String>) -> Vec<String> {
    let typed = typed.split('[').next().unwrap_or(typed);
    let mut scored: Vec<(usize, String)> = names
        .filter_map(|name| {
            let tail = name.rsplit("::").next().unwrap_or(&name);
            let distance = osa_distance(typed, &name).min(osa_distance(typed, tail));
            (distance <= typed.chars().count().max(3) / 3).then_some((distance, name))
        })
        .collect();
    scored.sort();
    scored.into_iter().map(|(_, name)| name).take(3).collect()
}

#[cfg(test)]
mod tests;
