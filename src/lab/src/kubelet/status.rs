//! A pod's status: phase, conditions and container statuses, from what the containers do.

use super::{
    Kubelet,
    container_states::{ContainerState, ContainerStates, Ended, Phase},
};
use crate::object::{now, set_condition};
use meshproof_apiserver::{Object, resource::names::PODS};
use serde_json::{Value, json};
use std::{collections::BTreeMap, net::Ipv4Addr, sync::Arc};

/// The containers of a kind (`containers`, `initContainers`) in a pod's specification.
pub(super) fn containers<'a>(pod: &'a Value, kind: &str) -> impl Iterator<Item = &'a Value> {
    pod["spec"][kind].as_array().into_iter().flatten()
}

/// A container's name.
pub(super) fn name(container: &Value) -> &str {
    container["name"].as_str().unwrap_or_default()
}

/// How a pod ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Succeeded,
    Failed,
}

/// Writes the status of one pod whenever it is asked to.
pub(super) struct StatusReport {
    kubelet: Arc<Kubelet>,
    pod: Object,
    states: Arc<ContainerStates>,
    started: String,
    address: Option<Ipv4Addr>,
    outcome: Option<Outcome>,
}

impl StatusReport {
    pub(super) fn new(kubelet: Arc<Kubelet>, pod: Object, states: Arc<ContainerStates>) -> Self {
        Self {
            kubelet,
            pod,
            states,
            started: now(),
            address: None,
            outcome: None,
        }
    }

    pub(super) fn has_sandbox(&mut self, address: Ipv4Addr) {
        self.address = Some(address);
    }

    pub(super) fn follow(&mut self, pod: Object) {
        self.pod = pod;
    }

    pub(super) fn end(&mut self, outcome: Outcome) {
        self.outcome = Some(outcome);
    }

    /// Writes the status if it has changed. A node without a network writes when it is back.
    pub(super) async fn write(&self) {
        let _ = self.kubelet.node.online().wait_for(|online| *online).await;
        let states = self.states.all();
        let uid = self.pod.uid();
        let written = self
            .kubelet
            .store
            .modify_status(&PODS, self.pod.namespace(), self.pod.name(), |pod| {
                if pod["metadata"]["uid"] == uid {
                    self.render(pod, &states);
                }
            });
        match written {
            Err(error) if !error.is_not_found() => {
                tracing::warn!(%error, pod = self.pod.name(), "failed to write a pod's status");
            }
            _ => {}
        }
    }

    fn render(&self, pod: &mut Value, states: &BTreeMap<String, ContainerState>) {
        let host = self.kubelet.node.spec.address.to_string();
        pod["status"]["hostIP"] = json!(host);
        pod["status"]["hostIPs"] = json!([{"ip": host}]);
        pod["status"]["startTime"] = json!(self.started);
        pod["status"]["observedGeneration"] = pod["metadata"]["generation"].clone();
        if let Some(address) = self.address {
            pod["status"]["podIP"] = json!(address);
            pod["status"]["podIPs"] = json!([{"ip": address}]);
        }
        let mut unready = Vec::new();
        for (kind, field) in [
            ("containers", "containerStatuses"),
            ("initContainers", "initContainerStatuses"),
        ] {
            let statuses: Vec<_> = containers(pod, kind)
                .filter_map(|container| Some(container_status(container, states.get(name(container))?, kind)))
                .collect();
            if kind == "containers" {
                let waiting = statuses.iter().filter(|status| status["ready"] != true);
                unready = waiting
                    .map(|status| status["name"].as_str().unwrap_or_default().to_owned())
                    .collect();
            }
            if !statuses.is_empty() {
                pod["status"][field] = json!(statuses);
            }
        }
        let initialized = initialized(pod, states);
        pod["status"]["phase"] = json!(self.phase(pod, states, initialized));
        self.set_conditions(pod, initialized, &unready);
    }

    fn phase(&self, pod: &Value, states: &BTreeMap<String, ContainerState>, initialized: bool) -> &'static str {
        match self.outcome {
            Some(Outcome::Succeeded) => return "Succeeded",
            Some(Outcome::Failed) => return "Failed",
            None => {}
        }
        let begun = |container: &Value| {
            states
                .get(name(container))
                .is_some_and(|state| state.is_running() || state.last.is_some())
        };
        if initialized && containers(pod, "containers").all(begun) {
            "Running"
        } else {
            "Pending"
        }
    }

    fn set_conditions(&self, pod: &mut Value, initialized: bool, unready: &[String]) {
        let ended = match self.outcome {
            Some(Outcome::Succeeded) => Some("PodCompleted"),
            Some(Outcome::Failed) => Some("PodFailed"),
            None => None,
        };
        let sandbox = if self.address.is_some() && ended.is_none() {
            "True"
        } else {
            "False"
        };
        set_condition(pod, "PodReadyToStartContainers", sandbox, "", "");
        if initialized {
            set_condition(pod, "Initialized", "True", "", "");
        } else {
            set_condition(
                pod,
                "Initialized",
                "False",
                "ContainersNotInitialized",
                "containers with incomplete status",
            );
        }
        let (status, reason, message) = match (ended, unready) {
            (Some(reason), _) => ("False", reason, String::new()),
            (None, []) => ("True", "", String::new()),
            (None, names) => (
                "False",
                "ContainersNotReady",
                format!("containers with unready status: [{}]", names.join(" ")),
            ),
        };
        set_condition(pod, "ContainersReady", status, reason, &message);
        let (status, reason, message) = match closed_gate(pod) {
            Some(gate) if status == "True" => (
                "False",
                "ReadinessGatesNotReady",
                format!("corresponding condition of pod readiness gate \"{gate}\" does not exist."),
            ),
            _ => (status, reason, message),
        };
        set_condition(pod, "Ready", status, reason, &message);
        set_condition(pod, "PodScheduled", "True", "", "");
    }
}

/// The first readiness gate whose condition does not hold.
fn closed_gate(pod: &Value) -> Option<String> {
    let conditions = pod["status"]["conditions"].as_array();
    let holds = |gate: &Value| {
        let mut found = conditions.into_iter().flatten();
        found.any(|condition| condition["type"] == *gate && condition["status"] == "True")
    };
    let gates = pod["spec"]["readinessGates"].as_array().into_iter().flatten();
    let mut closed = gates.map(|gate| &gate["conditionType"]).filter(|gate| !holds(gate));
    Some(closed.next()?.as_str().unwrap_or_default().to_owned())
}

fn initialized(pod: &Value, states: &BTreeMap<String, ContainerState>) -> bool {
    containers(pod, "initContainers").all(|container| {
        let Some(state) = states.get(name(container)) else {
            return false;
        };
        match (&state.phase, container["restartPolicy"] == "Always") {
            (Phase::Running { .. }, true) => state.started,
            (Phase::Ended(ended), _) => ended.code == 0,
            _ => false,
        }
    })
}

fn container_status(container: &Value, state: &ContainerState, kind: &str) -> Value {
    let image = &container["image"];
    let ready = match (&state.phase, kind) {
        (Phase::Ended(ended), "initContainers") => ended.code == 0,
        _ => state.ready && state.is_running(),
    };
    let mut status = json!({
        "name": container["name"], "image": image, "imageID": "", "ready": ready, "started": state.started,
        "restartCount": state.restarts, "state": phase(&state.phase), "lastState": {},
    });
    match &state.phase {
        Phase::Running { id, .. } | Phase::Ended(Ended { id, .. }) => {
            status["containerID"] = json!(id);
            status["imageID"] = image.clone();
        }
        Phase::Waiting { .. } => {
            if let Some(last) = &state.last {
                status["containerID"] = json!(last.id);
                status["imageID"] = image.clone();
            }
        }
    }
    if let (Some(last), false) = (&state.last, matches!(state.phase, Phase::Ended(_))) {
        status["lastState"] = phase(&Phase::Ended(last.clone()));
    }
    status
}

fn phase(phase: &Phase) -> Value {
    match phase {
        Phase::Waiting { reason, message } if message.is_empty() => json!({"waiting": {"reason": reason}}),
        Phase::Waiting { reason, message } => json!({"waiting": {"reason": reason, "message": message}}),
        Phase::Running { since, .. } => json!({"running": {"startedAt": since}}),
        Phase::Ended(ended) => {
            let mut terminated = json!({
                "exitCode": ended.code, "reason": ended.reason, "startedAt": ended.started,
                "finishedAt": ended.finished, "containerID": ended.id,
            });
            if let Some(signal) = ended.signal {
                terminated["signal"] = json!(signal);
            }
            if !ended.message.is_empty() {
                terminated["message"] = json!(ended.message);
            }
            json!({"terminated": terminated})
        }
    }
}
