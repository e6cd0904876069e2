//! What runs in the three containers of a clustermesh-apiserver pod.

use super::{
    etcd::serve,
    link::{Link, LinkPhase, LinkStatus},
    pod::{ETCD_PORT, MeshPods},
    publisher::{Publisher, snapshot},
    route::OverDatapath,
    wire::MeshMessage,
};
use crate::{
    crd::{CILIUM_ENDPOINTS, CILIUM_IDENTITIES, CILIUM_NODES},
    health::ready_endpoint,
    informer::Informer,
    system::SystemContainer,
};
use meshproof_apiserver::resource::names::{ENDPOINT_SLICES, SERVICES};
use std::{
    io,
    net::{Ipv4Addr, SocketAddrV4},
    sync::Arc,
};

/// Where `apiserver` says that it is ready.
const APISERVER_HEALTH_PORT: u16 = 9880;
/// Where `kvstoremesh` says that it is ready.
const KVSTOREMESH_HEALTH_PORT: u16 = 9881;

impl MeshPods {
    /// Container `etcd`: serves what `apiserver` publishes, and holds what `kvstoremesh` copies.
    pub(crate) async fn run_etcd(&self, container: &SystemContainer) -> i32 {
        let pod = self.of_container(container);
        let listener = container
            .namespace
            .within(listen)
            .map_err(io::Error::other)
            .and_then(|bound| bound);
        let listener = match listener.and_then(tokio::net::TcpListener::from_std) {
            Ok(listener) => listener,
            Err(error) => {
                tracing::warn!(pod = pod.name, %error, "etcd cannot listen");
                return 1;
            }
        };
        self.etcd_started(&pod);
        let config = MeshMessage::Config {
            cluster: pod.cluster.clone(),
            id: container.cluster.spec.id,
        };
        let gate = Publisher::new(&container.lab, &pod.cluster);
        serve(
            listener,
            config,
            pod.local.clone(),
            Arc::new(gate),
            container.stop.clone(),
        )
        .await;
        self.etcd_ended(&pod);
        0
    }

    /// Container `apiserver`: publishes the cluster's state into the pod's etcd.
    pub(crate) async fn run_apiserver(&self, container: &SystemContainer) -> i32 {
        let pod = self.of_container(container);
        let resources = [
            CILIUM_NODES,
            CILIUM_IDENTITIES,
            CILIUM_ENDPOINTS,
            SERVICES,
            ENDPOINT_SLICES,
        ];
        let informer = Informer::start(&container.cluster.store, &resources, &container.stop);
        let mut changes = informer.changes();
        let mut faults = container.lab.faults.follow();
        informer.synced().await;
        let mut ready = Ready::Not;
        loop {
            pod.local
                .replace(snapshot(&container.lab, &container.cluster, &informer));
            ready.announce(container, APISERVER_HEALTH_PORT);
            tokio::select! {
                () = container.stop.cancelled() => return 0,
                _ = changes.next() => {}
                _ = faults.changed() => {}
            }
        }
    }

    /// Container `kvstoremesh`: copies the other clusters' state into the pod's etcd.
    pub(crate) async fn run_kvstoremesh(&self, container: &SystemContainer) -> i32 {
        let pod = self.of_container(container);
        let links = pod.remotes().iter().map(|(name, remote)| {
            remote.status.send_replace(LinkStatus::default());
            let route = OverDatapath {
                lab: Arc::clone(&container.lab),
                own: pod.cluster.clone(),
                other: name.clone(),
                namespace: container.namespace.clone(),
                address: container.address,
            };
            let link = Link::new(route, remote.cache.clone(), remote.status.clone(), self.timing);
            async move { link.run().await }
        });
        let all = futures::future::join_all(links);
        // Ready once every other cluster has been followed once, as with Cilium's own readiness of KVStoreMesh.
        let ready = async {
            for remote in pod.remotes().values() {
                let mut status = remote.status.subscribe();
                let _ = status.wait_for(|status| status.phase != LinkPhase::Waiting).await;
            }
            Ready::Not.announce(container, KVSTOREMESH_HEALTH_PORT);
        };
        container
            .stop
            .run_until_cancelled(async { tokio::join!(all, ready) })
            .await;
        0
    }
}

/// Whether a container has reported that it is ready.
enum Ready {
    Not,
    Yes,
}

impl Ready {
    /// Says so once.
    fn announce(&mut self, container: &SystemContainer, port: u16) {
        if matches!(self, Ready::Yes) {
            return;
        }
        if let Err(error) = ready_endpoint(container, port) {
            container.log.line(format!(
                "level=error msg=\"cannot serve health\" port={port} error=\"{error}\""
            ));
        }
        *self = Ready::Yes;
    }
}

fn listen() -> io::Result<std::net::TcpListener> {
    let listener = std::net::TcpListener::bind(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, ETCD_PORT))?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}
