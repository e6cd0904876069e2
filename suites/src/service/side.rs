//! One cluster's side of the scenario: who asks there, which pods stand behind which service, and which clusters are joined to it.

use crate::kit::cilium::remotes;
use crate::kit::matrix::place;
use meshproof_contract::{AgentFacts, CheckContext, ClusterName, Facts, ServiceFacts, Tally, Target, Verdict};
use std::sync::Arc;

/// The scenario whose services are observed.
pub const SCENARIO: &str = "service";
/// The workload that asks, one on every node.
const ASKER: &str = "asker";

/// One cluster's side.
#[derive(Clone, Debug)]
pub struct Side {
    /// Everything that was found.
    pub facts: Arc<Facts>,
    /// The cluster.
    pub cluster: ClusterName,
    /// Who asks, one on every node, in stable order; never empty.
    pub askers: Vec<AgentFacts>,
    missing: Vec<String>,
}

impl Side {
    /// The cluster's side, or why nobody can ask there.
    pub fn of(context: &CheckContext, cluster: &ClusterName) -> Result<Side, Verdict> {
        let facts = context.environment.facts();
        let askers = pods(&facts, cluster, ASKER);
        let missing: Vec<String> = facts
            .missing_agents
            .iter()
            .filter(|m| &m.cluster == cluster && matches!(m.workload.as_str(), ASKER | "backend" | "drained" | "mover"))
            .map(|m| {
                let node = m.node.as_ref().map(|n| format!(" on {n}")).unwrap_or_default();
                format!("agent `{}`{node} in {cluster} does not run: {}", m.workload, m.state)
            })
            .collect();
        if askers.is_empty() {
            let because = match missing.is_empty() {
                true => "none was found".to_owned(),
                false => missing.join("; "),
            };
            return Err(Verdict::inconclusive(format!(
                "no ready agent `{ASKER}` in {cluster}: {because}"
            )));
        }
        Ok(Side {
            facts,
            cluster: cluster.clone(),
            askers,
            missing,
        })
    }

    /// The scenario's service of that name here.
    pub fn service(&self, name: &str) -> Result<&ServiceFacts, Verdict> {
        self.facts.service(&self.cluster, name).ok_or_else(|| {
            Verdict::inconclusive(format!("service `{name}` of the scenario is not in {}", self.cluster))
        })
    }

    /// Cluster IP and port of the scenario's service.
    pub fn target(&self, service: &str, port: &str) -> Result<Target, Verdict> {
        let found = self.service(service)?;
        match (found.address, found.ports.get(port)) {
            (Some(address), Some(port)) => Ok(Target::new(address.to_string(), *port)),
            _ => Err(Verdict::inconclusive(format!(
                "service `{service}` in {} has no cluster IP with a port `{port}`",
                self.cluster
            ))),
        }
    }

    /// The pods of a workload here; never empty.
    pub fn pods(&self, workload: &str) -> Result<Vec<AgentFacts>, Verdict> {
        let found = pods(&self.facts, &self.cluster, workload);
        match found.is_empty() {
            false => Ok(found),
            true => Err(Verdict::inconclusive(format!(
                "no ready agent `{workload}` in {}: {}",
                self.cluster,
                self.missing.first().map_or("none was found", String::as_str)
            ))),
        }
    }

    /// The clusters that are said to be one mesh with this one, in the order of the run.
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
                "not claimed: nothing says that {} is one cluster mesh with another cluster of this run",
                self.cluster
            )));
        }
        Ok([vec![self.cluster.clone()], joined].concat())
    }

    /// Agents that should be there and are not keep the check from judging.
    pub fn note_missing(&self, tally: &mut Tally) {
        for missing in &self.missing {
            tally.unknown(missing.clone());
        }
    }

    /// These nodes of this cluster, for people.
    pub fn nodes(&self, askers: &[&AgentFacts]) -> String {
        match askers.len() == self.askers.len() && askers.len() > 1 {
            true => format!("clients on all {} nodes of {}", askers.len(), self.cluster),
            false => {
                let places: Vec<String> = askers.iter().map(|a| place(a)).collect();
                format!("clients on {}", places.join(", "))
            }
        }
    }
}

/// Ready agents of the scenario's workload, in stable order.
pub fn pods(facts: &Facts, cluster: &ClusterName, workload: &str) -> Vec<AgentFacts> {
    let found = facts.agents_of(cluster, workload).into_iter();
    found.filter(|a| a.scenario == SCENARIO).cloned().collect()
}
