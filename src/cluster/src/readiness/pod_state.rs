//! How far a pod is, from its status. Pure.

use crate::{api::one_line, ready::is_agent_ready};
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use meshproof_contract::NodeName;

/// How far a pod is, in the words of its status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum PodState {
    Ready,
    /// On its way to readiness.
    Starting(String),
    /// Unlikely to become ready.
    Stuck(String),
}

impl PodState {
    pub(crate) fn of(pod: &Pod) -> Self {
        if pod.metadata.deletion_timestamp.is_some() {
            return PodState::Starting("terminating".to_owned());
        }
        let Some(status) = &pod.status else {
            return PodState::Starting("no status yet".to_owned());
        };
        let condition = |kind: &str| status.conditions.iter().flatten().find(|c| c.type_ == kind);
        if is_agent_ready(pod) {
            return PodState::Ready;
        }
        let phase = status.phase.as_deref().unwrap_or("Pending");
        let with = |reason: &str, message: Option<&str>| match message.map(one_line) {
            Some(message) if !message.is_empty() => format!("{reason}: {message}"),
            _ => reason.to_owned(),
        };
        if phase == "Failed" {
            let reason = status.reason.as_deref().unwrap_or("Failed");
            return PodState::Stuck(with(reason, status.message.as_deref()));
        }
        if let Some(c) = condition("PodScheduled").filter(|c| c.status == "False") {
            return PodState::Stuck(with("Pending", c.message.as_deref().or(c.reason.as_deref())));
        }
        let containers = status.init_container_statuses.iter().chain(&status.container_statuses);
        containers
            .flatten()
            .find_map(container_state)
            .unwrap_or_else(|| match phase {
                "Running" => PodState::Starting("running, not ready yet".to_owned()),
                phase => PodState::Starting(phase.to_owned()),
            })
    }
    pub(crate) fn text(&self) -> &str {
        match self {
            PodState::Ready => "ready",
            PodState::Starting(text) | PodState::Stuck(text) => text,
        }
    }
    pub(crate) fn is_stuck(&self) -> bool {
        matches!(self, PodState::Stuck(_))
    }
    /// Ready pods first, stuck ones last.
    pub(super) fn rank(&self) -> u8 {
        match self {
            PodState::Ready => 0,
            PodState::Starting(_) => 1,
            PodState::Stuck(_) => 2,
        }
    }
}

/// The node of a pod; a DaemonSet's pod that is not scheduled yet names it in its affinity only.
pub(super) fn node_of(pod: &Pod) -> Option<NodeName> {
    let spec = pod.spec.as_ref()?;
    let assigned = spec.node_name.as_deref().filter(|name| !name.is_empty());
    let intended = || {
        let required = spec
            .affinity
            .as_ref()?
            .node_affinity
            .as_ref()?
            .required_during_scheduling_ignored_during_execution
            .as_ref()?;
        // Replicas have a term for each node that they may run on.
        let [term] = required.node_selector_terms.as_slice() else {
            return None;
        };
        let fields = term.match_fields.iter().flatten();
        fields
            .filter(|f| f.key == "metadata.name")
            .find_map(|f| f.values.as_ref()?.first().map(String::as_str))
    };
    assigned.or_else(intended).map(NodeName::from)
}

/// How often the agent's container was restarted.
pub(crate) fn restarts(pod: &Pod) -> i32 {
    let statuses = pod.status.as_ref().and_then(|s| s.container_statuses.as_ref());
    statuses.into_iter().flatten().map(|c| c.restart_count).sum()
}

/// Whether its container has been started.
pub(super) fn has_run(pod: &Pod) -> bool {
    let statuses = pod.status.as_ref().and_then(|s| s.container_statuses.as_ref());
    let runs = |c: &ContainerStatus| c.state.as_ref().is_some_and(|s| s.running.is_some());
    statuses.into_iter().flatten().any(|c| runs(c) || c.restart_count > 0)
}

fn container_state(container: &ContainerStatus) -> Option<PodState> {
    let current = container.state.as_ref()?;
    if let Some(waiting) = &current.waiting {
        let reason = waiting.reason.as_deref().unwrap_or("waiting");
        let text = match waiting.message.as_deref() {
            Some(message) if !message.is_empty() => format!("{reason}: {}", one_line(message)),
            _ => reason.to_owned(),
        };
        return Some(match reason {
            "ContainerCreating" | "PodInitializing" | "waiting" => PodState::Starting(text),
            _ => PodState::Stuck(text),
        });
    }
    let ended = current.terminated.as_ref()?;
    let reason = ended.reason.as_deref().unwrap_or("terminated");
    let message = ended.message.as_deref().map(|m| format!(": {m}")).unwrap_or_default();
    Some(PodState::Stuck(format!(
        "{reason}, exit code {}{message}",
        ended.exit_code
    )))
}
