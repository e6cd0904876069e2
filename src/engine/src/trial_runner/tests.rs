//! Trials of fake checks on a paused clock.

use super::*;
use crate::fake::{FakeCheck, FakeEnvironment, trial};
use meshproof_contract::{Evidence, Witness};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

fn runner(jobs: usize) -> (TrialRunner, UnboundedReceiver<Event>) {
    let (events, received) = unbounded_channel();
    let runner = TrialRunner {
        environment: Arc::new(FakeEnvironment::default()),
        shared: Arc::default(),
        observed: Arc::default(),
        events,
        gate: Gate::new(jobs, ["infra".into()]),
        limits: Limits {
            shared: Duration::from_secs(30),
            exclusive: Duration::from_secs(70),
        },
        cancel: CancellationToken::new(),
        lost: CancellationToken::new(),
        fail_fast: false,
        state: Mutex::default(),
    };
    (runner, received)
}
fn sent(events: &mut UnboundedReceiver<Event>) -> Vec<Event> {
    std::iter::from_fn(|| events.try_recv().ok()).collect()
}
fn why(verdict: Verdict) -> String {
    match verdict {
        Verdict::Inconclusive { why } | Verdict::Skipped { why } => why,
        other => panic!("expected a reason, got {other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_pass_is_sent_with_its_notes_and_time() {
    let (runner, mut events) = runner(1);
    let check = FakeCheck::passing("a::b")
        .lasting(Duration::from_millis(1500))
        .noting("36 of 36 pairs");
    assert_eq!(runner.run(&trial(check)).await.word(), "pass");
    let sent = sent(&mut events);
    assert!(matches!(&sent[0], Event::TrialStarted { .. }), "{sent:?}");
    let Event::TrialFinished { micros, evidence, .. } = &sent[1] else {
        panic!("{sent:?}")
    };
    assert_eq!(
        (*micros, evidence.as_slice()),
        (1_500_000, [Evidence::note("36 of 36 pairs")].as_slice())
    );
    assert_eq!(runner.summary().counts.passed, 1);
}

#[tokio::test(start_paused = true)]
async fn a_deadline_is_inconclusive_and_keeps_what_was_noted() {
    let (runner, mut events) = runner(1);
    let check = FakeCheck::passing("a::b")
        .lasting(Duration::from_secs(3600))
        .noting("half of it");
    let verdict = runner.run(&trial(check)).await;
    assert_eq!(
        why(verdict),
        "timed out after 30 s, the limit for one trial (--timeout)"
    );
    let sent = sent(&mut events);
    assert!(
        matches!(&sent[1], Event::TrialFinished { micros: 30_000_000, evidence, .. } if evidence.len() == 1),
        "{sent:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_trial_that_runs_alone_has_a_limit_of_its_own() {
    let (runner, _events) = runner(1);
    let check = FakeCheck::passing("a::b")
        .admission(Admission::Exclusive)
        .lasting(Duration::from_secs(69));
    assert_eq!(runner.run(&trial(check)).await.word(), "pass");
}

#[tokio::test(start_paused = true)]
async fn what_an_aborted_trial_left_is_undone_before_the_next_one_starts() {
    for aborted in [
        FakeCheck::passing("a::slow").lasting(Duration::from_secs(3600)),
        FakeCheck::panicking("a::broken", "oh"),
    ] {
        let (mut runner, mut events) = runner(1);
        let environment = Arc::new(FakeEnvironment::recording());
        runner.environment = environment.clone();
        let slow = trial(aborted.disrupting().admission(Admission::Exclusive));
        let next = trial(
            FakeCheck::passing("a::next")
                .disrupting()
                .admission(Admission::Exclusive),
        );
        let (first, second) = tokio::join!(runner.run(&slow), runner.run(&next));
        assert_eq!((first.word(), second.word()), ("inconclusive", "pass"));
        let what = "infra: scale clustermesh-apiserver to zero";
        let calls = [
            format!("disrupt {what}"),
            format!("restore {what}"),
            format!("disrupt {what}"),
        ];
        assert_eq!(environment.calls(), calls, "and what ended by itself is left as it is");
        assert!(!sent(&mut events).iter().any(|e| matches!(e, Event::Warning { .. })));
    }
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_undone_is_a_warning_with_the_trials_name() {
    let (runner, mut events) = runner(1);
    let check = FakeCheck::panicking("a::broken", "oh").disrupting();
    runner.run(&trial(check)).await;
    let warned = sent(&mut events).into_iter().find_map(|e| match e {
        Event::Warning { message } => Some(message),
        _ => None,
    });
    let warned = warned.expect("a warning");
    assert!(
        warned.starts_with("a::broken[infra]: failed to undo its changes"),
        "{warned}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_lost_lease_ends_the_run_as_one_that_cannot_tell() {
    let (runner, _events) = runner(1);
    let running = trial(FakeCheck::passing("a::long").lasting(Duration::from_secs(20)));
    let waiting = trial(FakeCheck::passing("a::next").admission(Admission::Exclusive));
    let (first, second, ()) = tokio::join!(runner.run(&running), runner.run(&waiting), async {
        tokio::time::sleep(Duration::from_secs(2)).await;
        runner.lost.cancel();
    });
    let (first, second) = (why(first), why(second));
    assert!(
        first.starts_with("stopped after 2 s: the run lost its Lease"),
        "{first}"
    );
    assert!(
        second.starts_with("stopped before it started: the run lost its Lease"),
        "{second}"
    );
    assert_eq!(runner.summary().exit().code(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_panic_is_inconclusive_with_its_message() {
    let (runner, _events) = runner(1);
    let why = why(runner
        .run(&trial(FakeCheck::panicking("a::b", "index out of bounds")))
        .await);
    assert!(
        why == "internal error: the check panicked: index out of bounds",
        "{why}"
    );
    assert_eq!(runner.summary().exit().code(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_pass_without_witness_is_none() {
    let (runner, _events) = runner(1);
    let hollow = FakeCheck::concluding("a::b", Verdict::Pass { witnesses: Vec::new() });
    assert_eq!(runner.run(&trial(hollow)).await.word(), "inconclusive");
    let witnesses = vec![Witness {
        what: "an answer".into(),
    }];
    assert_eq!(witnessed(Verdict::Pass { witnesses }).word(), "pass");
}

#[tokio::test(start_paused = true)]
async fn cancelling_ends_what_runs_and_starts_nothing_more() {
    let (runner, mut events) = runner(1);
    let running = trial(FakeCheck::passing("a::long").lasting(Duration::from_secs(20)));
    let waiting = trial(FakeCheck::passing("a::next").admission(Admission::Exclusive));
    let begun = Instant::now();
    let (first, second, ()) = tokio::join!(runner.run(&running), runner.run(&waiting), async {
        tokio::time::sleep(Duration::from_secs(2)).await;
        runner.cancel.cancel();
    });
    assert_eq!(begun.elapsed(), Duration::from_secs(2), "promptly");
    assert_eq!(why(first), "interrupted after 2 s");
    assert_eq!(why(second), "interrupted before it started");
    assert_eq!(runner.summary().exit().code(), 130);
    let starts = sent(&mut events)
        .iter()
        .filter(|e| matches!(e, Event::TrialStarted { .. }))
        .count();
    assert_eq!(starts, 1);
}

#[tokio::test(start_paused = true)]
async fn fail_fast_leaves_the_rest_out_and_says_why() {
    let (mut runner, _events) = runner(1);
    runner.fail_fast = true;
    assert_eq!(runner.run(&trial(FakeCheck::failing("a::red"))).await.word(), "fail");
    let why = why(runner.run(&trial(FakeCheck::passing("a::next"))).await);
    assert_eq!(why, "not started: a::red[infra] failed, and --fail-fast was given");
    assert_eq!(runner.summary().exit().code(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_does_not_apply_never_starts() {
    let (runner, mut events) = runner(1);
    let unclaimed = FakeCheck::passing("a::b").claim(meshproof_contract::ClaimKind::Encryption);
    assert_eq!(why(runner.run(&trial(unclaimed)).await), "not claimed: encryption");
    assert!(
        !sent(&mut events)
            .iter()
            .any(|e| matches!(e, Event::TrialStarted { .. }))
    );
    assert_eq!(runner.summary().exit().code(), 4, "only skipped: nothing is proven");
}

fn waived(check: FakeCheck, force: meshproof_contract::Force) -> Trial {
    let waiver = meshproof_contract::Waiver {
        check: "a::*".to_owned(),
        instance: Some("infra".to_owned()),
        reason: "an upstream bug".to_owned(),
        link: None,
        until: "2027-01-31".parse().expect("a date"),
        source: "meshproof.yaml:3".to_owned(),
        force,
    };
    crate::Plan::new(vec![trial(check)], Vec::new())
        .waived(&[waiver])
        .trials()[0]
        .clone()
}

#[tokio::test(start_paused = true)]
async fn a_waived_failure_stays_a_failure_and_does_not_decide() {
    use meshproof_contract::Force::{Expired, InForce};
    for (force, unknown, exit) in [
        (InForce, false, 0),
        (Expired, false, 1),
        (InForce, true, 4),
        (Expired, true, 3),
    ] {
        let (mut runner, mut events) = runner(1);
        runner.fail_fast = true;
        let check = if unknown {
            FakeCheck::concluding("a::b", Verdict::inconclusive("an agent is away"))
        } else {
            FakeCheck::failing("a::b")
        };
        let verdict = runner.run(&waived(check, force)).await;
        assert_eq!(verdict.word(), if unknown { "inconclusive" } else { "fail" });
        let Some(Event::TrialFinished {
            waiver: Some(waiver), ..
        }) = sent(&mut events).pop()
        else {
            panic!("the event names the waiver")
        };
        assert_eq!(
            (waiver.force, runner.summary().exit().code()),
            (force, exit),
            "{unknown}"
        );
        // What is waived is no failure to --fail-fast either.
        let next = runner.run(&trial(FakeCheck::passing("b::c"))).await;
        let skipped = force == Expired && !unknown;
        assert_eq!(next.word(), if skipped { "skipped" } else { "pass" });
    }
}
