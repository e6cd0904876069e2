//! Where to capture: on each node, the devices that Cilium names as those between nodes, and the agent that may
//! capture.

use crate::kit::cilium::nodes::{Answer, MeshNode};
use meshproof_contract::AgentFacts;
use serde_json::Value;
use std::net::IpAddr;

/// WireGuard's UDP port where the agent does not report it (`listen-port`).
pub const WIREGUARD_PORT: u16 = 51871;

/// A node with everything that a capture there needs.
#[derive(Clone, Debug)]
pub struct CapturePoint {
    /// The node.
    pub node: MeshNode,
    /// The capturing agent on it.
    pub agent: AgentFacts,
    /// The devices between nodes, as Cilium names them.
    pub devices: Vec<String>,
    /// WireGuard's port there.
    pub wireguard: u16,
    /// How the capture proves itself there.
    pub control: ControlKind,
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
        let wireguard = &status.output["encryption"]["wireguard"];
        let port = wireguard["interfaces"][0]["listen-port"].as_u64();
        match devices(&status.output, node) {
            Ok(devices) => points.push(CapturePoint {
                node: node.clone(),
                agent: agent.clone(),
                devices,
                wireguard: port.and_then(|port| port.try_into().ok()).unwrap_or(WIREGUARD_PORT),
                control: match wireguard["node-encryption"].as_str() {
                    None | Some("" | "Disabled") => ControlKind::Neighbour,
                    Some(_) => ControlKind::Outside,
                },
            }),
            Err(why) => lacking.push(why),
        }
    }
    (points, lacking)
}

/// Devices between nodes as `cilium-dbg status -o json` lists them, at least the one with the node's address.
fn devices(status: &Value, node: &MeshNode) -> Result<Vec<String>, String> {
    let replacement = &status["kube-proxy-replacement"];
    let listed: Vec<(&str, Vec<IpAddr>)> = replacement["deviceList"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|device| {
            let ips = device["ip"].as_array().into_iter().flatten();
            let ips = ips.filter_map(|ip| ip.as_str()?.parse().ok()).collect();
            Some((device["name"].as_str()?, ips))
        })
        .collect();
    if listed.iter().any(|(_, ips)| ips.iter().any(|ip| node.has(*ip))) {
        return Ok(listed.into_iter().map(|(name, _)| name.to_owned()).collect());
    }
    let addresses: Vec<String> = node.addresses.iter().map(ToString::to_string).collect();
    let names: Vec<&str> = listed.iter().map(|(name, _)| *name).collect();
    Err(format!(
        "{}: cannot choose the devices to capture on: `cilium-dbg status` lists no device with the node's address \
         ({}), only [{}]",
        node.label(),
        addresses.join(", "),
        names.join(", ")
    ))
}
