//! The network between nodes: who is attached, which link rule applies to a pair, which faults are injected.
//!
//! The fabric has no thread. Every machine's `eth0` is a veth whose other end lives in the fabric's own namespace; the
//! machine's thread reads that end, applies the rule of the link (`uplink`) and writes to the receiver's end.

mod host;
mod table;
mod uplink;

use crate::{
    config::{FabricConfig, HostConfig},
    device::{DeviceError, End, Mac, Netlink, index_of},
    fault::{Fault, FaultId},
    name::NodeName,
    netns::{Namespace, NamespaceError},
    reactor::Waker,
    socket::{PacketSocket, Reads},
    sync::{lock, off_runtime},
};
use ipnet::Ipv4Net;
use std::{
    net::Ipv4Addr,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicU64, Ordering},
    },
};

pub use host::HostNet;
pub(crate) use table::{Attachment, Port, Table};
pub(crate) use uplink::{Notice, Uplink};

/// Why a fabric could not be made or changed.
#[derive(Debug, thiserror::Error)]
pub enum FabricError {
    /// Two machines with one name.
    #[error("the fabric already has a machine called {0}")]
    NameTaken(NodeName),
    /// Two machines with one address.
    #[error("the fabric already has a machine at {0}")]
    AddressTaken(Ipv4Addr),
    /// No namespace could be made.
    #[error(transparent)]
    Namespace(#[from] NamespaceError),
    /// A device could not be made.
    #[error("failed to attach {machine} to the fabric")]
    Device {
        /// Which machine.
        machine: NodeName,
        /// Why.
        source: DeviceError,
    },
    /// A socket or thread could not be made.
    #[error("failed to start the network of {machine}")]
    Start {
        /// Which machine.
        machine: NodeName,
        /// Why.
        source: std::io::Error,
    },
}

/// Joins nodes. Cheap to clone; every clone is the same fabric.
#[derive(Clone, Debug)]
pub struct Fabric {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    config: FabricConfig,
    namespace: Namespace,
    table: Mutex<Arc<Table>>,
    /// The table's version, to see without a lock whether it has changed.
    version: AtomicU64,
    next_fault: AtomicU64,
    next_device: AtomicU64,
}

/// A MAC address made of a device's role and its machine's address.
pub(crate) fn mac(role: u8, address: Ipv4Addr) -> Mac {
    let [a, b, c, d] = address.octets();
    [0x02, role, a, b, c, d]
}

impl Fabric {
    /// An empty fabric.
    ///
    /// # Errors
    /// When the process may not make network namespaces; see [`netns::enter`](crate::netns::enter).
    pub fn new(config: FabricConfig) -> Result<Self, FabricError> {
        let namespace = Namespace::new()?;
        Ok(Self {
            shared: Arc::new(Shared {
                config,
                namespace,
                table: Mutex::default(),
                version: AtomicU64::new(0),
                next_fault: AtomicU64::new(1),
                next_device: AtomicU64::new(0),
            }),
        })
    }

    /// What it was made with.
    pub fn config(&self) -> &FabricConfig {
        &self.shared.config
    }

    /// Attaches a machine other than a node: the world outside the clusters.
    ///
    /// # Errors
    /// When its name or address is taken or the kernel refuses a device.
    pub async fn add_host(&self, config: HostConfig) -> Result<HostNet, FabricError> {
        let fabric = self.clone();
        off_runtime(move || HostNet::start(config, &fabric)).await
    }

    /// Sends packets for this prefix to that machine: load balancer addresses, pod CIDRs seen from outside. A second
    /// route for the same prefix replaces the first.
    pub fn set_route(&self, prefix: Ipv4Net, to: &NodeName) {
        self.change(|table| {
            table.routes.retain(|(known, _)| *known != prefix);
            table.routes.push((prefix, to.clone()));
        });
    }

    /// Forgets the route.
    pub fn remove_route(&self, prefix: Ipv4Net) {
        self.change(|table| table.routes.retain(|(known, _)| *known != prefix));
    }

    /// Injects a fault; it acts from the next packet on.
    pub fn inject(&self, fault: Fault) -> FaultId {
        let id = FaultId(self.shared.next_fault.fetch_add(1, Ordering::Relaxed));
        self.change(|table| Arc::make_mut(&mut table.faults).push((id, fault)));
        id
    }

    /// Takes a fault back; `None` if there is none of that id.
    pub fn heal(&self, id: FaultId) -> Option<Fault> {
        let mut healed = None;
        self.change(|table| {
            let faults = Arc::make_mut(&mut table.faults);
            healed = faults
                .iter()
                .position(|(known, _)| *known == id)
                .map(|at| faults.remove(at).1);
        });
        healed
    }

    /// Takes all faults back.
    pub fn heal_all(&self) {
        self.change(|table| table.faults = Arc::default());
    }

    /// The faults in force.
    pub fn faults(&self) -> Vec<(FaultId, Fault)> {
        self.table().faults.to_vec()
    }

    /// The current view.
    pub(crate) fn table(&self) -> Arc<Table> {
        self.lock().clone()
    }

    /// The current view's version, without a lock.
    pub(crate) fn version(&self) -> u64 {
        self.shared.version.load(Ordering::Acquire)
    }

    fn lock(&self) -> MutexGuard<'_, Arc<Table>> {
        // A view is replaced as a whole, so a panic elsewhere leaves none half-done.
        lock(&self.shared.table)
    }

    fn change(&self, change: impl FnOnce(&mut Table)) {
        let wakers: Vec<Waker> = {
            let mut current = self.lock();
            let mut table = Table::clone(&current);
            change(&mut table);
            table.version += 1;
            table.reindex();
            self.shared.version.store(table.version, Ordering::Release);
            let wakers = table.ports.iter().map(|port| port.waker.clone()).collect();
            *current = Arc::new(table);
            wakers
        };
        wakers.iter().for_each(Waker::wake);
    }

    /// Makes a machine's `eth0` in its namespace and the link to it; a node also has an `eth1`.
    pub(crate) fn attach(&self, machine: Attachment, namespace: &Namespace) -> Result<Arc<Port>, FabricError> {
        let taken = self.table();
        if taken.ports.iter().any(|port| port.name == machine.name) {
            return Err(FabricError::NameTaken(machine.name));
        }
        if taken.by_address.contains_key(&machine.address) {
            return Err(FabricError::AddressTaken(machine.address));
        }
        let device = format!("fabric{}", self.shared.next_device.fetch_add(1, Ordering::Relaxed));
        let eth0 = mac(1, machine.address);
        let (behind, has_second) = (format!("{device}b"), machine.switch.is_some());
        let link = |near: &str, far, roles: [u8; 2]| {
            let netlink = Netlink::open()?;
            let end = |name, role| End {
                name,
                mac: mac(role, machine.address),
            };
            netlink.add_veth(
                end(near, roles[1]),
                end(far, roles[0]),
                namespace,
                self.shared.config.mtu,
            )?;
            netlink.bring_up(near)?;
            PacketSocket::open(index_of(near)?, Reads::All).map_err(|source| DeviceError::Setting {
                action: "open a packet socket on",
                device: near.into(),
                source,
            })
        };
        let made = self.shared.namespace.within(|| {
            let first = link(&device, "eth0", [1, 2])?;
            let second = has_second.then(|| link(&behind, "eth1", [5, 6])).transpose()?;
            Ok((first, second))
        })?;
        let (socket, second) = made.map_err(|source| FabricError::Device {
            machine: machine.name.clone(),
            source,
        })?;
        let port = Arc::new(Port {
            name: machine.name,
            cluster: machine.cluster,
            address: machine.address,
            mac: eth0,
            socket,
            second,
            switch: machine.switch,
            wireguard_port: machine.wireguard_port,
            waker: machine.waker,
        });
        self.change(|table| {
            table.ports.push(port.clone());
            table
                .routes
                .extend(machine.prefixes.into_iter().map(|prefix| (prefix, port.name.clone())));
        });
        Ok(port)
    }

    /// Takes a machine off.
    pub(crate) fn detach(&self, name: &NodeName) {
        self.change(|table| {
            table.ports.retain(|port| port.name != *name);
            table.routes.retain(|(_, to)| to != name);
        });
    }
}
