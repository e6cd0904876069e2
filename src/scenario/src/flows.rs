//! The clients of flows as a scenario: pods with the identities that the operators name.

use crate::{Allowance, Clusters, Exposure, Namespace, Placement, Role, Scenario, StandIn, Workload};
use meshproof_contract::{
    ClusterName, Flow,
    facts::PodNetwork,
    flow::{CONTROL, SCENARIO, client},
};
use std::collections::{BTreeMap, BTreeSet};

/// The scenario with the clients of the flows that `wanted` picks out of all; none when they need no pods of their own.
/// Nodes as clients are the agents on the nodes' network of other scenarios.
pub fn flows(all: &[Flow], wanted: impl Fn(&Flow) -> bool) -> Option<Scenario> {
    let wanted: Vec<&Flow> = all.iter().filter(|flow| wanted(flow)).collect();
    let clusters = |flows: &mut dyn Iterator<Item = &&Flow>| {
        let names: BTreeSet<ClusterName> = flows.map(|flow| flow.from.cluster.clone()).collect();
        (!names.is_empty()).then(|| Clusters::Only(names.into_iter().collect()))
    };
    let mut workloads = Vec::new();
    if let Some(denied) = clusters(&mut wanted.iter().filter(|flow| !flow.expect.allowed)) {
        workloads.push(workload(CONTROL.to_owned(), denied));
    }
    let pods: BTreeMap<String, &&Flow> = wanted
        .iter()
        .filter(|flow| !flow.from.host)
        .map(|flow| (client(all, flow), flow))
        .collect();
    workloads.extend(pods.into_iter().map(|(name, flow)| Workload {
        service_account: flow.from.service_account.clone(),
        labels: flow.from.labels.clone(),
        allowance: Allowance::Nothing,
        stand_in: Some(StandIn {
            namespace: flow.from.namespace.clone(),
        }),
        ..workload(name, Clusters::Only(vec![flow.from.cluster.clone()]))
    }));
    (!workloads.is_empty()).then(|| Scenario {
        name: SCENARIO.to_owned(),
        about: "The clients of the operators' flows".to_owned(),
        workloads,
        services: Vec::new(),
    })
}

fn workload(name: String, clusters: Clusters) -> Workload {
    Workload {
        exposure: Exposure::Pod,
        name,
        placement: Placement::Replicas(1),
        network: PodNetwork::Pod,
        namespace: Namespace::Own,
        service_account: None,
        labels: BTreeMap::new(),
        allowance: Allowance::Everything,
        role: Role::Probes,
        shares: None,
        clusters,
        stand_in: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use meshproof_contract::flow::{FlowExpectation, FlowSource, FlowTarget};

    fn flow(name: &str, namespace: Option<&str>, allowed: bool) -> Flow {
        Flow {
            name: name.to_owned(),
            from: FlowSource {
                cluster: "apps".into(),
                namespace: namespace.map(str::to_owned),
                labels: BTreeMap::new(),
                service_account: None,
                host: false,
            },
            to: FlowTarget::default(),
            expect: FlowExpectation {
                allowed,
                ..FlowExpectation::default()
            },
        }
    }

    #[test]
    fn flows_of_one_identity_share_their_client_whatever_is_selected() {
        let all = [
            flow("a", None, true),
            flow("b", Some("git"), true),
            flow("c", Some("git"), false),
        ];
        let names = |wanted: &str| {
            let scenario = flows(&all, |flow| wanted.contains(&flow.name)).expect("a scenario");
            let names = scenario.workloads.iter().map(|workload| workload.name.clone());
            names.collect::<Vec<_>>()
        };
        assert_eq!(names("abc"), ["flow-control", "client-1", "client-2"]);
        assert_eq!(names("b"), ["client-2"]);
        assert_eq!(names("c"), ["flow-control", "client-2"]);
        assert!(flows(&all, |_| false).is_none());
    }
}
