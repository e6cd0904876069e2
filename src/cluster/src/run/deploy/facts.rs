//! What checks need to know of a deployment: services, nameservers, and agents that are missing.

use crate::{
    ClusterClient, DeployError, Image,
    agent::AgentLink,
    discover::dns::ResolvConf,
    house::{Labels, NAMESPACE, NAMESPACE_LABELS, ProbePod},
    manifest::{self, ManifestBuilder},
    name::workload_namespace,
    readiness::{ReadyPod, endpoints::Wanted},
};
use kube::api::DynamicObject;
use meshproof_contract::{
    ClusterFacts, ClusterName, EnvironmentError, Facts, ServiceFacts,
    facts::{MissingAgent, PodNetwork},
    text::counted,
};
use meshproof_scenario::Scenario;
use meshproof_wire::Hello;
use serde_json::Value;
use std::collections::BTreeMap;

/// A Service as it was applied.
pub(super) fn service_facts(
    cluster: &ClusterName,
    scenario: &Scenario,
    service: &meshproof_scenario::Service,
    applied: &DynamicObject,
) -> ServiceFacts {
    let address = applied.data.pointer("/spec/clusterIP").and_then(Value::as_str);
    ServiceFacts {
        cluster: cluster.clone(),
        scenario: scenario.name.clone(),
        namespace: applied.metadata.namespace.clone().unwrap_or_default(),
        name: service.name.clone(),
        // "None" for a headless one.
        address: address.and_then(|a| a.parse().ok()),
        ports: service
            .ports
            .iter()
            .map(|p| (p.name.clone().unwrap_or_default(), p.port))
            .collect(),
        workload: service.workload.clone(),
    }
}

/// The pods that a Service should lead to.
pub(super) fn endpoints_of(service: &ServiceFacts, ready: &[ReadyPod]) -> Wanted {
    let behind = ready
        .iter()
        .filter(|pod| pod.scenario == service.scenario && pod.workload == service.workload);
    Wanted {
        namespace: service.namespace.clone(),
        service: service.name.clone(),
        pods: behind.map(|pod| pod.name.clone()).collect(),
    }
}

/// An agent that runs and cannot be reached.
pub(super) fn unconnected(link: &AgentLink, error: &EnvironmentError) -> MissingAgent {
    MissingAgent {
        cluster: link.id().cluster.clone(),
        node: Some(link.pod().node.clone()),
        workload: link.pod().workload.clone(),
        state: error.to_string(),
    }
}

/// Keeps one `resolv.conf` a cluster: of a pod on the pod network, if there is one.
pub(super) fn keep_resolv_conf(
    known: &mut BTreeMap<ClusterName, (PodNetwork, ResolvConf)>,
    link: &AgentLink,
    hello: Hello,
) {
    let network = link.pod().network;
    let from = known.get(&link.id().cluster).map(|(network, _)| *network);
    if from.is_none() || (from != Some(PodNetwork::Pod) && network == PodNetwork::Pod) {
        let resolv = ResolvConf {
            nameservers: hello.nameservers,
            search: hello.search,
        };
        known.insert(link.id().cluster.clone(), (network, resolv));
    }
}

/// The pods of the scenarios as policies of their cluster see them; those on the nodes' network are no endpoints.
pub(super) fn probe_pods(
    manifests: &ManifestBuilder<'_>,
    scenarios: &[Scenario],
    cluster: Option<&ClusterFacts>,
) -> Vec<ProbePod> {
    let mesh = cluster.and_then(|c| c.cilium.as_ref()?.cluster_name());
    let workloads = scenarios.iter().flat_map(|scenario| {
        let workloads = scenario.workloads_in(manifests.cluster);
        workloads.map(move |workload| (scenario, workload))
    });
    let pods = workloads.filter(|(_, workload)| workload.network == PodNetwork::Pod);
    // What holds in the operators' namespaces is for the flows to show.
    let pods = pods.filter(|(_, workload)| workload.stand_in.is_none());
    pods.map(|(scenario, workload)| {
        let namespace = workload_namespace(workload);
        let labels = manifests.pod_labels(scenario, workload).into_iter();
        let labels = labels.filter_map(|(key, value)| Some((key, value.as_str()?.to_owned())));
        let of_namespace = manifest::namespace(namespace, manifests.run)["metadata"]["labels"].clone();
        let of_namespace = of_namespace.as_object().cloned().unwrap_or_default().into_iter();
        let mut labels: Labels = labels.collect();
        labels.extend(
            of_namespace
                .filter_map(|(key, value)| Some((format!("{NAMESPACE_LABELS}{key}"), value.as_str()?.to_owned()))),
        );
        labels.insert(
            format!("{NAMESPACE_LABELS}kubernetes.io/metadata.name"),
            namespace.to_owned(),
        );
        labels.insert(NAMESPACE.to_owned(), namespace.to_owned());
        labels.insert(
            "io.cilium.k8s.policy.cluster".to_owned(),
            mesh.unwrap_or("default").to_owned(),
        );
        ProbePod {
            namespace: namespace.to_owned(),
            labels,
            allowance: workload.allowance,
        }
    })
    .collect()
}

/// Refuses a cluster of which no agent can be used.
pub(super) fn require_some(
    facts: &Facts,
    clients: &[ClusterClient],
    scenarios: &[Scenario],
    image: &Image,
) -> Result<(), DeployError> {
    for client in clients {
        let cluster = client.name();
        let wanted = scenarios.iter().any(|s| s.workloads_in(cluster).next().is_some());
        if !wanted || facts.agents.iter().any(|a| &a.id.cluster == cluster) {
            continue;
        }
        let missing: Vec<_> = facts.missing_agents.iter().filter(|m| &m.cluster == cluster).collect();
        let mut states: BTreeMap<&str, usize> = BTreeMap::new();
        for absent in &missing {
            *states.entry(&absent.state).or_default() += 1;
        }
        let most_frequent = states.into_iter().max_by_key(|(_, n)| *n);
        return Err(DeployError::NoAgents {
            cluster: cluster.clone(),
            expected: missing.len(),
            state: most_frequent.map_or_else(
                || "no pod was created".to_owned(),
                |(state, number)| format!("{state} ({})", counted(number, "agent")),
            ),
            image: image.reference.clone(),
        });
    }
    Ok(())
}
