//! Flows that operators write down: who reaches what, and how well. Data only; [`Flow::verify`] finds what contradicts
//! itself.

mod verify;

pub use verify::FlowError;

use crate::{
    ClusterName, Percent,
    thresholds::{Span, write_duration},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, fmt, net::IpAddr, path::PathBuf, time::Duration};

/// One flow: a client, a destination, and what must become of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Flow {
    /// Its name, unique among the flows of its cluster: letters, digits, blanks and any of `-_.,:+`.
    pub name: String,
    /// The client.
    pub from: FlowSource,
    /// The destination.
    pub to: FlowTarget,
    /// What is expected. Without it, the flow must be allowed.
    #[serde(default)]
    pub expect: FlowExpectation,
}

/// The client of a flow: a probe pod with this identity, which is never ready, so that no Service leads to it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FlowSource {
    /// Role name of its cluster.
    pub cluster: ClusterName,
    /// Its namespace. The probe pod runs there during the run; `meshproof rbac --flows` prints the rights for that.
    /// Without it, the probe pod runs in the namespace of the run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Its labels, in addition to those of meshproof.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Its service account, which must exist in `namespace`; in the namespace of the run it is created.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_account: Option<String>,
    /// The client is a node: a pod in the host network of any node. Excludes the other keys.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub host: bool,
}

/// The destination of a flow: exactly one of `service`, `address` and `host`, and a port.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FlowTarget {
    /// A Service, as `NAME.NAMESPACE`, in the cluster of the client.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// Role name of another cluster that has the Service. The client goes to the address of its load balancer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<ClusterName>,
    /// An IP address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<IpAddr>,
    /// A DNS name, resolved as the client resolves it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// The port.
    #[schemars(range(min = 1))]
    pub port: u16,
    /// What the client speaks.
    #[serde(default)]
    pub protocol: FlowProtocol,
    /// For `tls`, `https`, and PostgreSQL with TLS: the name and the certificate authority.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<FlowTls>,
    /// For `http` and `https`: the request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<FlowRequest>,
    /// For `dns`: the name to ask for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub query: Option<String>,
}

/// The protocols of flows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum FlowProtocol {
    /// A TCP connection, and no byte more.
    #[default]
    Tcp,
    /// A TLS handshake; the certificate must be valid for the name.
    Tls,
    /// One HTTP/1.1 request.
    Http,
    /// One HTTP/1.1 request over TLS.
    Https,
    /// One DNS question over UDP.
    Dns,
    /// PostgreSQL: whether it speaks TLS, and its answer to a startup message without credentials.
    Postgres,
    /// Redis, Valkey or Dragonfly: the answer to PING; a demand for a password counts as alive.
    Redis,
}

impl FlowProtocol {
    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            FlowProtocol::Tcp => "tcp",
            FlowProtocol::Tls => "tls",
            FlowProtocol::Http => "http",
            FlowProtocol::Https => "https",
            FlowProtocol::Dns => "dns",
            FlowProtocol::Postgres => "postgres",
            FlowProtocol::Redis => "redis",
        }
    }
}

impl fmt::Display for FlowProtocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How TLS is spoken.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FlowTls {
    /// The server name of the handshake (SNI), for which the certificate must be valid. Defaults to the host, or to
    /// `NAME.NAMESPACE.svc` of a Service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server_name: Option<String>,
    /// The certificate authority. Defaults to those that the machine of meshproof trusts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<FlowCa>,
}

/// Where the certificate authority is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum FlowCa {
    /// A PEM file; its path starts at the folder of the file with the flow.
    File(PathBuf),
    /// PEM text.
    Pem(String),
    /// A key of a ConfigMap in the client's cluster.
    ConfigMap {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
        /// The key.
        key: String,
    },
}

/// An HTTP request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct FlowRequest {
    /// The method, upper case.
    pub method: String,
    /// Path and query.
    pub path: String,
    /// The header `Host`. Defaults to the name of the destination.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// Further headers.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
}

impl Default for FlowRequest {
    fn default() -> Self {
        Self {
            method: "GET".to_owned(),
            path: "/".to_owned(),
            host: None,
            headers: BTreeMap::new(),
        }
    }
}

/// What must become of a flow.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct FlowExpectation {
    /// Whether the client reaches the destination (default true).
    pub allowed: bool,
    /// How a flow that is not allowed is refused. Without it, any refusal by the network is as good.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refusal: Option<Refusal>,
    /// Which cluster answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub answered_by: Option<FlowAnswerer>,
    /// Highest 99th percentile of the time to an answer: of the whole exchange for `http` and `dns`, of the connection
    /// for other protocols.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p99: Option<Span>,
    /// Lowest share of tries that succeed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub availability: Option<Percent>,
    /// Whether the packets between nodes are encrypted: captures on the nodes must, or must not, read them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub encrypted: Option<bool>,
    /// The HTTP status. Without it, any status below 400.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 100, max = 599))]
    pub status: Option<u16>,
    /// A regular expression that the first 16 KiB of the body must match.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
    /// Headers of the answer, each with a regular expression that its value must match.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    /// Days for which the certificate must still be valid (default 7).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub days_left: Option<u16>,
    /// Whether PostgreSQL speaks TLS. Without it, either is as good.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<bool>,
}

impl Default for FlowExpectation {
    fn default() -> Self {
        Self {
            allowed: true,
            refusal: None,
            answered_by: None,
            p99: None,
            availability: None,
            encrypted: None,
            status: None,
            body: None,
            headers: BTreeMap::new(),
            days_left: None,
            tls: None,
        }
    }
}

/// Who answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FlowAnswerer {
    /// Role name of its cluster.
    pub cluster: ClusterName,
}

/// How a flow is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Refusal {
    /// No answer to the connection attempt, as Cilium drops.
    Dropped,
    /// An active answer: TCP RST or ICMP unreachable.
    Rejected,
    /// HTTP status 403, as Cilium's HTTP rules answer.
    Forbidden,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Refusal::Dropped => "dropped",
            Refusal::Rejected => "rejected",
            Refusal::Forbidden => "forbidden (HTTP 403)",
        })
    }
}

/// The scenario of the clients of flows.
pub const SCENARIO: &str = "meshproof-flows";
/// Its workload whose pods nothing restricts: what they reach is there.
pub const CONTROL: &str = "flow-control";
/// The scenario whose agents on the nodes' network stand for nodes.
pub const NODE_SCENARIO: &str = "connectivity";
/// Their workload.
pub const NODE: &str = "node";

/// The workload that is the client of a flow: of [`SCENARIO`], or [`NODE`]. `flows` are all that are written down.
pub fn client(flows: &[Flow], flow: &Flow) -> String {
    if flow.from.host {
        return NODE.to_owned();
    }
    let mut sources: Vec<&FlowSource> = Vec::new();
    for other in flows.iter().filter(|other| !other.from.host) {
        if !sources.contains(&&other.from) {
            sources.push(&other.from);
        }
    }
    let number = sources.iter().position(|source| **source == flow.from);
    format!("client-{}", number.map_or(0, |number| number + 1))
}

impl Flow {
    /// The Service's name and namespace, if the destination is one.
    pub fn service(&self) -> Option<(&str, &str)> {
        self.to.service.as_deref()?.split_once('.')
    }

    /// The highest 99th percentile, if one is promised.
    pub fn p99(&self) -> Option<Duration> {
        self.expect.p99.map(Duration::from)
    }
}

impl fmt::Display for FlowTarget {
    /// `postgres-rw.databases:5432 (postgres)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.service, &self.host, self.address) {
            (Some(name), _, _) | (None, Some(name), _) => write!(f, "{name}:{}", self.port)?,
            (None, None, Some(IpAddr::V6(address))) => write!(f, "[{address}]:{}", self.port)?,
            (None, None, Some(address)) => write!(f, "{address}:{}", self.port)?,
            (None, None, None) => write!(f, "port {}", self.port)?,
        }
        write!(f, " ({})", self.protocol)
    }
}

impl fmt::Display for FlowSource {
    /// `gitlab/webservice`-like: `namespace gitlab, app=webservice, service account gitlab`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host {
            return write!(f, "a node of {}", self.cluster);
        }
        match &self.namespace {
            Some(namespace) => write!(f, "a pod of {}, namespace {namespace}", self.cluster)?,
            None => write!(f, "a pod of {}", self.cluster)?,
        }
        for (key, value) in &self.labels {
            write!(f, ", {key}={value}")?;
        }
        match &self.service_account {
            Some(account) => write!(f, ", service account {account}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for FlowExpectation {
    /// `allowed`, `allowed, answered by infra, p99 at most 150ms`, `dropped`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.allowed {
            return match self.refusal {
                Some(refusal) => refusal.fmt(f),
                None => f.write_str("not allowed"),
            };
        }
        f.write_str("allowed")?;
        if let Some(FlowAnswerer { cluster }) = &self.answered_by {
            write!(f, ", answered by {cluster}")?;
        }
        if let Some(p99) = self.p99 {
            write!(f, ", p99 at most {}", write_duration(p99.0))?;
        }
        match self.availability {
            Some(share) => write!(f, ", {share} of tries answered"),
            None => Ok(()),
        }
    }
}
