//! Scenarios that cannot be deployed, or not together: found before anything is applied.

use crate::{ClusterClient, DeployError};
use meshproof_contract::facts::PodNetwork;
use meshproof_scenario::Scenario;
use std::collections::BTreeMap;

pub(super) fn check(scenarios: &[Scenario], clients: &[ClusterClient]) -> Result<(), DeployError> {
    for scenario in scenarios {
        if let Some(unknown) = scenario
            .clusters_named()
            .into_iter()
            .find(|name| !clients.iter().any(|m| m.name() == *name))
        {
            return Err(DeployError::UnknownCluster {
                scenario: scenario.name.clone(),
                cluster: unknown.to_string(),
                known: clients.iter().map(|m| m.name().to_string()).collect(),
            });
        }
    }
    let mut owners: BTreeMap<String, &str> = BTreeMap::new();
    for scenario in scenarios {
        let services = scenario.services.iter().map(|s| format!("Service {}", s.name));
        let own = scenario.workloads.iter().filter(|w| w.played_by(scenarios).is_none());
        let hosts = own.filter_map(|w| match w.network {
            PodNetwork::Pod => None,
            PodNetwork::Host => Some("a workload in the host network".to_owned()),
            PodNetwork::HostCapture => Some("a workload that captures packets".to_owned()),
        });
        let itself = std::iter::once(format!("the name {}", scenario.name));
        for what in services.chain(hosts).chain(itself) {
            if let Some(first) = owners.insert(what.clone(), &scenario.name) {
                return Err(DeployError::Collision {
                    first: first.to_owned(),
                    second: scenario.name.clone(),
                    what,
                });
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use meshproof_scenario::parse;

    fn scenario(text: &str) -> Scenario {
        parse("own.yaml", text).expect("resolves")
    }

    #[test]
    fn scenarios_that_cannot_share_a_cluster_are_refused() {
        let named = |name: &str| {
            scenario(&format!(
                "name: {name}\nworkloads: [{{name: w, placement: every-node}}]\nservices: [{{name: s, workload: w, \
                 ports: [{{name: p, port: 1}}]}}]\n"
            ))
        };
        let (a, b) = (named("a"), named("b"));
        let error = check(&[a.clone(), b], &[]).expect_err("both have s").to_string();
        assert_eq!(
            error,
            "scenarios a and b cannot be deployed together: both have Service s"
        );
        assert!(check(&[a], &[]).is_ok());
    }

    #[test]
    fn a_node_has_one_agent_in_its_network_which_scenarios_may_share() {
        let on_host = |name: &str, shares: &str| {
            scenario(&format!(
                "name: {name}\nworkloads: [{{name: node, placement: every-node, network: host{shares}}}]\n"
            ))
        };
        let (a, b, c) = (on_host("a", ""), on_host("b", ""), on_host("c", ", shares: a/node"));
        let error = check(&[a.clone(), b], &[]).expect_err("two agents").to_string();
        assert!(error.contains("a workload in the host network"), "{error}");
        assert!(check(&[a, c], &[]).is_ok());
    }

    #[test]
    fn a_scenario_for_a_cluster_that_is_not_there_is_refused() {
        let a = scenario("name: a\nworkloads: [{name: w, placement: every-node, clusters: [edge]}]\n");
        let error = check(&[a], &[]).expect_err("no edge").to_string();
        assert!(error.contains("edge"), "{error}");
    }
}
