//! One agent: connected when needed, and again when the stream breaks while its pod is still the same; otherwise it is
//! gone.

mod exchange;
mod open;

use super::{
    connection::{Closed, Connection},
    route::Route,
};
use crate::{
    client::ClusterClient,
    readiness::{PodState, ReadyPod, restarts},
};
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use meshproof_contract::{AgentFacts, AgentId, EnvironmentError, Outcome, Probe};
use meshproof_wire::{Answer, Command, Hello, PROTOCOL};
use open::OpenError;
use std::{sync::Arc, time::Duration};
use tokio::{sync::Mutex, time::Instant};

/// How much longer than its probes a batch may take: the way there and back, and an agent under load.
const BATCH_MARGIN: Duration = Duration::from_secs(10);

/// How long a command may take that is not a batch. The slowest stops a stream, and waits for its probes' deadline.
const COMMAND_TIME: Duration = Duration::from_secs(15);

/// The line to one agent.
pub(crate) struct AgentLink {
    client: ClusterClient,
    id: AgentId,
    pod: ReadyPod,
    line: Mutex<Line>,
}

struct Line {
    connection: Option<Arc<Connection>>,
    /// The route that worked last.
    route: Option<Route>,
    /// Restarts of the container that were reported already.
    restarts: i32,
    was_connected: bool,
}

impl AgentLink {
    pub(crate) fn new(client: ClusterClient, pod: ReadyPod) -> Self {
        let id = AgentId {
            cluster: client.name().clone(),
            pod: pod.name.clone(),
        };
        let line = Line {
            connection: None,
            route: None,
            restarts: pod.restarts,
            was_connected: false,
        };
        Self {
            client,
            id,
            pod,
            line: Mutex::new(line),
        }
    }

    pub(crate) fn client(&self) -> &ClusterClient {
        &self.client
    }
    pub(crate) fn id(&self) -> &AgentId {
        &self.id
    }
    pub(crate) fn pod(&self) -> &ReadyPod {
        &self.pod
    }

    /// What checks need to know about it.
    pub(crate) fn facts(&self) -> AgentFacts {
        let pod = &self.pod;
        AgentFacts {
            id: self.id.clone(),
            scenario: pod.scenario.clone(),
            workload: pod.workload.clone(),
            namespace: pod.namespace.clone(),
            node: pod.node.clone(),
            address: pod.address,
            network: pod.network,
        }
    }

    /// Connects, and gives the agent's greeting.
    pub(crate) async fn greet(&self) -> Result<Hello, EnvironmentError> {
        Ok(self.connect().await?.hello().clone())
    }

    /// Runs a batch.
    pub(crate) async fn batch(&self, probes: Vec<Probe>) -> Result<Vec<Outcome>, EnvironmentError> {
        let (expected, time) = (probes.len(), batch_time(&probes));
        match self.request(Command::Batch { probes }, time).await? {
            Answer::Outcomes { outcomes } if outcomes.len() == expected => Ok(outcomes),
            Answer::Outcomes { outcomes } => {
                Err(self.gone(format!("it answered {} of {expected} probes", outcomes.len())))
            }
            Answer::Error { reason } => Err(self.gone(format!("it refused the batch: {reason}"))),
            _ => Err(self.gone("the answer to a batch has no outcomes".to_owned())),
        }
    }

    /// Runs one probe through an exec of its own, opened and closed for it, as harnesses without connected agents do.
    pub(crate) async fn once_by_exec(&self, probe: Probe) -> Result<Vec<Outcome>, EnvironmentError> {
        let time = batch_time(std::slice::from_ref(&probe));
        let connection = self
            .open(Route::Exec)
            .await
            .map_err(|error| self.gone(error.reason()))?;
        let answered = tokio::time::timeout(time, connection.request(Command::Batch { probes: vec![probe] })).await;
        match answered {
            Ok(Ok(Answer::Outcomes { outcomes })) => Ok(outcomes),
            Ok(Ok(_)) => Err(self.gone("the answer to a batch has no outcomes".to_owned())),
            Ok(Err(Closed(reason))) => Err(self.gone(reason)),
            Err(_) => Err(self.gone(format!("no answer within {} s", time.as_secs()))),
        }
    }

    /// Sends a command that is not a batch and reads the answer with `take`, which returns an unexpected answer as
    /// error.
    pub(crate) async fn command<T>(
        &self,
        command: Command,
        take: impl FnOnce(Answer) -> Result<T, Answer>,
    ) -> Result<T, EnvironmentError> {
        match take(self.request(command, COMMAND_TIME).await?) {
            Ok(taken) => Ok(taken),
            Err(Answer::Error { reason }) => Err(self.gone(format!("it refused the command: {reason}"))),
            Err(_) => Err(self.gone("the answer does not belong to the command".to_owned())),
        }
    }

    /// Sends a command; a broken stream is opened once more, since a probe may be repeated.
    async fn request(&self, command: Command, time: Duration) -> Result<Answer, EnvironmentError> {
        let mut broken = None;
        for _ in 0..2 {
            let connection = self.connect().await?;
            match tokio::time::timeout(time, connection.request(command.clone())).await {
                Ok(Ok(answer)) => return Ok(answer),
                Ok(Err(Closed(reason))) => {
                    self.forget(&connection).await;
                    broken = Some(reason);
                }
                Err(_) => {
                    self.forget(&connection).await;
                    let mut reason = format!("no answer within {} s", time.as_secs());
                    if let Err(changed) = self.check_pod(&mut *self.line.lock().await).await {
                        reason = format!("{reason}; {changed}");
                    }
                    return Err(self.gone(reason));
                }
            }
        }
        Err(self.gone(broken.unwrap_or_default()))
    }

    /// The open connection, or a new one.
    async fn connect(&self) -> Result<Arc<Connection>, EnvironmentError> {
        let mut line = self.line.lock().await;
        if let Some(connection) = line.connection.as_ref().filter(|c| c.is_open()) {
            return Ok(connection.clone());
        }
        line.connection = None;
        if line.was_connected {
            self.check_pod(&mut line).await.map_err(|reason| self.gone(reason))?;
        }
        if let Some(reason) = self.client.kubelets().unreached(&self.pod.node, Instant::now()) {
            return Err(self.gone(reason));
        }
        let first = line.route.unwrap_or(Route::PortForward);
        let second = match first {
            Route::PortForward => Route::Exec,
            Route::Exec => Route::PortForward,
        };
        let (connection, route) = match self.open(first).await {
            Ok(connection) => (connection, first),
            // The other route goes through the same kubelet.
            Err(OpenError::Unanswered(reason)) => {
                self.client.note_unreached(&self.pod.node, &reason).await;
                return Err(self.gone(reason));
            }
            Err(reason) => match self.open(second).await {
                Ok(connection) => (connection, second),
                Err(other) => return Err(self.unreachable((first, reason), (second, other))),
            },
        };
        self.check_greeting(connection.hello())?;
        let connection = Arc::new(connection);
        line.connection = Some(connection.clone());
        line.route = Some(route);
        line.was_connected = true;
        Ok(connection)
    }

    fn check_greeting(&self, hello: &Hello) -> Result<(), EnvironmentError> {
        if hello.protocol != PROTOCOL {
            return Err(EnvironmentError::Version {
                agent: self.id.clone(),
                theirs: hello.protocol,
                ours: PROTOCOL,
            });
        }
        // On the node's network the port could be another agent's.
        if hello.identity.pod != self.pod.name || hello.identity.cluster != self.id.cluster.as_str() {
            return Err(self.gone(format!("its control port is served by {}", hello.identity)));
        }
        Ok(())
    }

    /// Whether the pod is still the one that was connected; a restart is an error once, then the new container is used.
    async fn check_pod(&self, line: &mut Line) -> Result<(), String> {
        let found = self.client.get::<Pod>(&self.pod.namespace, &self.pod.name).await;
        let pod = match found {
            Ok(Some(pod)) => pod,
            Ok(None) => return Err("its pod was deleted".to_owned()),
            // Nothing is known about the pod; opening a stream will show.
            Err(_) => return Ok(()),
        };
        if pod.uid().as_deref() != Some(&self.pod.uid) {
            return Err("its pod was replaced by another one of the same name".to_owned());
        }
        if pod.metadata.deletion_timestamp.is_some() {
            return Err("its pod is being deleted".to_owned());
        }
        let now = restarts(&pod);
        if now > line.restarts {
            line.restarts = now;
            return Err(format!("its container was restarted ({})", last_end(&pod)));
        }
        match PodState::of(&pod) {
            PodState::Stuck(text) => Err(format!("its pod is not ready: {text}")),
            _ => Ok(()),
        }
    }

    async fn forget(&self, connection: &Arc<Connection>) {
        let mut line = self.line.lock().await;
        if line.connection.as_ref().is_some_and(|c| Arc::ptr_eq(c, connection)) {
            line.connection = None;
        }
    }

    fn gone(&self, reason: String) -> EnvironmentError {
        EnvironmentError::AgentGone {
            agent: self.id.clone(),
            reason,
        }
    }
}

fn last_end(pod: &Pod) -> String {
    let statuses = pod.status.as_ref().and_then(|s| s.container_statuses.as_ref());
    let ended = statuses
        .into_iter()
        .flatten()
        .find_map(|c| c.last_state.as_ref()?.terminated.as_ref());
    match ended {
        Some(ended) => format!(
            "{}, exit code {}",
            ended.reason.as_deref().unwrap_or("terminated"),
            ended.exit_code
        ),
        None => "unknown reason".to_owned(),
    }
}

/// How long a batch may take: its slowest probe, all of them running at once, and a margin.
fn batch_time(probes: &[Probe]) -> Duration {
    let longest = probes.iter().map(|probe| match probe.interval {
        // One after another.
        Duration::ZERO => probe.deadline.saturating_mul(probe.count),
        interval => interval.saturating_mul(probe.count).saturating_add(probe.deadline),
    });
    longest.max().unwrap_or_default().saturating_add(BATCH_MARGIN)
}
