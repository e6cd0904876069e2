//! Plans of a few fake checks.

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
    let plan = select(&suites(), &clusters(given), &[], &filter)?;
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
        "unknown suite 'conectivity'; did you mean connectivity?"
    );
    assert_eq!(error.exit(), Exit::Usage);
    let filter = Filter {
        suites: vec!["zzz".into()],
        ..Filter::default()
    };
    let error = names(filter, &["infra"]).expect_err("unknown");
    assert_eq!(
        error.to_string(),
        "unknown suite 'zzz'; did you mean connectivity, dns?"
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
        "no check matches 'shortname'; did you mean dns::short_name?; `--list` prints all names"
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
    let plan = select(&suites(), &clusters(&["infra"]), &[], &Filter::default()).expect("the others run");
    assert_eq!(plan.without_instance(), ["connectivity::http".into()]);
}

#[test]
fn the_list_is_libtests() {
    let filter = Filter {
        suites: vec!["dns".into()],
        ..Filter::default()
    };
    let plan = select(&suites(), &clusters(&["infra", "apps"]), &[], &filter).expect("a plan");
    assert_eq!(
        plan.list(),
        "dns::short_name[infra]: test\ndns::short_name[apps]: test\n"
    );
}

#[test]
fn the_nearest_names_come_first_and_swapped_letters_are_near() {
    let near = |typed: &str, names: &[&str]| nearest(typed, names.iter().map(|name| (*name).to_owned()));
    assert_eq!(
        near("htpt", &["connectivity::http", "dns::names"]),
        ["connectivity::http"]
    );
    assert_eq!(
        near("reach[infra]", &["a::teach", "a::reach"]),
        ["a::reach", "a::teach"]
    );
    assert_eq!(near("zzz", &["a::reach"]), [""; 0]);
}
