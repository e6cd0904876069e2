//! A packet socket on one device (packet(7)): every packet of every protocol, both ways, from its network header on.

use super::tally::Packet;
use nix::{
    errno::Errno,
    libc,
    net::if_::if_nametoindex,
    sys::socket::{AddressFamily, SockFlag, SockType, setsockopt, socket, sockopt},
};
use std::{
    io,
    os::fd::{AsRawFd, OwnedFd},
    sync::Mutex,
};
use tokio::io::{Interest, unix::AsyncFd};

/// What the kernel may hold for us until we come: at 1 Gbit/s some 60 ms.
const BUFFER: usize = 8 << 20;
const LARGEST: usize = 1 << 16;

pub(super) struct PacketSocket {
    socket: AsyncFd<OwnedFd>,
    buffer: Mutex<Vec<u8>>,
}

impl PacketSocket {
    /// Opens the socket; packets are seen when this returns. The error is for people.
    pub(super) fn open(device: &str) -> Result<Self, String> {
        let index = if_nametoindex(device).map_err(|_| format!("there is no device {device:?} here"))?;
        let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
        // Without a protocol it receives nothing before it is bound to its device.
        let socket = socket(AddressFamily::Packet, SockType::Datagram, flags, None).map_err(|errno| match errno {
            Errno::EPERM | Errno::EACCES => {
                "this agent may not capture packets: its container needs the capability NET_RAW".to_owned()
            }
            other => format!("failed to open a packet socket: {other}"),
        })?;
        // Beyond the usual limit where we may, up to it otherwise; what is too little shows as drops.
        if setsockopt(&socket, sockopt::RcvBufForce, &BUFFER).is_err() {
            let _ = setsockopt(&socket, sockopt::RcvBuf, &BUFFER);
        }
        bind(&socket, index).map_err(|error| format!("failed to capture on {device}: {error}"))?;
        // SAFETY: an OwnedFd owns its descriptor and always returns the same one.
        #[allow(unsafe_code)]
        let socket = unsafe { AsyncFd::register_with_interest(socket, Interest::READABLE) }
            .map_err(|error| format!("failed to watch {device}: {}", io::Error::from(error)))?;
        Ok(Self {
            socket,
            buffer: Mutex::new(vec![0; LARGEST]),
        })
    }

    /// Waits until there may be packets.
    pub(super) async fn readable(&self) -> io::Result<()> {
        let mut ready = self.socket.readable().await?;
        // `next` runs dry before this is asked again, or comes back at once.
        if self.is_dry() {
            ready.clear_ready();
        }
        Ok(())
    }

    /// Whether nothing is waiting.
    fn is_dry(&self) -> bool {
        let mut one = [0; 1];
        let flags = nix::sys::socket::MsgFlags::MSG_PEEK | nix::sys::socket::MsgFlags::MSG_DONTWAIT;
        nix::sys::socket::recv(self.socket.as_raw_fd(), &mut one, flags) == Err(Errno::EAGAIN)
    }

    /// Takes one packet; false if there is none now.
    pub(super) fn next(&self, see: impl FnOnce(Packet<'_>)) -> io::Result<bool> {
        let mut buffer = self.buffer.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        // SAFETY: an all-zero sockaddr_ll is valid: it is plain old data.
        #[allow(unsafe_code)]
        let mut from: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
        let mut size = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
        // SAFETY: buffer and address are ours, with the lengths given, and outlive the call.
        #[allow(unsafe_code)]
        let length = unsafe {
            libc::recvfrom(
                self.socket.as_raw_fd(),
                buffer.as_mut_ptr().cast(),
                buffer.len(),
                libc::MSG_DONTWAIT,
                (&raw mut from).cast(),
                &raw mut size,
            )
        };
        match Errno::result(length) {
            Ok(length) => {
                see(Packet {
                    bytes: &buffer[..length as usize],
                    outgoing: from.sll_pkttype == libc::PACKET_OUTGOING,
                    at: crate::clock::micros(),
                });
                Ok(true)
            }
            Err(Errno::EAGAIN | Errno::EINTR) => Ok(false),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Packets that the kernel dropped since this was asked last.
    pub(super) fn drops(&self) -> u64 {
        // SAFETY: an all-zero tpacket_stats is valid: it is plain old data.
        #[allow(unsafe_code)]
        let mut statistics: libc::tpacket_stats = unsafe { std::mem::zeroed() };
        let mut size = size_of::<libc::tpacket_stats>() as libc::socklen_t;
        // SAFETY: the structure is ours, with the length given, and outlives the call.
        #[allow(unsafe_code)]
        let result = unsafe {
            libc::getsockopt(
                self.socket.as_raw_fd(),
                libc::SOL_PACKET,
                libc::PACKET_STATISTICS,
                (&raw mut statistics).cast(),
                &raw mut size,
            )
        };
        if result == 0 { statistics.tp_drops.into() } else { 0 }
    }
}

fn bind(socket: &OwnedFd, index: u32) -> io::Result<()> {
    // SAFETY: an all-zero sockaddr_ll is valid: it is plain old data.
    #[allow(unsafe_code)]
    let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    address.sll_family = libc::AF_PACKET as u16;
    address.sll_protocol = (libc::ETH_P_ALL as u16).to_be();
    address.sll_ifindex = index as i32;
    // SAFETY: the address is ours, with the length given, and outlives the call.
    #[allow(unsafe_code)]
    let result = unsafe {
        libc::bind(
            socket.as_raw_fd(),
            (&raw const address).cast(),
            size_of::<libc::sockaddr_ll>() as libc::socklen_t,
        )
    };
    Errno::result(result).map(drop).map_err(io::Error::from)
}
