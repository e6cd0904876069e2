//! Answers for a running lab, to its own user only.

use super::{ClusterStatus, LabReply, LabRequest, LabStatus, NodeStatus, PodStatus};
use crate::{
    lab::{Lab, pod_state},
    object::is_ready,
};
use meshproof_apiserver::resource::names::{NODES, PODS};
use meshproof_datapath::{FlowEvent, FlowVerdict};
use std::{
    io,
    os::{linux::net::SocketAddrExt, unix::net::SocketAddr},
    sync::Arc,
};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::{UnixListener, UnixStream},
};
use tokio_util::sync::CancellationToken;

/// Listens under an abstract name; refused when a lab listens there already.
pub(crate) fn bind(name: &str) -> io::Result<std::os::unix::net::UnixListener> {
    let listener = std::os::unix::net::UnixListener::bind_addr(&SocketAddr::from_abstract_name(name)?)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// What the server reports of the process process the lab.
pub(crate) struct ProcessInfo {
    pub(crate) pid: u32,
    pub(crate) kubeconfig_path: String,
    /// Cancelled to end the lab.
    pub(crate) stop: CancellationToken,
}

/// Serves until dropped.
pub(crate) async fn serve(listener: std::os::unix::net::UnixListener, lab: Arc<Lab>, process: Arc<ProcessInfo>) {
    let listener = match UnixListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => return tracing::error!(%error, "failed to serve the control socket"),
    };
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                tokio::spawn(converse(stream, Arc::clone(&lab), Arc::clone(&process)));
            }
            Err(error) => {
                tracing::warn!(%error, "failed to accept on the control socket");
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            }
        }
    }
}

async fn converse(mut stream: UnixStream, lab: Arc<Lab>, process: Arc<ProcessInfo>) {
    // An abstract name has no permissions: whoever is not this user is not answered.
    let own = nix::unistd::geteuid().as_raw();
    if !stream.peer_cred().is_ok_and(|peer| peer.uid() == own) {
        return;
    }
    let mut line = String::new();
    if BufReader::new(&mut stream).read_line(&mut line).await.is_err() {
        return;
    }
    let question = serde_json::from_str::<LabRequest>(&line);
    let stopping = matches!(question, Ok(LabRequest::Stop));
    let reply = match question {
        Ok(question) => answer(question, &lab, &process).await,
        Err(error) => LabReply::Refused {
            why: format!("the question was not understood: {error}"),
        },
    };
    let mut line = serde_json::to_vec(&reply).unwrap_or_default();
    line.push(b'\n');
    if let Err(error) = stream.write_all(&line).await {
        tracing::debug!(%error, "who asked has gone");
    }
    if stopping {
        process.stop.cancel();
        // Kept open until the process ends: that is how the other side knows.
        std::mem::forget(stream);
    }
}

async fn answer(question: LabRequest, lab: &Lab, process: &ProcessInfo) -> LabReply {
    let done = |result: Result<(), crate::injection::FaultError>| match result {
        Ok(()) => LabReply::Done,
        Err(error) => LabReply::Refused { why: error.to_string() },
    };
    let switched = |result: Result<(), crate::power::NoSuchNode>| match result {
        Ok(()) => LabReply::Done,
        Err(error) => LabReply::Refused { why: error.to_string() },
    };
    match question {
        LabRequest::Status => LabReply::Status(status(lab, process)),
        LabRequest::Inject { name } => {
            let injected = lab.faults().inject(&name);
            if injected.is_ok() {
                lab.faults().followed().await;
            }
            done(injected)
        }
        LabRequest::Heal { name } => {
            let healed = lab.faults().heal(&name);
            if healed.is_ok() {
                lab.faults().followed().await;
            }
            done(healed)
        }
        LabRequest::HealAll => {
            lab.faults().heal_all();
            LabReply::Done
        }
        LabRequest::CutNode { cluster, node } => switched(lab.power().cut(&cluster, &node)),
        LabRequest::RestoreNode { cluster, node } => switched(lab.power().restore(&cluster, &node)),
        LabRequest::Flows { limit } => LabReply::Flows {
            lines: flows(lab, limit).await,
        },
        LabRequest::Kubeconfig => LabReply::Kubeconfig {
            text: lab.kubeconfig().to_owned(),
            path: process.kubeconfig_path.clone(),
        },
        LabRequest::Stop => LabReply::Done,
    }
}

fn status(lab: &Lab, process: &ProcessInfo) -> LabStatus {
    let state = lab.state();
    let servers = lab.server_urls();
    let clusters = state.clusters.iter().zip(servers).map(|(cluster, server)| {
        let pods = cluster.store.all(&PODS, None);
        let nodes = cluster.spec.nodes.iter().map(|node| {
            let ready = cluster
                .store
                .find(&NODES, None, &node.name)
                .is_some_and(|node| is_ready(&node));
            let its = pods.iter().filter(|pod| pod["spec"]["nodeName"] == node.name.as_str());
            let pods = its.map(|pod| PodStatus {
                name: format!("{}/{}", pod.namespace().unwrap_or_default(), pod.name()),
                address: pod["status"]["podIP"].as_str().map(str::to_owned),
                ready: is_ready(pod),
                state: pod_state(pod),
            });
            NodeStatus {
                name: node.name.clone(),
                address: node.address.to_string(),
                ready,
                pods: pods.collect(),
            }
        });
        ClusterStatus {
            name: cluster.name().to_owned(),
            server,
            nodes: nodes.collect(),
        }
    });
    LabStatus {
        pid: process.pid,
        uptime_seconds: state.started.elapsed().unwrap_or_default().as_secs(),
        kubeconfig: process.kubeconfig_path.clone(),
        clusters: clusters.collect(),
        faults: lab.faults().active().iter().map(ToString::to_string).collect(),
    }
}

async fn flows(lab: &Lab, limit: usize) -> Vec<String> {
    let mut all = Vec::new();
    for (_, node) in lab.state().nodes() {
        let flows = node.handle.flows(0).await;
        all.extend(flows.into_iter().map(|flow| (flow.time, line(node.name(), &flow))));
    }
    all.sort_by_key(|(time, _)| *time);
    let skipped = all.len().saturating_sub(limit);
    all.into_iter().skip(skipped).map(|(_, line)| line).collect()
}

fn line(node: &str, flow: &FlowEvent) -> String {
    let time = jiff::Timestamp::try_from(flow.time)
        .map(|time| format!("{time:.6}"))
        .unwrap_or_default();
    let verdict = match flow.verdict {
        FlowVerdict::Forwarded => "forwarded".to_owned(),
        FlowVerdict::Dropped(reason) => format!("dropped ({reason:?})"),
        FlowVerdict::Redirected(port) => format!("redirected to {}", port.0),
    };
    let party = |party: &meshproof_datapath::Party| {
        let name = party
            .endpoint
            .as_ref()
            .map(|name| format!(" ({name})"))
            .unwrap_or_default();
        format!("{}:{}{name}", party.address, party.port)
    };
    format!(
        "{time} {node} {:?} {} -> {} {:?} {verdict} {} bytes",
        flow.protocol,
        party(&flow.source),
        party(&flow.destination),
        flow.observation,
        flow.length
    )
}
