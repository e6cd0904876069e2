//! What crosses a device: an AF_PACKET socket as a capture agent has one.

use meshproof_datapath::netns::Namespace;
use nix::{
    libc,
    sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, recv, setsockopt, socket, sockopt},
};
use std::{
    io,
    os::fd::{AsRawFd, OwnedFd},
};

/// A running capture. The kernel queues the frames until they are taken.
pub struct Capture {
    socket: OwnedFd,
}

impl Capture {
    /// Begins on `eth0` of a namespace.
    pub fn on_eth0(namespace: &Namespace) -> Self {
        let socket = namespace.within(|| {
            let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
            // Without a protocol the socket is deaf until it is bound to its device.
            let socket = socket(AddressFamily::Packet, SockType::Raw, flags, None)?;
            bind_to(&socket, nix::net::if_::if_nametoindex("eth0")?)?;
            setsockopt(&socket, sockopt::RcvBuf, &(4 << 20))?;
            Ok::<_, io::Error>(socket)
        });
        Self {
            socket: socket.expect("inside").expect("a packet socket"),
        }
    }

    /// The frames so far, without their Ethernet header.
    pub fn take(&self) -> Vec<Vec<u8>> {
        let mut frames = Vec::new();
        let mut buffer = vec![0; 65536];
        while let Ok(len) = recv(self.socket.as_raw_fd(), &mut buffer, MsgFlags::MSG_DONTWAIT) {
            frames.push(buffer[14.min(len)..len].to_vec());
        }
        frames
    }
}

#[allow(unsafe_code)]
fn bind_to(socket: &OwnedFd, index: u32) -> io::Result<()> {
    // SAFETY: an all-zero sockaddr_ll is a valid one.
    let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    address.sll_family = libc::AF_PACKET as u16;
    address.sll_protocol = (libc::ETH_P_ALL as u16).to_be();
    address.sll_ifindex = index as i32;
    let length = size_of_val(&address) as libc::socklen_t;
    // SAFETY: the address lives through the call and has the given length.
    match unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), length) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
