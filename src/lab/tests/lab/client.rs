//! What a user has: a kubeconfig, a Kubernetes client, and the wire protocol to an agent.

use k8s_openapi::api::{
    apps::v1::DaemonSet,
    core::v1::{Namespace, Pod},
};
use kube::{
    Client, Config,
    api::{Api, ListParams, PostParams},
    config::{KubeConfigOptions, Kubeconfig},
};
use meshproof_contract::{Action, Outcome, Probe, Target};
use meshproof_lab::{AGENT_IMAGE, LabOptions, RunningLab, launch};
use meshproof_wire::{Answer, Command, Hello, Request, Response, read_frame, write_frame};
use serde_json::json;
use std::time::{Duration, Instant};

/// A test; the text says what was expected.
pub type Test = fn() -> Result<()>;
pub type Result<T> = std::result::Result<T, String>;

pub fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

/// A client of one cluster.
pub async fn client(kubeconfig: &str, context: &str) -> Result<Client> {
    let kubeconfig = Kubeconfig::from_yaml(kubeconfig).map_err(text)?;
    let options = KubeConfigOptions {
        context: Some(context.to_owned()),
        ..KubeConfigOptions::default()
    };
    let config = Config::from_custom_kubeconfig(kubeconfig, &options)
        .await
        .map_err(text)?;
    Client::try_from(config).map_err(text)
}

/// Waits until a condition holds; says what was seen last when it does not.
pub async fn eventually<T, F: Future<Output = Result<T>>>(what: &str, mut look: impl FnMut() -> F) -> Result<T> {
    let begun = Instant::now();
    loop {
        match look().await {
            Ok(found) => return Ok(found),
            Err(last) if begun.elapsed() > Duration::from_secs(15) => {
                return Err(format!("{what} did not come true within 15 s; last seen: {last}"));
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
}

/// Deploys an agent on every node of a cluster, in namespace `test`, and waits until all are ready.
pub async fn deploy_agents(client: &Client, cluster: &str, nodes: usize) -> Result<Vec<Pod>> {
    let namespace: Namespace = serde_json::from_value(json!({
        "metadata": {"name": "test", "labels": {"pod-security.kubernetes.io/enforce": "restricted"}},
    }))
    .map_err(text)?;
    Api::<Namespace>::all(client.clone())
        .create(&PostParams::default(), &namespace)
        .await
        .map_err(text)?;
    let field = |path: &str| json!({"fieldRef": {"fieldPath": path}});
    let set: DaemonSet = serde_json::from_value(json!({
        "metadata": {"name": "agent", "namespace": "test"},
        "spec": {
            "selector": {"matchLabels": {"app": "agent"}},
            "template": {"metadata": {"labels": {"app": "agent"}}, "spec": {
                "terminationGracePeriodSeconds": 1,
                "securityContext": {
                    "runAsNonRoot": true, "runAsUser": 65532, "seccompProfile": {"type": "RuntimeDefault"},
                },
                "containers": [{
                    "name": "agent", "image": AGENT_IMAGE, "command": ["meshproof-agent"],
                    "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}},
                    "env": [
                        {"name": "MESHPROOF_CLUSTER", "value": cluster},
                        {"name": "MESHPROOF_NODE", "valueFrom": field("spec.nodeName")},
                        {"name": "MESHPROOF_NAMESPACE", "valueFrom": field("metadata.namespace")},
                        {"name": "MESHPROOF_POD", "valueFrom": field("metadata.name")},
                    ],
                    "readinessProbe": {"httpGet": {"path": "/readyz", "port": 8080}, "periodSeconds": 1},
                }],
            }},
        },
    }))
    .map_err(text)?;
    Api::<DaemonSet>::namespaced(client.clone(), "test")
        .create(&PostParams::default(), &set)
        .await
        .map_err(text)?;
    ready_pods(client, nodes).await
}

/// The pods of namespace `test`, once so many are ready.
pub async fn ready_pods(client: &Client, count: usize) -> Result<Vec<Pod>> {
    let pods: Api<Pod> = Api::namespaced(client.clone(), "test");
    eventually("agents are ready", || async {
        let found = pods.list(&ListParams::default()).await.map_err(text)?.items;
        let ready = found.iter().filter(|pod| is_ready(pod)).count();
        let states: Vec<_> = found.iter().map(|pod| format!("{:?}", pod.status)).collect();
        if ready == count && found.len() == count {
            Ok(found)
        } else {
            Err(states.join("\n"))
        }
    })
    .await
}

pub fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
    conditions.is_some_and(|conditions| conditions.iter().any(|c| c.type_ == "Ready" && c.status == "True"))
}

pub fn name(pod: &Pod) -> &str {
    pod.metadata.name.as_deref().unwrap_or_default()
}

pub fn address(pod: &Pod) -> String {
    pod.status
        .as_ref()
        .and_then(|status| status.pod_ip.clone())
        .unwrap_or_default()
}

/// One command to an agent over port-forward; who it is, and its answer.
pub async fn command(client: &Client, pod: &Pod, command: Command) -> Result<(Hello, Answer)> {
    let pods: Api<Pod> = Api::namespaced(client.clone(), "test");
    let mut forward = pods
        .portforward(name(pod), &[meshproof_contract::port::CONTROL])
        .await
        .map_err(text)?;
    let mut stream = forward
        .take_stream(meshproof_contract::port::CONTROL)
        .ok_or("no stream")?;
    let conversation = converse(&mut stream, command);
    tokio::time::timeout(Duration::from_secs(20), conversation)
        .await
        .map_err(text)?
}

/// The agent's greeting, and its answer to one command.
pub async fn converse(
    stream: &mut (impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin),
    command: Command,
) -> Result<(Hello, Answer)> {
    let hello: Hello = read_frame(stream)
        .await
        .map_err(text)?
        .ok_or("the agent sent nothing")?;
    write_frame(stream, &Request { id: 1, command }).await.map_err(text)?;
    let response: Response = read_frame(stream)
        .await
        .map_err(text)?
        .ok_or("the agent did not answer")?;
    Ok((hello, response.answer))
}

/// How long a test takes at most that boots one lab.
pub const SHORT: Duration = Duration::from_secs(60);
/// How long a test takes at most that waits for much.
pub const LONG: Duration = Duration::from_secs(300);

/// Runs a test's work on a runtime of its own; nothing takes longer than `within`.
pub fn block_on<T>(within: Duration, work: impl Future<Output = Result<T>>) -> Result<T> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(text)?;
    let limited = async { tokio::time::timeout(within, work).await };
    runtime
        .block_on(limited)
        .unwrap_or_else(|_| Err(format!("the test was not over after {} s", within.as_secs())))
}

/// What is expected, or what was seen instead.
pub fn expect(what: &str, holds: bool, seen: &impl std::fmt::Debug) -> Result<()> {
    if holds {
        Ok(())
    } else {
        Err(format!("expected {what}, got {seen:#?}"))
    }
}

/// A running lab with a client for each cluster.
pub struct Clusters {
    pub lab: RunningLab,
    pub infra: Client,
    pub apps: Client,
}

impl Clusters {
    pub async fn start() -> Result<Self> {
        let lab = launch(LabOptions::default()).await.map_err(text)?;
        let (infra, apps) = (
            client(lab.kubeconfig(), "infra").await?,
            client(lab.kubeconfig(), "apps").await?,
        );
        Ok(Self { lab, infra, apps })
    }
}

pub async fn start_lab() -> Result<RunningLab> {
    launch(LabOptions::default()).await.map_err(text)
}

pub async fn end_lab(lab: RunningLab) -> Result<()> {
    lab.shutdown().await.map_err(text)
}

pub fn echo(to: &str) -> Probe {
    let action = Action::TcpEcho {
        to: Target::new(to, meshproof_contract::port::TCP),
        payload: 64,
    };
    Probe::once(action, Duration::from_secs(3))
}

/// Asks one agent to reach addresses over TCP.
pub async fn reach(client: &Client, from: &Pod, to: &[String]) -> Result<Vec<Outcome>> {
    let probes = to.iter().map(|address| echo(address)).collect();
    match command(client, from, Command::Batch { probes }).await? {
        (_, Answer::Outcomes { outcomes }) => Ok(outcomes),
        (_, other) => Err(format!("the agent answered {other:?}")),
    }
}

pub fn all_connected(outcomes: &[Outcome]) -> bool {
    outcomes.iter().all(|outcome| outcome.served_by().is_some())
}
