//! The texts of checks say something, in plain words, and name a command.

use super::assert_none;
use crate::ALL;
use meshproof_contract::{CheckText, Thresholds};
use std::collections::BTreeMap;

fn fields(text: CheckText) -> [(&'static str, &'static str); 5] {
    [
        ("title", text.title),
        ("proves", text.proves),
        ("how", text.how),
        ("control", text.control),
        ("when_red", text.when_red),
    ]
}

/// Turns of phrase that are not plain technical English, with what to write.
const UNPLAIN: [(&str, &str); 14] = [
    (" is no ", "is not a"),
    (" are no ", "are not"),
    (" told", "reported, named"),
    (" tells", "reports, names, shows"),
    (" felt", "noticed, took effect"),
    (" stood", "was established"),
    (" anew", "again"),
    (" mend", "heal, repair"),
    ("by the word of", "according to"),
    ("in a word", "in short"),
    ("second look", "retry"),
    ("first look", "first probe"),
    (" ward", "subject pod"),
    ("looked at again", "probed again"),
];

#[test]
fn every_text_says_something_in_plain_words() {
    let mut shortcomings = Vec::new();
    for check in ALL.iter().flat_map(|suite| suite.checks) {
        let id = check.id();
        for (field, text) in fields(check.text()) {
            if text.len() <= 20 {
                shortcomings.push(format!("{id}: `{field}` says nothing: {text:?}"));
            }
            if text.contains("  ") {
                shortcomings.push(format!("{id}: `{field}` has two spaces in a row: {text}"));
            }
            for (phrase, instead) in UNPLAIN.iter().filter(|(phrase, _)| text.contains(phrase)) {
                let phrase = phrase.trim();
                shortcomings.push(format!("{id}: `{field}` says \"{phrase}\"; write: {instead}"));
            }
        }
    }
    assert_none(&shortcomings);
}

#[test]
fn titles_are_short_unique_and_state_no_limit() {
    let mut shortcomings = Vec::new();
    let mut titles = BTreeMap::new();
    for check in ALL.iter().flat_map(|suite| suite.checks) {
        let (id, title) = (check.id(), check.text().title);
        if title.ends_with('.') || title.len() >= 100 {
            shortcomings.push(format!(
                "{id}: a title is at most 99 characters without a full stop: {title}"
            ));
        }
        if states_a_limit(title) {
            shortcomings.push(format!("{id}: `thresholds` can change the limit in the title: {title}"));
        }
        if let Some(other) = titles.insert(title, id.clone()) {
            shortcomings.push(format!("{id}: {other} has the same title: {title}"));
        }
    }
    assert_none(&shortcomings);
}

/// Whether a default of the thresholds is in it, such as `10 s` or `99.9 %`.
fn states_a_limit(title: &str) -> bool {
    let thresholds = serde_json::to_value(Thresholds::default()).expect("thresholds are plain data");
    let limits = thresholds.as_object().into_iter().flat_map(|limits| limits.values());
    let title = title.replace(' ', "");
    let mut limits = limits.filter_map(|limit| limit.as_str());
    limits.any(|limit| {
        let mut before = title
            .match_indices(limit)
            .map(|(at, _)| title[..at].trim_end_matches(','));
        before.any(|before| !before.ends_with(|c: char| c.is_ascii_digit()))
    })
}

#[test]
fn every_check_names_the_next_command() {
    let mut shortcomings = Vec::new();
    for check in ALL.iter().flat_map(|suite| suite.checks) {
        if check.text().when_red.matches('`').count() < 2 {
            shortcomings.push(format!("{}: `when_red` names no command in backticks", check.id()));
        }
    }
    assert_none(&shortcomings);
}

#[test]
fn limits_in_titles_are_found() {
    for title in [
        "Round trips take less than 100 ms",
        "Changes arrive in time (10 s)",
        "99.9 % of requests succeed",
    ] {
        assert!(states_a_limit(title), "{title}");
    }
    for title in [
        "Handshakes are younger than 180 s",
        "1,000 round trips",
        "1,100 ms",
        "99 % of lookups",
    ] {
        assert!(!states_a_limit(title), "{title}");
    }
}
