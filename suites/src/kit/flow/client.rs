//! The clients of flows: which agent speaks for whom.

use meshproof_contract::{
    AgentFacts, CheckContext, Facts, Flow, Instance, Verdict,
    facts::PodNetwork,
    flow::{CONTROL, NODE, SCENARIO, client},
};

/// The flow of this trial.
pub fn flow_of(context: &CheckContext, facts: &Facts) -> Result<Flow, Verdict> {
    let found = facts
        .flows
        .iter()
        .find(|flow| Instance::of_flow(flow) == context.instance);
    found
        .cloned()
        .ok_or_else(|| Verdict::inconclusive("the flow is not among those of this run"))
}

/// The agent that stands for the flow's client.
pub fn agent_of<'a>(facts: &'a Facts, flow: &Flow) -> Result<&'a AgentFacts, Verdict> {
    let workload = client(&facts.flows, flow);
    let found = match workload.as_str() {
        NODE => on_nodes(facts, flow).next(),
        _ => of_workload(facts, flow, &workload).next(),
    };
    found.ok_or_else(|| {
        let cluster = &flow.from.cluster;
        let mut missing = facts.missing_agents.iter();
        let missing = missing.find(|agent| &agent.cluster == cluster && agent.workload == workload);
        let why = missing.map_or_else(|| "no pod was created".to_owned(), |agent| agent.state.clone());
        Verdict::inconclusive(format!("the client does not run ({}): {why}", flow.from))
    })
}

/// Agents that show whether the destination of a denied flow is there: an unrestricted pod, a node, and the clients of
/// flows to the same destination that are allowed.
pub fn controls<'a>(facts: &'a Facts, flow: &Flow) -> Vec<&'a AgentFacts> {
    let mut others: Vec<&AgentFacts> = Vec::new();
    let allowed = facts
        .flows
        .iter()
        .filter(|other| other.expect.allowed && other.to == flow.to);
    for other in allowed.filter(|other| other.from.cluster == flow.from.cluster) {
        others.extend(agent_of(facts, other).ok());
    }
    others.extend(of_workload(facts, flow, CONTROL).next());
    others.extend(on_nodes(facts, flow).next());
    others.dedup_by(|a, b| a.id == b.id);
    others
}

fn of_workload<'a>(facts: &'a Facts, flow: &Flow, workload: &str) -> impl Iterator<Item = &'a AgentFacts> {
    let (cluster, workload) = (flow.from.cluster.clone(), workload.to_owned());
    let agents = facts.agents.iter();
    agents.filter(move |agent| agent.id.cluster == cluster && agent.scenario == SCENARIO && agent.workload == workload)
}

fn on_nodes<'a>(facts: &'a Facts, flow: &Flow) -> impl Iterator<Item = &'a AgentFacts> {
    let cluster = flow.from.cluster.clone();
    let agents = facts.agents.iter();
    agents.filter(move |agent| agent.id.cluster == cluster && agent.network == PodNetwork::Host)
}
