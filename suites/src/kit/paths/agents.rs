//! The agents between which matrices probe.

use meshproof_contract::{AgentFacts, ClusterName, Facts, facts::MissingAgent};

/// The scenario whose agents the matrices use.
pub const SCENARIO: &str = "connectivity";

/// Ready agents of the scenario's workload, in stable order.
pub fn agents(facts: &Facts, cluster: &ClusterName, workload: &str) -> Vec<AgentFacts> {
    facts
        .agents_of(cluster, workload)
        .into_iter()
        .filter(|a| a.scenario == SCENARIO)
        .cloned()
        .collect()
}

/// Why an agent cannot be asked, for people.
pub fn describe_missing(missing: &MissingAgent) -> String {
    let node = missing
        .node
        .as_ref()
        .map(|node| format!(" on {node}"))
        .unwrap_or_default();
    format!(
        "agent `{}`{node} in {} is not running: {}",
        missing.workload, missing.cluster, missing.state
    )
}
