//! What the harness found out about the clusters before the checks start: read from their APIs, never assumed.

use crate::{
    AgentId, Claim, ClaimKind, ClaimSource, ClusterName, Consent, Flow, GitFacts, HouseRule, NodeName, Thresholds,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, net::IpAddr};

/// Everything known when the first check starts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Facts {
    /// The clusters in the order given.
    pub clusters: Vec<ClusterFacts>,
    /// Probe agents that are ready.
    pub agents: Vec<AgentFacts>,
    /// Services of the deployed scenarios.
    pub services: Vec<ServiceFacts>,
    /// What the operators claim, or the live configuration shows.
    pub claims: Vec<Claim>,
    /// What the operators' repository says of Cilium; none when the run was given none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub git: Option<GitFacts>,
    /// The service levels that measurements are compared with.
    #[serde(default)]
    pub thresholds: Thresholds,
    /// Whether checks may disrupt the clusters.
    #[serde(default)]
    pub consent: Consent,
    /// Time between two probes of the streams that watch a disruption, in milliseconds; 10 by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stream_spacing_ms: Option<u32>,
    /// Seconds for which a clustermesh-apiserver is also taken down to outlast leases and heartbeats; none: it is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mesh_outage_seconds: Option<u32>,
    /// How `policy::generated` makes its policies, and how pairs of nodes are drawn.
    #[serde(default)]
    pub generation: Generation,
    /// Hosts outside the clusters that the operators name, as targets of policies.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub outside: Vec<OutsideFacts>,
    /// Flows that the operators have written down; each is a trial.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub flows: Vec<Flow>,
    /// Nodes on which no probe runs, since Cilium has no part in them; they are not among the clusters' nodes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub foreign_nodes: Vec<ForeignNode>,
    /// What others have put into the clusters that decides what probes may do there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub house: Vec<HouseRule>,
    /// Agents that should be ready and are not, with their last state: checks that need them are inconclusive.
    pub missing_agents: Vec<MissingAgent>,
}

impl Facts {
    /// Whether a cluster has more nodes than are observed in every pair.
    pub fn is_sampled(&self) -> bool {
        self.clusters
            .iter()
            .any(|cluster| cluster.nodes.len() > ALL_PAIRS_NODES)
    }
    /// Clusters of which claims were taken from what they show, each once, in order.
    pub fn live_claims(&self) -> Vec<&ClusterName> {
        let mut names = Vec::new();
        for claim in &self.claims {
            if matches!(claim.source, ClaimSource::Live { .. }) && !names.contains(&&claim.cluster) {
                names.push(&claim.cluster);
            }
        }
        names
    }
    /// The same as a sentence without a full stop; none when all claims are the operators' own.
    pub fn live_claims_notice(&self) -> Option<String> {
        let named = |names: &[&ClusterName]| {
            let names: Vec<_> = names.iter().map(|name| name.as_str()).collect();
            names.join(" and ")
        };
        let is_stated = |cluster: &&&ClusterName| {
            let mut claims = self.claims.iter().filter(|claim| &claim.cluster == **cluster);
            claims.any(|claim| matches!(claim.source, ClaimSource::File { .. }))
        };
        let (some, all): (Vec<_>, Vec<_>) = self.live_claims().into_iter().partition(|name| is_stated(&name));
        let all = (!all.is_empty()).then(|| {
            format!(
                "claims of {} come from the live configuration, not from meshproof.yaml",
                named(&all)
            )
        });
        let some = (!some.is_empty()).then(|| {
            format!(
                "claims of {} that no file states come from the live configuration",
                named(&some)
            )
        });
        let parts: Vec<_> = all.into_iter().chain(some).collect();
        (!parts.is_empty()).then(|| parts.join("; "))
    }
}

/// Up to so many nodes on each side, checks of paths observe every pair of nodes. Beyond, they observe a sample.
pub const ALL_PAIRS_NODES: usize = 16;

/// What is drawn at random in a run, and from which seeds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Generation {
    /// Number of policies for each trial.
    pub count: u32,
    /// Seed of the random numbers: the same seed gives the same policies.
    pub seed: u64,
    /// Seed of the pairs of nodes that are observed where there are too many for all.
    #[serde(default)]
    pub sample_seed: u64,
}

impl Default for Generation {
    /// A few, the same each time, so that a nightly run can be compared with the one before.
    fn default() -> Self {
        Self {
            count: 3,
            seed: 1,
            sample_seed: 1,
        }
    }
}

/// A host outside of the clusters that pods reach unless a policy denies it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct OutsideFacts {
    /// Its DNS name, absolute or not; cluster DNS resolves it.
    pub name: String,
    /// A TCP port on which it listens.
    pub port: u16,
}

/// A cluster as its API shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ClusterFacts {
    /// Role name in this run.
    pub name: ClusterName,
    /// kubeconfig context, for commands to reproduce.
    pub context: String,
    /// Kubernetes version of the API server.
    pub version: String,
    /// The nodes.
    pub nodes: Vec<NodeFacts>,
    /// Cluster DNS, if its Service could be found.
    pub dns: Option<DnsFacts>,
    /// Cilium, if it is installed.
    pub cilium: Option<CiliumFacts>,
}

/// A node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NodeFacts {
    /// Its name.
    pub name: NodeName,
    /// InternalIP addresses.
    pub addresses: Vec<IpAddr>,
    /// Pod CIDRs of the Node object (empty when the CNI allocates by itself).
    pub pod_cidrs: Vec<String>,
    /// Condition Ready is True.
    pub ready: bool,
    /// Kernel version.
    pub kernel: String,
}

/// A node that is not Cilium's: virtual, or of an operating system that Cilium does not run on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ForeignNode {
    /// The cluster.
    pub cluster: ClusterName,
    /// Its name.
    pub node: NodeName,
    /// What it is, for people: `a virtual node of Liqo`.
    pub what: String,
}

/// Cluster DNS as pods use it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DnsFacts {
    /// Namespace and name of the Service.
    pub service: (String, String),
    /// Its cluster IP; equal to the nameserver in the pods' `resolv.conf`.
    pub address: IpAddr,
    /// The pods behind it, from its EndpointSlices.
    pub replicas: Vec<DnsReplica>,
    /// The cluster domain, from the pods' search list; `cluster.local` by default.
    pub domain: String,
}

/// One pod that answers for cluster DNS.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DnsReplica {
    /// Pod name.
    pub pod: String,
    /// Pod address.
    pub address: IpAddr,
    /// The port it really listens on (the Service's target port).
    pub port: u16,
    /// Its node.
    pub node: Option<NodeName>,
}

/// Cilium as installed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CiliumFacts {
    /// Version from the agent's image or status, such as `1.18.3`; empty when unknown.
    pub version: String,
    /// ConfigMap `cilium-config`. A missing key does not mean disabled: the agent has defaults.
    pub config: BTreeMap<String, String>,
    /// Agent pods by node.
    pub agents: BTreeMap<NodeName, String>,
    /// Remote clusters that this one is configured to join: keys of Secret `cilium-clustermesh` that hold an etcd
    /// configuration, less the cluster's own name; none when the Secret may not be read or is absent.
    pub remotes: Option<Vec<String>>,
    /// Whether KVStoreMesh is part of the installation: agents are configured to read its copy (an entry of Secret
    /// `cilium-clustermesh` leads to the cluster's own `clustermesh-apiserver`), or a container `kvstoremesh` is
    /// there.
    pub kvstoremesh: bool,
}

impl CiliumFacts {
    /// Name of the cluster in the mesh (`cluster-name`), which need not be the role name.
    pub fn cluster_name(&self) -> Option<&str> {
        self.setting("cluster-name")
    }
    /// The text of a key; none when the key is absent.
    pub fn setting(&self, key: &str) -> Option<&str> {
        self.config.get(key).map(String::as_str)
    }
    /// A boolean key; none when the key is absent.
    pub fn flag(&self, key: &str) -> Option<bool> {
        self.setting(key).map(|text| text == "true")
    }
}

/// A ready probe agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AgentFacts {
    /// Cluster and pod.
    pub id: AgentId,
    /// The scenario that deployed it.
    pub scenario: String,
    /// The workload in the scenario (`client`, `server`, ...).
    pub workload: String,
    /// Namespace of the pod.
    pub namespace: String,
    /// The node it runs on.
    pub node: NodeName,
    /// The pod's address; for a host-network pod the node's.
    pub address: IpAddr,
    /// Whether it shares the node's network.
    pub network: PodNetwork,
}

/// Whose network a pod uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PodNetwork {
    /// Its own.
    Pod,
    /// The node's (`hostNetwork: true`).
    Host,
    /// The node's, with the right to capture what crosses its devices (`NET_RAW`).
    HostCapture,
}

/// An agent that should be ready and is not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MissingAgent {
    /// The cluster.
    pub cluster: ClusterName,
    /// The node it was meant for, if known.
    pub node: Option<NodeName>,
    /// Workload of the scenario.
    pub workload: String,
    /// The last state, for people: `Pending: 0/3 nodes are available`, `ImagePullBackOff: …`.
    pub state: String,
}

/// A Service that a scenario deployed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ServiceFacts {
    /// The cluster.
    pub cluster: ClusterName,
    /// Scenario that deployed it.
    pub scenario: String,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Cluster IP; none for a headless service.
    pub address: Option<IpAddr>,
    /// Service ports by name; a port without one has the empty name.
    pub ports: BTreeMap<String, u16>,
    /// The workload behind it.
    pub workload: String,
}

impl AgentFacts {
    /// The port on which this agent serves what others serve on `base`, see [`crate::port`].
    pub fn port(&self, base: u16) -> u16 {
        match self.network {
            PodNetwork::Pod => base,
            PodNetwork::Host => base + crate::port::HOST_OFFSET,
            PodNetwork::HostCapture => base + crate::port::CAPTURE_OFFSET,
        }
    }
}

impl Facts {
    /// The cluster of that name.
    pub fn cluster(&self, name: &ClusterName) -> Option<&ClusterFacts> {
        self.clusters.iter().find(|c| &c.name == name)
    }
    /// Ready agents of a cluster's workload, in stable order of node and pod.
    pub fn agents_of<'a>(&'a self, cluster: &'a ClusterName, workload: &'a str) -> Vec<&'a AgentFacts> {
        let mut found: Vec<_> = self
            .agents
            .iter()
            .filter(|a| &a.id.cluster == cluster && a.workload == workload)
            .collect();
        found.sort_by(|a, b| (&a.node, &a.id.pod).cmp(&(&b.node, &b.id.pod)));
        found
    }
    /// A scenario's service in a cluster.
    pub fn service(&self, cluster: &ClusterName, name: &str) -> Option<&ServiceFacts> {
        self.services.iter().find(|s| &s.cluster == cluster && s.name == name)
    }
    /// The claim of that kind for a cluster, also a denial ([`Claim::affirms`]).
    pub fn statement(&self, cluster: &ClusterName, kind: ClaimKind) -> Option<&Claim> {
        self.claims.iter().find(|c| &c.cluster == cluster && c.kind == kind)
    }
    /// The claim of that kind for a cluster; none if nobody makes one, or if the operators deny it.
    pub fn claim(&self, cluster: &ClusterName, kind: ClaimKind) -> Option<&Claim> {
        self.statement(cluster, kind).filter(|claim| claim.affirms())
    }
}
