use super::*;

/// Of every 100 faults, so many are first when their own signature is what a run saw, and so many among three.
const FIRST: usize = 65;
const AMONG_THREE: usize = 90;

fn row(of: &str, red: &[&str], green: &[&str]) -> Signature {
    let check = |check: &&str| CheckId::from(*check);
    Signature {
        fault: of.to_owned(),
        of: of.to_owned(),
        profile: "tunnel".to_owned(),
        what: format!("{of} is wrong"),
        red: red.iter().map(|red| (check(red), BTreeSet::new())).collect(),
        unsure: BTreeSet::new(),
        green: green.iter().map(check).collect(),
        place: None,
    }
}

fn signatures() -> Signatures {
    Signatures {
        rows: vec![
            row("path", &["a::one", "a::two", "a::three"], &["b::one", "b::two"]),
            row("dns", &["b::one", "b::two"], &["a::one", "a::two", "a::three"]),
            row("dns-slow", &["b::one"], &["a::one", "b::two"]),
        ],
    }
}

fn seen(red: &[&str], green: &[&str]) -> Seen {
    let check = |check: &&str| CheckId::from(*check);
    Seen {
        red: red.iter().map(|red| (check(red), BTreeSet::new())).collect(),
        green: green.iter().map(check).collect(),
        ..Seen::default()
    }
}

fn names(red: &[&str], green: &[&str]) -> Vec<String> {
    let known = signatures();
    let found = diagnose(&seen(red, green), &known);
    found.iter().map(|found| found.best.0.of.clone()).collect()
}

#[test]
fn one_fault_is_told_as_one_and_two_as_two() {
    assert_eq!(
        names(&["a::one", "a::two", "a::three"], &["b::one", "b::two"]),
        ["path"]
    );
    assert_eq!(names(&["b::one", "b::two"], &["a::one", "a::two", "a::three"]), ["dns"]);
    assert_eq!(names(&["b::one"], &["b::two"]), ["dns-slow"]);
    assert_eq!(
        names(&["a::one", "a::two", "a::three", "b::one", "b::two"], &[]),
        ["path", "dns"]
    );
}

#[test]
fn what_fits_nothing_is_not_named() {
    assert_eq!(names(&["c::new"], &["a::one", "b::one"]), [""; 0]);
    // One of three that should be red, and the others are green.
    assert_eq!(names(&["a::one"], &["a::two", "a::three"]), [""; 0]);
}

#[test]
fn faults_that_fit_alike_are_both_named_with_what_would_tell_them_apart() {
    let shared = ["a::one", "a::two", "a::three", "a::four"];
    let known = Signatures {
        rows: vec![
            row("this", &[&shared[..], &["b::one"]].concat(), &["c::one"]),
            row("that", &[&shared[..], &["c::one"]].concat(), &["b::one"]),
        ],
    };
    let seen = seen(&shared, &[]);
    let found = diagnose(&seen, &known);
    let close: Vec<&str> = found[0].close.iter().map(|(row, _)| row.of.as_str()).collect();
    assert_eq!((found[0].best.0.of.as_str(), close), ("that", vec!["this"]));
    let instead: Vec<_> = found[0].close.iter().collect();
    let expected: [CheckId; 2] = ["b::one".into(), "c::one".into()];
    assert_eq!(apart(found[0].best.0, &instead, &seen), expected);
}

#[test]
fn a_run_without_a_red_check_has_none_and_one_with_says_so_in_a_sentence() {
    use crate::{Event, EventRecord, Finding};
    let ended = |trial: &str, verdict| EventRecord {
        at: "2026-12-01T00:00:00Z".parse().expect("a time"),
        event: Event::TrialFinished {
            trial: trial.into(),
            verdict,
            micros: 0,
            measurements: Vec::new(),
            evidence: Vec::new(),
            silent: Vec::new(),
            waiver: None,
        },
    };
    let mut state = RunState::default();
    state.handle(&ended("b::two[infra]", Verdict::Pass { witnesses: Vec::new() }));
    assert_eq!(state.diagnosis_by(&signatures()), None);
    let finding = Finding {
        subject: String::new(),
        expected: String::new(),
        observed: String::new(),
    };
    state.handle(&ended(
        "b::one[infra]",
        Verdict::Fail {
            findings: vec![finding],
        },
    ));
    let diagnosis = state.diagnosis_by(&signatures()).expect("a red check");
    assert_eq!(
        diagnosis.sentences(),
        ["likely cause: dns-slow is wrong (`dns-slow`, 1.00); it explains 1 of 1 red check"]
    );
}

/// How often the cause is named, where each fault that is built in is what a run saw. An upper bound: places that a
/// signature has not seen are told less well.
#[test]
fn the_faults_that_are_built_in_are_told_from_each_other() {
    let known = Signatures::known();
    let (mut first, mut among, mut all) = (0, 0, 0);
    let mut missed = Vec::new();
    for row in known.rows.iter().filter(|row| !row.red.is_empty()) {
        let seen = Seen {
            red: row.red.clone(),
            unsure: row.unsure.clone(),
            green: row.green.clone(),
            place: row.place.clone(),
        };
        let found = diagnose(&seen, known);
        let Some(found) = found.first() else {
            missed.push(format!("{}: nothing", row.fault));
            all += 1;
            continue;
        };
        let named = std::iter::once(&found.best).chain(&found.close).take(SUSPECTS);
        let position = named.map(|(named, _)| named.of.as_str()).position(|of| of == row.of);
        all += 1;
        first += usize::from(position == Some(0));
        among += usize::from(position.is_some());
        if position != Some(0) {
            missed.push(format!("{}: {} {position:?}", row.fault, found.best.0.fault));
        }
    }
    assert!(
        first * 100 >= all * FIRST && among * 100 >= all * AMONG_THREE,
        "{first} of {all} first, {among} among three; not first:\n{}",
        missed.join("\n")
    );
}
