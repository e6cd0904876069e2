//! Packet sockets on one device (packet(7)): every packet of every protocol, both ways, from its network header on.
//!
//! The kernel holds for a socket what `net.core.rmem_max` allows, 208 KiB by default, and only `NET_ADMIN` lifts that.
//! Three segments that the device has merged fill it. So several sockets take turns: what has no room at one goes to
//! the next.

use super::tally::Packet;
use nix::{
    errno::Errno,
    libc,
    net::if_::if_nametoindex,
    sys::{
        epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout},
        socket::{AddressFamily, SockFlag, SockType, getsockopt, setsockopt, socket, sockopt},
    },
};
use std::{
    io,
    os::fd::{AsRawFd, OwnedFd},
    sync::{Mutex, MutexGuard, PoisonError},
};
use tokio::io::{Interest, unix::AsyncFd};

/// What the kernel may hold for us until we come: at 1 Gbit/s some 60 ms.
const BUFFER: usize = 8 << 20;
const LARGEST: usize = 1 << 16;
/// Sockets that share a device, however little each may hold.
const MOST_SOCKETS: usize = 40;

/// A device, watched.
pub(super) struct PacketSocket {
    sockets: Vec<OwnedFd>,
    /// Readable when one of them is.
    any: AsyncFd<OwnedFd>,
    epoll: Epoll,
    reading: Mutex<Reading>,
}

/// Where taking packets has come to.
struct Reading {
    buffer: Vec<u8>,
    /// Sockets that had something when they were looked at.
    ready: Vec<usize>,
}

impl PacketSocket {
    /// Opens the sockets; packets are seen when this returns. The error is for people.
    pub(super) fn open(device: &str) -> Result<Self, String> {
        Self::with_room(device, BUFFER)
    }

    /// The same with sockets that ask for `each` bytes.
    fn with_room(device: &str, each: usize) -> Result<Self, String> {
        let index = if_nametoindex(device).map_err(|_| format!("network device {device:?} not found"))?;
        let failed = |error: io::Error| format!("failed to capture on {device}: {error}");
        let first = Self::one(device, index, each)?;
        let room = getsockopt(&first, sockopt::RcvBuf).map_err(|errno| failed(errno.into()))?;
        let wanted = (BUFFER / room.max(1)).clamp(1, MOST_SOCKETS);
        let mut sockets = vec![first];
        if wanted > 1 {
            let group = fanout(&sockets[0], None).map_err(failed)?;
            while sockets.len() < wanted {
                let next = Self::one(device, index, each)?;
                fanout(&next, Some(group)).map_err(failed)?;
                sockets.push(next);
            }
        }
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).map_err(|errno| failed(errno.into()))?;
        for (at, socket) in sockets.iter().enumerate() {
            let event = EpollEvent::new(EpollFlags::EPOLLIN, at as u64);
            epoll.add(socket, event).map_err(|errno| failed(errno.into()))?;
        }
        let any = epoll.0.try_clone().map_err(failed)?;
        // SAFETY: an OwnedFd owns its descriptor and always returns the same one.
        #[allow(unsafe_code)]
        let any = unsafe { AsyncFd::register_with_interest(any, Interest::READABLE) }
            .map_err(|error| format!("failed to watch {device}: {}", io::Error::from(error)))?;
        Ok(Self {
            sockets,
            any,
            epoll,
            reading: Mutex::new(Reading {
                buffer: vec![0; LARGEST],
                ready: Vec::new(),
            }),
        })
    }

    fn one(device: &str, index: u32, room: usize) -> Result<OwnedFd, String> {
        let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
        // Without a protocol it receives nothing before it is bound to its device.
        let socket = socket(AddressFamily::Packet, SockType::Datagram, flags, None).map_err(|errno| match errno {
            Errno::EPERM | Errno::EACCES => {
                "the agent cannot capture packets: its container needs the capability NET_RAW".to_owned()
            }
            other => format!("failed to open a packet socket: {other}"),
        })?;
        // Beyond the usual limit where we may, up to it otherwise; what is too little shows as drops.
        if setsockopt(&socket, sockopt::RcvBufForce, &room).is_err() {
            let _ = setsockopt(&socket, sockopt::RcvBuf, &room);
        }
        bind(&socket, index).map_err(|error| format!("failed to capture on {device}: {error}"))?;
        Ok(socket)
    }

    /// Waits until there may be packets.
    pub(super) async fn readable(&self) -> io::Result<()> {
        let mut ready = self.any.readable().await?;
        // `next` runs dry before this is asked again, or comes back at once.
        if self.waiting()?.is_empty() {
            ready.clear_ready();
        }
        Ok(())
    }

    /// The sockets at which something waits.
    fn waiting(&self) -> io::Result<Vec<usize>> {
        let mut events = [EpollEvent::empty(); MOST_SOCKETS];
        match self.epoll.wait(&mut events, EpollTimeout::ZERO) {
            Ok(count) => Ok(events[..count].iter().map(|event| event.data() as usize).collect()),
            Err(Errno::EINTR) => Ok(Vec::new()),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Takes one packet; false if there is none now.
    pub(super) fn next(&self, see: impl FnOnce(Packet<'_>)) -> io::Result<bool> {
        let mut reading: MutexGuard<'_, Reading> = self.reading.lock().unwrap_or_else(PoisonError::into_inner);
        let reading = &mut *reading;
        loop {
            if reading.ready.is_empty() {
                reading.ready = self.waiting()?;
            }
            let Some(at) = reading.ready.last() else {
                return Ok(false);
            };
            match receive(&self.sockets[*at], &mut reading.buffer) {
                Ok((length, outgoing)) => {
                    see(Packet {
                        bytes: &reading.buffer[..length],
                        outgoing,
                        at: crate::clock::micros(),
                    });
                    return Ok(true);
                }
                Err(Errno::EAGAIN) => drop(reading.ready.pop()),
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }

    /// Packets that the kernel dropped since this was asked last.
    pub(super) fn drops(&self) -> u64 {
        self.sockets.iter().map(drops).sum()
    }
}

/// One packet, and whether this host sent it.
fn receive(socket: &OwnedFd, buffer: &mut [u8]) -> Result<(usize, bool), Errno> {
    // SAFETY: an all-zero sockaddr_ll is valid: it is plain old data.
    #[allow(unsafe_code)]
    let mut from: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    let mut size = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
    // SAFETY: buffer and address are ours, with the lengths given, and outlive the call.
    #[allow(unsafe_code)]
    let length = unsafe {
        libc::recvfrom(
            socket.as_raw_fd(),
            buffer.as_mut_ptr().cast(),
            buffer.len(),
            libc::MSG_DONTWAIT,
            (&raw mut from).cast(),
            &raw mut size,
        )
    };
    let length = Errno::result(length)?;
    Ok((length as usize, from.sll_pkttype == libc::PACKET_OUTGOING))
}

fn drops(socket: &OwnedFd) -> u64 {
    // SAFETY: an all-zero tpacket_stats is valid: it is plain old data.
    #[allow(unsafe_code)]
    let mut statistics: libc::tpacket_stats = unsafe { std::mem::zeroed() };
    let mut size = size_of::<libc::tpacket_stats>() as libc::socklen_t;
    // SAFETY: the structure is ours, with the length given, and outlives the call.
    #[allow(unsafe_code)]
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_PACKET,
            libc::PACKET_STATISTICS,
            (&raw mut statistics).cast(),
            &raw mut size,
        )
    };
    if result == 0 { statistics.tp_drops.into() } else { 0 }
}

/// Puts a bound socket into a group of which each packet goes to the first with room, a new one or this; the group's
/// number.
fn fanout(socket: &OwnedFd, group: Option<u16>) -> io::Result<u16> {
    // From linux/if_packet.h: the lower half is the group, the upper one mode and flags.
    const ROLLOVER: u32 = 3;
    const UNIQUE_ID: u32 = 0x2000;
    let mode = match group {
        Some(_) => ROLLOVER,
        None => ROLLOVER | UNIQUE_ID,
    };
    let mut value: u32 = mode << 16 | u32::from(group.unwrap_or_default());
    let mut size = size_of::<u32>() as libc::socklen_t;
    let pointer = (&raw mut value).cast::<libc::c_void>();
    // SAFETY: the value is ours, with the length given, and outlives both calls.
    #[allow(unsafe_code)]
    let result = unsafe {
        match libc::setsockopt(socket.as_raw_fd(), libc::SOL_PACKET, libc::PACKET_FANOUT, pointer, size) {
            0 => libc::getsockopt(
                socket.as_raw_fd(),
                libc::SOL_PACKET,
                libc::PACKET_FANOUT,
                pointer,
                &raw mut size,
            ),
            failed => failed,
        }
    };
    Errno::result(result).map(|_| value as u16).map_err(io::Error::from)
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::UdpSocket;

    #[tokio::test]
    async fn what_has_no_room_at_one_socket_waits_at_the_next() {
        const DATAGRAMS: usize = 200;
        let narrow = match PacketSocket::with_room("lo", 16 << 10) {
            Ok(narrow) => narrow,
            Err(why) => {
                assert!(why.contains("NET_RAW"), "{why}");
                return eprintln!("not run: {why}");
            }
        };
        let peer = UdpSocket::bind("127.0.0.4:0").expect("binds");
        let to = peer.local_addr().expect("bound");
        let payload = [0xa7; 1000];
        for _ in 0..DATAGRAMS {
            peer.send_to(&payload, to).expect("sends");
        }
        narrow.readable().await.expect("readable");
        let (mut seen, ours) = (0, |bytes: &[u8]| bytes.ends_with(&payload));
        while narrow
            .next(|packet| seen += usize::from(ours(packet.bytes)))
            .expect("reads")
        {}
        // On loopback each packet passes twice, out and in: more than ten times of what one socket has room for.
        assert_eq!((seen, narrow.drops()), (2 * DATAGRAMS, 0));
    }
}
