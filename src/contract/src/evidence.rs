//! What a check saw, as data: reports format it, nobody parses it.

use crate::{AgentFacts, Chain, ClusterName, NodeName, Unit, facts::PodNetwork};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{fmt, net::IpAddr};

/// One piece of evidence beside a verdict.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "evidence", rename_all = "snake_case")]
pub enum Evidence {
    /// One row of a matrix: one source, many targets.
    Row(Row),
    /// A packet that a capture saw.
    Packet(Packet),
    /// A command that shows more.
    Command(Command),
    /// A fault of Cilium itself that what was seen fits.
    KnownFault(KnownFault),
    /// A claim followed from the operators' files to the agents.
    Chain(Chain),
    /// Anything else worth knowing, for people.
    Note {
        /// One sentence.
        text: String,
    },
}

impl Evidence {
    /// A sentence for people.
    pub fn note(text: impl Into<String>) -> Self {
        Evidence::Note { text: text.into() }
    }
    /// A command to run next.
    pub fn command(command: impl Into<String>) -> Self {
        Evidence::Command(Command {
            command: command.into(),
        })
    }
}

impl fmt::Display for Evidence {
    /// One line of text, as attachments and JUnit show it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Evidence::Row(row) => row.fmt(f),
            Evidence::Packet(packet) => packet.fmt(f),
            Evidence::Command(command) => write!(f, "next: {}", command.command),
            Evidence::KnownFault(known) => write!(f, "{known}; to accept it until then, in waivers: {}", known.waiver),
            Evidence::Chain(chain) => chain.fmt(f),
            Evidence::Note { text } => f.write_str(text),
        }
    }
}

/// One row of a matrix.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Row {
    /// What was probed: `HTTP`, `path MTU`. Rows of the same name and suite are one matrix.
    pub what: String,
    /// The source of the probes.
    pub from: NodeLabel,
    /// One cell for each target.
    pub cells: Vec<Cell>,
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} ->", self.what, self.from)?;
        for (index, cell) in self.cells.iter().enumerate() {
            write!(f, "{} {cell}", if index == 0 { "" } else { "," })?;
        }
        Ok(())
    }
}

/// One cell of a matrix.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Cell {
    /// The target of the probes.
    pub to: NodeLabel,
    /// What was seen.
    pub outcome: CellOutcome,
    /// The figure of this pair, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<f64>,
    /// The unit of `value`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<Unit>,
    /// What was seen instead, or why nothing was; absent for `ok`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

impl fmt::Display for Cell {
    /// `apps-1 ok 2.3 ms`, `apps-2 refused after 0.4 ms`, `apps-3 mismatch 1280 B (1350 B are lost)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let (CellOutcome::NoAnswer, Some(detail)) = (self.outcome, &self.detail) {
            return write!(f, "{} {detail}", self.to);
        }
        write!(f, "{} {}", self.to, self.outcome)?;
        if let (Some(value), Some(unit)) = (self.value, self.unit) {
            write!(f, " {}", unit.quantity(value))?;
        }
        match &self.detail {
            Some(detail) => write!(f, " ({detail})"),
            None => Ok(()),
        }
    }
}

/// What was seen on one pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CellOutcome {
    /// As expected.
    Ok,
    /// No answer came.
    NoAnswer,
    /// An answer came that was not the expected one.
    Mismatch,
    /// Nothing could be observed.
    Unknown,
}

impl fmt::Display for CellOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            CellOutcome::Ok => "ok",
            CellOutcome::NoAnswer => "no answer",
            CellOutcome::Mismatch => "mismatch",
            CellOutcome::Unknown => "unknown",
        })
    }
}

/// A node as one end of a path, and whether the end is a pod or the node itself.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub struct NodeLabel {
    /// Its cluster.
    pub cluster: ClusterName,
    /// Its name.
    pub node: NodeName,
    /// Whether the end uses the node's own network (`hostNetwork: true`).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub host: bool,
}

impl NodeLabel {
    /// A pod on a node.
    pub fn pod(cluster: &ClusterName, node: &NodeName) -> Self {
        Self {
            cluster: cluster.clone(),
            node: node.clone(),
            host: false,
        }
    }
}

impl From<&AgentFacts> for NodeLabel {
    fn from(agent: &AgentFacts) -> Self {
        Self {
            cluster: agent.id.cluster.clone(),
            node: agent.node.clone(),
            host: match agent.network {
                PodNetwork::Pod => false,
                PodNetwork::Host | PodNetwork::HostCapture => true,
            },
        }
    }
}

impl fmt::Display for NodeLabel {
    /// The node's name, with its cluster in front unless the name begins with it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (cluster, node) = (self.cluster.as_str(), self.node.as_str());
        if !node.starts_with(cluster) {
            write!(f, "{cluster}/")?;
        }
        f.write_str(node)?;
        if self.host { f.write_str(" (host)") } else { Ok(()) }
    }
}

/// A packet that a capture saw.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Packet {
    /// What it means: `pod addresses visible in an unencrypted VXLAN tunnel`.
    pub meaning: String,
    /// The flow that it belongs to: `10.0.1.5 -> 10.0.2.7, TCP`.
    pub flow: String,
    /// How many such packets were seen.
    pub packets: u64,
    /// The node on which it was seen.
    pub node: NodeLabel,
    /// The network device on which it was seen.
    pub device: String,
    /// Whether it left the node or arrived there.
    pub direction: Direction,
    /// Source of the outer IP header, if it is IP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<IpAddr>,
    /// Destination of the outer IP header, if it is IP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub destination: Option<IpAddr>,
    /// Its length from the IP header on, in bytes.
    pub length: u32,
    /// Its first bytes from the IP header on, in hexadecimal digits; shown in attachments only.
    pub first_bytes: String,
}

impl fmt::Display for Packet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: {}: {} packets on {}/{} ({})",
            self.flow, self.meaning, self.packets, self.node, self.device, self.direction
        )?;
        if let (Some(source), Some(destination)) = (self.source, self.destination) {
            write!(f, ", {source} -> {destination}")?;
        }
        write!(f, ", {} B", self.length)
    }
}

/// The way of a packet, seen from the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum Direction {
    Egress,
    Ingress,
}

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Direction::Egress => "egress",
            Direction::Ingress => "ingress",
        })
    }
}

/// A command that shows more, with this run's contexts, pods and addresses in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Command {
    /// The command line, quoted for a POSIX shell.
    pub command: String,
}

/// A fault of Cilium itself that is known upstream, as one that fits what was seen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct KnownFault {
    /// What happens, as a sentence without a full stop.
    pub what: String,
    /// The project's own issue or documentation.
    pub link: String,
    /// The version of Cilium that was seen.
    pub version: String,
    /// The first version without it; none when there is none yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fixed: Option<String>,
    /// An entry for `waivers` in meshproof.yaml that accepts it, in one line.
    pub waiver: String,
}

impl fmt::Display for KnownFault {
    /// `known fault of Cilium 1.18.3: … (https://…), fixed in 1.18.5`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "known fault of Cilium {}: {} ({})",
            self.version, self.what, self.link
        )?;
        match &self.fixed {
            Some(version) => write!(f, ", fixed in {version}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn label(cluster: &str, node: &str) -> NodeLabel {
        NodeLabel::pod(&cluster.into(), &node.into())
    }

    #[test]
    fn a_label_names_the_cluster_once() {
        assert_eq!(label("infra", "infra-1").to_string(), "infra-1");
        assert_eq!(label("infra", "worker-1").to_string(), "infra/worker-1");
    }

    #[test]
    fn a_row_is_one_line_of_text_and_survives_json() {
        let row = Evidence::Row(Row {
            what: "HTTP".to_owned(),
            from: label("infra", "infra-1"),
            cells: vec![
                Cell {
                    to: label("apps", "apps-1"),
                    outcome: CellOutcome::Ok,
                    value: Some(2300.0),
                    unit: Some(Unit::Microseconds),
                    detail: None,
                },
                Cell {
                    to: label("apps", "apps-2"),
                    outcome: CellOutcome::NoAnswer,
                    value: None,
                    unit: None,
                    detail: Some("refused after 0.4 ms".to_owned()),
                },
            ],
        });
        assert_eq!(
            row.to_string(),
            "HTTP: infra-1 -> apps-1 ok 2.3 ms, apps-2 refused after 0.4 ms"
        );
        let json = serde_json::to_string(&row).expect("encodes");
        assert_eq!(serde_json::from_str::<Evidence>(&json).expect("decodes"), row);
    }
}
