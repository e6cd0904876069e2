//! What a run's state keeps of its events.

use super::*;
use crate::ClusterFacts;

fn state(events: impl IntoIterator<Item = Event>) -> RunState {
    let mut state = RunState::default();
    for (second, event) in events.into_iter().enumerate() {
        let at = Timestamp::from_second(second as i64).expect("a time");
        state.handle(&EventRecord { at, event });
    }
    state
}

fn finished(verdict: Verdict) -> Event {
    Event::TrialFinished {
        trial: "mesh::ready[infra->apps]".into(),
        verdict,
        micros: 1,
        measurements: Vec::new(),
        evidence: vec![Evidence::note("seen"), Evidence::command("kubectl get nodes")],
    }
}

#[test]
fn a_trial_that_ran_again_keeps_its_worst_verdict() {
    let failed = Verdict::Fail { findings: Vec::new() };
    let passed = Verdict::Pass { witnesses: Vec::new() };
    let unknown = Verdict::inconclusive("no agent");
    let run = state([finished(unknown), finished(failed), finished(passed)]);
    assert_eq!(
        run.counts(),
        Counts {
            failed: 1,
            ..Counts::default()
        }
    );
    assert_eq!(run.counts().exit(), Exit::Failed);
}

#[test]
fn a_trial_runs_from_its_start_to_its_end_and_leaves_its_commands() {
    let trial: TrialName = "mesh::ready[infra->apps]".into();
    let started = Event::TrialStarted { trial: trial.clone() };
    let running = state([started.clone()]);
    assert_eq!(running.trials[0].running_since(), running.first);
    let ended = state([started, finished(Verdict::skipped("not claimed"))]);
    let [only] = ended.trials.as_slice() else {
        panic!("one trial: {:?}", ended.trials)
    };
    assert_eq!((only.running_since(), &only.planned.trial), (None, &trial));
    let commands: Vec<_> = only.finished.iter().flat_map(FinishedTrial::commands).collect();
    assert_eq!(commands, ["kubectl get nodes"]);
}

#[test]
fn a_healed_fault_is_remembered_and_no_longer_active() {
    let fault = |change| Event::Fault {
        fault: "dns-slow".into(),
        change,
    };
    let run = state([fault(FaultChange::Injected)]);
    assert_eq!(run.active_faults().count(), 1);
    let run = state([fault(FaultChange::Injected), fault(FaultChange::Healed)]);
    assert_eq!((run.faults.len(), run.active_faults().count()), (1, 0));
}

#[test]
fn a_new_phase_waits_for_nothing_yet() {
    let waiting = Event::Waiting {
        what: "apps: 5 of 6 agents ready".to_owned(),
    };
    let phase = |phase| Event::Phase { phase };
    let run = state([phase(Phase::Deploying), waiting.clone()]);
    assert!(run.waiting.is_some());
    let run = state([phase(Phase::Deploying), waiting, phase(Phase::Checking)]);
    assert_eq!((run.waiting, run.phases.len()), (None, 2));
    assert_eq!(run.last.map(|last| last.as_second()), Some(2));
}

#[test]
fn advice_holds_the_names_of_the_run_once_the_trial_has_finished() {
    let instance = Instance::Cluster("infra".into());
    let trial = instance.trial(&"mesh::ready".into());
    let cluster = ClusterFacts {
        name: "infra".into(),
        context: "admin@infra".to_owned(),
        version: String::new(),
        nodes: Vec::new(),
        dns: None,
        cilium: None,
    };
    let facts = Facts {
        clusters: vec![cluster],
        ..Facts::default()
    };
    let planned = PlannedTrial {
        trial: trial.clone(),
        check: "mesh::ready".into(),
        instance,
        title: String::new(),
        when_red: "`kubectl --context CONTEXT get nodes`".to_owned(),
        control: String::new(),
    };
    let finished = Event::TrialFinished {
        trial,
        verdict: Verdict::inconclusive("an agent is away"),
        micros: 1,
        measurements: Vec::new(),
        evidence: Vec::new(),
    };
    let run = state([
        Event::FactsFound { facts: Box::new(facts) },
        Event::Planned { trials: vec![planned] },
        finished,
    ]);
    assert_eq!(
        run.trials[0].planned.when_red,
        "`kubectl --context admin@infra get nodes`"
    );
    assert!(run.facts.is_some());
}
