//! Names that meshproof uses on clusters, in one place: objects that carry them are ours, and no others.

use meshproof_contract::{RunId, facts::PodNetwork};
use meshproof_scenario::{Exposure, Namespace, Workload};
use std::collections::BTreeMap;

/// Namespace of agents, scenario objects and the Lease; Pod Security *restricted*.
pub const NAMESPACE: &str = "meshproof";
/// Namespace of agents that share their node's network; Pod Security *privileged*, since *baseline* forbids host
/// networking.
pub const NODE_NAMESPACE: &str = "meshproof-node";
/// A second namespace like [`NAMESPACE`], for policies that distinguish namespaces; Pod Security *restricted*.
pub const PEER_NAMESPACE: &str = "meshproof-peer";
/// The Lease that keeps two runs apart.
pub const LEASE: &str = "meshproof";
/// Field manager of everything that is applied.
pub const FIELD_MANAGER: &str = "meshproof";
/// Label of everything that meshproof creates, with [`MANAGED_BY_VALUE`].
pub const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
/// See [`MANAGED_BY`].
pub const MANAGED_BY_VALUE: &str = "meshproof";
/// Label with the run's id.
pub const RUN: &str = "meshproof.dev/run";
/// Label with the scenario's name.
pub const SCENARIO: &str = "meshproof.dev/scenario";
/// Label with the workload's name in the scenario.
pub const WORKLOAD: &str = "meshproof.dev/workload";
/// Label of pods that the run's allow policies do not open for everything.
pub const ALLOWANCE: &str = "meshproof.dev/allowance";
/// Name of the policy that opens the probes of a namespace for everything.
pub const ALLOW_POLICY: &str = "meshproof-allow";
/// Name of the policy that opens probes for all but what policies under test send through proxies.
pub const ALLOW_UNPROXIED_POLICY: &str = "meshproof-allow-unproxied";
/// Name of the Secret with credentials for the probe image.
pub const PULL_SECRET: &str = "meshproof-registry";
/// A readiness gate that nobody opens: pods with it are never ready.
pub const NEVER_READY: &str = "meshproof.dev/never-ready";
/// Name of the agent's container.
pub const CONTAINER: &str = "agent";
/// The agent's executable in the probe image.
pub const AGENT_COMMAND: &str = "/meshproof-agent";

/// Selects everything that meshproof created.
pub fn ours() -> String {
    format!("{MANAGED_BY}={MANAGED_BY_VALUE}")
}

/// Selects everything that a run created.
pub fn of_run(run: &RunId) -> String {
    format!("{},{RUN}={}", ours(), label_value(run.as_str()))
}

/// The namespace in which pods of that network live.
pub fn namespace_of(network: PodNetwork) -> &'static str {
    match network {
        PodNetwork::Pod => NAMESPACE,
        PodNetwork::Host | PodNetwork::HostCapture => NODE_NAMESPACE,
    }
}

/// The namespace in which a workload's pods live.
pub fn workload_namespace(workload: &Workload) -> &str {
    if let Some(namespace) = operators_namespace(workload) {
        return namespace;
    }
    if workload.exposure == Exposure::HostPort {
        return NODE_NAMESPACE;
    }
    match (workload.network, workload.namespace) {
        (PodNetwork::Pod, Namespace::Peer) => PEER_NAMESPACE,
        (network, _) => namespace_of(network),
    }
}

/// The operators' namespace in which a workload's pods live, if they do.
pub fn operators_namespace(workload: &Workload) -> Option<&str> {
    workload.stand_in.as_ref()?.namespace.as_deref()
}

/// The namespaces of a run.
pub const NAMESPACES: [&str; 3] = [NAMESPACE, NODE_NAMESPACE, PEER_NAMESPACE];

/// The labels of everything that a run creates.
pub fn run_labels(run: &RunId) -> BTreeMap<String, String> {
    [
        (MANAGED_BY, MANAGED_BY_VALUE.to_owned()),
        (RUN, label_value(run.as_str())),
    ]
    .map(|(key, value)| (key.to_owned(), value))
    .into()
}

/// Any text as a label's value: what Kubernetes refuses becomes `-`, and 63 characters are kept.
pub fn label_value(text: &str) -> String {
    let fits: String = text
        .chars()
        .map(|c| match c {
            c if c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.') => c,
            _ => '-',
        })
        .take(63)
        .collect();
    fits.trim_matches(|c: char| !c.is_ascii_alphanumeric()).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_text_becomes_a_label_value() {
        assert_eq!(label_value("2026-11-21T10:13:00Z/a b"), "2026-11-21T10-13-00Z-a-b");
        assert_eq!(label_value("-x-"), "x");
        assert_eq!(label_value(&"x".repeat(80)).len(), 63);
    }
}
