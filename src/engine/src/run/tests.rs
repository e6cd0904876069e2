//! Whole runs of fake checks, through libtest-mimic.

use super::*;
use crate::{
    fake::{FakeCheck, FakeEnvironment, suite},
    selection::{Filter, select},
};
use meshproof_contract::Admission;
use meshproof_contract::run_state::Counts;
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};
use tokio::sync::mpsc::unbounded_channel;

fn run_all(checks: Vec<FakeCheck>, printer: Printer, jobs: usize) -> (Summary, Vec<Event>) {
    run_sharing(Arc::default(), checks, printer, jobs)
}

fn run_sharing(shared: Arc<RunShared>, checks: Vec<FakeCheck>, printer: Printer, jobs: usize) -> (Summary, Vec<Event>) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_time()
        .build()
        .unwrap();
    let plan = select(
        &[suite("a", checks)],
        &["infra".into(), "apps".into()],
        &[],
        &Filter::default(),
    )
    .unwrap();
    let (events, mut received) = unbounded_channel();
    let options = RunOptions {
        shared,
        jobs,
        limits: Limits {
            shared: Duration::from_secs(20),
            exclusive: Duration::from_secs(20),
        },
        fail_fast: false,
        cancel: CancellationToken::new(),
        lost: CancellationToken::new(),
        handle: runtime.handle().clone(),
        printer,
    };
    let summary = run(&plan, Arc::new(FakeEnvironment::default()), events, options);
    (summary, std::iter::from_fn(|| received.try_recv().ok()).collect())
}

/// What the trials of a counting check counted to.
fn counts(shared: &Arc<RunShared>) -> BTreeSet<String> {
    let checks = vec![FakeCheck::counting("a::count")];
    let (summary, events) = run_sharing(shared.clone(), checks, Printer::Silent, 2);
    assert_eq!(summary.counts.passed, 2);
    let witnesses = events.into_iter().filter_map(|event| match event {
        Event::TrialFinished {
            verdict: Verdict::Pass { witnesses },
            ..
        } => Some(witnesses),
        _ => None,
    });
    witnesses.flatten().map(|witness| witness.what).collect()
}

#[test]
fn runs_of_one_process_share_nothing_unless_they_share_a_deployment() {
    let set = |numbers: [&str; 2]| BTreeSet::from(numbers.map(str::to_owned));
    let (one, other) = (Arc::default(), Arc::default());
    assert_eq!(counts(&one), set(["1", "2"]));
    assert_eq!(counts(&other), set(["1", "2"]), "the second run starts from nothing");
    assert_eq!(counts(&one), set(["3", "4"]), "a run on the same deployment goes on");
}

fn mixed() -> Vec<FakeCheck> {
    vec![
        FakeCheck::passing("a::green").lasting(Duration::from_millis(20)),
        FakeCheck::failing("a::red"),
        FakeCheck::concluding("a::unsure", Verdict::inconclusive("an agent is away")),
        FakeCheck::concluding("a::skipped", Verdict::skipped("not here")),
        FakeCheck::panicking("a::broken", "oh"),
        FakeCheck::passing("a::alone")
            .admission(Admission::Exclusive)
            .lasting(Duration::from_millis(20)),
    ]
}

#[test]
fn every_trial_finishes_exactly_once_whatever_it_does() {
    for jobs in [1, 4, 100] {
        let (summary, events) = run_all(mixed(), Printer::Silent, jobs);
        let expected = Summary {
            counts: Counts {
                passed: 4,
                failed: 2,
                inconclusive: 4,
                skipped: 2,
                ..Counts::default()
            },
            interrupted: false,
        };
        assert_eq!(summary, expected);
        assert!(
            matches!(&events[0], Event::Planned { trials } if trials.len() == 12),
            "{:?}",
            events[0]
        );
        let mut finished = BTreeMap::new();
        let mut running = Vec::new();
        for event in &events {
            match event {
                Event::TrialStarted { trial } => {
                    running.push(trial.clone());
                    let alone = running.iter().all(|t| !t.as_str().contains("alone")) || running.len() == 1;
                    assert!(alone, "{running:?} at once");
                }
                Event::TrialFinished { trial, .. } => {
                    running.retain(|t| t != trial);
                    *finished.entry(trial.clone()).or_insert(0) += 1;
                }
                _ => {}
            }
        }
        assert!(
            finished.len() == 12 && finished.values().all(|n| *n == 1),
            "{finished:?}"
        );
    }
}

#[test]
fn libtests_own_report_goes_to_its_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("libtest.log");
    run_all(mixed(), Printer::File(path.clone()), 2);
    let log = std::fs::read_to_string(path).unwrap();
    assert!(log.contains("4 passed; 6 failed; 2 ignored"), "{log}");
    assert!(log.contains("expected: green"), "{log}");
}

#[test]
fn a_log_that_cannot_be_written_is_a_warning_only() {
    let (summary, events) = run_all(mixed(), Printer::File("/nonexistent/libtest.log".into()), 2);
    assert_eq!(summary.total(), 12);
    assert!(
        matches!(&events[0], Event::Warning { message } if message.contains("failed to write")),
        "{events:?}"
    );
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_under_libtests_log_does_not_lose_a_verdict() {
    let (summary, events) = run_all(mixed(), Printer::File("/dev/full".into()), 2);
    assert_eq!(summary.total(), 12);
    let warned = events
        .iter()
        .any(|e| matches!(e, Event::Warning { message } if message.contains("failed to write its log")));
    assert!(warned, "{events:?}");
}
