//! The handle to a node: what can be asked of it and changed in it from other threads.

use super::worker::{Command, Worker};
use crate::{
    config::{Encryption, NodeConfig, Peer, PublicKey},
    fabric::Fabric,
    flow::{Counters, FlowEvent, ProxyPort},
    identity::Identity,
    name::NodeName,
    netns::{Namespace, NamespaceError},
    policy::Policy,
    reactor::Waker,
    service::{Protocol, Service},
    socket_balancer::SocketBalancer,
    switch::{ProxiedFlow, Upstream},
    sync::{lock, off_runtime},
    wireguard::PeerStatus,
};
use ipnet::Ipv4Net;
use std::{
    net::{Ipv4Addr, SocketAddrV4},
    sync::{Arc, Mutex, mpsc::Sender},
    thread::JoinHandle,
    time::Instant,
};
use tokio::sync::oneshot;

/// A running node. Cheap to clone. Setters take effect in order and return at once; readers answer after every setter
/// that was called before them. The node stops when [`shutdown`](Self::shutdown) is called or the last handle drops.
#[derive(Clone, Debug)]
pub struct NodeHandle {
    pub(super) inner: Arc<Inner>,
}

#[derive(Debug)]
pub(super) struct Inner {
    pub(super) config: NodeConfig,
    pub(super) public_key: PublicKey,
    pub(super) namespace: Namespace,
    pub(super) fabric: Fabric,
    pub(super) balancer: Option<SocketBalancer>,
    pub(super) sender: Sender<Command>,
    pub(super) waker: Waker,
    pub(super) thread: Mutex<Option<JoinHandle<Result<(), NamespaceError>>>>,
}

impl NodeHandle {
    /// Its name.
    pub fn name(&self) -> &NodeName {
        &self.inner.config.name
    }

    /// What it was started with, its key included if it was generated.
    pub fn config(&self) -> &NodeConfig {
        &self.inner.config
    }

    /// Its WireGuard key.
    pub fn public_key(&self) -> PublicKey {
        self.inner.public_key
    }

    /// The node's own network namespace, where host-network processes live.
    pub fn namespace(&self) -> &Namespace {
        &self.inner.namespace
    }

    /// Its socket load balancing, by which processes of its pods are started; none if it balances packets.
    pub fn socket_balancer(&self) -> Option<&SocketBalancer> {
        self.inner.balancer.as_ref()
    }

    /// The MTU of its pods' default route.
    pub fn route_mtu(&self) -> u16 {
        self.inner.config.route_mtu(self.inner.fabric.config().mtu)
    }

    /// What other nodes must know of this one.
    pub fn as_peer(&self) -> Peer {
        let config = &self.inner.config;
        let (public_key, wireguard_port) = match config.encryption {
            Encryption::WireGuard { port } => (Some(self.inner.public_key), port),
            Encryption::None => (None, 0),
        };
        Peer {
            node: config.name.clone(),
            cluster: config.cluster.clone(),
            address: config.address,
            router: config.router,
            pod_cidrs: vec![config.pod_cidr],
            public_key,
            wireguard_port,
        }
    }

    /// Gives a pod another identity (its labels changed).
    pub fn set_pod_identity(&self, address: Ipv4Addr, identity: Identity) {
        self.run(move |worker| worker.switch.set_pod_identity(address, identity));
    }

    /// Replaces the peers. Sessions with unchanged peers live on.
    pub fn set_peers(&self, peers: Vec<Peer>) {
        self.run(move |worker| worker.set_peers(peers));
    }

    /// Replaces the services. Established flows to backends that stay are untouched.
    pub fn set_services(&self, services: Vec<Service>) {
        self.run(move |worker| worker.set_services(services));
    }

    /// Replaces what is known about remote addresses; the longest prefix wins.
    pub fn set_identities(&self, identities: Vec<(Ipv4Net, Identity)>) {
        self.run(move |worker| worker.switch.set_identities(identities));
    }

    /// Replaces the policy; established flows are asked about again.
    pub fn set_policy(&self, policy: Box<dyn Policy>) {
        self.run(move |worker| worker.switch.set_policy(policy));
    }

    /// Where a flow that a proxy in the node's namespace accepted from `client` was really going. `None` if it was not
    /// redirected to that proxy or the node has shut down.
    pub async fn proxied_flow(
        &self,
        protocol: Protocol,
        client: SocketAddrV4,
        proxy: ProxyPort,
    ) -> Option<ProxiedFlow> {
        self.ask(move |worker| worker.switch.proxied_flow(Instant::now(), protocol, client, proxy))
            .await
            .flatten()
    }

    /// Announces that the next flow that a proxy opens from `local`, an address and port that it has bound in the
    /// node's namespace, is on a client's behalf: it leaves with the client's address and identity. Wait for it before
    /// sending.
    pub async fn impersonate(&self, protocol: Protocol, local: SocketAddrV4, upstream: Upstream) {
        self.ask(move |worker| worker.switch.impersonate(protocol, local, upstream))
            .await
            .unwrap_or_default();
    }

    /// Counts since the start; all zero once the node has shut down.
    pub async fn counters(&self) -> Counters {
        self.ask(|worker| worker.counters()).await.unwrap_or_default()
    }

    /// The WireGuard peers; none once the node has shut down.
    pub async fn peers(&self) -> Vec<PeerStatus> {
        self.ask(|worker| worker.peer_status()).await.unwrap_or_default()
    }

    /// Remembered flow events with a sequence number of at least `from`, oldest first.
    pub async fn flows(&self, from: u64) -> Vec<FlowEvent> {
        self.ask(move |worker| worker.switch.flows(from))
            .await
            .unwrap_or_default()
    }

    /// Stops the thread and waits for its end. The namespace goes when its last process has ended.
    pub async fn shutdown(&self) {
        self.inner.stop();
        let thread = lock(&self.inner.thread).take();
        if let Some(thread) = thread {
            let ended = off_runtime(move || thread.join()).await;
            if ended.is_err() {
                tracing::error!(node = %self.name(), "the node's thread had panicked");
            }
        }
    }

    pub(super) fn run(&self, work: impl FnOnce(&mut Worker) + Send + 'static) {
        self.inner.send(Command::Do(Box::new(work)));
    }

    pub(super) async fn ask<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Worker) -> T + Send + 'static,
    ) -> Option<T> {
        let (sender, receiver) = oneshot::channel();
        self.run(move |worker| {
            let _ = sender.send(work(worker));
        });
        receiver.await.ok()
    }
}

impl Inner {
    fn send(&self, command: Command) {
        // A node that has shut down has nothing to run it.
        if self.sender.send(command).is_ok() {
            self.waker.wake();
        }
    }

    fn stop(&self) {
        self.fabric.detach(&self.config.name);
        self.send(Command::Stop);
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.stop();
    }
}
