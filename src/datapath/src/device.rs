//! Network devices of the calling thread's namespace: veth pairs, addresses, routes, offloads. Knows the kernel's
//! interfaces, not what the devices are for. Everything here blocks for the time of a few system calls.

mod offload;

use crate::netns::{Namespace, NamespaceError};
use ipnet::Ipv4Net;
use rtnetlink::{
    Handle, LinkMessageBuilder, LinkUnspec, LinkVeth, RouteMessageBuilder,
    packet_route::{
        link::{AfSpecInet6, AfSpecUnspec, In6AddrGenMode, InfoData, InfoVeth, LinkAttribute, LinkMessage},
        route::{RouteAttribute, RouteMetric, RouteScope},
    },
};
use std::{
    io,
    net::Ipv4Addr,
    os::fd::{AsFd, AsRawFd},
};

/// What could not be done to which device.
#[derive(Debug, thiserror::Error)]
pub enum DeviceError {
    /// The thread has no netlink socket.
    #[error("failed to open a netlink socket")]
    Socket(#[source] io::Error),
    /// The kernel refused a change.
    #[error("failed to {action} {device}")]
    Netlink {
        /// What was tried.
        action: &'static str,
        /// On which device.
        device: String,
        /// The kernel's answer.
        source: Box<rtnetlink::Error>,
    },
    /// A setting outside netlink was refused.
    #[error("failed to {action} {device}")]
    Setting {
        /// What was tried.
        action: &'static str,
        /// On which device.
        device: String,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The namespace could not be used.
    #[error(transparent)]
    Namespace(#[from] NamespaceError),
}

/// A MAC address.
pub(crate) type Mac = [u8; 6];

/// One end of a veth pair.
#[derive(Clone, Copy, Debug)]
pub(crate) struct End<'a> {
    pub name: &'a str,
    pub mac: Mac,
}

/// A netlink connection in the namespace of the thread that made it.
pub(crate) struct Netlink {
    runtime: tokio::runtime::Runtime,
    handle: Handle,
}

impl Netlink {
    pub(crate) fn open() -> Result<Self, DeviceError> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .build()
            .map_err(DeviceError::Socket)?;
        let handle = runtime.block_on(async {
            let (connection, handle, _) = rtnetlink::new_connection().map_err(DeviceError::Socket)?;
            tokio::spawn(connection);
            Ok::<_, DeviceError>(handle)
        })?;
        Ok(Self { runtime, handle })
    }

    fn run(
        &self,
        action: &'static str,
        device: &str,
        request: impl Future<Output = Result<(), rtnetlink::Error>>,
    ) -> Result<(), DeviceError> {
        let refused = |source| DeviceError::Netlink {
            action,
            device: device.to_owned(),
            source: Box::new(source),
        };
        self.runtime.block_on(request).map_err(refused)
    }

    /// Makes a veth pair with one end here and the other, `peer`, in another namespace.
    pub(crate) fn add_veth(
        &self,
        here: End<'_>,
        peer: End<'_>,
        there: &Namespace,
        mtu: u16,
    ) -> Result<(), DeviceError> {
        let far: LinkMessage = LinkMessageBuilder::<LinkUnspec>::new()
            .name(peer.name)
            .address(peer.mac.to_vec())
            .mtu(mtu.into())
            .setns_by_fd(there.as_fd().as_raw_fd())
            .build();
        let near = LinkMessageBuilder::<LinkVeth>::new(here.name, peer.name)
            .address(here.mac.to_vec())
            .mtu(mtu.into())
            .set_info_data(InfoData::Veth(InfoVeth::Peer(far)))
            .build();
        self.run("make the veth pair", here.name, self.handle.link().add(near).execute())
    }

    /// Brings a device up: no ARP, no IPv6, no offloads, so that every packet on it is whole, small and checksummed.
    pub(crate) fn bring_up(&self, device: &str) -> Result<(), DeviceError> {
        let index = index_of(device)?;
        let generation = AfSpecInet6::AddrGenMode(In6AddrGenMode::None);
        let no_ipv6 = LinkMessageBuilder::<LinkUnspec>::new()
            .index(index)
            .append_extra_attribute(LinkAttribute::AfSpecUnspec(vec![AfSpecUnspec::Inet6(vec![generation])]))
            .build();
        if let Err(error) = self.run("keep IPv6 off", device, self.handle.link().set(no_ipv6).execute()) {
            // A kernel without IPv6 has nothing to keep off.
            tracing::debug!(%error, device, "no IPv6 address generation mode");
        }
        offload::disable(device).map_err(|source| setting("turn off the offloads of", device, source))?;
        let up = LinkMessageBuilder::<LinkUnspec>::new()
            .index(index)
            .arp(false)
            .up()
            .build();
        self.run("bring up", device, self.handle.link().set(up).execute())
    }

    /// Brings loopback up.
    pub(crate) fn bring_up_loopback(&self) -> Result<(), DeviceError> {
        let up = LinkMessageBuilder::<LinkUnspec>::new()
            .index(index_of("lo")?)
            .up()
            .build();
        self.run("bring up", "lo", self.handle.link().set(up).execute())
    }

    pub(crate) fn add_address(&self, device: &str, address: Ipv4Addr, prefix_len: u8) -> Result<(), DeviceError> {
        let request = self
            .handle
            .address()
            .add(index_of(device)?, address.into(), prefix_len)
            .execute();
        self.run("give an address to", device, request)
    }

    /// Routes a prefix straight out of a device, with the source address and path MTU to use.
    pub(crate) fn add_route(
        &self,
        device: &str,
        prefix: Ipv4Net,
        source: Option<Ipv4Addr>,
        mtu: Option<u16>,
    ) -> Result<(), DeviceError> {
        let mut route = RouteMessageBuilder::<Ipv4Addr>::new()
            .output_interface(index_of(device)?)
            .scope(RouteScope::Link)
            .destination_prefix(prefix.network(), prefix.prefix_len());
        if let Some(source) = source {
            route = route.pref_source(source);
        }
        let mut message = route.build();
        if let Some(mtu) = mtu {
            message
                .attributes
                .push(RouteAttribute::Metrics(vec![RouteMetric::Mtu(mtu.into())]));
        }
        self.run(
            "add a route through",
            device,
            self.handle.route().add(message).execute(),
        )
    }

    pub(crate) fn delete(&self, device: &str) -> Result<(), DeviceError> {
        self.run("delete", device, self.handle.link().del(index_of(device)?).execute())
    }
}

/// The device's number in the calling thread's namespace.
pub(crate) fn index_of(device: &str) -> Result<u32, DeviceError> {
    nix::net::if_::if_nametoindex(device).map_err(|errno| setting("find", device, errno.into()))
}

fn setting(action: &'static str, device: &str, source: io::Error) -> DeviceError {
    DeviceError::Setting {
        action,
        device: device.to_owned(),
        source,
    }
}

/// Writes a network sysctl of the calling thread's namespace, if the machine lets it: containers mount `/proc/sys`
/// read-only, and nothing here depends on more than the defaults.
pub(crate) fn try_sysctl(name: &str, value: &str) {
    if let Err(error) = std::fs::write(format!("/proc/sys/net/{name}"), value) {
        tracing::debug!(%error, name, value, "sysctl left as it is");
    }
}
