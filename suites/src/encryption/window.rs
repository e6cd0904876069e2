//! A window of time in which every node captures while marked traffic crosses its devices, the capture's own controls
//! among it. It records what was seen and judges nothing.

use super::{
    capture_point::{CapturePoint, ControlKind, INSIDE},
    flow::{Flow, marker},
};
use futures::future::join_all;
use ipnet::IpNet;
use meshproof_contract::{
    Action, AgentFacts, AgentId, CaptureId, CaptureReport, CaptureSpec, CheckContext, EnvironmentError, Marker, Needle,
    Outcome, Probe, Target, Transport, port,
};
use std::{
    collections::BTreeMap,
    net::IpAddr,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

/// After so many seconds a capture ends although nobody stopped it.
const LIFETIME: u32 = 60;
/// Between two rounds of flows: a leak that lasts so long is met.
const BETWEEN_ROUNDS: Duration = Duration::from_millis(20);
/// The control's payload and deadline.
const CONTROL_BYTES: u32 = 600;
const CONTROL_DEADLINE: Duration = Duration::from_secs(2);
/// A datagram to the outside is not answered by anybody.
const OUTSIDE_DEADLINE: Duration = Duration::from_millis(200);
/// An address that nobody has (TEST-NET-1, RFC 5737) and the port `discard`: it leaves by the default route.
const OUTSIDE: ([u8; 4], u16) = ([192, 0, 2, 1], 9);

/// A control that was sent in plaintext, and who must have captured it.
#[derive(Clone, Debug)]
pub struct Control {
    /// The sender's position among the capture points.
    pub from: usize,
    /// The receiver's; none for the outside.
    pub to: Option<usize>,
    /// Position of its needle.
    pub needle: u32,
}

/// What was seen.
#[derive(Debug)]
pub struct Window {
    /// The capture points, each with what was captured.
    pub captures: Vec<(CapturePoint, Result<CaptureReport, EnvironmentError>)>,
    /// The flows, each with its outcome and the position of its needle.
    pub flows: Vec<(Flow, Result<Outcome, EnvironmentError>, Option<u32>)>,
    /// The controls.
    pub controls: Vec<Control>,
}

/// Captures while the flows and the controls are sent.
pub async fn observe(context: &CheckContext, points: &[CapturePoint], flows: &[Flow], pods: &[IpNet]) -> Window {
    observe_during(context, points, flows, pods, LIFETIME, async {}).await.0
}

/// Captures while something is done, and sends flows and controls again and again until it is over; what became of them
/// is what became of the last. Also how often they were sent.
pub async fn observe_during<T>(
    context: &CheckContext,
    points: &[CapturePoint],
    flows: &[Flow],
    pods: &[IpNet],
    lifetime: u32,
    work: impl Future<Output = T>,
) -> (Window, T, usize) {
    let mut needles: Vec<Needle> = Vec::new();
    let positions: Vec<Option<u32>> = flows
        .iter()
        .map(|flow| flow.needle.clone().map(|needle| add(&mut needles, needle)))
        .collect();
    let (controls, control_probes): (Vec<Control>, Vec<Probe>) = (0..points.len())
        .map(|from| control(points, from, &mut needles))
        .unzip();

    let started = join_all(points.iter().map(|point| {
        let spec = CaptureSpec {
            devices: point.devices.clone(),
            others_but: Some(INSIDE.map(str::to_owned).into()),
            needles: needles.clone(),
            pods: pods.to_vec(),
            wireguard: Some(point.wireguard),
            sizes: false,
            seconds: lifetime,
        };
        context.environment.start_capture(&point.agent.id, spec)
    }))
    .await;
    let controlled = || controls.iter().map(|control| &points[control.from].agent.id);
    let round = async || send(context, flows, controlled().zip(control_probes.iter().cloned())).await;
    let is_over = AtomicBool::new(false);
    let working = async {
        let done = work.await;
        is_over.store(true, Ordering::Relaxed);
        done
    };
    let sending = async {
        let mut rounds = 1;
        while !is_over.load(Ordering::Relaxed) {
            round().await;
            rounds += 1;
            tokio::time::sleep(BETWEEN_ROUNDS).await;
        }
        (rounds, round().await)
    };
    let (done, (rounds, outcomes)) = futures::join!(working, sending);
    let stopping = points.iter().zip(started);
    let reports = join_all(stopping.map(|(point, started)| stop(context, point, started))).await;

    let window = Window {
        captures: points.iter().cloned().zip(reports).collect(),
        flows: flows
            .iter()
            .cloned()
            .zip(outcomes)
            .zip(positions)
            .map(|((flow, outcome), needle)| (flow, outcome, needle))
            .collect(),
        controls,
    };
    (window, done, rounds)
}

/// The control of one capture point, with the probe that sends it.
fn control(points: &[CapturePoint], from: usize, needles: &mut Vec<Needle>) -> (Control, Probe) {
    let to = match points[from].control {
        ControlKind::Neighbour if points.len() > 1 => Some((from + 1) % points.len()),
        _ => None,
    };
    let marker = marker();
    let needle = add(needles, Needle::raw(marker));
    let probe = plaintext(to.map(|to| &points[to].agent), marker);
    (Control { from, to, needle }, probe)
}

/// Adds a needle; its position.
fn add(needles: &mut Vec<Needle>, needle: Needle) -> u32 {
    needles.push(needle);
    (needles.len() - 1) as u32
}

/// Sends flows and controls, one batch for each agent; the outcomes of the flows, in their order.
async fn send<'a>(
    context: &CheckContext,
    flows: &'a [Flow],
    controls: impl Iterator<Item = (&'a AgentId, Probe)>,
) -> Vec<Result<Outcome, EnvironmentError>> {
    let mut batches: BTreeMap<&AgentId, Vec<(Option<usize>, Probe)>> = BTreeMap::new();
    let probes = flows.iter().enumerate();
    let probes = probes.map(|(at, flow)| (&flow.from.id, Some(at), flow.probe.clone()));
    for (agent, flow, probe) in probes.chain(controls.map(|(agent, probe)| (agent, None, probe))) {
        batches.entry(agent).or_default().push((flow, probe));
    }
    let sent = join_all(batches.into_iter().map(|(agent, batch)| async move {
        let probes: Vec<Probe> = batch.iter().map(|(_, probe)| probe.clone()).collect();
        (agent, batch, context.environment.probe(agent, probes).await)
    }))
    .await;
    let mut outcomes: BTreeMap<usize, Result<Outcome, EnvironmentError>> = BTreeMap::new();
    for (agent, batch, answer) in sent {
        for (place, (flow, _)) in batch.into_iter().enumerate() {
            let Some(flow) = flow else { continue };
            let outcome = match &answer {
                Ok(answers) => answers.get(place).cloned().ok_or_else(|| EnvironmentError::AgentGone {
                    agent: agent.clone(),
                    reason: "it returned fewer outcomes than it was sent probes".to_owned(),
                }),
                Err(error) => Err(error.clone()),
            };
            outcomes.insert(flow, outcome);
        }
    }
    // Every flow belongs to the batch of its own agent, so none is missing, and keys are in the flows' order.
    outcomes.into_values().collect()
}

async fn stop(
    context: &CheckContext,
    point: &CapturePoint,
    started: Result<CaptureId, EnvironmentError>,
) -> Result<CaptureReport, EnvironmentError> {
    context.environment.stop_capture(&point.agent.id, started?).await
}

/// The probe that sends a marker in plaintext: to the host network of another node, or to the outside.
fn plaintext(to: Option<&AgentFacts>, marker: Marker) -> Probe {
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
