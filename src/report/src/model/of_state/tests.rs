//! Reports of logs that are whole, cut or incomplete.

use super::*;
use crate::fixture::mixed;
use meshproof_contract::{Event, Instance};
use proptest::prelude::*;

#[test]
fn a_complete_log_has_every_trial_with_its_verdict() {
    let report = RunReport::from_events(&mixed());
    assert_eq!(report.ending, Ending::Complete);
    assert_eq!((report.exit_code, report.verdict.as_str()), (1, "failed"));
    assert_eq!(
        report.counts,
        Counts {
            passed: 23,
            failed: 1,
            inconclusive: 1,
            skipped: 1,
            ..Counts::default()
        }
    );
    assert_eq!(
        report.suites.iter().map(|s| s.name.as_str()).collect::<Vec<_>>(),
        ["connectivity", "dns", "mesh", "encryption"]
    );
    assert!(report.claims_from_live_configuration);
    let failed = report.failed();
    assert_eq!(failed[0].trial.as_str(), "connectivity::udp[infra->apps]");
    assert_eq!(
        failed[0].verdict.headline(),
        "infra-1 -> apps-2: no answer within 1500 ms (and 2 more)"
    );
    assert!(
        failed[0].again.ends_with("--exact 'connectivity::udp[infra->apps]'"),
        "{}",
        failed[0].again
    );
    assert_eq!(report.skipped()[0].0, "not claimed: encryption");
    let phases: f64 = report.phases.iter().map(|p| p.seconds).sum();
    assert!((report.seconds - phases).abs() < 0.1, "{phases} of {}", report.seconds);
}

#[test]
fn a_cut_log_is_never_green() {
    let events = mixed();
    let planned = events
        .iter()
        .position(|e| matches!(e.event, Event::Planned { .. }))
        .expect("planned");
    let report = RunReport::from_events(&events[..planned + 4]);
    assert_eq!((report.ending.clone(), report.exit_code), (Ending::Cut, 3));
    assert_eq!(report.counts.inconclusive + report.counts.passed, 26);
    let whys: Vec<String> = report.inconclusive().iter().map(|t| t.verdict.headline()).collect();
    assert!(whys.contains(&"the run ended while it ran".to_owned()), "{whys:?}");
    assert!(whys.contains(&"the run ended before it started".to_owned()), "{whys:?}");
}

#[test]
fn aborting_keeps_its_reason_and_code() {
    let mut events = mixed();
    let at = events[0].at;
    events.truncate(8);
    events.push(EventRecord {
        at,
        event: Event::Aborted {
            reason: "interrupted".into(),
            exit_code: 130,
        },
    });
    let report = RunReport::from_events(&events);
    assert_eq!(report.exit_code, 130);
    assert_eq!(report.meaning(), "the run was aborted: interrupted");
}

#[test]
fn a_trial_that_was_never_planned_is_known_by_its_name() {
    let events: Vec<_> = mixed()
        .into_iter()
        .filter(|e| !matches!(e.event, Event::Planned { .. }))
        .collect();
    let report = RunReport::from_events(&events);
    assert_eq!(report.counts.total(), 26);
    let udp = report.failed()[0];
    assert_eq!(udp.check.as_str(), "connectivity::udp");
    assert_eq!(
        udp.instance,
        Some(Instance::Direction {
            from: "infra".into(),
            to: "apps".into()
        })
    );
}

proptest! {
    #[test]
    fn any_selection_of_events_folds_without_loss(keep in proptest::collection::vec(any::<bool>(), 80)) {
        let events: Vec<_> = mixed().into_iter().zip(&keep).filter_map(|(e, keep)| keep.then_some(e)).collect();
        let report = RunReport::from_events(&events);
        for event in &events {
            let Event::TrialFinished { trial, verdict, .. } = &event.event else { continue };
            let kept = report.trials().find(|t| &t.trial == trial).map(|t| t.verdict.word());
            prop_assert_eq!(kept, Some(verdict.word()));
        }
        prop_assert!(report.exit_code != 0, "a selection of a failed run is never green");
    }
}
