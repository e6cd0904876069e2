//! The file format, exactly as written: each name remembers its line and column.

pub use crate::scenario::{Allowance, Exposure, Namespace, Placement, Protocol, Role, ServiceType, SessionAffinity};

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, de};
use serde_saphyr::Spanned;
use std::{collections::BTreeMap, fmt};

/// A scenario: the workloads and Services that checks observe with.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ScenarioFile {
    /// Name of the scenario; for a built-in one, the name of its file.
    #[schemars(with = "String")]
    pub name: Spanned<String>,
    /// Purpose of the scenario, in one sentence.
    #[serde(default)]
    pub about: String,
    /// The probe agents.
    pub workloads: Vec<WorkloadEntry>,
    /// Services in front of them.
    #[serde(default)]
    pub services: Vec<ServiceEntry>,
}

/// Probe agents of one kind.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct WorkloadEntry {
    /// Unique in the scenario.
    #[schemars(with = "String")]
    pub name: Spanned<String>,
    /// Where its pods are scheduled.
    #[schemars(with = "Placement")]
    pub placement: Spanned<Placement>,
    /// The network of its pods.
    #[serde(default)]
    pub network: Network,
    /// Which of the run's namespaces its pods run in; pods in the host network have a namespace of their own.
    #[serde(default)]
    pub namespace: Namespace,
    /// Service account of its pods, created with the workload. Defaults to `default`.
    #[serde(default)]
    #[schemars(with = "Option<String>")]
    pub service_account: Option<Spanned<String>>,
    /// Labels of its pods, in addition to those of meshproof.
    #[serde(default)]
    #[schemars(with = "BTreeMap<String, String>")]
    pub labels: BTreeMap<String, Spanned<String>>,
    /// What the run's own allow policies let its pods do in clusters that deny by default.
    #[serde(default)]
    pub allowance: Allowance,
    /// Whether its pods probe, or only answer: those get no control stream before a check needs it.
    #[serde(default)]
    pub role: Role,
    /// Whether the ports of its pods are served at their node's address, too (`hostPort`, 19000 higher).
    #[serde(default)]
    pub exposure: Exposure,
    /// `SCENARIO/WORKLOAD` of another scenario whose pods play this one, too, where both are deployed and differ in
    /// nothing but the name.
    #[serde(default)]
    #[schemars(with = "Option<String>")]
    pub shares: Option<Spanned<String>>,
    /// The clusters that it is deployed to: `all`, or a list of role names.
    #[serde(default)]
    #[schemars(with = "ClustersSchema")]
    pub clusters: ClustersEntry,
}

/// A Service.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct ServiceEntry {
    /// Name of the Service object; unique among all scenarios of a run.
    #[schemars(with = "String")]
    pub name: Spanned<String>,
    /// The workload whose pods are its backends.
    #[schemars(with = "String")]
    pub workload: Spanned<String>,
    /// Cluster IP or headless.
    #[serde(default, rename = "type")]
    pub kind: ServiceType,
    /// Its ports.
    pub ports: Vec<PortEntry>,
    /// Annotations, such as `service.cilium.io/global: "true"`.
    #[serde(default)]
    pub annotations: BTreeMap<String, String>,
    /// Session affinity.
    #[serde(default)]
    pub session_affinity: SessionAffinity,
    /// The clusters that it is deployed to: `all`, or a list of role names.
    #[serde(default)]
    #[schemars(with = "ClustersSchema")]
    pub clusters: ClustersEntry,
}

/// A port of a Service.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PortEntry {
    /// Unique in the service. Only the port of a service with one port may have none.
    #[serde(default)]
    #[schemars(with = "Option<String>")]
    pub name: Option<Spanned<String>>,
    /// The port of the Service.
    #[schemars(with = "u16", range(min = 1))]
    pub port: Spanned<u16>,
    /// Port in the pod (8080 HTTP, 8081 TCP, 8082 UDP), `port` by default; the host network adds an offset.
    #[serde(default)]
    #[schemars(with = "Option<u16>")]
    pub target: Option<Spanned<u16>>,
    /// Defaults to TCP.
    #[serde(default)]
    pub protocol: Protocol,
}

/// The network of a workload's pods.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Network {
    /// A network namespace for each pod.
    #[default]
    Pod,
    /// The host network.
    Host,
    /// The host network, with packet capture on its devices: runs as root with `NET_RAW` and no other capability.
    HostCapture,
}

/// `all` (also when left out), or a list.
#[derive(Clone, Debug, Default)]
pub enum ClustersEntry {
    /// Every cluster of the run.
    #[default]
    All,
    /// Only these clusters.
    Only(Vec<Spanned<String>>),
}

/// How [`ClustersEntry`] looks in a file.
#[derive(JsonSchema)]
#[serde(untagged)]
#[allow(dead_code)]
enum ClustersSchema {
    /// Every cluster of the run.
    All(AllWord),
    /// Only these clusters.
    Only(Vec<String>),
}

#[derive(JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[allow(dead_code)]
enum AllWord {
    All,
}

impl<'de> Deserialize<'de> for ClustersEntry {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> de::Visitor<'de> for Visitor {
            type Value = ClustersEntry;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("`all` or a list of role names")
            }
            fn visit_str<E: de::Error>(self, word: &str) -> Result<ClustersEntry, E> {
                match word {
                    "all" => Ok(ClustersEntry::All),
                    other => Err(E::invalid_value(de::Unexpected::Str(other), &self)),
                }
            }
            fn visit_seq<A: de::SeqAccess<'de>>(self, mut list: A) -> Result<ClustersEntry, A::Error> {
                let mut names = Vec::new();
                while let Some(name) = list.next_element()? {
                    names.push(name);
                }
                Ok(ClustersEntry::Only(names))
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}
