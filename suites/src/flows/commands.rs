//! The commands to run next on a flow that is not as expected.

use crate::kit::next_steps::{in_agent, kubectl};
use meshproof_contract::{AgentFacts, Facts, Flow};

/// What to ask Cilium and the API.
pub fn for_flow(facts: &Facts, flow: &Flow, client: &AgentFacts) -> Vec<String> {
    let cluster = &flow.from.cluster;
    let observe = format!(
        "hubble observe --last 200 --from-ip {} --to-port {}",
        client.address, flow.to.port
    );
    let mut commands = vec![in_agent(facts, cluster, Some(&client.node), &observe)];
    if let Some((name, namespace)) = flow.service() {
        let slices = format!("-n {namespace} get endpointslices -l kubernetes.io/service-name={name}");
        commands.push(kubectl(facts, flow.to.cluster.as_ref().unwrap_or(cluster), &slices));
    }
    commands
}
