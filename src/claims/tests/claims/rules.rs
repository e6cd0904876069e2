//! Every rule has a repository that breaks it and one that does not: `testdata/rules/ID.txt`, or the `breaks` and
//! `holds` of `data/settings.yaml`.

use crate::repository::Repository;
use meshproof_claims::{
    Report,
    rules::{ALL, described, settings::settings},
};
use std::{collections::BTreeSet, fs, path::PathBuf};

fn has(report: &Report, rule: &str) -> bool {
    report.findings.iter().any(|finding| finding.rule == rule)
}

/// The two repositories of a file: `=== both: PATH`, `=== breaks: PATH` and `=== holds: PATH` begin its files.
fn repositories(text: &str) -> (Repository, Repository) {
    let (breaks, holds) = (Repository::new(), Repository::new());
    for file in text.split("=== ").skip(1) {
        let (head, text) = file.split_once('\n').expect("a head");
        let (which, path) = head.split_once(": ").expect("which repository, and the path");
        assert!(["both", "breaks", "holds"].contains(&which), "{which}");
        if which != "holds" {
            breaks.write(path, text);
        }
        if which != "breaks" {
            holds.write(path, text);
        }
    }
    (breaks, holds)
}

#[test]
fn every_rule_finds_what_breaks_it_and_nothing_else() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("testdata/rules");
    let mut wrong = Vec::new();
    for rule in ALL {
        let path = folder.join(rule.id).with_extension("txt");
        let Ok(text) = fs::read_to_string(&path) else {
            wrong.push(format!("{}: no {}", rule.id, path.display()));
            continue;
        };
        let (breaks, holds) = repositories(&text);
        if !has(&breaks.check(), rule.id) {
            wrong.push(format!(
                "{}: not found where it is broken: {:?}",
                rule.id,
                breaks.check().findings
            ));
        }
        let report = holds.check();
        if !report.findings.is_empty() {
            wrong.push(format!("{}: found where all is well: {:?}", rule.id, report.findings));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_rule_about_settings_finds_what_breaks_it_and_nothing_else() {
    let mut wrong = Vec::new();
    for setting in settings() {
        let check = |values: &str| {
            let repository = Repository::new();
            repository.write("clusters/infra/cilium-values.yaml", values);
            repository.check()
        };
        let (breaks, holds) = (check(&setting.breaks.inline()), check(&setting.holds.inline()));
        if !has(&breaks, &setting.id) {
            wrong.push(format!("{}: not found in {}", setting.id, setting.breaks.inline()));
        }
        if has(&holds, &setting.id) {
            wrong.push(format!("{}: found in {}", setting.id, setting.holds.inline()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_rule_has_a_name_of_its_own_and_a_reason() {
    let rules = described();
    let names: BTreeSet<_> = rules.iter().map(|rule| rule.id.as_str()).collect();
    assert_eq!(names.len(), rules.len());
    for rule in &rules {
        assert!(
            rule.finds.len() > 10 && rule.reason.len() > 20 && rule.reason.ends_with(['.', ')']),
            "{rule:?}"
        );
        assert!(
            rule.id
                .chars()
                .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-'),
            "{}",
            rule.id
        );
    }
}

#[test]
fn no_file_of_a_rule_is_left_over() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("testdata/rules");
    for entry in fs::read_dir(folder).expect("the folder") {
        let name = entry.expect("an entry").file_name().into_string().expect("text");
        let id = name.strip_suffix(".txt").expect(".txt");
        assert!(ALL.iter().any(|rule| rule.id == id), "{id}");
    }
}
