//! The way from a KVStoreMesh to the etcd of another cluster.

use super::{link::Route, pod::ETCD_PORT};
use crate::{
    fault::Fault,
    state::{ClusterState, LabState},
};
use meshproof_datapath::netns::Namespace;
use std::{
    io,
    net::{Ipv4Addr, SocketAddrV4},
    sync::Arc,
};
use tokio::net::TcpSocket;

/// The beginning of the pods' names.
const POD_PREFIX: &str = "clustermesh-apiserver-";

/// Where a pod of another cluster reaches this one's etcd.
pub fn etcd_address(cluster: &ClusterState, from: Ipv4Addr) -> Option<SocketAddrV4> {
    let pods = cluster.nodes().iter().flat_map(|node| node.pods());
    let mut addresses: Vec<_> = pods
        .filter(|pod| pod.name.starts_with(POD_PREFIX))
        .map(|pod| pod.address)
        .collect();
    addresses.sort();
    // Spread over the cluster's replicas, as its load balancer would.
    let turn = usize::from(from.octets()[3]) % addresses.len().max(1);
    addresses
        .get(turn)
        .map(|address| SocketAddrV4::new(*address, ETCD_PORT))
}

/// The way from a kvstoremesh container to a clustermesh-apiserver pod of another cluster: from pod to pod.
pub(super) struct OverDatapath {
    pub(super) lab: Arc<LabState>,
    pub(super) own: String,
    pub(super) other: String,
    pub(super) namespace: Namespace,
    pub(super) address: Ipv4Addr,
}

impl Route for OverDatapath {
    fn address(&self) -> Option<SocketAddrV4> {
        etcd_address(self.lab.cluster(&self.other)?, self.address)
    }

    fn socket(&self) -> io::Result<TcpSocket> {
        self.namespace.within(TcpSocket::new_v4).map_err(io::Error::other)?
    }

    async fn blocked(&self) {
        self.until(|blocked| blocked).await;
    }

    async fn unblocked(&self) {
        self.until(|blocked| !blocked).await;
    }
}

impl OverDatapath {
    async fn until(&self, wanted: impl Fn(bool) -> bool) {
        let mut faults = self.lab.faults.subscribe();
        while !wanted(self.lab.acts_in(Fault::MeshKvstoremeshDisconnected, &self.own)) {
            if faults.changed().await.is_err() {
                return;
            }
        }
    }
}
