//! A node: one thread with a network namespace, a switch and WireGuard peers; and the handle to it.

mod devices;
mod pod;
mod worker;

use crate::{
    config::{Encryption, NodeConfig, Peer, PodConfig, PublicKey, Routing, SecretKey},
    device::DeviceError,
    fabric::{Attachment, Fabric, FabricError, SwitchPorts},
    flow::{Counters, FlowEvent},
    name::NodeName,
    netns::{Namespace, NamespaceError},
    policy::{Identity, Policy, ProxyPort},
    reactor::{Reactor, Waker},
    service::{Protocol, Service},
    switch::{ProxiedFlow, Switch, Upstream},
    wireguard::PeerStatus,
};
use ipnet::Ipv4Net;
use std::{
    net::{Ipv4Addr, SocketAddrV4},
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{Sender, channel},
    },
    thread::JoinHandle,
    time::Instant,
};
use tokio::sync::oneshot;
use worker::{Command, Worker};

pub use pod::{PodError, PodNet};

/// Why a node could not start.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// It could not be attached to the fabric.
    #[error(transparent)]
    Fabric(#[from] FabricError),
    /// Its namespace could not be made.
    #[error("failed to make the namespace of node {node}")]
    Namespace {
        /// Which node.
        node: NodeName,
        /// Why.
        source: NamespaceError,
    },
    /// A device in its namespace could not be made.
    #[error("failed to make the devices of node {node}")]
    Device {
        /// Which node.
        node: NodeName,
        /// Why.
        source: DeviceError,
    },
    /// A socket or its thread could not be made.
    #[error("failed to start the thread of node {node}")]
    Start {
        /// Which node.
        node: NodeName,
        /// Why.
        source: std::io::Error,
    },
}

/// Starts nodes.
#[derive(Debug)]
pub struct Node;

impl Node {
    /// Makes the node's namespace and devices, attaches it to the fabric and starts its thread.
    ///
    /// # Errors
    /// When its name or address is taken, or the kernel refuses a namespace, device or socket.
    pub async fn start(config: NodeConfig, fabric: &Fabric) -> Result<NodeHandle, NodeError> {
        let fabric = fabric.clone();
        off_runtime(move || start(config, &fabric)).await
    }
}

/// Runs a closure that blocks for some milliseconds on a thread of its own: it may change the thread's namespace.
pub(crate) async fn off_runtime<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let (sender, receiver) = oneshot::channel();
    std::thread::spawn(move || {
        let _ = sender.send(work());
    });
    receiver.await.expect("the thread sends its result or panics")
}

fn start(mut config: NodeConfig, fabric: &Fabric) -> Result<NodeHandle, NodeError> {
    let secret = config.secret_key.get_or_insert_with(SecretKey::generate).clone();
    let node = config.name.clone();
    let in_namespace = |source| NodeError::Namespace {
        node: node.clone(),
        source,
    };
    let failed = |source| NodeError::Start {
        node: node.clone(),
        source,
    };

    let namespace = Namespace::new().map_err(in_namespace)?;
    let reactor = Reactor::new().map_err(failed)?;
    let waker = reactor.waker();
    let switch = Switch::new(&config, fabric.config().mtu, fabric.config().seed, Instant::now());
    let (node_ports, reserved) = switch.wire_ports();
    let mut prefixes = vec![Ipv4Net::from(config.router)];
    if config.routing == Routing::Native {
        prefixes.push(config.pod_cidr);
    }
    let attachment = Attachment {
        name: node.clone(),
        cluster: Some(config.cluster.clone()),
        address: config.address,
        switch: Some(SwitchPorts { node_ports, reserved }),
        wireguard_port: match config.encryption {
            Encryption::WireGuard { port } => Some(port),
            Encryption::None => None,
        },
        prefixes,
        waker: waker.clone(),
    };
    let port = fabric.attach(attachment, &namespace)?;
    let start_attached = || {
        let devices = namespace
            .within(|| devices::make(&config, fabric.config().mtu, &namespace))
            .map_err(in_namespace)?
            .map_err(|source| NodeError::Device {
                node: node.clone(),
                source,
            })?;
        let (sender, receiver) = channel();
        let mut worker = Worker::new(
            &config,
            switch,
            &secret,
            fabric.clone(),
            port.clone(),
            devices,
            reactor,
            receiver,
        )
        .map_err(failed)?;
        let thread = namespace
            .run(&format!("node {node}"), move || worker.run())
            .map_err(in_namespace)?;
        Ok((sender, thread))
    };
    let (sender, thread) = start_attached().inspect_err(|_: &NodeError| fabric.detach(&node))?;
    Ok(NodeHandle {
        inner: Arc::new(Inner {
            public_key: secret.public_key(),
            config,
            namespace,
            fabric: fabric.clone(),
            sender,
            waker,
            thread: Mutex::new(Some(thread)),
        }),
    })
}

/// A running node. Cheap to clone. Setters take effect in order and return at once; readers answer after every setter
/// that was called before them. The node stops when [`shutdown`](Self::shutdown) is called or the last handle drops.
#[derive(Clone, Debug)]
pub struct NodeHandle {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    config: NodeConfig,
    public_key: PublicKey,
    namespace: Namespace,
    fabric: Fabric,
    sender: Sender<Command>,
    waker: Waker,
    thread: Mutex<Option<JoinHandle<Result<(), NamespaceError>>>>,
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
            address: config.address,
            router: config.router,
            pod_cidrs: vec![config.pod_cidr],
            public_key,
            wireguard_port,
        }
    }

    /// Makes a pod's network namespace and attaches it to the switch.
    ///
    /// # Errors
    /// When the address is taken, the node has shut down, or the kernel refuses a namespace or device.
    pub async fn add_pod(&self, config: PodConfig) -> Result<PodNet, PodError> {
        pod::add(self, config).await
    }

    /// Detaches a pod; its established flows are forgotten. The namespace itself lives on while somebody holds it.
    ///
    /// # Errors
    /// When there is no such pod or the node has shut down.
    pub async fn remove_pod(&self, address: Ipv4Addr) -> Result<(), PodError> {
        pod::remove(self, address).await
    }

    /// Gives a pod another identity (its labels changed).
    pub fn set_pod_identity(&self, address: Ipv4Addr, identity: Identity) {
        self.tell(move |worker| worker.switch.set_pod_identity(address, identity));
    }

    /// Replaces the peers. Sessions with unchanged peers live on.
    pub fn set_peers(&self, peers: Vec<Peer>) {
        self.tell(move |worker| worker.set_peers(peers));
    }

    /// Replaces the services. Established flows to backends that stay are untouched.
    pub fn set_services(&self, services: Vec<Service>) {
        self.tell(move |worker| worker.switch.set_services(services));
    }

    /// Replaces what is known about remote addresses; the longest prefix wins.
    pub fn set_identities(&self, identities: Vec<(Ipv4Net, Identity)>) {
        self.tell(move |worker| worker.switch.set_identities(identities));
    }

    /// Replaces the policy; established flows are asked about again.
    pub fn set_policy(&self, policy: Box<dyn Policy>) {
        self.tell(move |worker| worker.switch.set_policy(policy));
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
        let thread = self.inner.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            let ended = off_runtime(move || thread.join()).await;
            if ended.is_err() {
                tracing::error!(node = %self.name(), "the node's thread had panicked");
            }
        }
    }

    fn tell(&self, work: impl FnOnce(&mut Worker) + Send + 'static) {
        self.inner.send(Command::Do(Box::new(work)));
    }

    async fn ask<T: Send + 'static>(&self, work: impl FnOnce(&mut Worker) -> T + Send + 'static) -> Option<T> {
        let (sender, receiver) = oneshot::channel();
        self.tell(move |worker| {
            let _ = sender.send(work(worker));
        });
        receiver.await.ok()
    }
}

impl Inner {
    fn send(&self, command: Command) {
        // A node that has shut down has nobody to tell.
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
