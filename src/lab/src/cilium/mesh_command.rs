//! Commands in the containers of the clustermesh-apiserver pod.

use super::{
    command::{Answer, CommandLine, Format, UsageError},
    output::{
        remote::{Observer, cluster, kvstoremesh_text},
        version,
    },
    pods::CiliumPods,
    troubleshoot,
    view::{RemotePhase, RemoteView},
};
use crate::{
    mesh::{LinkPhase, MeshPod},
    system::SystemContainer,
};
use serde_json::Value;
use std::time::SystemTime;

/// Runs a command; none if the image has no such executable.
pub(super) async fn answer(pods: &CiliumPods, container: &SystemContainer, argv: &[String]) -> Option<Answer> {
    let (program, arguments) = argv.split_first()?;
    let program = program.rsplit('/').next()?;
    if program != "clustermesh-apiserver" {
        return None;
    }
    Some(
        run(pods, container, arguments)
            .await
            .unwrap_or_else(|error| error.answer(program)),
    )
}

async fn run(pods: &CiliumPods, container: &SystemContainer, arguments: &[String]) -> Result<Answer, UsageError> {
    let line = CommandLine::parse(arguments)?;
    let words: Vec<_> = line.words().collect();
    match words.as_slice() {
        ["version"] => {
            let version = version(&container.lab.topology.settings());
            Ok(Answer::text(format!("{version}\n")))
        }
        ["kvstoremesh-dbg", "status"] => {
            line.only(&["output", "verbose"])?;
            let format = line.format("output")?;
            let pod = (container.name == "kvstoremesh")
                .then(|| pods.mesh.pod(container.cluster.name(), container.pod.name()))
                .flatten();
            let Some(pod) = pod else {
                let message = "Error: cannot connect to KVStoreMesh: dial unix /var/run/cilium/kvstoremesh.sock: \
                               connect: no such file or directory\n";
                return Ok(Answer::failed(message));
            };
            let remotes = remotes(pods, container, &pod);
            Ok(match format {
                Format::Json => {
                    let all: Vec<_> = remotes
                        .iter()
                        .map(|remote| cluster(remote, Observer::Kvstoremesh))
                        .collect();
                    Answer::json(&Value::Array(all))
                }
                Format::Text => Answer::text(kvstoremesh_text(&remotes, SystemTime::now())),
            })
        }
        ["kvstoremesh-dbg", "troubleshoot", ..] => {
            line.only(&[])?;
            Ok(Answer::text(troubleshoot::kvstoremesh(pods, container).await))
        }
        _ => Err(UsageError::unknown_command(&words)),
    }
}

/// The other clusters as this pod's KVStoreMesh sees them: late, but by itself.
pub(super) fn remotes(pods: &CiliumPods, container: &SystemContainer, pod: &MeshPod) -> Vec<RemoteView> {
    let remotes = pod.remotes().iter().map(|(name, remote)| {
        let link = pods.mesh.link(pod, name);
        RemoteView {
            name: name.clone(),
            phase: match link.phase {
                LinkPhase::Waiting => RemotePhase::Waiting,
                LinkPhase::Connected { cluster_id } => RemotePhase::Ready { cluster_id },
            },
            counts: remote.cache.counts(),
            failures: link.failures,
            last_failure: link.last_failure,
            etcd_id: other_etcd(pods, container, name),
        }
    });
    remotes.collect()
}

fn other_etcd(pods: &CiliumPods, container: &SystemContainer, other: &str) -> u64 {
    let serving = container
        .lab
        .cluster(other)
        .map(|cluster| pods.mesh.serving(cluster.name()))
        .unwrap_or_default();
    serving.first().map(|pod| pod.etcd_id()).unwrap_or_default()
}
