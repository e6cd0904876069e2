//! What crosses a device: an AF_PACKET socket as a capture agent has one.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use meshproof_datapath::netns::Namespace;
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, setsockopt, socket, sockopt,
};

/// A running capture. The kernel queues the frames until they are taken.
pub struct Capture {
    socket: OwnedFd,
}

impl Capture {
    /// Begins on every device of a namespace except loopback's and the pods'.
    pub fn on_eth0(namespace: &Namespace) -> Self {
        let socket = namespace.within(|| {
            let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
            let socket = socket(AddressFamily::Packet, SockType::Raw, flags, SockProtocol::EthAll)?;
            setsockopt(&socket, sockopt::BindToDevice, &"eth0".into())?;
            setsockopt(&socket, sockopt::RcvBuf, &(4 << 20))?;
            Ok::<_, io::Error>(socket)
        });
        let capture = Self { socket: socket.expect("inside").expect("a packet socket") };
        // Binding comes after opening: what slipped in between was on other devices.
        capture.take();
        capture
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
