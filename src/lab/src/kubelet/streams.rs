//! Exec, port-forward and logs of a cluster's pods: finds the kubelet and lets it answer.

use super::{Kubelet, PodRuntime, Running, exec};
use async_trait::async_trait;
use meshproof_apiserver::{ApiError, Duplex, Exec, ExitStatus, LogOptions, Object, Reader, Reason, Streams};
use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, OnceLock},
    time::Duration,
};

/// How long a connection within a pod may take: it never leaves the machine.
const DIAL: Duration = Duration::from_secs(2);

/// The kubelets of one cluster. Made before them, since the API server starts first.
#[derive(Clone, Default)]
pub(crate) struct KubeletStreams(Arc<OnceLock<Vec<Arc<Kubelet>>>>);

impl KubeletStreams {
    /// Names the kubelets, once.
    pub(crate) fn serve(&self, kubelets: Vec<Arc<Kubelet>>) {
        if self.0.set(kubelets).is_err() {
            tracing::error!("the kubelets of a cluster are named once");
        }
    }

    fn find(&self, pod: &Object) -> Result<Arc<PodRuntime>, ApiError> {
        let node = pod["spec"]["nodeName"].as_str().unwrap_or_default();
        let kubelets = self.0.get().map(Vec::as_slice).unwrap_or_default();
        let kubelet = kubelets.iter().find(|kubelet| kubelet.node().name() == node);
        let Some(kubelet) = kubelet else {
            return Err(ApiError::new(
                Reason::BadRequest,
                format!("pod {} does not have a host assigned", pod.name()),
            ));
        };
        if !*kubelet.node().online().borrow() {
            let address = kubelet.node().spec.address;
            return Err(ApiError::internal(format!(
                "error dialing backend: dial tcp {address}:10250: i/o timeout"
            )));
        }
        kubelet.pod(pod.uid()).ok_or_else(|| {
            ApiError::new(
                Reason::NotFound,
                format!("pod {} has no sandbox on node {node}", pod.name()),
            )
        })
    }
}

#[async_trait]
impl Streams for KubeletStreams {
    async fn exec(&self, exec: Exec) -> Result<ExitStatus, ApiError> {
        let runtime = self.find(&exec.pod)?;
        match runtime.running(&exec.container) {
            Some(Running::Agent(process)) => Ok(exec::in_agent(&process, exec).await),
            Some(Running::System(image, container)) => Ok(image.exec(container, exec).await),
            None => Err(ApiError::internal(format!(
                "container not found (\"{}\")",
                exec.container
            ))),
        }
    }

    async fn port_forward(&self, pod: &Object, port: u16) -> Result<Duplex, ApiError> {
        let runtime = self.find(pod)?;
        let address = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port);
        let connect = move || {
            runtime.namespace.within(|| {
                let stream = std::net::TcpStream::connect_timeout(&address, DIAL)?;
                stream.set_nonblocking(true)?;
                Ok::<_, std::io::Error>(stream)
            })
        };
        let connected = tokio::task::spawn_blocking(connect).await.map_err(ApiError::internal)?;
        let connected = connected.map_err(ApiError::internal)?;
        let refused = |error: std::io::Error| {
            let why = format!(
                "error forwarding port {port} to pod {}: failed to connect to localhost:{port} inside its namespace: \
                 {error}",
                pod.name()
            );
            ApiError::internal(why)
        };
        let stream = tokio::net::TcpStream::from_std(connected.map_err(refused)?).map_err(ApiError::internal)?;
        let _ = stream.set_nodelay(true);
        Ok(Box::pin(stream))
    }

    async fn logs(&self, pod: &Object, container: &str, options: LogOptions) -> Result<Reader, ApiError> {
        let log = self.find(pod)?.log(container);
        let log = log.ok_or_else(|| {
            let message = format!(
                "container \"{container}\" in pod \"{}\" is waiting to start: ContainerCreating",
                pod.name()
            );
            ApiError::bad_request(message)
        })?;
        Ok(log.read(options))
    }
}
