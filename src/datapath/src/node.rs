//! A node: one thread with a network namespace, a switch and WireGuard peers; and the handle to it.

mod devices;
mod handle;
mod pod;
mod worker;

use crate::{
    config::{Encryption, NodeConfig, Routing, SecretKey},
    device::DeviceError,
    fabric::{Attachment, Fabric, FabricError},
    name::NodeName,
    netns::{Namespace, NamespaceError},
    reactor::Reactor,
    socket_balancer::SocketBalancer,
    switch::Switch,
    sync::off_runtime,
};
use ipnet::Ipv4Net;
use std::{
    sync::{Arc, Mutex, mpsc::channel},
    time::Instant,
};
use worker::Worker;

use handle::Inner;
pub use handle::NodeHandle;
pub use pod::{PodError, PodNet};

/// Why a node could not start.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// It could not be attached to the fabric.
    #[error(transparent)]
    Fabric(#[from] FabricError),
    /// Its namespace could not be made.
    #[error("failed to create the namespace of node {node}")]
    Namespace {
        /// Which node.
        node: NodeName,
        /// Why.
        source: NamespaceError,
    },
    /// A device in its namespace could not be made.
    #[error("failed to create the devices of node {node}")]
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
    let mut prefixes = vec![Ipv4Net::from(config.router)];
    if config.routing == Routing::Native {
        prefixes.push(config.pod_cidr);
    }
    let attachment = Attachment {
        name: node.clone(),
        cluster: Some(config.cluster.clone()),
        address: config.address,
        switch: Some(switch.wire_ports()),
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
        let balancer = config
            .socket_balancing
            .map(SocketBalancer::start)
            .transpose()
            .map_err(failed)?;
        if let Some(balancer) = &balancer {
            balancer.add_pod(config.address, namespace.clone());
        }
        let (sender, receiver) = channel();
        let mut worker = Worker::new(
            &config,
            switch,
            &secret,
            fabric.clone(),
            port.clone(),
            devices,
            balancer.clone(),
            reactor,
            receiver,
        )
        .map_err(failed)?;
        let thread = namespace
            .run(&format!("node {node}"), move || worker.run())
            .map_err(in_namespace)?;
        Ok((sender, thread, balancer))
    };
    let (sender, thread, balancer) = start_attached().inspect_err(|_: &NodeError| fabric.detach(&node))?;
    Ok(NodeHandle {
        inner: Arc::new(Inner {
            public_key: secret.public_key(),
            config,
            namespace,
            fabric: fabric.clone(),
            balancer,
            sender,
            waker,
            thread: Mutex::new(Some(thread)),
        }),
    })
}
