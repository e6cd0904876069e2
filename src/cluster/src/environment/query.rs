//! Asks Cilium with its own commands, in its own pods: the only source of what an agent really holds.

use crate::{
    ApiError,
    client::ClusterClient,
    discover::cilium::{AGENT_LABEL, MESH_LABEL, has_container},
    exec::{self, Container, ExecError},
    kubelet_reachability::SLOW,
};
use futures::future::join_all;
use k8s_openapi::api::core::v1::Pod;
use kube::{ResourceExt, api::ListParams};
use meshproof_contract::{CiliumAnswer, CiliumQuery, EnvironmentError, NodeName};
use serde_json::Value;
use std::{
    borrow::Cow,
    collections::{BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};
use tokio::{
    sync::{Mutex, Semaphore},
    time::Instant,
};

/// How long a command may take; `debuginfo` of a large agent is the slowest.
const DEADLINE: Duration = Duration::from_secs(30);

/// Where a question is asked and with what.
struct Question {
    label: &'static str,
    container: &'static str,
    /// Tried in this order; later ones where the container lacks the earlier.
    commands: Vec<Vec<Cow<'static, str>>>,
    format: Format,
}

/// What a command prints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Json,
    /// Handed on as a JSON string.
    Text,
}

fn question(query: CiliumQuery) -> Question {
    let words = |arguments: &[&'static str]| arguments.iter().map(|word| Cow::Borrowed(*word)).collect::<Vec<_>>();
    let agent = |arguments: &[&'static str]| Question {
        label: AGENT_LABEL,
        container: "cilium-agent",
        // Images before 1.15 have it as `cilium`.
        commands: ["cilium-dbg", "cilium"]
            .map(|command| words(&[&[command], arguments].concat()))
            .into(),
        format: Format::Json,
    };
    let kvstoremesh = |arguments: &[&'static str], format| Question {
        label: MESH_LABEL,
        container: "kvstoremesh",
        commands: vec![words(
            &[&["clustermesh-apiserver", "kvstoremesh-dbg"], arguments].concat(),
        )],
        format,
    };
    match query {
        CiliumQuery::Status => agent(&["status", "-o", "json"]),
        // No short form of --output here.
        CiliumQuery::Debuginfo => agent(&["debuginfo", "--output", "json"]),
        CiliumQuery::EncryptStatus => agent(&["encrypt", "status", "-o", "json"]),
        CiliumQuery::Endpoints => agent(&["endpoint", "list", "-o", "json"]),
        CiliumQuery::Services => agent(&["service", "list", "-o", "json"]),
        CiliumQuery::BalancerMap => agent(&["bpf", "lb", "list", "-o", "json"]),
        CiliumQuery::Ipcache => agent(&["bpf", "ipcache", "list", "-o", "json"]),
        CiliumQuery::Identities => agent(&["identity", "list", "-o", "json"]),
        CiliumQuery::Configuration => agent(&["config", "--all", "-o", "json"]),
        CiliumQuery::Policy => agent(&["policy", "get", "-o", "json"]),
        CiliumQuery::Nodes => agent(&["node", "list", "-o", "json"]),
        CiliumQuery::Health => Question {
            commands: vec![words(&["cilium-health", "status", "--probe", "-o", "json"])],
            ..agent(&[])
        },
        CiliumQuery::KvstoreMesh => kvstoremesh(&["status", "-o", "json"], Format::Json),
        CiliumQuery::Troubleshoot => Question {
            format: Format::Text,
            ..agent(&["troubleshoot", "clustermesh"])
        },
        CiliumQuery::TroubleshootKvstoreMesh => kvstoremesh(&["troubleshoot"], Format::Text),
        CiliumQuery::RelayStatus { server } => {
            let mut command = words(&["hubble", "status", "--server"]);
            command.push(server.to_string().into());
            Question {
                commands: vec![command],
                format: Format::Text,
                ..agent(&[])
            }
        }
    }
}

/// How many commands run in the pods of one cluster's Cilium at once: each is a connection through API server and
/// kubelet, and a process.
const COMMANDS: usize = 12;

/// The pods of one cluster's Cilium.
#[derive(Debug)]
pub(crate) struct CiliumPods {
    /// Where they are.
    pub(crate) namespace: String,
    /// As they were listed last, by label: checks ask in bursts, and each would list them again.
    listed: Mutex<HashMap<&'static str, Listed>>,
    commands: Semaphore,
}

#[derive(Clone, Debug)]
struct Listed {
    at: Instant,
    pods: Arc<[Pod]>,
}

/// For how long a list is used. One whose pod did not answer is not used again.
const LISTED_FOR: Duration = Duration::from_secs(60);
/// A pod of an older list that does not answer may have been replaced.
const FRESH: Duration = Duration::from_secs(3);

impl CiliumPods {
    /// With pods that were listed by these labels at that time.
    pub(crate) fn new(namespace: String, at: Instant, known: Vec<(&'static str, Vec<Pod>)>) -> Self {
        let listed = known.into_iter().map(|(label, pods)| {
            let pods = pods.into();
            (label, Listed { at, pods })
        });
        Self {
            namespace,
            listed: Mutex::new(listed.collect()),
            commands: Semaphore::new(COMMANDS),
        }
    }

    async fn list(&self, client: &ClusterClient, label: &'static str) -> Result<Listed, ApiError> {
        // Held while listing, so that those who ask meanwhile wait for the same list.
        let mut all = self.listed.lock().await;
        if let Some(listed) = all.get(label).filter(|listed| listed.at.elapsed() < LISTED_FOR) {
            return Ok(listed.clone());
        }
        let at = Instant::now();
        let selection = ListParams::default().labels(label);
        let pods: Arc<[Pod]> = client.list::<Pod>(Some(&self.namespace), &selection).await?.into();
        let listed = Listed { at, pods };
        all.insert(label, listed.clone());
        Ok(listed)
    }

    async fn forget(&self, label: &str) {
        self.listed.lock().await.remove(label);
    }
}

/// Asks every pod that should know, or those on these nodes, all at once up to the bound.
pub(super) async fn ask(
    client: &ClusterClient,
    query: CiliumQuery,
    cilium: &CiliumPods,
    nodes: Option<&[NodeName]>,
) -> Result<Vec<CiliumAnswer>, EnvironmentError> {
    let question = question(query);
    let listed = cilium.list(client, question.label).await?;
    let answers = ask_pods(client, &question, (&listed.pods, nodes), cilium).await;
    if is_whole(&answers) {
        return Ok(answers);
    }
    cilium.forget(question.label).await;
    if listed.at.elapsed() < FRESH {
        return Ok(answers);
    }
    let now = cilium.list(client, question.label).await?;
    let names = |pods: &[Pod]| pods.iter().map(ResourceExt::uid).collect::<BTreeSet<_>>();
    if names(&now.pods) == names(&listed.pods) {
        return Ok(answers);
    }
    let answers = ask_pods(client, &question, (&now.pods, nodes), cilium).await;
    if !is_whole(&answers) {
        cilium.forget(question.label).await;
    }
    Ok(answers)
}

fn is_whole(answers: &[CiliumAnswer]) -> bool {
    !answers.is_empty() && answers.iter().all(|answer| answer.output.is_ok())
}

async fn ask_pods(
    client: &ClusterClient,
    question: &Question,
    (pods, nodes): (&[Pod], Option<&[NodeName]>),
    cilium: &CiliumPods,
) -> Vec<CiliumAnswer> {
    let is_asked = |pod: &&Pod| pod.metadata.deletion_timestamp.is_none() && has_container(pod, question.container);
    let is_meant = |pod: &&Pod| nodes.is_none_or(|nodes| nodes.contains(&node_of(pod)));
    let mut pods: Vec<&Pod> = pods.iter().filter(is_asked).filter(is_meant).collect();
    pods.sort_by_key(|pod| (node_of(pod), pod.name_any()));
    let answers = pods.iter().copied().map(|pod| async {
        let _permit = cilium.commands.acquire().await.expect("never closed");
        CiliumAnswer {
            pod: pod.name_any(),
            node: node_of(pod),
            output: one(client, &cilium.namespace, pod, question).await,
        }
    });
    join_all(answers).await
}

async fn one(
    client: &ClusterClient,
    namespace: &str,
    pod: &Pod,
    question: &Question,
) -> Result<Value, EnvironmentError> {
    let (name, node) = (pod.name_any(), node_of(pod));
    let not_asked = |reason: String| EnvironmentError::Api {
        cluster: client.name().clone(),
        operation: format!("ask Cilium in pod {namespace}/{name}"),
        reason,
    };
    if let Some(reason) = client.kubelets().unreached(&node, Instant::now()) {
        return Err(not_asked(reason));
    }
    let now = Instant::now();
    let limit = client.silent().limit(&name, question.container, DEADLINE, now);
    let limit = limit.map_err(not_asked)?;
    let container = Container {
        namespace,
        pod: &name,
        name: question.container,
    };
    let mut missing = String::new();
    for command in &question.commands {
        let failed = |reason: String| EnvironmentError::Api {
            cluster: client.name().clone(),
            operation: format!("run `{}` in pod {namespace}/{name}", command.join(" ")),
            reason,
        };
        let begun = Instant::now();
        let arguments: Vec<&str> = command.iter().map(AsRef::as_ref).collect();
        match exec::run(client, &container, &arguments, limit).await {
            Ok(output) => {
                client.silent().forget(&name, question.container);
                return question.format.read(&output).map_err(failed);
            }
            // A report of failures is an answer, whatever the exit code.
            Err(ExecError::Exit { stdout, .. }) if question.format == Format::Text && !stdout.is_empty() => {
                return question.format.read(&stdout).map_err(failed);
            }
            Err(ExecError::NoSuchCommand(message)) => missing = message,
            Err(ExecError::Api(error)) if error.is_forbidden() => return Err(error.into()),
            Err(ExecError::Api(error)) => {
                if error.cause.is_transient() && begun.elapsed() >= SLOW {
                    client.note_unreached(&node, &error.reason()).await;
                }
                return Err(failed(error.reason()));
            }
            Err(ExecError::Deadline(seconds)) => {
                client.silent().note(&name, question.container, limit, Instant::now());
                return Err(EnvironmentError::Deadline {
                    cluster: client.name().clone(),
                    operation: format!("run `{}` in pod {namespace}/{name}", command.join(" ")),
                    seconds,
                    last: "no output".to_owned(),
                });
            }
            Err(error) => return Err(failed(error.to_string())),
        }
    }
    Err(not_asked(missing))
}

impl Format {
    /// The output, or the error with the beginning of what came instead.
    fn read(self, output: &[u8]) -> Result<Value, String> {
        let text = || String::from_utf8_lossy(output);
        match self {
            Format::Text => Ok(Value::String(text().into_owned())),
            Format::Json => serde_json::from_slice(output).map_err(|error| {
                let beginning: String = text().trim().chars().take(120).collect();
                format!("the output is not JSON ({error}); it begins with {beginning:?}")
            }),
        }
    }
}

fn node_of(pod: &Pod) -> NodeName {
    let node = pod.spec.as_ref().and_then(|s| s.node_name.clone());
    NodeName::new(node.unwrap_or_default())
}

/// The version in `cilium-dbg status`: `.cilium.msg` is `1.18.3 (v1.18.3-e4a9ed77)`.
pub(super) fn version(status: &Value) -> Option<String> {
    let message = status.pointer("/cilium/msg")?.as_str()?;
    let word = message.split_whitespace().next()?.trim_start_matches('v');
    word.starts_with(|c: char| c.is_ascii_digit()).then(|| word.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn older_images_are_asked_by_their_own_name() {
        let commands = question(CiliumQuery::Debuginfo).commands;
        assert_eq!(commands[0], ["cilium-dbg", "debuginfo", "--output", "json"]);
        assert_eq!(commands[1], ["cilium", "debuginfo", "--output", "json"]);
        let health = question(CiliumQuery::Health);
        assert_eq!((health.commands.len(), health.container), (1, "cilium-agent"));
        assert_eq!(question(CiliumQuery::KvstoreMesh).container, "kvstoremesh");
        let server = "10.96.0.77:80".parse().expect("an address");
        let relay = question(CiliumQuery::RelayStatus { server });
        assert_eq!(relay.commands[0], ["hubble", "status", "--server", "10.96.0.77:80"]);
    }

    #[test]
    fn output_that_is_not_json_is_shown() {
        let error = Format::Json
            .read(b"Error: cannot connect to the agent\n")
            .expect_err("not JSON");
        assert!(error.contains("Error: cannot connect"), "{error}");
        assert_eq!(Format::Json.read(b"{\"a\": 1}\n").expect("JSON"), json!({"a": 1}));
    }

    #[test]
    fn the_version_is_in_the_status() {
        assert_eq!(
            version(&json!({"cilium": {"msg": "1.18.3 (v1.18.3-e4a9ed77)", "state": "Ok"}})).as_deref(),
            Some("1.18.3")
        );
        assert_eq!(version(&json!({"cilium": {"msg": "unreachable"}})), None);
    }
}
