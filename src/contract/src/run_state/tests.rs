//! What a run's state keeps of its events.

use super::*;
use crate::{ClusterChange, ClusterFacts, Exit};

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
        silent: Vec::new(),
        waiver: None,
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
        silent: Vec::new(),
        waiver: None,
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

fn node_not_ready(since: i64) -> Event {
    Event::ClusterChanged {
        cluster: "apps".into(),
        change: ClusterChange::NodeNotReady {
            node: "apps-2".into(),
            since: Some(Timestamp::from_second(since).expect("a time")),
        },
    }
}

fn ended(trial: &str, verdict: Verdict, silent: Vec<Silent>) -> Event {
    Event::TrialFinished {
        trial: trial.into(),
        verdict,
        micros: 1,
        measurements: Vec::new(),
        evidence: Vec::new(),
        silent,
        waiver: None,
    }
}

fn probe(node: &str, pod: &str) -> Silent {
    Silent::Probe {
        cluster: "apps".into(),
        node: Some(node.into()),
        pod: pod.to_owned(),
    }
}

fn told(run: &RunState) -> Vec<(String, Vec<String>)> {
    let causes = run.causes().into_iter();
    causes
        .map(|cause| {
            let names = cause.unobserved.iter().map(ToString::to_string);
            (cause.text.clone(), names.collect())
        })
        .collect()
}

#[test]
fn one_node_is_one_cause_for_all_that_could_not_observe() {
    let unknown = || Verdict::inconclusive("agent apps/client-2 does not answer");
    let failed = Verdict::Fail { findings: Vec::new() };
    let run = state([
        node_not_ready(0),
        ended("a::one[apps]", unknown(), vec![probe("apps-2", "client-2")]),
        ended("a::two[infra->apps]", unknown(), vec![probe("apps-2", "client-2")]),
        // Nothing was silent, but the node was not Ready meanwhile, in a cluster of the trial.
        ended("a::three[apps]", unknown(), Vec::new()),
        // Something else was silent, or it is elsewhere.
        ended("a::four[apps]", unknown(), vec![probe("apps-1", "client-1")]),
        ended("a::five[infra]", unknown(), Vec::new()),
        ended("a::six[apps]", failed, Vec::new()),
    ]);
    let names = ["a::one[apps]", "a::two[infra->apps]", "a::three[apps]"].map(str::to_owned);
    assert_eq!(
        told(&run),
        [(
            "node apps-2 of apps has not been Ready since 00:00:00 UTC".to_owned(),
            names.to_vec()
        )]
    );
    assert!(
        run.causes()[0]
            .sentence()
            .ends_with(": 3 checks could not observe because of it")
    );
    let meanwhile = |index: usize| run.meanwhile(&run.trials[index]).count();
    assert_eq!(
        (meanwhile(5), meanwhile(4)),
        (1, 0),
        "a failure is told what went on beside it"
    );
}

#[test]
fn a_node_that_is_ready_again_explains_nothing_later() {
    let back = Event::ClusterChanged {
        cluster: "apps".into(),
        change: ClusterChange::NodeReady { node: "apps-2".into() },
    };
    let later = ended(
        "a::late[apps]",
        Verdict::inconclusive("the machine was busy"),
        Vec::new(),
    );
    let run = state([node_not_ready(0), back, Event::Waiting { what: "x".to_owned() }, later]);
    let text = "node apps-2 of apps was not Ready from 00:00:00 UTC to 00:00:01 UTC";
    assert_eq!(told(&run), [(text.to_owned(), Vec::new())]);
}

#[test]
fn a_pod_that_is_silent_to_several_trials_is_one_cause() {
    let cilium = || Silent::Cilium {
        cluster: "apps".into(),
        node: "apps-1".into(),
        pod: "cilium-x".to_owned(),
    };
    let unknown = || Verdict::inconclusive("timed out after 30 s");
    let run = state([
        ended("a::one[apps]", unknown(), vec![cilium()]),
        ended("a::two[apps]", unknown(), vec![cilium()]),
        ended("a::three[apps]", unknown(), vec![probe("apps-1", "client-7")]),
    ]);
    let text = "Cilium pod cilium-x of apps on node apps-1 does not answer";
    let names = ["a::one[apps]", "a::two[apps]"].map(str::to_owned);
    assert_eq!(told(&run), [(text.to_owned(), names.to_vec())]);
}

#[test]
fn an_api_server_that_is_away_explains_what_could_not_be_read() {
    let change = |change| Event::ClusterChanged {
        cluster: "apps".into(),
        change,
    };
    let away = ClusterChange::ApiAway {
        reason: "connection refused".to_owned(),
    };
    let silent = Silent::Api { cluster: "apps".into() };
    let run = state([
        ended(
            "a::before[apps]",
            Verdict::inconclusive("failed to list pods"),
            vec![silent],
        ),
        change(away.clone()),
        change(away),
        change(ClusterChange::ApiBack),
    ]);
    let text = "the API server of apps did not answer from 00:00:01 UTC to 00:00:03 UTC";
    assert_eq!(told(&run), [(text.to_owned(), vec!["a::before[apps]".to_owned()])]);
}
