//! Where to capture: on each node, every link that leads out of it by the node's own list, those that Cilium names
//! among them, and the agent that may capture.

use crate::kit::cilium::nodes::{Answer, MeshNode};
use meshproof_contract::AgentFacts;
use serde_json::Value;

/// WireGuard's UDP port where the agent does not report it (`listen-port`).
pub const WIREGUARD_PORT: u16 = 51871;

/// How the names of links begin over which packets go before they are encrypted and leave the node: loopback, Cilium's
/// own devices, and its pods' (`pkg/defaults`, `pkg/datapath/connector` in Cilium).
pub const INSIDE: [&str; 3] = ["lo", "cilium_", "lxc"];

/// Whether the link is inside the node.
pub fn is_inside(link: &str) -> bool {
    INSIDE.iter().any(|prefix| link.starts_with(prefix))
}

/// A node with everything that a capture there needs.
#[derive(Clone, Debug)]
pub struct CapturePoint {
    /// The node.
    pub node: MeshNode,
    /// The capturing agent on it.
    pub agent: AgentFacts,
    /// The devices between nodes, as Cilium names them; none where it does not say.
    pub devices: Vec<String>,
    /// WireGuard's port there.
    pub wireguard: u16,
    /// Whether what the node itself sends to others that do the same is encrypted.
    pub node_encryption: NodeEncryption,
    /// How the capture proves itself there.
    pub control: ControlKind,
}

/// Whether a node's own traffic is encrypted, as its agent reports it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeEncryption {
    /// It is, to all nodes that do the same.
    Enabled,
    /// The node is exempt by its labels (`node-encryption-opt-out-labels`).
    OptedOut,
    /// It is not, or the agent does not say.
    Disabled,
}

impl NodeEncryption {
    /// From `cilium-dbg status -o json`.
    pub fn of(status: &Value) -> Self {
        match status["encryption"]["wireguard"]["node-encryption"].as_str() {
            Some("Enabled") => NodeEncryption::Enabled,
            Some("OptedOut") => NodeEncryption::OptedOut,
            _ => NodeEncryption::Disabled,
        }
    }
}

/// What is sent in plaintext on purpose, so that the capture has something to see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ControlKind {
    /// From the node to another node, both in host network: Cilium does not encrypt it without node encryption.
    Neighbour,
    /// From the node to an address outside of all clusters: with node encryption nothing else is plaintext.
    Outside,
}

/// The capture points of these nodes, and why others have none.
pub fn capture_points(
    nodes: &[MeshNode],
    answers: &[Answer],
    agents: &[AgentFacts],
) -> (Vec<CapturePoint>, Vec<String>) {
    let (mut points, mut lacking) = (Vec::new(), Vec::new());
    for node in nodes {
        let agent = agents.iter().find(|agent| {
            agent.workload == super::CAPTURE && agent.id.cluster == node.cluster && agent.node == node.name
        });
        let status = answers
            .iter()
            .find(|a| a.cluster == node.cluster && a.node == node.name);
        let Some(agent) = agent else {
            lacking.push(format!("{}: no ready agent `{}`", node.label(), super::CAPTURE));
            continue;
        };
        // That its Cilium agent did not answer has been reported already.
        let Some(status) = status else { continue };
        let port = status.output["encryption"]["wireguard"]["interfaces"][0]["listen-port"].as_u64();
        let node_encryption = NodeEncryption::of(&status.output);
        match devices(&status.output, node) {
            Ok(devices) => points.push(CapturePoint {
                node: node.clone(),
                agent: agent.clone(),
                devices,
                wireguard: port.and_then(|port| port.try_into().ok()).unwrap_or(WIREGUARD_PORT),
                node_encryption,
                control: match node_encryption {
                    NodeEncryption::Disabled => ControlKind::Neighbour,
                    _ => ControlKind::Outside,
                },
            }),
            Err(why) => lacking.push(why),
        }
    }
    (points, lacking)
}

/// Devices between nodes as `cilium-dbg status -o json` lists them. One of them inside the node is a contradiction.
fn devices(status: &Value, node: &MeshNode) -> Result<Vec<String>, String> {
    let listed = status["kube-proxy-replacement"]["deviceList"].as_array();
    let names = listed
        .into_iter()
        .flatten()
        .filter_map(|device| device["name"].as_str());
    let names: Vec<String> = names.map(str::to_owned).collect();
    match names.iter().find(|name| is_inside(name)) {
        Some(inside) => Err(format!(
            "{}: `cilium-dbg status` names {inside} as a device between nodes, but that link does not leave the node",
            node.label()
        )),
        None => Ok(names),
    }
}
