//! What must hold of every check of every suite.

use crate::ALL;
use std::collections::BTreeSet;

#[test]
fn ids_are_unique_and_belong_to_their_suite() {
    let mut seen = BTreeSet::new();
    for suite in ALL {
        assert!(
            !suite.checks.is_empty() && !suite.about.is_empty(),
            "suite {} is empty",
            suite.name
        );
        for check in suite.checks {
            let id = check.id();
            assert_eq!(id.suite(), suite.name, "{id} stands in the list of {}", suite.name);
            let word = id.as_str().split("::").nth(1).unwrap_or_default();
            let plain = word
                .chars()
                .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
            assert!(
                plain && !word.is_empty(),
                "{id}: lower case, digits and underscores only"
            );
            assert!(seen.insert(id.clone()), "{id} occurs twice");
        }
    }
}

#[test]
fn texts_say_something_and_name_the_next_command() {
    let mut titles = BTreeSet::new();
    for check in ALL.iter().flat_map(|suite| suite.checks) {
        let (id, text) = (check.id(), check.text());
        for (what, words) in [
            ("title", text.title),
            ("proves", text.proves),
            ("how", text.how),
            ("control", text.control),
            ("when_red", text.when_red),
        ] {
            assert!(words.len() > 20, "{id}: `{what}` says nothing");
            assert!(!words.contains("  "), "{id}: `{what}` has a gap: {words}");
        }
        assert!(
            !text.title.ends_with('.') && text.title.len() < 100,
            "{id}: a title is one line without full stop"
        );
        assert!(text.when_red.contains('`'), "{id}: `when_red` names no command");
        assert!(titles.insert(text.title), "{id}: another check has this title");
    }
}

#[test]
fn every_check_names_a_fault_that_turns_it_red() {
    for check in ALL.iter().flat_map(|suite| suite.checks) {
        let id = check.id();
        assert!(
            !check.faults().is_empty(),
            "{id} names no fault, so nothing proves that it can fail"
        );
        for fault in check.faults() {
            let kebab = fault
                .chars()
                .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
            assert!(
                kebab && !fault.starts_with('-'),
                "{id}: fault {fault} is not in kebab case"
            );
        }
    }
}
