//! For test targets with `harness = false`: libtest's arguments, its list format, and tests that are ignored because
//! the machine cannot run them.

use crate::{plan::Plan, selection::Filter};
use libtest_mimic::{Arguments, Completion, Trial};
use std::ffi::OsString;

/// The command line of a test target, as `cargo test` and `cargo nextest` give it.
#[derive(Clone, Debug)]
pub struct TestArguments(Arguments);

impl TestArguments {
    /// The arguments of this process; prints help or an error and exits when they are not libtest's.
    pub fn from_env() -> Self {
        Self(Arguments::from_args())
    }
    /// These arguments, the first of which is the program's name.
    pub fn from_words<T: Into<OsString> + Clone>(words: impl IntoIterator<Item = T>) -> Self {
        Self(Arguments::from_iter(words))
    }
    /// What they select.
    pub fn filter(&self) -> Filter {
        Filter {
            patterns: self.0.filter.iter().cloned().collect(),
            skip: self.0.skip.clone(),
            exact: self.0.exact,
            suites: Vec::new(),
        }
    }
    /// What to print instead of running, for `--list`: none when trials are to run. No trial is marked as ignored
    /// beforehand, so `--list --ignored`, which nextest asks for too, is empty.
    pub fn listing(&self, plan: &Plan) -> Option<String> {
        self.0
            .list
            .then(|| if self.0.ignored { String::new() } else { plan.list() })
    }
    /// Whether only tests marked as ignored are wanted, of which there are none.
    pub fn only_ignored(&self) -> bool {
        self.0.ignored
    }
    /// `--test-threads`.
    pub fn jobs(&self) -> Option<usize> {
        self.0.test_threads
    }

    /// For the printer alone: the plan has been filtered already.
    pub(crate) fn for_printing(&self) -> Arguments {
        Arguments {
            filter: None,
            skip: Vec::new(),
            list: false,
            ignored: false,
            ..self.0.clone()
        }
    }
}

/// Reports every trial of the plan as ignored for this reason, on stdout as the arguments ask.
pub fn ignore_all(plan: &Plan, arguments: &TestArguments, reason: &str) {
    let trials = plan
        .trials()
        .iter()
        .map(|trial| {
            let reason = reason.to_owned();
            Trial::ignorable_test(trial.name.to_string(), move || Ok(Completion::ignored_with(reason)))
        })
        .collect();
    let conclusion = libtest_mimic::run(&arguments.for_printing(), trials);
    debug_assert!(!conclusion.has_failed(), "ignored tests cannot fail");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        fake::{FakeCheck, suite},
        selection::select,
    };

    #[test]
    fn nextest_lists_and_runs_single_trials() {
        let suites = [suite("a", vec![FakeCheck::passing("a::b"), FakeCheck::passing("a::c")])];
        let all = select(&suites, &["infra".into()], &[], &Filter::default()).expect("a plan");
        let list = TestArguments::from_words(["t", "--list", "--format", "terse"]);
        assert_eq!(
            list.listing(&all).as_deref(),
            Some("a::b[infra]: test\na::c[infra]: test\n")
        );
        let ignored = TestArguments::from_words(["t", "--list", "--format", "terse", "--ignored"]);
        assert_eq!(ignored.listing(&all).as_deref(), Some(""));
        let one = TestArguments::from_words(["t", "a::c[infra]", "--exact", "--nocapture"]);
        assert_eq!(one.listing(&all), None);
        let plan = select(&suites, &["infra".into()], &[], &one.filter()).expect("a plan");
        assert_eq!(plan.list(), "a::c[infra]: test\n");
    }
}
