//! A machine on the fabric other than a node: a namespace with an `eth0`, and a thread that carries its packets.

use super::{Attachment, Fabric, FabricError, Port, Uplink};
use crate::{
    config::HostConfig,
    device::Netlink,
    name::NodeName,
    netns::Namespace,
    packet::PacketPool,
    reactor::{Reactor, Waker},
    socket::Batch,
};
use ipnet::Ipv4Net;
use std::{
    net::Ipv4Addr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

const WIRE: u64 = 1;

/// A machine outside the clusters. Dropping it takes the machine off the fabric.
#[derive(Debug)]
pub struct HostNet {
    namespace: Namespace,
    name: NodeName,
    address: Ipv4Addr,
    fabric: Fabric,
    waker: Waker,
    stop: Arc<AtomicBool>,
}

impl HostNet {
    pub(super) fn start(config: HostConfig, fabric: &Fabric) -> Result<Self, FabricError> {
        let failed = |source| FabricError::Start {
            machine: config.name.clone(),
            source,
        };
        let namespace = Namespace::new()?;
        let reactor = Reactor::new().map_err(failed)?;
        let attachment = Attachment {
            name: config.name.clone(),
            cluster: None,
            address: config.address,
            switch: None,
            wireguard_port: None,
            prefixes: Vec::new(),
            waker: reactor.waker(),
        };
        let port = fabric.attach(attachment, &namespace)?;
        let started = Self::start_attached(&config, fabric, namespace, reactor, port);
        started.inspect_err(|_| fabric.detach(&config.name))
    }

    fn start_attached(
        config: &HostConfig,
        fabric: &Fabric,
        namespace: Namespace,
        reactor: Reactor,
        port: Arc<Port>,
    ) -> Result<Self, FabricError> {
        let waker = reactor.waker();
        let made = namespace.within(|| {
            let netlink = Netlink::open()?;
            netlink.bring_up_loopback()?;
            netlink.bring_up("eth0")?;
            netlink.add_address("eth0", config.address, config.prefix_len)?;
            netlink.add_route("eth0", Ipv4Net::default(), None, None)
        })?;
        made.map_err(|source| FabricError::Device {
            machine: config.name.clone(),
            source,
        })?;
        let stop = Arc::new(AtomicBool::new(false));
        let (uplink, stopped) = (Uplink::new(fabric.clone(), port.clone()), stop.clone());
        std::thread::Builder::new()
            .name(format!("host {}", config.name))
            .spawn(move || {
                if let Err(error) = carry(reactor, uplink, &port, &stopped) {
                    tracing::error!(%error, machine = %port.name, "a machine of the fabric lost its network");
                }
            })
            .map_err(|source| FabricError::Start {
                machine: config.name.clone(),
                source,
            })?;
        Ok(Self {
            namespace,
            name: config.name.clone(),
            address: config.address,
            fabric: fabric.clone(),
            waker,
            stop,
        })
    }

    /// Its network namespace.
    pub fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    /// Its address.
    pub fn address(&self) -> Ipv4Addr {
        self.address
    }
}

impl Drop for HostNet {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        self.fabric.detach(&self.name);
        self.waker.wake();
    }
}

fn carry(mut reactor: Reactor, mut uplink: Uplink, port: &Port, stop: &AtomicBool) -> std::io::Result<()> {
    let mut pool = PacketPool::new(usize::from(uplink.mtu()) + 256, 1024);
    let mut batch = Batch::new(&mut pool);
    reactor.add(&port.socket, WIRE)?;
    while !stop.load(Ordering::Acquire) {
        let ready = reactor.wait(uplink.next_arrival())?;
        uplink.refresh();
        let now = Instant::now();
        if ready.contains(&WIRE) {
            batch.receive(&port.socket, &mut pool, |_, packet, _| {
                uplink.cross(now, packet, &mut Vec::new())
            })?;
        }
        uplink.flush(now, &mut pool);
    }
    Ok(())
}
