//! Traffic that nobody else's can be taken for: datagrams whose size is drawn for each pair of nodes. WireGuard keeps
//! the size of what it carries, but for padding, so they show as ciphertext of one size between these two nodes, so
//! many more than of the sizes beside it.

use super::{
    LISTENER, TALKER,
    capture::Capture,
    capture_point::{CapturePoint, INSIDE},
    flow::marker,
    peers::{agents, on_other_nodes},
};
use crate::kit::{
    cilium::nodes::MeshNode,
    paths::sample::{self, Pair},
    probes::DEADLINE,
};
use futures::future::join_all;
use meshproof_contract::{
    Action, AgentFacts, AgentId, CaptureReport, CaptureSpec, CheckContext, ClusterName, EnvironmentError, NodeLabel,
    Outcome, Probe, Target, Transport, port,
};
use std::collections::BTreeMap;

/// Datagrams from a pod to another, each of which is sent back.
const DATAGRAMS: usize = 32;
/// WireGuard pads to a multiple of this; boringtun does not.
const STEP: u32 = 16;
/// The payloads are of one of so many sizes. Those in the other direction of a pair are of others, so that two checks
/// that run at once do not count each other's.
const SIZES: u32 = 14;
const LEAST: [u32; 2] = [480, 752];
/// IP and UDP, and what a tunnel puts before them: nothing, IPv4 with VXLAN or Geneve, or the same over IPv6.
const HEADERS: u32 = 28;
const TUNNELS: [u32; 3] = [0, 50, 70];
/// Sizes on either side that are compared, in bytes: three steps of padding.
const BESIDE: u64 = 48;
/// After so many seconds a capture ends although nobody stopped it.
const LIFETIME: u32 = 60;

/// Datagrams of one size between pods of two nodes.
pub struct Marks {
    /// Who sent.
    pub from: AgentFacts,
    /// Who sent them back.
    pub to: AgentFacts,
    /// Bytes of payload of each.
    pub payload: u32,
    /// How many came back, and why the others did not.
    pub delivered: Result<u64, String>,
}

/// What a capture saw of marks in one direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Messages of their size.
    pub counted: u64,
    /// The most messages of a size beside it.
    pub beside: u64,
}

/// Everything that was sent, and what each capture saw meanwhile.
pub struct Marked {
    /// What was sent.
    pub marks: Vec<Marks>,
    captures: Vec<(CapturePoint, Result<CaptureReport, EnvironmentError>)>,
}

/// Sends marks from a pod on every node of `cluster` to a pod on every other node of each of `clusters`, or of a sample
/// of them, which is noted; every node captures meanwhile.
pub async fn send(
    context: &CheckContext,
    capture: &Capture,
    cluster: &ClusterName,
    clusters: &[ClusterName],
) -> Marked {
    let facts = context.environment.facts();
    let talkers: Vec<&AgentFacts> = agents(&facts, cluster, TALKER).collect();
    let mut batches: BTreeMap<&AgentId, Vec<(Pair<'_>, u32)>> = BTreeMap::new();
    for other in clusters {
        let listeners: Vec<&AgentFacts> = agents(&facts, other, LISTENER).collect();
        let (pairs, sample) = sample::pairs(&facts, &talkers, &listeners, on_other_nodes);
        if let Some(sample) = sample {
            context.note(format!("{cluster} to {other}: {sample}"));
        }
        for pair in pairs {
            batches.entry(&pair.0.id).or_default().push((pair, size(pair)));
        }
    }
    let started = join_all(capture.points().iter().map(|point| {
        let spec = CaptureSpec {
            devices: point.devices.clone(),
            others_but: Some(INSIDE.map(str::to_owned).into()),
            wireguard: Some(point.wireguard),
            sizes: true,
            seconds: LIFETIME,
            ..CaptureSpec::default()
        };
        context.environment.start_capture(&point.agent.id, spec)
    }))
    .await;
    let sending = batches.into_iter().map(|(agent, pairs)| async move {
        let probes = pairs.iter().flat_map(|(pair, payload)| probes(pair.1, *payload));
        let answer = context.environment.probe(agent, probes.collect()).await;
        (pairs, answer)
    });
    let mut marks = Vec::new();
    for (pairs, answer) in join_all(sending).await {
        for (at, ((from, to), payload)) in pairs.into_iter().enumerate() {
            marks.push(Marks {
                from: from.clone(),
                to: to.clone(),
                payload,
                delivered: delivered(&answer, at),
            });
        }
    }
    let stopping = capture.points().iter().zip(started).map(|(point, started)| async move {
        let report = match started {
            Ok(started) => context.environment.stop_capture(&point.agent.id, started).await,
            Err(error) => Err(error),
        };
        (point.clone(), report)
    });
    let captures = join_all(stopping).await;
    Marked { marks, captures }
}

/// A size that is drawn for a pair.
fn size((from, to): Pair<'_>) -> u32 {
    let half = usize::from(NodeLabel::from(from).to_string() > NodeLabel::from(to).to_string());
    LEAST[half] + STEP * (u32::from(marker().0[0]) % SIZES)
}

fn probes(to: &AgentFacts, payload: u32) -> impl Iterator<Item = Probe> {
    let action = Action::MarkedEcho {
        to: Target::new(to.address.to_string(), to.port(port::UDP)),
        transport: Transport::Udp,
        marker: marker(),
        payload,
    };
    std::iter::repeat_n(Probe::once(action, 2 * DEADLINE), DATAGRAMS)
}

/// How many of the datagrams to the target at this position came back; the error says why none did.
fn delivered(answer: &Result<Vec<Outcome>, EnvironmentError>, at: usize) -> Result<u64, String> {
    let outcomes = answer.as_ref().map_err(ToString::to_string)?;
    let outcomes = outcomes.get(at * DATAGRAMS..(at + 1) * DATAGRAMS);
    let outcomes = outcomes.ok_or("the agent returned fewer outcomes than it was sent probes")?;
    let came_back = |outcome: &&Outcome| matches!(outcome, Outcome::Answered { bytes, .. } if *bytes > 0);
    match outcomes.iter().filter(came_back).count() {
        0 => Err(outcomes.iter().map(ToString::to_string).next().unwrap_or_default()),
        some => Ok(some as u64),
    }
}

impl Seen {
    /// Whether the marks are there, whatever else is.
    pub fn has(self, marks: u64) -> bool {
        self.counted.saturating_sub(self.beside) >= marks.div_ceil(4) * 3
    }
}

impl Marked {
    /// What a node's capture saw of marks from one node to another, or why it cannot say.
    pub fn seen(&self, at: &MeshNode, (from, to): (&MeshNode, &MeshNode), payload: u32) -> Result<Seen, String> {
        let found = self.captures.iter().find(|(point, _)| point.node == *at);
        let (_, report) = found.ok_or_else(|| format!("{} does not capture", at.label()))?;
        let report = report.as_ref().map_err(|error| format!("{}: {error}", at.label()))?;
        let incomplete = report.devices.iter().any(|d| d.dropped > 0 || d.broken.is_some());
        if report.ended || incomplete {
            return Err(format!("{}: the capture did not see every packet", at.label()));
        }
        let flows = report.devices.iter().flat_map(|device| &device.wireguard);
        let between = flows.filter(|flow| from.has(flow.source) && to.has(flow.destination));
        let mut sizes: BTreeMap<u64, u64> = BTreeMap::new();
        for size in between.flat_map(|flow| &flow.sizes) {
            *sizes.entry(size.bytes).or_default() += size.messages;
        }
        let carried = TUNNELS.map(|tunnel| u64::from(payload + HEADERS + tunnel));
        // Not every implementation pads.
        let either = carried
            .into_iter()
            .flat_map(|bytes| [bytes, bytes.next_multiple_of(STEP.into())]);
        Ok(best(either.map(|size| look(&sizes, size))))
    }
}

/// The one that stands out most; of those that stand out as little, the one that may be there: hidden is not absent.
fn best(seen: impl Iterator<Item = Seen>) -> Seen {
    let best = seen.max_by_key(|seen| (seen.counted.saturating_sub(seen.beside), seen.counted));
    best.unwrap_or(Seen { counted: 0, beside: 0 })
}

/// The messages of a size, and the most of another size beside it.
fn look(sizes: &BTreeMap<u64, u64>, size: u64) -> Seen {
    let near = sizes.range(size.saturating_sub(BESIDE)..=size + BESIDE);
    let beside = near.filter(|(other, _)| **other != size).map(|(_, messages)| *messages);
    Seen {
        counted: sizes.get(&size).copied().unwrap_or_default(),
        beside: beside.max().unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn background_of_every_size_is_no_mark() {
        let busy: BTreeMap<u64, u64> = (1..90).map(|n| (16 * n, 400)).collect();
        let seen = look(&busy, 528);
        assert_eq!((seen.counted, seen.beside), (400, 400));
        assert!(!seen.has(DATAGRAMS as u64));
        let mut marked = busy.clone();
        *marked.entry(528).or_default() += DATAGRAMS as u64;
        assert!(look(&marked, 528).has(DATAGRAMS as u64));
        let hidden = [(32, 40), (0, 32), (0, 0)].map(|(counted, beside)| Seen { counted, beside });
        assert_eq!(best(hidden.into_iter()).counted, 32, "hidden is not absent");
        let half = BTreeMap::from([(528, DATAGRAMS as u64 / 2)]);
        assert!(!look(&half, 528).has(DATAGRAMS as u64));
    }
}
