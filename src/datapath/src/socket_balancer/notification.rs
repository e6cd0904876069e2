//! System calls that wait for an answer: what they ask for, and the answer.

#![allow(unsafe_code)]

use crate::{config::RefusedCall, service::Protocol};
use nix::{
    errno::Errno,
    libc::{self, c_long, c_ulong},
    sys::{
        socket::{SockType, getsockopt, sockopt},
        uio::{RemoteIoVec, process_vm_readv},
    },
    unistd::Pid,
};
use std::{
    io::IoSliceMut,
    net::{Ipv4Addr, SocketAddrV4},
    os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
};

// `linux/seccomp.h`: _IOWR('!', 0, struct seccomp_notif) and _IOWR('!', 1, struct seccomp_notif_resp).
const RECEIVE: c_ulong = 0xc050_2100;
const SEND: c_ulong = 0xc018_2101;

/// The calls of one pod's process.
pub(super) struct Listener {
    fd: OwnedFd,
    process: u32,
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Listener {
    pub(super) fn new(fd: OwnedFd, process: u32) -> Self {
        Self { fd, process }
    }

    /// Answers one call: refused if nobody serves where it leads.
    pub(super) fn answer(
        &self,
        refusal: RefusedCall,
        is_unserved: impl Fn(Protocol, SocketAddrV4) -> bool,
    ) -> Result<(), Errno> {
        // SAFETY: an all-zero seccomp_notif is a valid one, and the kernel demands it.
        let mut call: libc::seccomp_notif = unsafe { std::mem::zeroed() };
        // SAFETY: the buffer lives through the call and has the size that the request's number says.
        Errno::result(unsafe { libc::ioctl(self.fd.as_raw_fd(), RECEIVE as _, &raw mut call) })?;
        let refused = self.leads_to(&call.data).is_some_and(|to| {
            [Protocol::Tcp, Protocol::Udp]
                .into_iter()
                .any(|protocol| is_unserved(protocol, to))
                && self
                    .protocol(&call.data)
                    .is_some_and(|protocol| is_unserved(protocol, to))
        });
        let errno = match refusal {
            RefusedCall::NotPermitted => libc::EPERM,
            RefusedCall::HostUnreachable => libc::EHOSTUNREACH,
        };
        let mut answer = libc::seccomp_notif_resp {
            id: call.id,
            val: 0,
            error: if refused { -errno } else { 0 },
            flags: if refused {
                0
            } else {
                libc::SECCOMP_USER_NOTIF_FLAG_CONTINUE as u32
            },
        };
        // SAFETY: as above. It fails when the caller has ended meanwhile, and then nobody waits.
        Errno::result(unsafe { libc::ioctl(self.fd.as_raw_fd(), SEND as _, &raw mut answer) }).map(drop)
    }

    /// The IPv4 address that the caller names.
    fn leads_to(&self, call: &libc::seccomp_data) -> Option<SocketAddrV4> {
        let is_connect = c_long::from(call.nr) == libc::SYS_connect;
        let at = if is_connect { call.args[1] } else { call.args[4] };
        let mut address = [0u8; 8];
        let remote = RemoteIoVec {
            base: usize::try_from(at).ok()?,
            len: address.len(),
        };
        let read = process_vm_readv(self.process(), &mut [IoSliceMut::new(&mut address)], &[remote]).ok()?;
        let [family_low, family_high, port_high, port_low, a, b, c, d] = address;
        let is_ipv4 = i32::from(u16::from_ne_bytes([family_low, family_high])) == libc::AF_INET;
        (read == address.len() && is_ipv4)
            .then(|| SocketAddrV4::new(Ipv4Addr::new(a, b, c, d), u16::from_be_bytes([port_high, port_low])))
    }

    /// The protocol of the caller's socket.
    fn protocol(&self, call: &libc::seccomp_data) -> Option<Protocol> {
        // SAFETY: both calls take numbers only, and what they return belongs to nobody else.
        let socket = unsafe {
            let process = Errno::result(libc::syscall(libc::SYS_pidfd_open, c_long::from(self.process), 0)).ok()?;
            let process = OwnedFd::from_raw_fd(process as i32);
            let socket = libc::syscall(libc::SYS_pidfd_getfd, process.as_raw_fd(), call.args[0] as c_long, 0);
            OwnedFd::from_raw_fd(Errno::result(socket).ok()? as i32)
        };
        match getsockopt(&socket, sockopt::SockType).ok()? {
            SockType::Stream => Some(Protocol::Tcp),
            SockType::Datagram => Some(Protocol::Udp),
            _ => None,
        }
    }

    fn process(&self) -> Pid {
        Pid::from_raw(self.process as i32)
    }
}
