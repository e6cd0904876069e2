//! Sockets that the node's thread reads and writes in batches: packet sockets on devices, UDP sockets of the tunnels.

mod address;
mod batch;
mod link;

use std::{
    io,
    net::SocketAddrV4,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    sync::Arc,
};

pub(crate) use batch::{Batch, Outbox};
pub(crate) use link::{PacketSocket, Reads};

use crate::device::Mac;

/// Where a packet of a batch goes, or came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Name {
    /// A MAC address behind a packet socket's device.
    Link(Mac),
    /// A UDP endpoint.
    Udp(SocketAddrV4),
}

/// A UDP socket of a tunnel, in the node's namespace.
#[derive(Clone, Debug)]
pub(crate) struct TunnelSocket {
    fd: Arc<OwnedFd>,
}

impl TunnelSocket {
    /// Binds on all addresses of the calling thread's namespace. Datagrams leave without DF and whatever the kernel
    /// has learned of the path, as WireGuard's and VXLAN's do: what does not fit is the switch's business.
    pub(crate) fn bind(port: u16) -> io::Result<Self> {
        let socket = std::net::UdpSocket::bind((std::net::Ipv4Addr::UNSPECIFIED, port))?;
        socket.set_nonblocking(true)?;
        link::ignore_path_mtu(socket.as_fd())?;
        link::grow_buffers(socket.as_fd());
        Ok(Self {
            fd: Arc::new(socket.into()),
        })
    }

    /// Sends out of this device whatever the routes say.
    pub(crate) fn bind_to_device(&self, device: &str) -> io::Result<()> {
        nix::sys::socket::setsockopt(&self.fd, nix::sys::socket::sockopt::BindToDevice, &device.into())?;
        Ok(())
    }

    pub(crate) fn outbox(&self) -> Outbox {
        Outbox::new(self.fd.clone(), 0)
    }
}

impl AsFd for TunnelSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
