//! The two routes to an agent's control port: port-forward, and exec where that is forbidden or fails.

use crate::{
    api::{ApiError, Operation, STREAM_VERBS},
    client::ClusterClient,
    name::{AGENT_COMMAND, CONTAINER},
    readiness::ReadyPod,
};
use futures::future::BoxFuture;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{AttachParams, AttachedProcess, Portforwarder};
use meshproof_contract::port;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};

/// A route to an agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Route {
    /// To the control port on the pod's loopback.
    PortForward,
    /// Through `meshproof-agent control` in the pod.
    Exec,
}

impl Route {
    pub(super) fn name(self) -> &'static str {
        match self {
            Route::PortForward => "port-forward",
            Route::Exec => "exec",
        }
    }
}

/// Both directions of a stream, what keeps it open, and why it ended.
pub(super) struct Stream {
    pub(super) reader: Box<dyn AsyncRead + Send + Unpin>,
    pub(super) writer: Box<dyn AsyncWrite + Send + Unpin>,
    pub(super) guard: Guard,
    /// The far side's reason when the stream fails or ends.
    pub(super) failure: BoxFuture<'static, Option<String>>,
}

/// Ends the stream's own task when dropped.
pub(super) enum Guard {
    PortForward(Portforwarder),
    Exec(#[allow(dead_code, reason = "dropping it ends the process")] AttachedProcess),
}

impl Drop for Guard {
    fn drop(&mut self) {
        if let Guard::PortForward(forwarder) = self {
            forwarder.abort();
        }
    }
}

/// Opens a stream to the pod's agent.
pub(super) async fn open(client: &ClusterClient, pod: &ReadyPod, route: Route) -> Result<Stream, ApiError> {
    match route {
        Route::PortForward => port_forward(client, pod).await,
        Route::Exec => exec(client, pod).await,
    }
}

async fn port_forward(client: &ClusterClient, pod: &ReadyPod) -> Result<Stream, ApiError> {
    let port = port::CONTROL + crate::manifest::port_offset(pod.network);
    let pods = client.within::<Pod>(&pod.namespace);
    let operation = Operation::on(STREAM_VERBS, "pods/portforward")
        .within(&pod.namespace)
        .named(&pod.name);
    let mut forwarder = client.call(operation, pods.portforward(&pod.name, &[port])).await?;
    let stream = forwarder.take_stream(port).expect("the port was asked for");
    let failure = forwarder.take_error(port).expect("the port was asked for");
    let (reader, writer) = tokio::io::split(stream);
    Ok(Stream {
        reader: Box::new(reader),
        writer: Box::new(writer),
        guard: Guard::PortForward(forwarder),
        failure: Box::pin(failure),
    })
}

async fn exec(client: &ClusterClient, pod: &ReadyPod) -> Result<Stream, ApiError> {
    let pods = client.within::<Pod>(&pod.namespace);
    let operation = Operation::on(STREAM_VERBS, "pods/exec")
        .within(&pod.namespace)
        .named(&pod.name);
    let params = AttachParams::default()
        .container(CONTAINER)
        .stdin(true)
        .stdout(true)
        .stderr(true)
        .max_stdin_buf_size(64 << 10)
        .max_stdout_buf_size(64 << 10);
    let mut process = client
        .call(operation, pods.exec(&pod.name, [AGENT_COMMAND, "control"], &params))
        .await?;
    let reader = process.stdout().expect("stdout was asked for");
    let writer = process.stdin().expect("stdin was asked for");
    let mut stderr = process.stderr().expect("stderr was asked for");
    let status = process.take_status().expect("taken once");
    let failure = async move {
        let mut printed = Vec::new();
        // Not closed until the process ends.
        let read = tokio::time::timeout(std::time::Duration::from_secs(1), stderr.read_to_end(&mut printed));
        let (_, status) = tokio::join!(read, tokio::time::timeout(std::time::Duration::from_secs(1), status));
        let printed = String::from_utf8_lossy(&printed).trim().to_owned();
        let message = status.ok().flatten().and_then(|status| status.message);
        [Some(printed).filter(|s| !s.is_empty()), message]
            .into_iter()
            .flatten()
            .next()
    };
    Ok(Stream {
        reader: Box::new(reader),
        writer: Box::new(writer),
        guard: Guard::Exec(process),
        failure: Box::pin(failure),
    })
}
