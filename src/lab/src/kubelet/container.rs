//! The life of one container: pull, start, probe, end, start again.

use super::{
    Kubelet, PodRuntime, Running,
    container_states::{Board, Ended, Phase},
    env_vars, name_service,
    probe::Probes,
    process::{ProcessSpec, Streams},
};
use crate::{
    container_log::LogWriter,
    event::{Kind, record},
    object::now,
    system::{SystemContainer, SystemImage},
    topology::AGENT_IMAGE,
};
use meshproof_apiserver::Object;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::Value;
use std::{
    net::Ipv4Addr,
    process::ExitStatus,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, BufReader},
    sync::{Notify, watch},
};
use tokio_util::sync::CancellationToken;

/// The first and the longest pause before a container that keeps ending is started again.
const BACK_OFF: Duration = Duration::from_secs(10);
const LONGEST_BACK_OFF: Duration = Duration::from_secs(300);
/// After running for so long a container starts again without a pause.
const FORGIVEN: Duration = Duration::from_secs(600);

/// When the pod must end: none while it is to run, then the time at which patience is over.
pub(super) type StopOrder = watch::Receiver<Option<Instant>>;

/// One container of a pod.
#[derive(Clone)]
pub(super) struct Container {
    pub(super) kubelet: Arc<Kubelet>,
    pub(super) pod: Object,
    pub(super) spec: Value,
    pub(super) name: String,
    pub(super) address: Ipv4Addr,
    pub(super) runtime: Arc<PodRuntime>,
    pub(super) board: Arc<Board>,
    pub(super) stop: StopOrder,
    pub(super) restart: Restart,
}

/// `restartPolicy`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Restart {
    Always,
    OnFailure,
    Never,
}

enum Image {
    Agent,
    System(Arc<dyn SystemImage>),
}

/// How a container came to its end.
struct Exit {
    code: i32,
    signal: Option<i32>,
    message: String,
}

impl Container {
    /// Runs the container until it has ended for good or the pod is stopped. True if it succeeded.
    pub(super) async fn supervise(mut self) -> bool {
        let mut pause = Duration::ZERO;
        loop {
            let Some(image) = self.pull().await else { return false };
            let begun = Instant::now();
            let exit = match self.run(image).await {
                Ok(exit) => exit,
                Err((reason, message)) => {
                    self.board.wait(&self.name, reason, &message);
                    self.event(Kind::Warning, "Failed", &format!("Error: {message}"));
                    if self.pause(BACK_OFF).await.is_stopped() {
                        return false;
                    }
                    continue;
                }
            };
            let success = exit.code == 0;
            if self.is_stopped() || self.restart == Restart::Never || (success && self.restart == Restart::OnFailure) {
                return success;
            }
            if begun.elapsed() >= FORGIVEN {
                pause = Duration::ZERO;
            }
            if !pause.is_zero() {
                let message = format!(
                    "back-off {}s restarting failed container={} pod={}_{}({})",
                    pause.as_secs(),
                    self.name,
                    self.pod.name(),
                    self.pod.namespace().unwrap_or_default(),
                    self.pod.uid(),
                );
                self.board.wait(&self.name, "CrashLoopBackOff", &message);
                self.event(
                    Kind::Warning,
                    "BackOff",
                    &format!("Back-off restarting failed container {} in pod", self.name),
                );
                if self.pause(pause).await.is_stopped() {
                    return false;
                }
            }
            pause = (pause * 2).clamp(BACK_OFF, LONGEST_BACK_OFF);
            self.board.change(&self.name, |state| state.restarts += 1);
        }
    }

    /// Finds the image; waits as long as it cannot be had. None when the pod is stopped.
    async fn pull(&mut self) -> Option<Image> {
        let reference = self.spec["image"].as_str().unwrap_or_default().to_owned();
        let image = match self.kubelet.images.iter().find(|image| image.matches(&reference)) {
            Some(image) => Some(Image::System(Arc::clone(image))),
            None => (reference == AGENT_IMAGE).then_some(Image::Agent),
        };
        if let Some(image) = image {
            let message = format!("Container image \"{reference}\" already present on machine");
            self.event(Kind::Normal, "Pulled", &message);
            return Some(image);
        }
        let why = format!("failed to pull and unpack image \"{reference}\": the lab's nodes have no registry");
        if self.spec["imagePullPolicy"] == "Never" {
            let message = format!("Container image \"{reference}\" is not present with pull policy of Never");
            self.board.wait(&self.name, "ErrImageNeverPull", &message);
            self.event(Kind::Warning, "ErrImageNeverPull", &message);
            self.stopped().await;
            return None;
        }
        let mut pause = BACK_OFF;
        loop {
            self.event(Kind::Normal, "Pulling", &format!("Pulling image \"{reference}\""));
            self.event(
                Kind::Warning,
                "Failed",
                &format!("Failed to pull image \"{reference}\": {why}"),
            );
            self.event(Kind::Warning, "Failed", "Error: ErrImagePull");
            self.board.wait(&self.name, "ErrImagePull", &why);
            // Long enough for a reader to meet the first reason, as on a real node.
            if self.pause(Duration::from_millis(500)).await.is_stopped() {
                return None;
            }
            let message = format!("Back-off pulling image \"{reference}\"");
            self.board.wait(
                &self.name,
                "ImagePullBackOff",
                &format!("{message}: ErrImagePull: {why}"),
            );
            self.event(Kind::Normal, "BackOff", &message);
            if self.pause(pause).await.is_stopped() {
                return None;
            }
            pause = (pause * 2).min(LONGEST_BACK_OFF);
        }
    }

    /// Starts the container and waits for its end.
    async fn run(&mut self, image: Image) -> Result<Exit, (&'static str, String)> {
        let pod = self.newest_pod();
        let variables = env_vars::variables(&self.kubelet.store, &pod, &self.spec)
            .map_err(|message| ("CreateContainerConfigError", message))?;
        let (command, arguments) = env_vars::argv(&self.spec, &variables);
        let log = self.runtime.begin(&self.name);
        let (started, id) = (now(), format!("lab://{}", uuid::Uuid::new_v4().simple()));
        let unhealthy = Arc::new(Notify::new());
        let exit = match image {
            Image::Agent => {
                let arguments = agent_arguments(command, arguments)?;
                let process = Arc::new(self.process(&pod, variables));
                let child = process.start(&arguments, Streams::Log);
                let child =
                    child.map_err(|error| ("RunContainerError", format!("failed to start the agent: {error}")))?;
                self.begun(Running::Agent(process), &started, &id);
                let probes = self.probes(pod, &unhealthy);
                let exit = self.follow_process(child, &log, &unhealthy).await;
                probes.abort();
                exit
            }
            Image::System(image) => {
                let stop = CancellationToken::new();
                let container = self.system_container(pod.clone(), command, arguments, &log, &stop);
                self.begun(Running::System(Arc::clone(&image), container.clone()), &started, &id);
                let probes = self.probes(pod, &unhealthy);
                let exit = self.follow_system(image, container, &stop, &unhealthy).await;
                probes.abort();
                exit
            }
        };
        self.runtime.set_running(&self.name, None);
        let reason = if exit.code == 0 { "Completed" } else { "Error" };
        let ended = Ended {
            code: exit.code,
            signal: exit.signal,
            reason: reason.to_owned(),
            message: exit.message.clone(),
            started,
            finished: now(),
            id,
        };
        self.board.change(&self.name, |state| {
            state.last = Some(ended.clone());
            state.phase = Phase::Ended(ended);
            state.ready = false;
            state.started = false;
        });
        Ok(exit)
    }

    fn begun(&self, running: Running, since: &str, id: &str) {
        self.runtime.set_running(&self.name, Some(running));
        self.board.change(&self.name, |state| {
            state.phase = Phase::Running {
                since: since.to_owned(),
                id: id.to_owned(),
            };
        });
        self.event(Kind::Normal, "Created", &format!("Created container: {}", self.name));
        self.event(Kind::Normal, "Started", &format!("Started container {}", self.name));
    }

    fn probes(&self, pod: Object, unhealthy: &Arc<Notify>) -> tokio::task::JoinHandle<()> {
        let probes = Probes {
            kubelet: Arc::clone(&self.kubelet),
            pod,
            container: self.spec.clone(),
            address: self.address,
            board: Arc::clone(&self.board),
            unhealthy: Arc::clone(unhealthy),
        };
        tokio::spawn(probes.run())
    }

    fn process(&self, pod: &Object, environment: Vec<(String, String)>) -> ProcessSpec {
        let namespace = pod.namespace().unwrap_or_default();
        let hostname = env_vars::hostname(pod);
        ProcessSpec {
            namespace: self.runtime.namespace.clone(),
            title: format!(
                "meshproof-agent:{}/{namespace}/{}",
                self.kubelet.cluster.name(),
                pod.name()
            ),
            environment,
            resolv_conf: name_service::resolv_conf(&pod["spec"], namespace, self.kubelet.cluster.spec.dns_address()),
            hosts: name_service::hosts(&pod["spec"], self.address, &hostname),
            // A host-network pod has the node's name; both are at most 63 characters, as the kernel wants it.
            hostname: hostname.chars().take(63).collect(),
        }
    }

    fn system_container(
        &self,
        pod: Object,
        command: Vec<String>,
        arguments: Vec<String>,
        log: &LogWriter,
        stop: &CancellationToken,
    ) -> SystemContainer {
        SystemContainer {
            lab: Arc::clone(&self.kubelet.lab),
            cluster: Arc::clone(&self.kubelet.cluster),
            node: Arc::clone(&self.kubelet.node),
            pod,
            name: self.name.clone(),
            image: self.spec["image"].as_str().unwrap_or_default().to_owned(),
            argv: command.into_iter().chain(arguments).collect(),
            namespace: self.runtime.namespace.clone(),
            address: self.address,
            log: log.clone(),
            stop: stop.clone(),
        }
    }

    async fn follow_process(&mut self, mut child: tokio::process::Child, log: &LogWriter, unhealthy: &Notify) -> Exit {
        let readers = [
            child
                .stdout
                .take()
                .map(|out| tokio::spawn(copy_lines(out, log.clone()))),
            child
                .stderr
                .take()
                .map(|err| tokio::spawn(copy_lines(err, log.clone()))),
        ];
        let pid = child.id().and_then(|pid| i32::try_from(pid).ok()).map(Pid::from_raw);
        let mut status = tokio::select! {
            status = child.wait() => Some(status),
            () = unhealthy.notified() => None,
            () = self.stopped() => None,
        };
        if status.is_none() {
            let patience = self.patience();
            self.event(Kind::Normal, "Killing", &format!("Stopping container {}", self.name));
            if let Some(pid) = pid {
                // It may have ended meanwhile; it is not reaped before the wait below, so the pid is still its own.
                let _ = kill(pid, Signal::SIGTERM);
            }
            status = tokio::select! {
                status = child.wait() => Some(status),
                () = self.out_of_patience(patience) => None,
            };
        }
        let status = match status {
            Some(status) => status,
            None => {
                let _ = child.start_kill();
                child.wait().await
            }
        };
        for reader in readers.into_iter().flatten() {
            let _ = tokio::time::timeout(Duration::from_millis(200), reader).await;
        }
        match status {
            Ok(status) => exit_of(status),
            Err(error) => Exit {
                code: 128,
                signal: None,
                message: error.to_string(),
            },
        }
    }

    async fn follow_system(
        &mut self,
        image: Arc<dyn SystemImage>,
        container: SystemContainer,
        stop: &CancellationToken,
        unhealthy: &Notify,
    ) -> Exit {
        let mut task = tokio::spawn(async move { image.run(container).await });
        let mut result = tokio::select! {
            result = &mut task => Some(result),
            () = unhealthy.notified() => None,
            () = self.stopped() => None,
        };
        if result.is_none() {
            let patience = self.patience();
            stop.cancel();
            result = tokio::select! {
                result = &mut task => Some(result),
                () = self.out_of_patience(patience) => None,
            };
        }
        match result {
            Some(Ok(code)) => Exit {
                code,
                signal: None,
                message: String::new(),
            },
            Some(Err(error)) => Exit {
                code: 2,
                signal: None,
                message: error.to_string(),
            },
            None => {
                task.abort();
                Exit {
                    code: 137,
                    signal: Some(9),
                    message: String::new(),
                }
            }
        }
    }

    fn newest_pod(&self) -> Object {
        let found = self.kubelet.store.find(
            &meshproof_apiserver::resource::names::PODS,
            self.pod.namespace(),
            self.pod.name(),
        );
        found
            .filter(|pod| pod.uid() == self.pod.uid())
            .unwrap_or_else(|| self.pod.clone())
    }

    fn event(&self, kind: Kind, reason: &str, message: &str) {
        record(&self.kubelet.store, &self.pod, kind, reason, message, "kubelet");
    }

    fn is_stopped(&self) -> bool {
        self.stop.borrow().is_some()
    }

    /// Waits until the pod must end.
    async fn stopped(&mut self) {
        // A sender that has gone means that the lab ends: the same.
        let _ = self.stop.wait_for(Option::is_some).await;
    }

    /// For a restart the pod's own grace counts from now.
    fn patience(&self) -> Instant {
        let grace = self.pod["spec"]["terminationGracePeriodSeconds"].as_u64().unwrap_or(30);
        self.stop
            .borrow()
            .unwrap_or_else(|| Instant::now() + Duration::from_secs(grace))
    }

    /// Waits for the time at which a container is killed; an order may come, or be made more urgent, meanwhile.
    async fn out_of_patience(&mut self, mut until: Instant) {
        loop {
            if let Some(order) = *self.stop.borrow_and_update() {
                until = order;
            }
            tokio::select! {
                () = tokio::time::sleep_until(until.into()) => return,
                changed = self.stop.changed() => if changed.is_err() { return },
            }
        }
    }

    async fn pause(&mut self, pause: Duration) -> Paused {
        tokio::select! {
            () = tokio::time::sleep(pause) => Paused::Over,
            () = self.stopped() => Paused::Stopped,
        }
    }
}

/// How a pause ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Paused {
    Over,
    Stopped,
}

impl Paused {
    fn is_stopped(self) -> bool {
        self == Self::Stopped
    }
}

/// The agent's arguments: its image has it as entrypoint and nothing else to run.
fn agent_arguments(command: Vec<String>, arguments: Vec<String>) -> Result<Vec<String>, (&'static str, String)> {
    let mut words = command.into_iter();
    match words.next() {
        None => Ok(arguments),
        Some(program) if super::exec::is_agent(&program) => Ok(words.chain(arguments).collect()),
        Some(program) => Err((
            "RunContainerError",
            format!(
                "failed to create containerd task: failed to create shim task: OCI runtime create failed: exec: \
                 \"{program}\": executable file not found in $PATH"
            ),
        )),
    }
}

fn exit_of(status: ExitStatus) -> Exit {
    use std::os::unix::process::ExitStatusExt;
    match (status.code(), status.signal()) {
        (Some(code), _) => Exit {
            code,
            signal: None,
            message: String::new(),
        },
        (None, signal) => Exit {
            code: 128 + signal.unwrap_or_default(),
            signal,
            message: String::new(),
        },
    }
}

async fn copy_lines(from: impl AsyncRead + Unpin, log: LogWriter) {
    let mut lines = BufReader::new(from).split(b'\n');
    while let Ok(Some(line)) = lines.next_segment().await {
        log.line(String::from_utf8_lossy(&line));
    }
}
