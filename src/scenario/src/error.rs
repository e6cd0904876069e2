//! What can be wrong with a scenario file, with file, line and column.

use serde_saphyr::Location;
use std::fmt;

/// Why a scenario could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ScenarioError {
    /// The file could not be read.
    #[error("failed to read scenario {path}: {source}")]
    Unreadable {
        /// The file.
        path: String,
        /// The cause.
        source: std::io::Error,
    },
    /// It is not YAML, or not of the scenario's shape.
    #[error("{path}:{line}:{column}: {reason}")]
    Malformed {
        /// The file.
        path: String,
        /// 1-based; 0 when unknown.
        line: u64,
        /// 1-based; 0 when unknown.
        column: u64,
        /// The parser's words, one line.
        reason: String,
    },
    /// It contradicts itself.
    #[error("{path}:{line}:{column}: {problem}")]
    Invalid {
        /// The file.
        path: String,
        /// 1-based.
        line: u64,
        /// 1-based.
        column: u64,
        /// What is wrong.
        problem: Problem,
    },
    /// No built-in scenario has this name.
    #[error("unknown built-in scenario {name:?}; known: {}", .known.join(", "))]
    UnknownBuiltin {
        /// The name asked for.
        name: String,
        /// The names that exist.
        known: Vec<&'static str>,
    },
}

/// A contradiction or a broken rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Problem {
    /// Not a DNS label (RFC 1123), which Kubernetes wants for this.
    NotADnsLabel(String),
    /// The object's name, made of the scenario's and this one, would not fit into a DNS label.
    TooLong(String),
    /// Two of a kind with one name.
    Duplicate {
        /// `workload`, `service`, `port`, `cluster`.
        kind: &'static str,
        /// The name.
        name: String,
    },
    /// A service names a workload that is not there.
    UnknownWorkload {
        /// The name.
        name: String,
        /// Those that are.
        known: Vec<String>,
    },
    /// A service is in a cluster in which its workload is not.
    WorkloadElsewhere {
        /// The workload.
        workload: String,
        /// The cluster without it.
        cluster: String,
    },
    /// A scenario without workloads observes nothing.
    NoWorkloads,
    /// A service without ports.
    NoPorts,
    /// A list of clusters that is empty deploys nowhere.
    NoClusters,
    /// Port 0.
    PortZero,
    /// A workload of another scenario is named by both.
    NotShared(String),
    /// A workload of no replicas observes nothing.
    NoReplicas,
    /// More than one agent of the node's network would have to share the node's ports.
    SecondHostWorkload(String),
    /// Ports of the node's network are the node's own already.
    HostPortOfHost,
    /// More than one agent of a node would have to share its ports.
    SecondHostPort,
    /// One of several ports has no name, which Kubernetes refuses.
    UnnamedPort,
    /// A label that belongs to meshproof.
    ReservedLabel(String),
    /// A label key or value that Kubernetes refuses.
    BadLabel(String),
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Problem::NotADnsLabel(name) => write!(
                f,
                "invalid name {name:?}: Kubernetes accepts up to 63 of a-z, 0-9 and '-', starting with a letter and \
                 not ending with '-'"
            ),
            Problem::TooLong(name) => write!(f, "name {name:?} exceeds 63 characters"),
            Problem::Duplicate { kind, name } => write!(f, "duplicate {kind} {name:?}"),
            Problem::UnknownWorkload { name, known } => {
                write!(f, "unknown workload {name:?}; known: {}", known.join(", "))
            }
            Problem::WorkloadElsewhere { workload, cluster } => {
                write!(
                    f,
                    "workload {workload:?} is not deployed to cluster {cluster:?}, where the service needs backends"
                )
            }
            Problem::NoWorkloads => f.write_str("the scenario must have at least one workload"),
            Problem::NoPorts => f.write_str("the service must have at least one port"),
            Problem::NoClusters => {
                f.write_str("empty list of clusters: write `all`, or leave the key out, for all clusters")
            }
            Problem::PortZero => f.write_str("invalid port 0: expected 1 to 65535"),
            Problem::NotShared(name) => write!(f, "invalid workload {name:?}: expected SCENARIO/WORKLOAD"),
            Problem::NoReplicas => f.write_str("invalid replicas 0: expected at least 1"),
            Problem::SecondHostWorkload(first) => write!(
                f,
                "workload {first:?} already uses the host network: two agents cannot share a node's ports"
            ),
            Problem::HostPortOfHost => f.write_str("`exposure: host-port` needs `network: pod`"),
            Problem::SecondHostPort => f.write_str("two workloads cannot have the same `hostPort` on one node"),
            Problem::UnnamedPort => f.write_str("each of several ports must have a name"),
            Problem::ReservedLabel(key) => write!(f, "label {key:?} is reserved for meshproof"),
            Problem::BadLabel(text) => write!(f, "invalid label {text:?}"),
        }
    }
}

impl ScenarioError {
    pub(crate) fn malformed(path: &str, error: &serde_saphyr::Error) -> Self {
        let at = error.location().unwrap_or(Location::UNKNOWN);
        // The plain error repeats the position in its text, after the reason.
        let reason = error.without_snippet().to_string();
        let reason = reason.split(" at line ").next().unwrap_or(&reason);
        ScenarioError::Malformed {
            path: path.to_owned(),
            line: at.line(),
            column: at.column(),
            reason: reason.lines().collect::<Vec<_>>().join(" "),
        }
    }

    pub(crate) fn invalid(path: &str, at: Location, problem: Problem) -> Self {
        ScenarioError::Invalid {
            path: path.to_owned(),
            line: at.line(),
            column: at.column(),
            problem,
        }
    }
}
