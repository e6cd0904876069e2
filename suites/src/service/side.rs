//! One cluster's side of the scenario: its clients, the pods behind each Service, and the clusters joined to it.

use crate::kit::cilium::remotes;
use meshproof_contract::{
    AgentFacts, CheckContext, ClusterName, Facts, NodeLabel, ServiceFacts, Tally, Target, Verdict,
};
use std::sync::Arc;

/// The scenario whose Services are observed.
pub const SCENARIO: &str = "service";
/// The workload of the clients, one on every node.
const ASKER: &str = "asker";
/// The workload of the clients that share their node's network, one on every node.
const HOST: &str = "host";

/// One cluster's side.
#[derive(Clone, Debug)]
pub struct Side {
    /// Everything that was found.
    pub facts: Arc<Facts>,
    /// The cluster.
    pub cluster: ClusterName,
    /// The clients, one on every node, in stable order; never empty.
    pub clients: Vec<AgentFacts>,
    missing: Vec<String>,
}

impl Side {
    /// The cluster's side, or why it has no clients.
    pub fn of(context: &CheckContext, cluster: &ClusterName) -> Result<Side, Verdict> {
        let clients = pods(&context.environment.facts(), cluster, ASKER);
        Self::asked_by(context, cluster, ASKER, clients)
    }

    /// The clients that share their node's network.
    pub fn hosts(&self) -> Vec<AgentFacts> {
        pods(&self.facts, &self.cluster, HOST)
    }

    /// The cluster's side with other clients, agents of that workload; or why there are none.
    pub fn asked_by(
        context: &CheckContext,
        cluster: &ClusterName,
        asker: &str,
        clients: Vec<AgentFacts>,
    ) -> Result<Side, Verdict> {
        let facts = context.environment.facts();
        let concerned = |workload: &str| workload == asker || matches!(workload, "backend" | "drained" | "mover");
        let missing: Vec<String> = facts
            .missing_agents
            .iter()
            .filter(|m| &m.cluster == cluster && concerned(&m.workload))
            .map(|m| {
                let node = m.node.as_ref().map(|n| format!(" on {n}")).unwrap_or_default();
                format!("agent `{}`{node} in {cluster} is not running: {}", m.workload, m.state)
            })
            .collect();
        if clients.is_empty() {
            let because = if missing.is_empty() {
                "none was found".to_owned()
            } else {
                missing.join("; ")
            };
            return Err(Verdict::inconclusive(format!(
                "no ready agent `{asker}` in {cluster}: {because}"
            )));
        }
        Ok(Side {
            facts,
            cluster: cluster.clone(),
            clients,
            missing,
        })
    }

    /// The scenario's service of that name here.
    pub fn service(&self, name: &str) -> Result<&ServiceFacts, Verdict> {
        self.facts
            .service(&self.cluster, name)
            .ok_or_else(|| Verdict::inconclusive(format!("the scenario's Service `{name}` is not in {}", self.cluster)))
    }

    /// Cluster IP and port of the scenario's service.
    pub fn target(&self, service: &str, port: &str) -> Result<Target, Verdict> {
        let found = self.service(service)?;
        match (found.address, found.ports.get(port)) {
            (Some(address), Some(port)) => Ok(Target::new(address.to_string(), *port)),
            _ => Err(Verdict::inconclusive(format!(
                "Service `{service}` in {} has no cluster IP with a port `{port}`",
                self.cluster
            ))),
        }
    }

    /// The pods of a workload here; never empty.
    pub fn pods(&self, workload: &str) -> Result<Vec<AgentFacts>, Verdict> {
        let found = pods(&self.facts, &self.cluster, workload);
        if found.is_empty() {
            return Err(Verdict::inconclusive(format!(
                "no ready agent `{workload}` in {}: {}",
                self.cluster,
                self.missing.first().map_or("none was found", String::as_str)
            )));
        }
        Ok(found)
    }

    /// The other clusters that are claimed to be in one mesh with this one, in the order of the run.
    pub fn joined(&self) -> Vec<ClusterName> {
        let others = self.facts.clusters.iter().map(|c| &c.name);
        others
            .filter(|other| **other != self.cluster && remotes::joined(&self.facts, &self.cluster, other))
            .cloned()
            .collect()
    }

    /// This cluster and those joined to it, or skipped when there is none.
    pub fn mesh(&self) -> Result<Vec<ClusterName>, Verdict> {
        let joined = self.joined();
        if joined.is_empty() {
            return Err(Verdict::skipped(format!(
                "not claimed: no claim that {} is in one cluster mesh with another cluster of this run",
                self.cluster
            )));
        }
        Ok([vec![self.cluster.clone()], joined].concat())
    }

    /// Agents that should run and do not keep the check from passing.
    pub fn report_missing(&self, tally: &mut Tally) {
        for missing in &self.missing {
            tally.unknown(missing.clone());
        }
    }

    /// These nodes of this cluster, for people.
    pub fn nodes(&self, clients: &[&AgentFacts]) -> String {
        if clients.len() == self.clients.len() && clients.len() > 1 {
            return format!("clients on all {} nodes of {}", clients.len(), self.cluster);
        }
        let nodes: Vec<String> = clients
            .iter()
            .map(|client| NodeLabel::from(*client).to_string())
            .collect();
        format!("clients on {}", nodes.join(", "))
    }
}

/// Ready agents of the scenario's workload, in stable order.
pub fn pods(facts: &Facts, cluster: &ClusterName, workload: &str) -> Vec<AgentFacts> {
    let found = facts.agents_of(cluster, workload).into_iter();
    found.filter(|a| a.scenario == SCENARIO).cloned().collect()
}
