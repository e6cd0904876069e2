//! One run of a container: what is started with which arguments and environment, and what is reported of it.

use super::{Container, exit::Exit, image::Image};
use crate::{
    container_log::LogWriter,
    event::EventType,
    kubelet::{
        Running,
        container_states::{Ended, Phase},
        env_vars,
        exec::is_agent,
        name_service,
        probe::Probes,
        process::{ProcessSpec, Streams},
    },
    object::now,
    system::SystemContainer,
};
use meshproof_apiserver::{Object, resource::names::PODS};
use std::sync::Arc;
use tokio::{sync::Notify, task::JoinHandle};
use tokio_util::sync::CancellationToken;

impl Container {
    /// Starts the container and waits for its end.
    pub(super) async fn run(&mut self, image: Image) -> Result<Exit, (&'static str, String)> {
        let pod = self.newest_pod();
        let variables = env_vars::variables(&self.kubelet.store, &pod, &self.spec)
            .map_err(|message| ("CreateContainerConfigError", message))?;
        let log = self.runtime.begin(&self.name);
        let (started, id) = (now(), format!("lab://{}", uuid::Uuid::new_v4().simple()));
        let unhealthy = Arc::new(Notify::new());
        let exit = match image {
            Image::Agent => {
                let (command, arguments) = env_vars::argv(&self.spec, &variables);
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
                let container = self.system_container(pod.clone(), &log, &stop);
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
        self.states.change(&self.name, |state| {
            state.last = Some(ended.clone());
            state.phase = Phase::Ended(ended);
            state.ready = false;
            state.started = false;
        });
        Ok(exit)
    }

    fn begun(&self, running: Running, since: &str, id: &str) {
        self.runtime.set_running(&self.name, Some(running));
        self.states.change(&self.name, |state| {
            state.phase = Phase::Running {
                since: since.to_owned(),
                id: id.to_owned(),
            };
        });
        self.event(
            EventType::Normal,
            "Created",
            &format!("Created container: {}", self.name),
        );
        self.event(
            EventType::Normal,
            "Started",
            &format!("Started container {}", self.name),
        );
    }

    fn probes(&self, pod: Object, unhealthy: &Arc<Notify>) -> JoinHandle<()> {
        let probes = Probes {
            kubelet: Arc::clone(&self.kubelet),
            pod,
            container: self.spec.clone(),
            address: self.address,
            states: Arc::clone(&self.states),
            unhealthy: Arc::clone(unhealthy),
        };
        tokio::spawn(probes.run())
    }

    fn process(&self, pod: &Object, environment: Vec<(String, String)>) -> ProcessSpec {
        let namespace = pod.namespace().unwrap_or_default();
        let hostname = env_vars::hostname(pod);
        ProcessSpec {
            namespace: self.runtime.namespace.clone(),
            sockets: self.kubelet.node.handle.socket_balancer().cloned(),
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

    fn system_container(&self, pod: Object, log: &LogWriter, stop: &CancellationToken) -> SystemContainer {
        SystemContainer {
            lab: Arc::clone(&self.kubelet.lab),
            cluster: Arc::clone(&self.kubelet.cluster),
            node: Arc::clone(&self.kubelet.node),
            pod,
            name: self.name.clone(),
            namespace: self.runtime.namespace.clone(),
            address: self.address,
            log: log.clone(),
            stop: stop.clone(),
        }
    }

    fn newest_pod(&self) -> Object {
        let found = self.kubelet.store.find(&PODS, self.pod.namespace(), self.pod.name());
        found
            .filter(|pod| pod.uid() == self.pod.uid())
            .unwrap_or_else(|| self.pod.clone())
    }
}

/// The agent's arguments: its image has it as entrypoint and nothing else to run.
fn agent_arguments(command: Vec<String>, arguments: Vec<String>) -> Result<Vec<String>, (&'static str, String)> {
    let mut words = command.into_iter();
    match words.next() {
        None => Ok(arguments),
        Some(program) if is_agent(&program) => Ok(words.chain(arguments).collect()),
        Some(program) => Err((
            "RunContainerError",
            format!(
                "failed to create containerd task: failed to create shim task: OCI runtime create failed: exec: \
                 \"{program}\": executable file not found in $PATH"
            ),
        )),
    }
}
