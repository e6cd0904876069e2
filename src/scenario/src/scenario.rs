//! A resolved scenario: what is deployed, without contradictions.

use meshproof_contract::{ClusterName, facts::PodNetwork};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What one scenario deploys. Everything in it has been checked against everything else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scenario {
    /// Its name.
    pub name: String,
    /// What it is for.
    pub about: String,
    /// The probe agents; never empty.
    pub workloads: Vec<Workload>,
    /// Services in front of them.
    pub services: Vec<Service>,
}

/// Probe agents of one kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Workload {
    /// Unique in the scenario.
    pub name: String,
    /// Where its pods run.
    pub placement: Placement,
    /// Whose network they use.
    pub network: PodNetwork,
    /// In which of the run's namespaces its pods live, if they have networks of their own.
    pub namespace: Namespace,
    /// The service account of its pods, made for them; none is the namespace's `default`.
    pub service_account: Option<String>,
    /// Labels of its pods, in addition to those of meshproof.
    pub labels: BTreeMap<String, String>,
    /// What the run's own allow policies let its pods do, whatever else is denied in a cluster.
    pub allowance: Allowance,
    /// What checks do with its pods.
    pub role: Role,
    /// Where the ports of its pods are served besides their own addresses.
    pub exposure: Exposure,
    /// The workload of another scenario whose pods play this one, too, where both are deployed and are alike.
    pub shares: Option<Shared>,
    /// Where it is deployed.
    pub clusters: Clusters,
    /// For pods that stand in for those of the operators.
    pub stand_in: Option<StandIn>,
}

/// Pods with the identity of the operators' own. They are never ready, so that no Service leads to them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StandIn {
    /// The operators' namespace in which they run, with the service accounts that are there; none: the run's own.
    pub namespace: Option<String>,
}

/// What the run's own allow policies open for a workload's pods.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Allowance {
    /// All traffic.
    #[default]
    Everything,
    /// All but sending HTTP and DNS: policies under test lead these through Cilium's proxies, and a plain rule for the
    /// same port would open what they close.
    Unproxied,
    /// Nothing: policies under test select the pods, and an allow policy would open what they close.
    Nothing,
}

/// A workload of another scenario.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shared {
    /// The scenario's name.
    pub scenario: String,
    /// The workload's name there.
    pub workload: String,
}

/// What checks do with a workload's pods.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// They let them probe.
    #[default]
    Probes,
    /// They probe them: a pod that is ready is enough, and the first check that needs it opens the control stream.
    Answers,
}

/// Where the ports of a workload's pods are served besides their own addresses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Exposure {
    /// Nowhere.
    #[default]
    Pod,
    /// At their node's address, as `hostPort`, with an offset. Only *privileged* Pod Security admits that.
    HostPort,
}

/// The namespaces of a run for pods outside the host network.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Namespace {
    /// The default.
    #[default]
    Own,
    /// A second one, for rules that distinguish namespaces.
    Peer,
}

/// Where a workload's pods run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Placement {
    /// One on each node, control plane included.
    EveryNode,
    /// This many, wherever the scheduler places them.
    Replicas(u16),
}

/// A Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Name of the Service object.
    pub name: String,
    /// The workload whose pods answer.
    pub workload: String,
    /// Cluster IP or headless.
    pub kind: ServiceType,
    /// Its ports; never empty.
    pub ports: Vec<ServicePort>,
    /// Annotations.
    pub annotations: BTreeMap<String, String>,
    /// Whether a client stays with its pod.
    pub session_affinity: SessionAffinity,
    /// Where it is deployed.
    pub clusters: Clusters,
}

/// The types of Services in scenarios.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ServiceType {
    /// With a cluster IP.
    #[default]
    ClusterIp,
    /// Headless: its name resolves to its pods.
    Headless,
}

/// Session affinity of a Service.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum SessionAffinity {
    /// Each connection may reach another backend.
    #[default]
    None,
    /// All connections from one client address reach the same backend.
    ClientIp,
}

/// A port of a Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServicePort {
    /// Unique in the service; none for a port without a name, which is then the only one.
    pub name: Option<String>,
    /// The service's port.
    pub port: u16,
    /// The pod's, before the offset of the node's network.
    pub target: u16,
    /// TCP or UDP.
    pub protocol: Protocol,
}

/// A transport protocol.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
#[allow(missing_docs)]
pub enum Protocol {
    #[default]
    Tcp,
    Udp,
}

impl Protocol {
    /// As Kubernetes writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Protocol::Tcp => "TCP",
            Protocol::Udp => "UDP",
        }
    }
}

/// The clusters that something is deployed to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Clusters {
    /// Every cluster of the run.
    All,
    /// Those of these names; never empty.
    Only(Vec<ClusterName>),
}

impl Clusters {
    /// Whether this cluster is among them.
    pub fn contains(&self, cluster: &ClusterName) -> bool {
        match self {
            Clusters::All => true,
            Clusters::Only(names) => names.contains(cluster),
        }
    }
}

impl Workload {
    /// Whether pods of the other workload can play this one: nothing but the name tells them apart.
    pub fn is_like(&self, other: &Workload) -> bool {
        let Workload {
            placement,
            network,
            namespace,
            service_account,
            labels,
            allowance,
            exposure,
            clusters,
            stand_in,
            ..
        } = self;
        *placement == other.placement
            && *network == other.network
            && *namespace == other.namespace
            && *service_account == other.service_account
            && *labels == other.labels
            && *allowance == other.allowance
            && *exposure == other.exposure
            && *clusters == other.clusters
            && *stand_in == other.stand_in
    }

    /// The workload among these scenarios whose pods play this one.
    pub fn played_by<'a>(&self, scenarios: &'a [Scenario]) -> Option<(&'a Scenario, &'a Workload)> {
        let shared = self.shares.as_ref()?;
        let scenario = scenarios.iter().find(|scenario| scenario.name == shared.scenario)?;
        let workload = scenario.workload(&shared.workload)?;
        (workload.shares.is_none() && self.is_like(workload)).then_some((scenario, workload))
    }
}

impl Scenario {
    /// The workload of that name.
    pub fn workload(&self, name: &str) -> Option<&Workload> {
        self.workloads.iter().find(|w| w.name == name)
    }
    /// The workloads deployed to a cluster.
    pub fn workloads_in<'a>(&'a self, cluster: &'a ClusterName) -> impl Iterator<Item = &'a Workload> {
        self.workloads.iter().filter(|w| w.clusters.contains(cluster))
    }
    /// The services deployed to a cluster.
    pub fn services_in<'a>(&'a self, cluster: &'a ClusterName) -> impl Iterator<Item = &'a Service> {
        self.services.iter().filter(|s| s.clusters.contains(cluster))
    }
    /// Role names that the scenario names; each must be a cluster of the run.
    pub fn clusters_named(&self) -> Vec<&ClusterName> {
        let workloads = self.workloads.iter().map(|w| &w.clusters);
        let mut names: Vec<_> = workloads
            .chain(self.services.iter().map(|s| &s.clusters))
            .flat_map(|clusters| match clusters {
                Clusters::All => [].iter(),
                Clusters::Only(names) => names.iter(),
            })
            .collect();
        names.sort();
        names.dedup();
        names
    }
}
