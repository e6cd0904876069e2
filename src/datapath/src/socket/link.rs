//! AF_PACKET sockets, and the socket options that nix does not know.

#![allow(unsafe_code)]

use super::{address::link_address, batch::Outbox};
use nix::{
    libc::{self, c_int, c_void, socklen_t},
    sys::socket::{setsockopt, sockopt},
};
use std::{
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
    sync::Arc,
};

/// Big enough for a burst of a few thousand small packets.
const BUFFER: usize = 4 << 20;

/// Which frames a packet socket reads. It never reads what this host sends out of the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reads {
    /// Every IPv4 frame that comes in.
    All,
    /// Only frames for another MAC address than the device's, which the kernel's own stack ignores.
    ForOthers,
    /// None: the socket only sends.
    Nothing,
}

/// A packet socket on one device: it reads and writes IPv4 packets; the kernel makes the Ethernet headers.
#[derive(Clone, Debug)]
pub(crate) struct PacketSocket {
    fd: Arc<OwnedFd>,
    index: u32,
}

impl PacketSocket {
    /// Opens one on a device of the calling thread's namespace.
    pub(crate) fn open(index: u32, reads: Reads) -> io::Result<Self> {
        // Protocol 0 reads nothing: the socket is bound to its device before the first frame can arrive.
        let flags = libc::SOCK_DGRAM | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
        // SAFETY: no pointers.
        let fd = check(unsafe { libc::socket(libc::AF_PACKET, flags, 0) })?;
        // SAFETY: the descriptor is fresh and owned by nobody else.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        match reads {
            // Shared with the kernel's stack, and with whoever captures there: what bypasses the queue is not seen by
            // captures.
            Reads::ForOthers => filter_for_others(fd.as_fd())?,
            Reads::All | Reads::Nothing => set(fd.as_fd(), libc::SOL_PACKET, libc::PACKET_QDISC_BYPASS, 1)?,
        }
        grow_buffers(fd.as_fd());
        let protocol = if reads == Reads::Nothing {
            0
        } else {
            libc::ETH_P_IP as u16
        };
        let address = link_address(index, protocol, [0; 6]);
        let length = size_of::<libc::sockaddr_ll>() as socklen_t;
        // SAFETY: the address lives through the call and has the given length.
        check(unsafe { libc::bind(fd.as_raw_fd(), (&raw const address).cast(), length) })?;
        Ok(Self {
            fd: Arc::new(fd),
            index,
        })
    }

    /// A queue of packets to send out of the device.
    pub(crate) fn outbox(&self) -> Outbox {
        Outbox::new(self.fd.clone(), self.index)
    }

    /// Frames that the kernel could not queue since the last call.
    pub(crate) fn take_drops(&self) -> u64 {
        // SAFETY: an all-zero tpacket_stats is a valid one.
        let mut stats: libc::tpacket_stats = unsafe { std::mem::zeroed() };
        let mut length = size_of::<libc::tpacket_stats>() as socklen_t;
        // SAFETY: the buffer lives through the call and has the given length.
        let result = unsafe {
            libc::getsockopt(
                self.fd.as_raw_fd(),
                libc::SOL_PACKET,
                libc::PACKET_STATISTICS,
                (&raw mut stats).cast::<c_void>(),
                &raw mut length,
            )
        };
        if result == 0 { stats.tp_drops.into() } else { 0 }
    }
}

impl AsFd for PacketSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

fn check(result: c_int) -> io::Result<c_int> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}

fn set(fd: BorrowedFd<'_>, level: c_int, option: c_int, value: c_int) -> io::Result<()> {
    let length = size_of::<c_int>() as socklen_t;
    // SAFETY: the value lives through the call and has the given length.
    check(unsafe { libc::setsockopt(fd.as_raw_fd(), level, option, (&raw const value).cast(), length) }).map(drop)
}

/// Lets datagrams leave without DF and without regard to what the kernel learned of the path.
pub(super) fn ignore_path_mtu(fd: BorrowedFd<'_>) -> io::Result<()> {
    set(fd, libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, libc::IP_PMTUDISC_INTERFACE)
}

/// As large as the kernel allows this user.
pub(super) fn grow_buffers(fd: BorrowedFd<'_>) {
    if setsockopt(&fd, sockopt::RcvBufForce, &BUFFER).is_err() {
        let _ = setsockopt(&fd, sockopt::RcvBuf, &BUFFER);
    }
    if setsockopt(&fd, sockopt::SndBufForce, &BUFFER).is_err() {
        let _ = setsockopt(&fd, sockopt::SndBuf, &BUFFER);
    }
}

/// A classic BPF program: accept what the kernel marks PACKET_OTHERHOST.
fn filter_for_others(fd: BorrowedFd<'_>) -> io::Result<()> {
    let instruction = |code: u32, jt, jf, k| libc::sock_filter {
        code: code as u16,
        jt,
        jf,
        k,
    };
    let packet_type = (libc::SKF_AD_OFF + libc::SKF_AD_PKTTYPE) as u32;
    let mut program = [
        instruction(libc::BPF_LD | libc::BPF_B | libc::BPF_ABS, 0, 0, packet_type),
        instruction(
            libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K,
            0,
            1,
            u32::from(libc::PACKET_OTHERHOST),
        ),
        instruction(libc::BPF_RET | libc::BPF_K, 0, 0, u32::MAX),
        instruction(libc::BPF_RET | libc::BPF_K, 0, 0, 0),
    ];
    let filter = libc::sock_fprog {
        len: program.len() as u16,
        filter: program.as_mut_ptr(),
    };
    let length = size_of::<libc::sock_fprog>() as socklen_t;
    // SAFETY: filter and program live through the call; the kernel copies them.
    let result = unsafe {
        libc::setsockopt(
            fd.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ATTACH_FILTER,
            (&raw const filter).cast::<c_void>(),
            length,
        )
    };
    check(result).map(drop)
}
