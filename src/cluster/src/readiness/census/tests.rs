//! Pods as an API server shows them, counted.

use super::*;
use serde_json::{Value, json};

fn pod(name: &str, node: &str, status: Value) -> Pod {
    serde_json::from_value(json!({
        "metadata": {"name": name, "uid": format!("uid-{name}"), "labels": {SCENARIO: "s", WORKLOAD: "w"}},
        "spec": {"nodeName": node, "containers": []},
        "status": status,
    }))
    .expect("a pod")
}

fn ready() -> Value {
    json!({"phase": "Running", "podIP": "10.0.0.1", "conditions": [{"type": "Ready", "status": "True"}]})
}

fn waiting(reason: &str, message: &str) -> Value {
    json!({"phase": "Pending", "containerStatuses": [{
        "name": "agent", "image": "", "imageID": "", "ready": false, "restartCount": 0,
        "state": {"waiting": {"reason": reason, "message": message}},
    }]})
}

fn census(number: Number) -> Census {
    let expected = Expected {
        labels: ("s".into(), "w".into()),
        scenario: "s".into(),
        workload: "w".into(),
        network: PodNetwork::Pod,
        namespace: "meshproof".to_owned(),
        number,
        owner: "s-w".into(),
    };
    Census::new("apps".into(), vec![expected])
}

fn on_nodes(nodes: &[(&str, bool)]) -> Census {
    census(Number::Nodes(
        nodes
            .iter()
            .map(|(name, ready)| (NodeName::from(*name), *ready))
            .collect(),
    ))
}

fn list(census: &mut Census, pods: Vec<Pod>) {
    census.pod("meshproof", Event::Init);
    for pod in pods {
        census.pod("meshproof", Event::InitApply(pod));
    }
    census.pod("meshproof", Event::InitDone);
}

#[test]
fn complete_when_each_node_has_a_ready_pod() {
    let mut census = on_nodes(&[("apps-1", true), ("apps-2", true)]);
    assert!(!census.is_complete());
    list(
        &mut census,
        vec![
            pod("a", "apps-1", ready()),
            pod("b", "apps-2", waiting("ContainerCreating", "")),
        ],
    );
    assert!(census.is_complete() && !census.is_hopeless());
    assert_eq!(
        census.summary(),
        "apps: 1 of 2 agents ready; node apps-2: ContainerCreating"
    );
    census.pod("meshproof", Event::Apply(pod("b", "apps-2", ready())));
    assert_eq!(census.missing(), []);
    assert_eq!(census.ready().len(), 2);
}

#[test]
fn an_image_that_cannot_be_pulled_is_hopeless_and_named() {
    let mut census = on_nodes(&[("apps-1", true), ("apps-2", true)]);
    let stuck = waiting("ImagePullBackOff", "Back-off pulling image \"x\"");
    list(
        &mut census,
        vec![pod("a", "apps-1", ready()), pod("b", "apps-2", stuck)],
    );
    assert!(census.is_hopeless());
    assert_eq!(
        census.summary(),
        "apps: 1 of 2 agents ready; node apps-2: ImagePullBackOff: Back-off pulling image \"x\""
    );
}

#[test]
fn a_node_without_a_pod_and_a_node_that_is_not_ready_are_named() {
    let mut census = on_nodes(&[("apps-1", true), ("apps-2", false)]);
    list(&mut census, vec![pod("b", "apps-2", json!({"phase": "Pending"}))]);
    let states: Vec<_> = census.missing().into_iter().map(|a| a.state).collect();
    assert_eq!(
        states,
        [
            PodState::Stuck("no pod was created for it".into()),
            PodState::Stuck("the node is not Ready".into())
        ]
    );
}

#[test]
fn a_pod_that_waits_for_the_scheduler_belongs_to_the_node_that_it_is_meant_for() {
    let pod: Pod = serde_json::from_value(json!({
        "metadata": {"name": "p"},
        "spec": {"containers": [], "affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {
            "nodeSelectorTerms": [{"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["apps-2"]}]}],
        }}}},
        "status": {"phase": "Pending", "conditions": [
            {
                "type": "PodScheduled", "status": "False", "reason": "Unschedulable",
                "message": "0/3 nodes are available",
            },
        ]},
    }))
    .expect("a pod");
    assert_eq!(node_of(&pod), Some("apps-2".into()));
    assert_eq!(
        PodState::of(&pod),
        PodState::Stuck("Pending: 0/3 nodes are available".into())
    );
}

#[test]
fn a_pod_that_is_gone_when_the_watch_starts_again_is_forgotten() {
    let mut census = on_nodes(&[("apps-1", true)]);
    list(&mut census, vec![pod("a", "apps-1", ready())]);
    list(&mut census, vec![]);
    assert_eq!(census.ready(), []);
}

#[test]
fn replicas_and_uncounted_nodes_are_counted_by_number() {
    let mut replicas = census(Number::Replicas(2));
    list(&mut replicas, vec![pod("a", "apps-1", ready())]);
    assert_eq!(replicas.missing().len(), 1);

    let mut every = census(Number::EveryNode);
    list(&mut every, vec![pod("a", "apps-1", ready())]);
    assert!(!every.is_complete(), "the number is unknown");
    let set = |observed: i64| {
        serde_json::from_value(json!({
            "metadata": {"name": "s-w", "generation": 1},
            "status": {"desiredNumberScheduled": 2, "observedGeneration": observed,
                "currentNumberScheduled": 0, "numberMisscheduled": 0, "numberReady": 0},
        }))
        .expect("a DaemonSet")
    };
    every.set("meshproof", &set(0));
    assert!(!every.is_complete(), "that status is of an older generation");
    every.set("meshproof", &set(1));
    assert!(every.is_complete());
    assert_eq!(every.missing().len(), 1);
}

#[test]
fn a_crash_is_told_with_its_exit_code() {
    let mut status = waiting("", "");
    status["containerStatuses"][0]["state"] = json!({"terminated": {"exitCode": 2, "reason": "Error"}});
    assert_eq!(
        PodState::of(&pod("a", "n", status)),
        PodState::Stuck("Error, exit code 2".into())
    );
}

#[test]
fn a_pod_that_starts_or_gets_ready_is_progress_and_one_that_restarts_is_none() {
    let running = |restarts: i32, state: Value| {
        json!({"phase": "Running", "containerStatuses": [{
            "name": "agent", "image": "", "imageID": "", "ready": false, "restartCount": restarts, "state": state,
        }]})
    };
    let mut census = on_nodes(&[("apps-1", true)]);
    list(&mut census, vec![pod("a", "apps-1", waiting("ContainerCreating", ""))]);
    assert_eq!(census.steps().count(), 0);
    let started = [Step::Started { uid: "uid-a".into() }];
    for status in [
        running(0, json!({"running": {}})),
        running(1, json!({"waiting": {"reason": "CrashLoopBackOff"}})),
        running(1, json!({"running": {}})),
    ] {
        census.pod("meshproof", Event::Apply(pod("a", "apps-1", status)));
        assert!(census.steps().eq(started.clone()));
    }
    census.pod("meshproof", Event::Apply(pod("a", "apps-1", ready())));
    assert!(census.steps().any(|step| step == Step::Ready { uid: "uid-a".into() }));
}

#[test]
fn a_replica_on_a_dead_node_is_not_waited_for() {
    let coming = || pod("a", "apps-2", waiting("ContainerCreating", ""));
    let mut census = census(Number::Replicas(1));
    list(&mut census, vec![coming()]);
    assert!(!census.is_hopeless());
    let mut census = census.with_nodes_not_ready([NodeName::from("apps-2")].into());
    assert!(census.is_hopeless());
    assert_eq!(census.missing()[0].state.text(), "the node is not Ready");
    census.pod("meshproof", Event::Apply(pod("a", "apps-2", ready())));
    assert_eq!(census.missing(), [], "it was back after all");
}

#[test]
fn a_replica_that_may_go_to_many_nodes_is_on_none_yet() {
    let unscheduled = |nodes: &[&str]| {
        let terms: Vec<_> = nodes
            .iter()
            .map(|n| json!({"matchFields": [{"key": "metadata.name", "operator": "In", "values": [n]}]}))
            .collect();
        let mut pod = pod("a", "", json!({"phase": "Pending"}));
        pod.spec.as_mut().expect("spec").affinity = serde_json::from_value(json!({"nodeAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms},
        }}))
        .expect("an affinity");
        node_of(&pod)
    };
    assert_eq!(unscheduled(&["apps-1"]), Some("apps-1".into()));
    assert_eq!(unscheduled(&["apps-1", "apps-2"]), None);
}
