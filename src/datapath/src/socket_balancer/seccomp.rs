//! The filter in the pod's processes, and how its listener comes to the node.

#![allow(unsafe_code)]

use nix::{
    errno::Errno,
    libc::{self, c_int, c_long, c_void},
    sys::socket::{AddressFamily, ControlMessageOwned, MsgFlags, SockFlag, SockType, recvmsg, socketpair},
};
use std::{
    io::{self, IoSliceMut},
    os::{
        fd::{AsRawFd, FromRawFd, OwnedFd, RawFd},
        unix::process::CommandExt,
    },
    process::Command,
};

#[cfg(target_arch = "x86_64")]
const ARCHITECTURE: u32 = 0xc000_003e;
#[cfg(target_arch = "aarch64")]
const ARCHITECTURE: u32 = 0xc000_00b7;
/// None that the kernel knows: every call goes on.
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
const ARCHITECTURE: u32 = 0;

/// Offsets in `struct seccomp_data`: the call's number, the architecture, and the fifth argument's lower half.
const NUMBER: u32 = 0;
const ARCH: u32 = 4;
const ADDRESS_LOW: u32 = 16 + 4 * 8;

/// What carries the listener from the child to the node.
pub(super) struct Channel {
    ours: OwnedFd,
    theirs: OwnedFd,
}

impl Channel {
    pub(super) fn new() -> io::Result<Self> {
        let (ours, theirs) = socketpair(AddressFamily::Unix, SockType::Datagram, None, SockFlag::SOCK_CLOEXEC)?;
        Ok(Self { ours, theirs })
    }

    /// Makes the command set up the filter last, and go on without one where the kernel refuses it.
    pub(super) fn prepare(&self, command: &mut Command) {
        let channel = self.theirs.as_raw_fd();
        let set_up = move || {
            if let Ok(listener) = install() {
                // The descriptor closes itself when the process begins.
                send(channel, listener);
            }
            Ok(())
        };
        // SAFETY: between fork and exec the closure makes two system calls on data of its own stack.
        unsafe {
            command.pre_exec(set_up);
        }
    }

    /// The listener that the child has sent; none if it had none.
    pub(super) fn receive(self) -> Option<OwnedFd> {
        drop(self.theirs);
        let mut byte = [0u8];
        let mut parts = [IoSliceMut::new(&mut byte)];
        let mut room = nix::cmsg_space!(RawFd);
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_CMSG_CLOEXEC;
        let message = recvmsg::<()>(self.ours.as_raw_fd(), &mut parts, Some(&mut room), flags).ok()?;
        let descriptor = message.cmsgs().ok()?.find_map(|control| match control {
            ControlMessageOwned::ScmRights(descriptors) => descriptors.first().copied(),
            _ => None,
        })?;
        // SAFETY: the kernel has just made this descriptor for this process, and nobody else has it.
        Some(unsafe { OwnedFd::from_raw_fd(descriptor) })
    }
}

/// connect(), and sendto() with an address, wait for the listener's answer; everything else goes on.
fn install() -> Result<RawFd, Errno> {
    let statement = |code: u32, k: u32| libc::sock_filter {
        code: code as u16,
        jt: 0,
        jf: 0,
        k,
    };
    let jump = |k: u32, jt: u8, jf: u8| libc::sock_filter {
        code: (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16,
        jt,
        jf,
        k,
    };
    let load = |offset| statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, offset);
    let answer = |value| statement(libc::BPF_RET | libc::BPF_K, value);
    let mut program = [
        load(ARCH),
        jump(ARCHITECTURE, 0, 7),
        load(NUMBER),
        jump(libc::SYS_connect as u32, 6, 0),
        jump(libc::SYS_sendto as u32, 0, 4),
        load(ADDRESS_LOW),
        jump(0, 0, 3),
        load(ADDRESS_LOW + 4),
        jump(0, 0, 1),
        answer(libc::SECCOMP_RET_ALLOW),
        answer(libc::SECCOMP_RET_USER_NOTIF),
    ];
    let filter = libc::sock_fprog {
        len: program.len() as u16,
        filter: program.as_mut_ptr(),
    };
    // SAFETY: the program lives through the call; the kernel copies it.
    let made = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            c_long::from(libc::SECCOMP_SET_MODE_FILTER),
            libc::SECCOMP_FILTER_FLAG_NEW_LISTENER,
            (&raw const filter).cast::<c_void>(),
        )
    };
    Errno::result(made).map(|descriptor| descriptor as RawFd)
}

/// Sends a descriptor without allocating. An error shows as a message that does not come.
fn send(channel: RawFd, descriptor: RawFd) {
    #[repr(C, align(8))]
    struct Room([u8; 64]);
    let mut room = Room([0; 64]);
    let mut byte = 0u8;
    let mut part = libc::iovec {
        iov_base: (&raw mut byte).cast(),
        iov_len: 1,
    };
    // SAFETY: an all-zero msghdr is a valid one; every pointer in it lives through the call, and the control message
    // fits the room.
    unsafe {
        let mut message: libc::msghdr = std::mem::zeroed();
        message.msg_iov = &raw mut part;
        message.msg_iovlen = 1;
        message.msg_control = (&raw mut room.0).cast();
        message.msg_controllen = libc::CMSG_SPACE(size_of::<c_int>() as u32) as _;
        let header = libc::CMSG_FIRSTHDR(&raw const message);
        (*header).cmsg_level = libc::SOL_SOCKET;
        (*header).cmsg_type = libc::SCM_RIGHTS;
        (*header).cmsg_len = libc::CMSG_LEN(size_of::<c_int>() as u32) as _;
        libc::CMSG_DATA(header).cast::<c_int>().write_unaligned(descriptor);
        libc::sendmsg(channel, &raw const message, 0);
    }
}
