//! A window of time in which every node's devices are watched while marked traffic goes over them, the instrument's own
//! control among it. It says what was seen and judges nothing.

use crate::kit::cilium::nodes::{Answer, MeshNode};
use futures::future::join_all;
use ipnet::IpNet;
use meshproof_contract::{
    Action, AgentFacts, AgentId, CaptureId, CaptureReport, CaptureSpec, CheckContext, EnvironmentError, Marker, Needle,
    Outcome, Probe, Target, Transport, port,
};
use serde_json::Value;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;
use uuid::Uuid;

/// WireGuard's UDP port where the agent does not tell (`listen-port`).
pub const WIREGUARD_PORT: u16 = 51871;
/// After so many seconds a capture ends although nobody stopped it.
const LIFETIME: u32 = 60;
/// The control's payload and deadline.
const CONTROL_BYTES: u32 = 600;
const CONTROL_DEADLINE: Duration = Duration::from_secs(2);
/// A datagram to the outside is not answered by anybody.
const OUTSIDE_DEADLINE: Duration = Duration::from_millis(200);
/// An address that nobody has (TEST-NET-1, RFC 5737) and the port `discard`: whatever goes there leaves by the default route.
const OUTSIDE: ([u8; 4], u16) = ([192, 0, 2, 1], 9);

/// A random marker, every one of its 128 bits.
pub fn marker() -> Marker {
    // Six bits of a UUID are fixed: one is laid over the other, turned so that no fixed bits meet.
    let (a, b) = (Uuid::new_v4().into_bytes(), Uuid::new_v4().into_bytes());
    Marker(std::array::from_fn(|at| a[at] ^ b[(at + 1) % 16]))
}

/// Whether an outcome says that something arrived.
pub type Arrived = fn(&Outcome) -> bool;

/// Something sent over the wire that must not be seen in clear.
#[derive(Clone, Debug)]
pub struct Flow {
    /// `infra-1 -> infra-2, TCP`.
    pub what: String,
    /// Who sends.
    pub from: AgentFacts,
    /// The node at the other end; none if the answer tells (a service's backend).
    pub to: Option<(meshproof_contract::ClusterName, meshproof_contract::NodeName)>,
    /// Addresses of the pods that may be at the other end.
    pub others: Vec<IpAddr>,
    /// What to send.
    pub probe: Probe,
    /// What to look for on the wire; none if only headers can tell.
    pub needle: Option<Needle>,
    /// Bytes of payload each way, at least.
    pub bytes: u64,
    /// Whether the outcome says that it went over the wire and back; of what is withheld, that it did not.
    pub arrived: Arrived,
    /// Nobody is there who could decrypt it, so it must not go anywhere.
    pub withheld: bool,
}

/// A node that is watched, and by whom.
#[derive(Clone, Debug)]
pub struct Watch {
    /// The node.
    pub node: MeshNode,
    /// The capturing agent on it.
    pub agent: AgentFacts,
    /// The devices between nodes, as Cilium names them.
    pub devices: Vec<String>,
    /// WireGuard's port there.
    pub wireguard: u16,
    /// How the instrument is proven there.
    pub control: ControlKind,
}

/// What is sent in clear on purpose, so that the capture has something to see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ControlKind {
    /// From the node to another node, both with the node's own network: Cilium leaves it in clear without node encryption.
    Neighbour,
    /// From the node to an address outside of everything: with node encryption nothing else is in clear.
    Outside,
}

/// Who sent a control, and who must have seen it.
#[derive(Clone, Debug)]
pub struct Control {
    /// The sender's position among the watches.
    pub from: usize,
    /// The receiver's; none for the outside.
    pub to: Option<usize>,
    /// Position of its needle.
    pub needle: u32,
}

/// What was seen.
#[derive(Debug)]
pub struct Window {
    /// The nodes watched, each with what was captured.
    pub watches: Vec<(Watch, Result<CaptureReport, EnvironmentError>)>,
    /// The flows, each with its outcome and the position of its needle.
    pub flows: Vec<(Flow, Result<Outcome, EnvironmentError>, Option<u32>)>,
    /// The controls.
    pub controls: Vec<Control>,
}

/// Devices between nodes as `cilium-dbg status -o json` tells them, at least the one with the node's address.
pub fn devices(status: &Value, node: &MeshNode) -> Result<Vec<String>, String> {
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
    let has_address = listed.iter().any(|(_, ips)| ips.iter().any(|ip| node.has(*ip)));
    if !has_address {
        return Err(format!(
            "{}: `cilium-dbg status` names no device with the node's address ({}), so it is not known what to watch; it names {}",
            node.place(),
            node.addresses
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
                .join(", "),
            match listed.is_empty() {
                true => "none".to_owned(),
                false => listed.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", "),
            }
        ));
    }
    Ok(listed.into_iter().map(|(name, _)| name.to_owned()).collect())
}

/// The watches of these nodes; what keeps a node from being watched is told.
pub fn watches(nodes: &[MeshNode], answers: &[Answer], agents: &[AgentFacts]) -> (Vec<Watch>, Vec<String>) {
    let (mut watches, mut lacking) = (Vec::new(), Vec::new());
    for node in nodes {
        let agent = agents.iter().find(|agent| {
            agent.workload == super::CAPTURE && agent.id.cluster == node.cluster && agent.node == node.name
        });
        let status = answers
            .iter()
            .find(|a| a.cluster == node.cluster && a.node == node.name);
        let Some(agent) = agent else {
            lacking.push(format!("{}: no agent that captures is ready there", node.place()));
            continue;
        };
        // That its agent could not be heard has been told already.
        let Some(status) = status else { continue };
        let wireguard = &status.output["encryption"]["wireguard"];
        let port = wireguard["interfaces"][0]["listen-port"].as_u64();
        match devices(&status.output, node) {
            Ok(devices) => watches.push(Watch {
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
    (watches, lacking)
}

/// Watches while the flows and the controls are sent.
pub async fn observe(context: &CheckContext, watches: &[Watch], flows: &[Flow], pods: &[IpNet]) -> Window {
    let environment = context.environment.as_ref();
    let mut needles: Vec<Needle> = Vec::new();
    let positions: Vec<Option<u32>> = flows
        .iter()
        .map(|flow| {
            flow.needle.clone().map(|needle| {
                needles.push(needle);
                (needles.len() - 1) as u32
            })
        })
        .collect();
    let (mut controls, mut control_probes) = (Vec::new(), Vec::new());
    for (from, watch) in watches.iter().enumerate() {
        let to = match watch.control {
            ControlKind::Neighbour if watches.len() > 1 => Some((from + 1) % watches.len()),
            _ => None,
        };
        let marker = marker();
        controls.push(Control {
            from,
            to,
            needle: needles.len() as u32,
        });
        needles.push(Needle::raw(marker));
        control_probes.push(control(to.map(|to| &watches[to].agent), marker));
    }

    let started = join_all(watches.iter().map(|watch| {
        let spec = CaptureSpec {
            devices: watch.devices.clone(),
            needles: needles.clone(),
            pods: pods.to_vec(),
            wireguard: Some(watch.wireguard),
            seconds: LIFETIME,
        };
        environment.start_capture(&watch.agent.id, spec)
    }))
    .await;

    let mut batches: BTreeMap<&AgentId, Vec<(Option<usize>, Probe)>> = BTreeMap::new();
    for (at, flow) in flows.iter().enumerate() {
        batches
            .entry(&flow.from.id)
            .or_default()
            .push((Some(at), flow.probe.clone()));
    }
    for (control, probe) in controls.iter().zip(control_probes) {
        batches
            .entry(&watches[control.from].agent.id)
            .or_default()
            .push((None, probe));
    }
    let sent = join_all(batches.into_iter().map(|(agent, batch)| async move {
        let probes: Vec<Probe> = batch.iter().map(|(_, probe)| probe.clone()).collect();
        (agent, batch, environment.probe(agent, probes).await)
    }))
    .await;
    let mut outcomes: Vec<Option<Result<Outcome, EnvironmentError>>> = flows.iter().map(|_| None).collect();
    for (agent, batch, answer) in sent {
        for (place, (at, _)) in batch.into_iter().enumerate() {
            let Some(at) = at else { continue };
            outcomes[at] = Some(match &answer {
                Ok(answers) => answers.get(place).cloned().ok_or_else(|| EnvironmentError::AgentGone {
                    agent: agent.clone(),
                    reason: "it answered fewer probes than it was asked".to_owned(),
                }),
                Err(error) => Err(error.clone()),
            });
        }
    }
    let reports = join_all(
        watches
            .iter()
            .zip(started)
            .map(|(watch, started)| stop(context, watch, started)),
    )
    .await;
    Window {
        watches: watches.iter().cloned().zip(reports).collect(),
        flows: flows
            .iter()
            .cloned()
            .zip(outcomes)
            .zip(positions)
            .map(|((flow, outcome), needle)| {
                let outcome = outcome.expect("every flow belongs to the batch of its own agent");
                (flow, outcome, needle)
            })
            .collect(),
        controls,
    }
}

async fn stop(
    context: &CheckContext,
    watch: &Watch,
    started: Result<CaptureId, EnvironmentError>,
) -> Result<CaptureReport, EnvironmentError> {
    context.environment.stop_capture(&watch.agent.id, started?).await
}

fn control(to: Option<&AgentFacts>, marker: Marker) -> Probe {
    let (to, deadline) = match to {
        Some(agent) => (
            Target::new(agent.address.to_string(), agent.port(port::UDP)),
            CONTROL_DEADLINE,
        ),
        None => (
            Target::new(IpAddr::from(OUTSIDE.0).to_string(), OUTSIDE.1),
            OUTSIDE_DEADLINE,
        ),
    };
    let action = Action::MarkedEcho {
        to,
        transport: Transport::Udp,
        marker,
        payload: CONTROL_BYTES,
    };
    Probe::once(action, deadline)
}
