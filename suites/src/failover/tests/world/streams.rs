//! Streams: who answers each probe, by the time at which it is due.

use super::{
    State, World,
    pods::{Pod, identity},
};
use crate::testing::timeout;
use meshproof_contract::{
    Action, ClusterName, Identity, Outcome, Probe, ServiceFacts, StreamId, StreamKind, StreamReport, StreamResult,
    StreamSample, StreamSpec, Timing,
};
use std::time::Duration;

/// Every answer's latency, in microseconds.
const LATENCY: u32 = 300;

/// A stream.
pub struct Running {
    path: Path,
    interval: u64,
    start: u64,
    next: u64,
    servers: Vec<Identity>,
}

/// From a client to a destination.
struct Path {
    client: ClusterName,
    to: String,
    /// Whether its probes share a connection, and which pod has the other end of that.
    shared: bool,
    held: Option<String>,
}

impl World {
    pub(super) fn start(&self, client: &ClusterName, spec: StreamSpec) -> StreamId {
        let (to, shared) = match spec.kind {
            StreamKind::LongTcp { to, .. } => (to.host, true),
            StreamKind::Each { action } => match action {
                Action::TcpEcho { to, .. } | Action::UdpEcho { to, .. } => (to.host, false),
                Action::Http { to, .. } => (to.host, true),
                Action::Dns { name, .. } => (name, false),
                other => panic!("this suite does not send {other:?}"),
            },
        };
        let mut state = self.state.lock().expect("no panic");
        state.streams.push(Running {
            path: Path {
                client: client.clone(),
                to,
                shared,
                held: None,
            },
            interval: spec.interval.as_micros() as u64,
            start: self.micros(),
            next: 0,
            servers: Vec::new(),
        });
        StreamId(state.streams.len() as u64 - 1)
    }

    pub(super) fn collect(&self, id: StreamId) -> StreamReport {
        let mut state = self.state.lock().expect("no panic");
        let mut samples = Vec::new();
        let at = self.micros();
        loop {
            let stream = &state.streams[id.0 as usize];
            let (number, due) = (stream.next, stream.start + stream.next * stream.interval);
            if due + u64::from(LATENCY) > at {
                break;
            }
            let answer = self.server(&state, &stream.path, number, due);
            let stream = &mut state.streams[id.0 as usize];
            samples.push(StreamSample {
                number,
                late: 0,
                result: stream.take(answer),
            });
        }
        let stream = &state.streams[id.0 as usize];
        StreamReport {
            start: stream.start,
            interval: stream.interval,
            samples,
            servers: stream.servers.clone(),
            ..StreamReport::default()
        }
    }

    /// What some probes of a client meet now.
    pub(super) fn outcomes(&self, client: &ClusterName, probes: &[Probe]) -> Vec<Outcome> {
        let (state, now) = (self.state.lock().expect("no panic"), self.micros());
        let outcome = |(number, probe): (usize, &Probe)| {
            let Action::TcpEcho { to, .. } = &probe.action else {
                panic!("this suite does not send {:?}", probe.action);
            };
            let path = Path {
                client: client.clone(),
                to: to.host.clone(),
                shared: false,
                held: None,
            };
            match self.server(&state, &path, number as u64, now) {
                Err(()) => timeout(),
                Ok(served_by) => Outcome::Answered {
                    served_by,
                    source: None,
                    address: None,
                    status: None,
                    bytes: 0,
                    timing: Timing::default(),
                },
            }
        };
        probes.iter().enumerate().map(outcome).collect()
    }

    /// Who answers a probe of a stream (none: a server that is not an agent); an error where nobody does.
    fn server(&self, state: &State, path: &Path, number: u64, due: u64) -> Result<Option<Identity>, ()> {
        let mut services = self.facts.services.iter();
        let is_destination = |s: &&ServiceFacts| {
            s.address.is_some_and(|a| a.to_string() == path.to) || path.to.starts_with(&format!("{}.", s.name))
        };
        let Some(service) = services.find(is_destination) else {
            let mut pods = state.pods.iter();
            return match pods.find(|pod| pod.agent.address.to_string() == path.to) {
                Some(pod) => pod.answers(due).then(|| Some(identity(&pod.agent))).ok_or(()),
                // A name that nothing affects.
                None => Ok(None),
            };
        };
        let since = due.saturating_sub(state.disrupted.unwrap_or(due));
        let is_lost = (self.loses)(&service.name, Duration::from_micros(since));
        if is_lost && state.disrupted.is_some_and(|at| at <= due) {
            return Err(());
        }
        if path.to.contains("svc") {
            return Ok(None);
        }
        let backends = self.backends(state, path, service, due);
        let held = path.held.as_ref().filter(|_| path.shared);
        let held = backends.iter().find(|pod| held == Some(&pod.agent.id.pod));
        let any = backends.get(number as usize % backends.len().max(1));
        let backend = held.or(any).ok_or(())?;
        backend.answers(due).then(|| Some(identity(&backend.agent))).ok_or(())
    }

    /// The backends that the data path knows for a service.
    fn backends<'s>(&self, state: &'s State, path: &Path, service: &ServiceFacts, due: u64) -> Vec<&'s Pod> {
        let lag = (self.shown + self.forgets).as_micros() as u64;
        let known = |own: bool| -> Vec<&'s Pod> {
            let pods = state.pods.iter().filter(|pod| pod.agent.workload == service.workload);
            let pods = pods.filter(|pod| (pod.agent.id.cluster == path.client) == own);
            pods.filter(|pod| pod.is_known(due, lag)).collect()
        };
        let prefers_own = service.name != "failover-remote";
        let preferred = known(prefers_own);
        if preferred.is_empty() && service.name != "failover-local" {
            return known(!prefers_own);
        }
        preferred
    }
}

impl Running {
    /// Takes the next probe's answer in.
    fn take(&mut self, answer: Result<Option<Identity>, ()>) -> StreamResult {
        self.next += 1;
        self.path.held = answer
            .as_ref()
            .ok()
            .and_then(|server| Some(server.as_ref()?.pod.clone()));
        let Ok(server) = answer else {
            return StreamResult::Bad { outcome: timeout() };
        };
        let server = server.map(|server| match self.servers.iter().position(|s| *s == server) {
            Some(known) => known as u32,
            None => {
                self.servers.push(server);
                self.servers.len() as u32 - 1
            }
        });
        StreamResult::Good {
            server,
            latency: LATENCY,
        }
    }
}
