//! Streams of new connections: each meets the policies that are in force when it is due.

use super::World;
use crate::testing::timeout;
use meshproof_contract::{
    Action, AgentId, ClockReading, StreamId, StreamKind, StreamReport, StreamResult, StreamSample, StreamSpec,
};
use meshproof_oracle::{Expected, Flow, Protocol, Request};
use std::time::Duration;
use tokio::time::Instant;

/// Every answer's latency, in microseconds.
const LATENCY: u32 = 400;

/// A stream.
pub struct Running {
    from: AgentId,
    to: String,
    port: u16,
    interval: Duration,
    deadline: Duration,
    start: Instant,
    next: u64,
    lag: u64,
}

impl World {
    /// The clock of every agent: microseconds since the world's beginning.
    pub(super) fn read_clock(&self) -> ClockReading {
        let now = Instant::now();
        ClockReading {
            at: now.into_std(),
            micros: self.micros(now),
            error: Duration::ZERO,
        }
    }

    fn micros(&self, at: Instant) -> u64 {
        (at - self.began).as_micros() as u64
    }

    pub(super) fn start(&self, from: &AgentId, spec: &StreamSpec) -> StreamId {
        let StreamKind::Each {
            action: Action::TcpConnect { to },
        } = &spec.kind
        else {
            panic!("this suite does not send {:?}", spec.kind);
        };
        let mut streams = self.streams.lock().expect("no panic");
        streams.push(Running {
            from: from.clone(),
            to: to.host.clone(),
            port: to.port,
            interval: spec.interval,
            deadline: spec.deadline,
            start: Instant::now(),
            next: 0,
            lag: 0,
        });
        StreamId(streams.len() as u64 - 1)
    }

    pub(super) fn collect(&self, id: StreamId) -> StreamReport {
        let mut streams = self.streams.lock().expect("no panic");
        let stream = &mut streams[id.0 as usize];
        let mut samples = Vec::new();
        // The outcome of a connection is known after its deadline at the latest.
        while stream.due() + self.late(stream) + stream.deadline <= Instant::now() {
            let late = self.late(stream).as_micros() as u32;
            stream.lag = stream.lag.max(late.into());
            samples.push(StreamSample {
                number: stream.next,
                late,
                result: self.connect(stream),
            });
            stream.next += 1;
        }
        StreamReport {
            start: self.micros(stream.start),
            interval: stream.interval.as_micros() as u64,
            samples,
            lag: stream.lag,
            ..StreamReport::default()
        }
    }

    /// How much later than it is due the next connection is opened.
    fn late(&self, stream: &Running) -> Duration {
        let since = stream.due() - stream.start;
        let stall = self.stall.filter(|(from, to)| (*from..*to).contains(&since));
        stall.map_or(Duration::ZERO, |(_, to)| to - since)
    }

    fn connect(&self, stream: &Running) -> StreamResult {
        let mut agents = self.facts.agents.iter();
        let from = agents.find(|a| a.id == stream.from).expect("an agent");
        let flow = Flow {
            from: self.party(from),
            to: self.party(self.agent_at(&stream.to)),
            protocol: Protocol::Tcp,
            port: stream.port,
            request: Request::Opaque,
        };
        match self.meets_at(from, &flow, stream.due() + self.late(stream)) {
            Expected::Allowed => StreamResult::Good {
                server: None,
                latency: LATENCY,
            },
            _ => StreamResult::Bad { outcome: timeout() },
        }
    }
}

impl Running {
    /// When the next connection is due.
    fn due(&self) -> Instant {
        self.start + self.interval * u32::try_from(self.next).expect("a short stream")
    }
}
