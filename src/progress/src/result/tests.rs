//! What people read at the end of a run.

use super::*;
use crate::{
    fixture::{log, mixed, state_after},
    snapshot,
};
use meshproof_contract::{Event, EventRecord, Evidence, Finding};

fn full(run: &RunState) -> String {
    let reports = Path::new("reports/20261121-093000-k3v9");
    result(run, Some(reports), Detail::Full, Palette::Plain)
}

fn ended(verdict: Verdict, commands: usize) -> RunState {
    let mut run = state_after(usize::MAX);
    for trial in &mut run.trials {
        trial.finished = Some(FinishedTrial {
            verdict: verdict.clone(),
            micros: 100_000,
            measurements: Vec::new(),
            evidence: vec![Evidence::command("kubectl"); commands],
            silent: Vec::new(),
            waiver: None,
            at: mixed()[0].at,
        });
    }
    run
}

#[test]
fn a_red_run() {
    snapshot::assert("a_red_run", &full(&log("red")));
}

#[test]
fn an_inconclusive_run() {
    snapshot::assert("an_inconclusive_run", &full(&log("inconclusive")));
}

#[test]
fn a_green_run() {
    snapshot::assert("a_green_run", &full(&log("green")));
}

#[test]
fn of_a_mixed_run_quietly() {
    let text = result(&state_after(usize::MAX), None, Detail::Red, Palette::Plain);
    snapshot::assert("of_a_mixed_run_quietly", &text);
}

#[test]
fn of_a_run_that_never_began() {
    let mut run = state_after(3);
    let event = Event::Aborted {
        reason: "context 'apps-admin' is not in the kubeconfig".into(),
        exit_code: 2,
    };
    run.handle(&EventRecord {
        at: mixed()[2].at,
        event,
    });
    snapshot::assert("of_a_run_that_never_began", &full(&run));
}

#[test]
fn one_reason_for_many_checks_is_shown_once() {
    let mut run = ended(Verdict::inconclusive("agent `server` on infra-1 does not run"), 0);
    run.exit_code = Some(3);
    let text = result(&run, None, Detail::Red, Palette::Plain);
    snapshot::assert("one_reason_for_many_checks", &text);
}

#[test]
fn many_findings_stay_readable() {
    let finding = Finding {
        subject: "a -> b".into(),
        expected: "x".into(),
        observed: "y\u{1b}[2J".into(),
    };
    let verdict = Verdict::Fail {
        findings: vec![finding; 200],
    };
    let text = full(&ended(verdict, 50));
    assert!(text.lines().count() < 500, "{} lines", text.lines().count());
    assert!(text.contains("and 192 more findings") && text.contains("and 14 more red checks"));
    assert!(!text.contains('\u{1b}'), "what was observed cannot steer the terminal");
}

#[test]
fn bytes_of_packets_are_left_to_the_attachment() {
    let text = full(&log("red"));
    assert!(
        text.contains("unencrypted VXLAN tunnel"),
        "says what the packet means: {text}"
    );
    assert!(!text.contains("4500008e"), "{text}");
}
