//! Who takes part in a policy's test: probe agents with everything that a policy can say about them, as the API tells it.
//!
//! Labels, accounts and ports are read from the pods themselves and not assumed from the scenario: an admission webhook
//! or an operator may have changed them, and the expectation must be about what runs.

use meshproof_contract::facts::PodNetwork;
use meshproof_contract::{AgentFacts, ClusterName, Environment, EnvironmentError, Facts, ObjectRef};
use meshproof_oracle::{Endpoint, Party};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// The scenario whose agents take part.
pub const SCENARIO: &str = "policy";

/// A probe agent as policies see it.
#[derive(Clone, Debug)]
pub struct Actor {
    /// The agent.
    pub agent: AgentFacts,
    /// What policies can say about it.
    pub party: Party,
}

impl Actor {
    /// The cluster's role name.
    pub fn cluster(&self) -> &ClusterName {
        &self.agent.id.cluster
    }
}

/// Cluster, node and workload: what people need to know of it.
impl std::fmt::Display for Actor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} on {}", self.agent.workload, self.agent.node)
    }
}

/// The cluster's name in the mesh, by which policies know it.
pub fn mesh_name(facts: &Facts, cluster: &ClusterName) -> String {
    facts
        .cluster(cluster)
        .and_then(|c| c.cilium.as_ref()?.cluster_name())
        // The default of the agent's option --cluster-name.
        .unwrap_or("default")
        .to_owned()
}

/// Everybody of the scenario in these clusters, and the agents on the nodes' own network if any run.
pub async fn cast(environment: &dyn Environment, clusters: &[ClusterName]) -> Result<Vec<Actor>, EnvironmentError> {
    let facts = environment.facts();
    let mut actors = Vec::new();
    for cluster in clusters {
        let mesh = mesh_name(&facts, cluster);
        let here = |agent: &&AgentFacts| &agent.id.cluster == cluster;
        let pods = facts.agents.iter().filter(here);
        let pods = pods.filter(|a| a.scenario == SCENARIO && a.network == PodNetwork::Pod);
        let pods: Vec<&AgentFacts> = pods.collect();
        let namespaces: BTreeSet<&str> = pods.iter().map(|a| a.namespace.as_str()).collect();
        for namespace in namespaces {
            let labels = namespace_labels(environment, cluster, namespace).await?;
            let objects = environment.list(cluster, "v1", "Pod", Some(namespace)).await?;
            for agent in pods.iter().filter(|a| a.namespace == namespace) {
                let object = objects.iter().find(|o| o["metadata"]["name"] == agent.id.pod.as_str());
                // One that went since the run began is not there to be probed.
                let Some(object) = object else { continue };
                actors.push(Actor {
                    agent: (*agent).clone(),
                    party: Party::Endpoint(endpoint(object, &mesh, namespace, &labels)),
                });
            }
        }
        let servers = api_servers(environment, cluster).await;
        let hosts = facts
            .agents
            .iter()
            .filter(here)
            .filter(|a| a.network == PodNetwork::Host);
        actors.extend(hosts.map(|agent| Actor {
            agent: agent.clone(),
            party: Party::Node {
                cluster: mesh.clone(),
                name: agent.node.to_string(),
                address: agent.address,
                serves_api: servers.contains(&agent.address),
            },
        }));
    }
    Ok(actors)
}

/// A pod as policies see it.
pub fn endpoint(pod: &Value, mesh: &str, namespace: &str, namespace_labels: &BTreeMap<String, String>) -> Endpoint {
    let containers = pod["spec"]["containers"].as_array();
    let ports = containers
        .into_iter()
        .flatten()
        .flat_map(|container| container["ports"].as_array().into_iter().flatten());
    let named = ports.filter_map(|port| {
        let number = u16::try_from(port["containerPort"].as_u64()?).ok()?;
        Some((port["name"].as_str()?.to_owned(), number))
    });
    Endpoint {
        cluster: mesh.to_owned(),
        namespace: namespace.to_owned(),
        namespace_labels: namespace_labels.clone(),
        service_account: pod["spec"]["serviceAccountName"]
            .as_str()
            .unwrap_or("default")
            .to_owned(),
        labels: texts(&pod["metadata"]["labels"]),
        node: pod["spec"]["nodeName"].as_str().unwrap_or_default().to_owned(),
        named_ports: named.collect(),
    }
}

/// The labels of a namespace; the one that Kubernetes sets is always there.
pub async fn namespace_labels(
    environment: &dyn Environment,
    cluster: &ClusterName,
    name: &str,
) -> Result<BTreeMap<String, String>, EnvironmentError> {
    let object = ObjectRef {
        api_version: "v1".to_owned(),
        kind: "Namespace".to_owned(),
        namespace: None,
        name: name.to_owned(),
    };
    let found = environment.get(cluster, &object).await?;
    let mut labels = found.map_or_else(BTreeMap::new, |o| texts(&o["metadata"]["labels"]));
    labels.insert("kubernetes.io/metadata.name".to_owned(), name.to_owned());
    Ok(labels)
}

/// Where the API server answers: the endpoints of Service `default/kubernetes`, from which Cilium takes its entity.
async fn api_servers(environment: &dyn Environment, cluster: &ClusterName) -> BTreeSet<IpAddr> {
    let slices = environment
        .list(cluster, "discovery.k8s.io/v1", "EndpointSlice", Some("default"))
        .await
        .unwrap_or_default();
    let of_kubernetes = slices
        .iter()
        .filter(|slice| slice["metadata"]["labels"]["kubernetes.io/service-name"] == "kubernetes");
    of_kubernetes
        .flat_map(|slice| slice["endpoints"].as_array().into_iter().flatten())
        .flat_map(|endpoint| endpoint["addresses"].as_array().into_iter().flatten())
        .filter_map(|address| address.as_str()?.parse().ok())
        .collect()
}

fn texts(value: &Value) -> BTreeMap<String, String> {
    let object = value.as_object().into_iter().flatten();
    object
        .filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())))
        .collect()
}
