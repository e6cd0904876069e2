//! The file format, exactly as written: each name remembers its line and column.

pub use crate::scenario::{Namespace, Placement, Protocol, ServiceType, SessionAffinity};

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, de};
use serde_saphyr::Spanned;
use std::{collections::BTreeMap, fmt};

/// A scenario: what is deployed to observe with.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ScenarioFile {
    /// Name of the scenario; a built-in one equals its file's.
    #[schemars(with = "String")]
    pub name: Spanned<String>,
    /// One sentence on what it is for.
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
    /// Where its pods run.
    #[schemars(with = "Placement")]
    pub placement: Spanned<Placement>,
    /// Whose network its pods use.
    #[serde(default)]
    pub network: Network,
    /// In which of the run's namespaces its pods live; those that share the node's network have one of their own.
    #[serde(default)]
    pub namespace: Namespace,
    /// A service account for its pods, made with the workload; `default` unless given.
    #[serde(default)]
    #[schemars(with = "Option<String>")]
    pub service_account: Option<Spanned<String>>,
    /// Labels of its pods, besides meshproof's own.
    #[serde(default)]
    #[schemars(with = "BTreeMap<String, String>")]
    pub labels: BTreeMap<String, Spanned<String>>,
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
    /// The workload whose pods answer.
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
    /// Whether a client stays with the pod that answered it first.
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
    /// Unique in the service.
    #[schemars(with = "String")]
    pub name: Spanned<String>,
    /// The service's port.
    #[schemars(with = "u16", range(min = 1))]
    pub port: Spanned<u16>,
    /// The port in the pod: 8080 answers HTTP, 8081 TCP, 8082 UDP. The service's port unless given; for the node's
    /// network the agent's offset is added.
    #[serde(default)]
    #[schemars(with = "Option<u16>")]
    pub target: Option<Spanned<u16>>,
    /// TCP unless given.
    #[serde(default)]
    pub protocol: Protocol,
}

/// Whose network a workload's pods use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Network {
    /// Each pod its own.
    #[default]
    Pod,
    /// The node's.
    Host,
    /// The node's, with the right to capture what crosses its devices: runs as root with `NET_RAW` and nothing else.
    HostCapture,
}

/// `all` (also when left out), or a list.
#[derive(Clone, Debug, Default)]
pub enum ClustersEntry {
    /// Every cluster of the run.
    #[default]
    All,
    /// These only.
    Only(Vec<Spanned<String>>),
}

/// How [`ClustersEntry`] looks in a file.
#[derive(JsonSchema)]
#[serde(untagged)]
#[allow(dead_code)]
enum ClustersSchema {
    /// Every cluster of the run.
    All(AllWord),
    /// These only.
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
