//! One stream of new connections to the subject pod on one node.

use super::timeline::Timeline;
use crate::policy::{cell::Cell, participant::Participant};
use meshproof_contract::{
    Action, CheckContext, ClockReading, EnvironmentError, StreamId, StreamKind, StreamSpec, Target, port,
};
use std::{sync::Arc, time::Duration};

/// A stream that nobody stops ends after so long.
const LIFETIME: Duration = Duration::from_secs(60);

/// A stream under way, and what it has shown so far.
pub struct NodeStream {
    /// The peer that opens the connections.
    pub from: Arc<Participant>,
    /// The subject pod.
    pub to: Arc<Participant>,
    stream: StreamId,
    /// The clock that stamps it.
    pub clock: ClockReading,
    /// What it has shown.
    pub timeline: Timeline,
}

impl NodeStream {
    /// Starts it, between the ends of a cell.
    pub async fn start(
        context: &CheckContext,
        cell: &Cell,
        deadline: Duration,
        spacing: Duration,
    ) -> Result<Self, EnvironmentError> {
        let (from, to) = (cell.from.clone(), cell.to.clone());
        let clock = context.environment.clock(&from.agent.id).await?;
        let action = Action::TcpConnect {
            to: Target::new(to.agent.address.to_string(), to.agent.port(port::TCP)),
        };
        let spec = StreamSpec {
            kind: StreamKind::Each { action },
            interval: spacing,
            deadline,
            lifetime: LIFETIME,
        };
        let stream = context.environment.start_stream(&from.agent.id, spec).await?;
        Ok(Self {
            from,
            to,
            stream,
            clock,
            timeline: Timeline::default(),
        })
    }

    /// Takes in what became known.
    pub async fn collect(&mut self, context: &CheckContext) -> Result<(), EnvironmentError> {
        let (agent, stream) = (&self.from.agent.id, self.stream);
        let report = context.environment.collect_stream(agent, stream).await?;
        self.timeline.add(report);
        Ok(())
    }

    /// Ends it, and takes in the rest.
    pub async fn stop(&mut self, context: &CheckContext) -> Result<(), EnvironmentError> {
        let (agent, stream) = (&self.from.agent.id, self.stream);
        let report = context.environment.stop_stream(agent, stream).await?;
        self.timeline.add(report);
        Ok(())
    }
}
