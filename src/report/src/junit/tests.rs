//! What people's CI needs of the file.

use super::*;
use crate::fixture;
use meshproof_contract::{Event, EventRecord, Evidence, Finding, run_state::Counts};
use proptest::prelude::*;
use quick_junit::Report as Junit;
use std::{collections::HashSet, io::Write, process::Command};

fn parsed(report: &RunReport) -> Junit {
    Junit::deserialize_from_str(&junit(report)).expect("well-formed JUnit")
}

/// Checks with `xmllint` against the schema in testdata, where it is installed.
fn validate(xml: &str) {
    let mut file = tempfile::NamedTempFile::new().expect("a file");
    file.write_all(xml.as_bytes()).expect("written");
    let schema = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/junit-10.xsd");
    let run = Command::new("xmllint")
        .args(["--noout", "--schema", schema])
        .arg(file.path())
        .output();
    let Ok(output) = run else {
        eprintln!("xmllint is not installed; the structure is asserted without it");
        return;
    };
    assert!(
        output.status.success(),
        "{}\n{xml}",
        String::from_utf8_lossy(&output.stderr)
    );
}

fn all_skipped() -> RunReport {
    let events: Vec<EventRecord> = fixture::mixed()
        .into_iter()
        .map(|mut record| {
            match &mut record.event {
                Event::TrialFinished { verdict, .. } => *verdict = Verdict::skipped("not claimed: anything"),
                Event::RunFinished { exit_code } => *exit_code = 4,
                _ => {}
            }
            record
        })
        .collect();
    RunReport::from_events(&events)
}

#[test]
fn runs_of_each_verdict_are_valid() {
    validate(&junit(&fixture::report()));
    for name in ["red", "inconclusive", "green"] {
        validate(&junit(&fixture::log(name)));
    }
}

#[test]
fn the_schema_rejects_what_it_should() {
    let found = Command::new("xmllint").arg("--version").output().is_ok();
    let nested = junit(&fixture::report()).replacen("<testcase ", "<testcase timestamp=\"x\" ", 1);
    assert!(
        !found || std::panic::catch_unwind(|| validate(&nested)).is_err(),
        "an unknown attribute must not pass"
    );
}

#[test]
fn every_shape_of_run_is_well_formed_and_none_without_proof_is_green() {
    let mixed = fixture::mixed();
    let planned = mixed
        .iter()
        .position(|e| matches!(e.event, Event::Planned { .. }))
        .expect("planned");
    let aborted = EventRecord {
        at: mixed[0].at,
        event: Event::Aborted {
            reason: "infra: connection refused".into(),
            exit_code: 3,
        },
    };
    let empty = RunReport::from_events(&[]);
    let shapes = [
        (empty, "nothing at all"),
        (RunReport::from_events(&mixed[..1]), "killed at once"),
        (RunReport::from_events(&mixed[..planned + 3]), "killed in the middle"),
        (RunReport::from_events([&mixed[0], &aborted]), "aborted"),
        (all_skipped(), "all skipped"),
    ];
    for (report, shape) in shapes {
        let xml = junit(&report);
        validate(&xml);
        let parsed = parsed(&report);
        assert!(
            parsed.errors + parsed.failures > 0,
            "{shape} must not look green:\n{xml}"
        );
    }
}

#[test]
fn a_green_run_has_no_red_element() {
    let mut report = fixture::report();
    for suite in &mut report.suites {
        suite
            .trials
            .retain(|trial| matches!(trial.verdict, Verdict::Pass { .. }));
        suite.counts = Counts::of(suite.trials.iter().map(TrialReport::standing));
    }
    report.counts = Counts::of(report.trials().map(TrialReport::standing));
    report.exit_code = 0;
    let xml = junit(&report);
    validate(&xml);
    assert!(
        !xml.contains("<failure") && !xml.contains("<error") && !xml.contains("<skipped"),
        "{xml}"
    );
}

#[test]
fn names_are_unique_and_flat_and_each_red_case_explains_itself() {
    let report = parsed(&fixture::report());
    let mut names = HashSet::new();
    for suite in &report.test_suites {
        for case in &suite.test_cases {
            let class = case.classname.clone().expect("a class").to_string();
            assert!(class.starts_with("meshproof."), "{class}");
            assert!(
                names.insert((class, case.name.to_string())),
                "twice: {}",
                case.name.as_str()
            );
            assert!(case.time.is_some(), "no time: {}", case.name.as_str());
            if let TestCaseStatus::NonSuccess {
                message,
                description,
                ty,
                ..
            } = &case.status
            {
                let (message, body) = (
                    message.as_ref().expect("a message"),
                    description.as_ref().expect("a body"),
                );
                assert!(
                    body.starts_with(message.as_str()),
                    "the body must repeat the message: {body:?}"
                );
                assert!(body.contains("again: meshproof run "), "{body:?}");
                assert!(ty.is_some());
            }
            if let TestCaseStatus::Skipped {
                message, description, ..
            } = &case.status
            {
                assert_eq!(message, description, "readers take the one or the other");
            }
        }
    }
}

#[test]
fn names_do_not_depend_on_what_happened() {
    let names = |report: &RunReport| -> Vec<String> {
        let suites = parsed(report).test_suites;
        suites
            .iter()
            .flat_map(|s| &s.test_cases)
            .map(|case| case.name.to_string())
            .collect()
    };
    assert_eq!(names(&fixture::report()), names(&all_skipped()));
}

#[test]
fn control_characters_do_not_reach_the_file() {
    let mut report = fixture::report();
    let trial = &mut report.suites[0].trials[0];
    trial.verdict = Verdict::inconclusive("\u{1b}[31mred\u{1b}[0m\u{0}\u{8}\u{fffe} & <b> ]]> \u{1f}end");
    trial.evidence = vec![Evidence::note("\u{b}bell\u{7}")];
    let xml = junit(&report);
    validate(&xml);
    let bad = |c: char| c.is_control() && !"\n\t".contains(c) || c == '\u{fffe}';
    assert!(!xml.chars().any(bad), "{:?}", xml.chars().find(|c| bad(*c)));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn whatever_a_cluster_says_the_file_can_be_read(texts in proptest::collection::vec(any::<String>(), 6)) {
        let mut report = fixture::report();
        let trial = &mut report.suites[0].trials[0];
        let finding = Finding { subject: texts[0].clone(), expected: texts[1].clone(), observed: texts[2].clone() };
        trial.verdict = Verdict::Fail { findings: vec![finding] };
        trial.evidence = vec![Evidence::note(texts[3].clone())];
        trial.title = texts[4].clone();
        report.warnings = vec![texts[5].clone()];
        let read = parsed(&report);
        prop_assert_eq!(read.failures, 2);
        prop_assert_eq!(read.test_suites[0].test_cases.len(), report.suites[0].trials.len());
    }
}
