//! Every check is in its suite's list, once, under a well-formed id, and names faults that prove it.

use super::{assert_none, sources::sources};
use crate::ALL;
use std::collections::BTreeSet;

fn is_snake(word: &str) -> bool {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    !word.is_empty() && word.chars().all(plain)
}

fn is_kebab(word: &str) -> bool {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    !word.starts_with('-') && !word.is_empty() && word.chars().all(plain)
}

#[test]
fn ids_are_unique_and_belong_to_their_suite() {
    let mut shortcomings = Vec::new();
    let mut seen = BTreeSet::new();
    for suite in ALL {
        if suite.checks.is_empty() || suite.about.is_empty() {
            shortcomings.push(format!("suite {}: no checks or no `about`", suite.name));
        }
        for check in suite.checks {
            let id = check.id();
            if id.suite() != suite.name {
                shortcomings.push(format!("{id}: listed in suite {}", suite.name));
            }
            if !id.as_str().split_once("::").is_some_and(|(_, word)| is_snake(word)) {
                shortcomings.push(format!(
                    "{id}: use lower case, digits and underscores after `{}::`",
                    suite.name
                ));
            }
            if !seen.insert(id.clone()) {
                shortcomings.push(format!("{id}: listed twice"));
            }
        }
    }
    assert_none(&shortcomings);
}

#[test]
fn every_check_names_a_fault_that_turns_it_red() {
    let mut shortcomings = Vec::new();
    for check in ALL.iter().flat_map(|suite| suite.checks) {
        let id = check.id();
        if check.faults().is_empty() {
            shortcomings.push(format!("{id}: `faults` is empty, so nothing proves that it can fail"));
        }
        let faults = check.faults().iter().chain(check.blinded_by());
        for fault in faults.filter(|fault| !is_kebab(fault)) {
            shortcomings.push(format!("{id}: fault `{fault}` is not in kebab case"));
        }
    }
    assert_none(&shortcomings);
}

/// Ids are found as literals, `"suite::check"`; of a family of checks the literal may be the first part of their ids.
#[test]
fn every_check_that_is_written_is_listed() {
    let listed: Vec<String> = ALL
        .iter()
        .flat_map(|suite| suite.checks)
        .map(|check| check.id().as_str().to_owned())
        .collect();
    let mut shortcomings = Vec::new();
    for source in sources() {
        let Some(suite) = ALL
            .iter()
            .find(|suite| source.module.first().is_some_and(|room| room == suite.name))
        else {
            continue;
        };
        for literal in source.code().split('"').skip(1).step_by(2) {
            let is_id = literal
                .strip_prefix(suite.name)
                .and_then(|rest| rest.strip_prefix("::"))
                .is_some_and(is_snake);
            if is_id && !listed.iter().any(|id| id.starts_with(literal)) {
                let (path, suite) = (&source.path, suite.name);
                shortcomings.push(format!("{path}: {literal} is not in the list of suites/src/{suite}.rs"));
            }
        }
    }
    assert_none(&shortcomings);
}

#[test]
fn every_file_is_part_of_the_crate() {
    let sources = sources();
    let mut shortcomings = Vec::new();
    for source in &sources {
        let Some((name, parent)) = source.module.split_last() else {
            continue;
        };
        let parent = sources.iter().find(|source| source.module == parent);
        let declared = parent.is_some_and(|parent| {
            let mut lines = parent.text.lines();
            lines.any(|line| line.trim_start().ends_with(&format!("mod {name};")))
        });
        if !declared {
            let parent = parent.map_or("its folder's module", |parent| parent.path.as_str());
            shortcomings.push(format!(
                "{}: not compiled; add `pub mod {name};` to {parent}",
                source.path
            ));
        }
    }
    assert_none(&shortcomings);
}
