//! From suites, clusters and a filter to a plan; a filter that selects nothing is an outcome of its own.

use crate::plan::{Plan, Trial};
use meshproof_contract::{Check, ClusterName, Exit, Instance, Suite};

/// Which trials to run. The default selects all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Only trials that match one of these; all when empty.
    pub patterns: Vec<String>,
    /// Not the trials that match one of these.
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
    fn admits(&self, trial: &Trial) -> bool {
        (self.patterns.is_empty() || self.patterns.iter().any(|p| self.matches(p, trial)))
            && !self.skip.iter().any(|p| self.matches(p, trial))
    }
}

/// Why there is no plan.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SelectError {
    /// A suite that does not exist.
    #[error("there is no suite '{name}'{}", did_you_mean(close))]
    UnknownSuite {
        /// As given.
        name: String,
        /// The names nearest to it, or all when none is near.
        close: Vec<String>,
    },
    /// The filter left nothing over: zero work is never green.
    #[error("no check matches {filter}{}; `--list` shows all names", did_you_mean(close))]
    NothingMatches {
        /// The filter, for people.
        filter: String,
        /// Check ids near to the patterns.
        close: Vec<String>,
    },
    /// Everything selected needs two clusters.
    #[error(
        "the selected checks go from one cluster to another, and only {given} was given; name a second cluster \
         (--apps-context or --context ROLE=CONTEXT)"
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
            SelectError::NothingMatches { .. } | SelectError::NeedsTwoClusters { .. } => Exit::TooLittle,
        }
    }
}

fn did_you_mean(close: &[String]) -> String {
    match close {
        [] => String::new(),
        names => format!("; did you mean {}?", names.join(", ")),
    }
}

/// Makes the plan: one trial for each selected check and each instance of its scope over `clusters`.
///
/// # Errors
/// A suite name that does not exist, or a filter that leaves nothing to do.
pub fn select(suites: &[Suite], clusters: &[ClusterName], filter: &Filter) -> Result<Plan, SelectError> {
    for name in &filter.suites {
        if !suites.iter().any(|suite| suite.name == name) {
            let mut close = nearest(name, suites.iter().map(|suite| suite.name.to_owned()));
            if close.is_empty() {
                close = suites.iter().map(|suite| suite.name.to_owned()).collect();
            }
            return Err(SelectError::UnknownSuite {
                name: name.clone(),
                close,
            });
        }
    }
    let wanted = |suite: &&Suite| filter.suites.is_empty() || filter.suites.iter().any(|name| name == suite.name);
    let checks: Vec<&'static dyn Check> = suites
        .iter()
        .filter(wanted)
        .flat_map(|suite| suite.checks.iter().copied())
        .collect();

    let mut trials = Vec::new();
    let mut without_instance = Vec::new();
    for check in &checks {
        let instances = Instance::of(check.scope(), clusters);
        if instances.is_empty() {
            let id = check.id();
            let named = |pattern: &String| id.as_str().contains(pattern.as_str());
            if (filter.patterns.is_empty() || filter.patterns.iter().any(named)) && !filter.skip.iter().any(named) {
                without_instance.push(id);
            }
        }
        trials.extend(
            instances
                .into_iter()
                .map(|i| Trial::new(*check, i))
                .filter(|trial| filter.admits(trial)),
        );
    }
    if !trials.is_empty() {
        return Ok(Plan::new(trials, without_instance));
    }
    if !without_instance.is_empty() {
        let given = clusters
            .iter()
            .map(ClusterName::to_string)
            .collect::<Vec<_>>()
            .join(", ");
        return Err(SelectError::NeedsTwoClusters {
            given: if given.is_empty() { "none".to_owned() } else { given },
        });
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

/// Names within a third of their length of what was typed (whole, or the last `::` part), nearest first, at most three.
pub fn nearest(typed: &str, names: impl Iterator<Item = String>) -> Vec<String> {
    let typed = typed.split('[').next().unwrap_or(typed);
    let mut scored: Vec<(usize, String)> = names
        .filter_map(|name| {
            let tail = name.rsplit("::").next().unwrap_or(&name);
            let distance = edit_distance(typed, &name).min(edit_distance(typed, tail));
            (distance <= typed.chars().count().max(3) / 3).then_some((distance, name))
        })
        .collect();
    scored.sort();
    scored.into_iter().map(|(_, name)| name).take(3).collect()
}

/// Levenshtein's distance with neighbours swapped as one step (optimal string alignment), two rows at a time.
fn edit_distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut before: Vec<usize> = Vec::new();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut next = vec![i];
        for j in 1..=b.len() {
            let substituted = row[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut least = substituted.min(row[j] + 1).min(next[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                least = least.min(before[j - 2] + 1);
            }
            next.push(least);
        }
        before = std::mem::replace(&mut row, next);
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::{FakeCheck, suite};
    use meshproof_contract::{Admission, Scope};

    fn clusters(names: &[&str]) -> Vec<ClusterName> {
        names.iter().map(|name| ClusterName::from(*name)).collect()
    }
    fn suites() -> Vec<Suite> {
        let both = FakeCheck::passing("connectivity::http").scope(Scope::Direction);
        let mtu = FakeCheck::passing("connectivity::mtu").admission(Admission::Exclusive);
        let dns = FakeCheck::passing("dns::short_name");
        vec![suite("connectivity", vec![both, mtu]), suite("dns", vec![dns])]
    }
    fn names(filter: Filter, given: &[&str]) -> Result<Vec<String>, SelectError> {
        let plan = select(&suites(), &clusters(given), &filter)?;
        Ok(plan.trials().iter().map(|trial| trial.name.to_string()).collect())
    }

    #[test]
    fn everything_in_order_with_exclusive_ones_last() {
        assert_eq!(
            names(Filter::default(), &["infra", "apps"]).expect("a plan"),
            [
                "connectivity::http[infra->apps]",
                "connectivity::http[apps->infra]",
                "dns::short_name[infra]",
                "dns::short_name[apps]",
                "connectivity::mtu[infra]",
                "connectivity::mtu[apps]",
            ]
        );
    }

    #[test]
    fn patterns_skips_and_suites_combine() {
        let filter = Filter {
            patterns: vec!["http".into(), "dns".into()],
            skip: vec!["apps]".into()],
            ..Filter::default()
        };
        assert_eq!(
            names(filter, &["infra", "apps"]).expect("a plan"),
            ["connectivity::http[apps->infra]", "dns::short_name[infra]"]
        );
        let filter = Filter {
            suites: vec!["dns".into()],
            ..Filter::default()
        };
        assert_eq!(names(filter, &["infra"]).expect("a plan"), ["dns::short_name[infra]"]);
    }

    #[test]
    fn exact_takes_a_trial_or_a_whole_check() {
        let exact = |pattern: &str| {
            let filter = Filter {
                patterns: vec![pattern.into()],
                exact: true,
                ..Filter::default()
            };
            names(filter, &["infra", "apps"])
        };
        assert_eq!(
            exact("connectivity::http[apps->infra]").expect("a plan"),
            ["connectivity::http[apps->infra]"]
        );
        assert_eq!(exact("connectivity::http").expect("a plan").len(), 2);
        assert!(exact("connectivity").is_err());
    }

    #[test]
    fn an_unknown_suite_is_a_usage_error_that_names_the_close_ones() {
        let filter = Filter {
            suites: vec!["conectivity".into()],
            ..Filter::default()
        };
        let error = names(filter, &["infra"]).expect_err("unknown");
        assert_eq!(
            error.to_string(),
            "there is no suite 'conectivity'; did you mean connectivity?"
        );
        assert_eq!(error.exit(), Exit::Usage);
        let filter = Filter {
            suites: vec!["zzz".into()],
            ..Filter::default()
        };
        let error = names(filter, &["infra"]).expect_err("unknown");
        assert_eq!(
            error.to_string(),
            "there is no suite 'zzz'; did you mean connectivity, dns?"
        );
    }

    #[test]
    fn matching_nothing_is_exit_4() {
        let filter = Filter {
            patterns: vec!["shortname".into()],
            ..Filter::default()
        };
        let error = names(filter, &["infra"]).expect_err("nothing");
        assert_eq!(
            error.to_string(),
            "no check matches 'shortname'; did you mean dns::short_name?; `--list` shows all names"
        );
        assert_eq!(error.exit(), Exit::TooLittle);
    }

    #[test]
    fn one_cluster_leaves_no_direction() {
        let filter = Filter {
            patterns: vec!["http".into()],
            ..Filter::default()
        };
        let error = names(filter, &["infra"]).expect_err("no direction");
        assert!(error.to_string().contains("only infra was given"), "{error}");
        let plan = select(&suites(), &clusters(&["infra"]), &Filter::default()).expect("the others run");
        assert_eq!(plan.without_instance(), ["connectivity::http".into()]);
    }

    #[test]
    fn the_list_is_libtests() {
        let filter = Filter {
            suites: vec!["dns".into()],
            ..Filter::default()
        };
        let plan = select(&suites(), &clusters(&["infra", "apps"]), &filter).expect("a plan");
        assert_eq!(
            plan.list(),
            "dns::short_name[infra]: test\ndns::short_name[apps]: test\n"
        );
    }

    #[test]
    fn edit_distances() {
        assert_eq!(edit_distance("kitten", "sitting"), 3);
        assert_eq!(edit_distance("", "abc"), 3);
        assert_eq!(edit_distance("same", "same"), 0);
    }
}
