use super::*;
use crate::{fixture, schema::gate_schema};
use meshproof_contract::{Distribution, Finding, Measurement, Unit, Verdict, Witness};

fn green() -> RunReport {
    let mut report = fixture::log("green");
    report.run = "before".into();
    report
}

/// The same run later, with a trial changed.
fn later(change: impl FnOnce(&mut crate::model::TrialReport)) -> RunReport {
    let mut report = green();
    report.run = "now".into();
    change(&mut report.suites[0].trials[0]);
    report
}

fn failed() -> Verdict {
    Verdict::Fail {
        findings: vec![Finding {
            subject: "infra-1 -> apps-2".to_owned(),
            expected: "an answer".to_owned(),
            observed: "no answer".to_owned(),
        }],
    }
}

fn passed() -> Verdict {
    Verdict::Pass {
        witnesses: vec![Witness {
            what: "36 of 36".to_owned(),
        }],
    }
}

#[track_caller]
fn decides(before: &[RunReport], now: &RunReport, decision: Decision, reason: &str) -> GateReport {
    let report = compare(before, now);
    let reasons: Vec<&str> = report.reasons.iter().map(|reason| reason.text.as_str()).collect();
    assert_eq!(report.decision, decision, "{reasons:?}");
    assert!(reasons.iter().any(|text| text.contains(reason)), "{reasons:?}");
    for (text, word) in [
        (text(&report), decision.to_string()),
        (markdown(&report), decision.to_string()),
    ] {
        assert!(
            text.contains(&word) && text.contains(reason.split_once(' ').map_or("", |(_, rest)| rest)),
            "{text}"
        );
    }
    let schema = gate_schema();
    let schema = jsonschema::validator_for(schema.as_value()).expect("a schema");
    let value = serde_json::from_str(&report.json()).expect("JSON");
    let errors: Vec<String> = schema.iter_errors(&value).map(|error| error.to_string()).collect();
    assert_eq!(errors, Vec::<String>::new());
    report
}

#[test]
fn an_equal_run_is_a_go_that_says_what_was_compared() {
    decides(&[green()], &later(|_| {}), Decision::Go, "none of ");
}

#[test]
fn a_new_failure_is_a_no_go_and_an_old_one_is_told() {
    let broken = later(|trial| trial.verdict = failed());
    decides(&[green()], &broken, Decision::NoGo, "1 check newly failed");
    let report = decides(std::slice::from_ref(&broken), &broken, Decision::Go, "none of ");
    assert_eq!(report.of(ChangeKind::StillFailing).count(), 1);
    let report = decides(&[broken], &green(), Decision::Go, "none of ");
    assert_eq!(report.of(ChangeKind::Fixed).count(), 1);
}

#[test]
fn what_could_not_tell_is_told_and_failures_weigh_more() {
    let unsure = later(|trial| trial.verdict = Verdict::inconclusive("an agent is away"));
    decides(&[green()], &unsure, Decision::CannotTell, "1 check newly inconclusive");
    let mut both = unsure;
    both.suites[0].trials[1].verdict = failed();
    decides(&[green()], &both, Decision::NoGo, "1 check newly inconclusive");
}

#[test]
fn a_check_that_no_longer_runs_is_coverage_lost() {
    let skipped = later(|trial| trial.verdict = Verdict::skipped("not claimed"));
    decides(&[green()], &skipped, Decision::NoGo, "1 check ran before and not now");
    let mut gone = later(|_| {});
    gone.suites[0].trials.remove(0);
    decides(&[green()], &gone, Decision::NoGo, "1 check ran before and not now");
    gone.ending = Ending::Aborted {
        reason: "interrupted".to_owned(),
    };
    decides(
        &[green()],
        &gone,
        Decision::CannotTell,
        "did not come to its end: interrupted",
    );
    // What was skipped then is not missed now.
    decides(std::slice::from_ref(&skipped), &skipped, Decision::Go, "none of ");
}

#[test]
fn of_several_runs_the_latest_that_could_tell_counts() {
    let mut runs = [green(), green(), green()];
    for (index, run) in runs.iter_mut().enumerate() {
        run.started = Some(jiff::Timestamp::from_second(index as i64).expect("a time"));
    }
    runs[0].suites[0].trials[0].verdict = failed();
    runs[2].suites[0].trials[0].verdict = Verdict::inconclusive("an agent is away");
    let report = decides(
        &runs,
        &later(|trial| trial.verdict = failed()),
        Decision::NoGo,
        "1 check newly failed",
    );
    let change = report.of(ChangeKind::NewFailure).next().expect("a failure");
    assert_eq!((change.before.as_str(), change.failed_before), ("passed", 1));
}

#[test]
fn nothing_in_common_and_no_whole_baseline_cannot_be_told() {
    let mut cut = green();
    cut.ending = Ending::Cut;
    decides(
        &[cut],
        &later(|_| {}),
        Decision::CannotTell,
        "no run of the baseline came to its end",
    );
    let mut other = green();
    for trial in other.suites.iter_mut().flat_map(|suite| &mut suite.trials) {
        trial.trial = "other::check[infra]".into();
        trial.verdict = passed();
    }
    let mut nothing = other.clone();
    nothing.suites.clear();
    decides(
        &[nothing],
        &other,
        Decision::CannotTell,
        "no check was observed in both",
    );
}

/// A run whose first trial has these round trips, in microseconds.
fn round_trips(values: impl IntoIterator<Item = u64>, lag: f64) -> RunReport {
    let latencies = Distribution::of(values).expect("samples");
    later(|trial| {
        let lag = Measurement {
            name: "generator_lag".to_owned(),
            subject: "a".into(),
            value: lag,
            unit: Unit::Microseconds,
            distribution: None,
        };
        trial.measurements = vec![Measurement::of_latencies("round_trip", "a", latencies), lag];
    })
}

#[test]
fn a_latency_that_rises_is_a_no_go_by_name() {
    let before = round_trips(400..1400, 0.0);
    let report = decides(
        std::slice::from_ref(&before),
        &round_trips(100_400..101_400, 0.0),
        Decision::NoGo,
        "1 figure became worse",
    );
    let figure = report.figures(Meaning::Regression).next().expect("a figure");
    let told = figure.to_string();
    assert!(
        told.starts_with("round_trip of ") && told.contains("now (100 and 100 samples, effect 1.00"),
        "{told}"
    );
    assert!(figure.p < 1e-6 && figure.effect > 0.99);
    let back = compare(&[round_trips(100_400..101_400, 0.0)], &before);
    assert_eq!(
        (back.decision, back.figures(Meaning::Improvement).count()),
        (Decision::Go, 1)
    );
}

#[test]
fn a_small_rise_few_samples_and_a_late_client_are_no_regression() {
    let before = [round_trips(400..1400, 0.0)];
    for (now, informs) in [
        (round_trips(600..1600, 0.0), 0),
        (round_trips((0..15).map(|n| 100_000 + n), 0.0), 1),
        (round_trips(50_000..51_000, 60_000.0), 1),
    ] {
        let report = compare(&before, &now);
        assert_eq!(report.decision, Decision::Go, "{:?}", report.figures);
        assert_eq!(report.figures(Meaning::Informs).count(), informs);
    }
}

#[test]
fn losses_are_counted_in_probes() {
    let lossy = |lost: f64| {
        let mut report = round_trips(400..1400, 0.0);
        report.suites[0].trials[0].measurements.push(Measurement {
            name: "loss".to_owned(),
            subject: "a".into(),
            value: lost,
            unit: Unit::Ratio,
            distribution: None,
        });
        report
    };
    decides(&[lossy(0.0)], &lossy(0.02), Decision::NoGo, "1 figure became worse");
    decides(&[lossy(0.0)], &lossy(0.0005), Decision::Go, "none of ");
}

#[test]
fn a_claim_that_is_no_longer_made_is_a_no_go() {
    let claim = meshproof_contract::Claim {
        cluster: "infra".into(),
        kind: meshproof_contract::ClaimKind::Encryption,
        value: "wireguard".to_owned(),
        source: meshproof_contract::ClaimSource::Live { object: String::new() },
    };
    let with = |claims: Vec<meshproof_contract::Claim>| {
        let mut report = later(|_| {});
        report.facts.get_or_insert_default().claims = claims;
        report
    };
    let report = decides(
        &[with(vec![claim])],
        &with(Vec::new()),
        Decision::NoGo,
        "1 claim no longer made",
    );
    assert_eq!(report.claims[0].now, "not claimed");
}

#[test]
fn the_page_stays_below_what_such_places_take() {
    let mut report = compare(&[green()], &later(|trial| trial.verdict = failed()));
    let mut change = report.trials[0].clone();
    change.why = "|ü\n".repeat(3000);
    report.trials = KINDS_OF_CHANGE
        .iter()
        .flat_map(|kind| {
            vec![
                TrialChange {
                    kind: *kind,
                    ..change.clone()
                };
                100
            ]
        })
        .collect();
    let text = markdown(&report);
    assert!(text.len() < 65_535, "{} bytes", text.len());
}

const KINDS_OF_CHANGE: [ChangeKind; 9] = [
    ChangeKind::NewFailure,
    ChangeKind::MorePlaces,
    ChangeKind::CoverageLost,
    ChangeKind::NewInconclusive,
    ChangeKind::StillFailing,
    ChangeKind::StillInconclusive,
    ChangeKind::Waived,
    ChangeKind::Fixed,
    ChangeKind::NewCheck,
];
