//! The pods and nodes between which policies are tested, with everything that a policy can select them by.
//!
//! Labels, accounts and ports are read from the pods themselves and not assumed from the scenario: an admission webhook
//! or an operator may have changed them, and the expectation must describe what runs.

use crate::kit::{cilium::remotes::mesh_name, once::Once};
use meshproof_contract::{
    AgentFacts, CheckContext, ClusterName, Environment, EnvironmentError, ObjectRef, facts::PodNetwork,
};
use meshproof_oracle::{Endpoint, Party, Protocol};
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    net::IpAddr,
    sync::Arc,
};

/// The scenario whose agents take part.
pub const SCENARIO: &str = "policy";

/// A probe agent as policies see it.
#[derive(Clone, Debug)]
pub struct Participant {
    /// The agent.
    pub agent: AgentFacts,
    /// What policies can select it by.
    pub party: Party,
}

impl Participant {
    /// The cluster's role name.
    pub fn cluster(&self) -> &ClusterName {
        &self.agent.id.cluster
    }
}

impl fmt::Display for Participant {
    /// A pod by workload, namespace and node, a node by its name, an external host by its address.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.party {
            Party::Endpoint(Endpoint { namespace, node, .. }) => {
                write!(f, "{} in {namespace} on {node}", self.agent.workload)
            }
            Party::Node { name, .. } => write!(f, "node {name}"),
            Party::World { address, .. } => address.fmt(f),
        }
    }
}

/// The participants of each cluster, read once a run: the scenario's pods stay, and no check changes their labels or
/// accounts.
#[derive(Default)]
struct Known(Once<ClusterName, Arc<[Participant]>>);

/// All pods of the scenario in these clusters, and the agents on the nodes' own network if any run.
pub async fn participants(
    context: &CheckContext,
    clusters: &[ClusterName],
) -> Result<Vec<Participant>, EnvironmentError> {
    let (environment, known) = (context.environment.as_ref(), context.observed.of::<Known>());
    let mut found = Vec::new();
    for cluster in clusters {
        let read = async || Ok::<_, EnvironmentError>(of_cluster(environment, cluster).await?.into());
        found.extend(known.0.get(cluster.clone(), read).await?.iter().cloned());
    }
    Ok(found)
}

async fn of_cluster(
    environment: &dyn Environment,
    cluster: &ClusterName,
) -> Result<Vec<Participant>, EnvironmentError> {
    let facts = environment.facts();
    let mut found = Vec::new();
    let mesh = mesh_name(&facts, cluster);
    let of_cluster = |agent: &&AgentFacts| &agent.id.cluster == cluster;
    let pods = facts.agents.iter().filter(of_cluster);
    let pods: Vec<&AgentFacts> = pods
        .filter(|a| a.scenario == SCENARIO && a.network == PodNetwork::Pod)
        .collect();
    let namespaces: BTreeSet<&str> = pods.iter().map(|a| a.namespace.as_str()).collect();
    for namespace in namespaces {
        let labels = namespace_labels(environment, cluster, namespace).await?;
        let objects = environment.list(cluster, "v1", "Pod", Some(namespace)).await?;
        for agent in pods.iter().filter(|a| a.namespace == namespace) {
            let object = objects.iter().find(|o| o["metadata"]["name"] == agent.id.pod.as_str());
            // A pod that was deleted since the run began cannot be probed.
            let Some(object) = object else { continue };
            found.push(Participant {
                agent: (*agent).clone(),
                party: Party::Endpoint(endpoint(object, &mesh, namespace, &labels)),
            });
        }
    }
    let servers = api_servers(environment, cluster).await;
    let hosts = facts.agents.iter().filter(of_cluster);
    // Scenarios share them.
    let mut known = BTreeSet::new();
    let hosts = hosts.filter(|a| a.network == PodNetwork::Host && known.insert(&a.id));
    found.extend(hosts.map(|agent| Participant {
        agent: agent.clone(),
        party: Party::Node {
            cluster: mesh.clone(),
            name: agent.node.to_string(),
            address: agent.address,
            serves_api: servers.contains(&agent.address),
        },
    }));
    Ok(found)
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
        let protocol = match port["protocol"].as_str() {
            None | Some("TCP") => Protocol::Tcp,
            Some("UDP") => Protocol::Udp,
            Some("SCTP") => Protocol::Sctp,
            Some(_) => return None,
        };
        Some((port["name"].as_str()?.to_owned(), (protocol, number)))
    });
    Endpoint {
        cluster: mesh.to_owned(),
        namespace: namespace.to_owned(),
        namespace_labels: namespace_labels.clone(),
        service_account: pod["spec"]["serviceAccountName"]
            .as_str()
            .unwrap_or("default")
            .to_owned(),
        labels: strings(&pod["metadata"]["labels"]),
        node: pod["spec"]["nodeName"].as_str().unwrap_or_default().to_owned(),
        named_ports: named.collect(),
    }
}

/// The labels of a namespace, with the one that Kubernetes always sets.
pub async fn namespace_labels(
    environment: &dyn Environment,
    cluster: &ClusterName,
    name: &str,
) -> Result<BTreeMap<String, String>, EnvironmentError> {
    let object = ObjectRef::cluster_wide("v1", "Namespace", name);
    let found = environment.get(cluster, &object).await?;
    let mut labels = found.map_or_else(BTreeMap::new, |o| strings(&o["metadata"]["labels"]));
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

fn strings(value: &Value) -> BTreeMap<String, String> {
    let object = value.as_object().into_iter().flatten();
    object
        .filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())))
        .collect()
}
