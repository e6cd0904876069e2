//! Ends connected UDP sockets of the calling thread's namespace by `NETLINK_SOCK_DIAG`, as Cilium does.

use super::Orphan;
use nix::{
    errno::Errno,
    libc,
    sys::socket::{AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, socket},
};
use std::{
    net::SocketAddrV4,
    os::fd::{AsRawFd, OwnedFd},
};

/// `linux/sock_diag.h`, `linux/inet_diag.h`, `net/tcp_states.h`.
const SOCK_DIAG_BY_FAMILY: u16 = 20;
const SOCK_DESTROY: u16 = 21;
const ESTABLISHED: u8 = 1;
const NO_COOKIE: [u8; 8] = [0xff; 8];
const HEADER: usize = 16;

/// Ends the connected UDP socket of this flow, if there is one. A socket that is not connected only asks again.
pub(super) fn udp(orphan: Orphan) -> Result<(), Errno> {
    let netlink = socket(
        AddressFamily::Netlink,
        SockType::Raw,
        SockFlag::SOCK_CLOEXEC,
        SockProtocol::NetlinkSockDiag,
    )?;
    let Some(found) = ask(&netlink, SOCK_DIAG_BY_FAMILY, 0, orphan, NO_COOKIE)? else {
        return Ok(());
    };
    // `struct inet_diag_msg`: family, state, timer, retrans, then the socket's id with its cookie.
    let body = &found[HEADER..];
    let (Some(state), Some(cookie)) = (body.get(1), body.get(4 + 40..4 + 48)) else {
        return Ok(());
    };
    if *state != ESTABLISHED {
        return Ok(());
    }
    let cookie = cookie.try_into().unwrap_or(NO_COOKIE);
    ask(&netlink, SOCK_DESTROY, libc::NLM_F_ACK as u16, orphan, cookie).map(drop)
}

/// Sends one request about a socket and returns the answer; none where there is no such socket.
fn ask(netlink: &OwnedFd, kind: u16, flags: u16, orphan: Orphan, cookie: [u8; 8]) -> Result<Option<Vec<u8>>, Errno> {
    let mut request = Vec::with_capacity(HEADER + 56);
    request.extend(72u32.to_ne_bytes());
    request.extend(kind.to_ne_bytes());
    request.extend((libc::NLM_F_REQUEST as u16 | flags).to_ne_bytes());
    request.extend([0; 8]);
    request.extend([libc::AF_INET as u8, libc::IPPROTO_UDP as u8, 0, 0]);
    request.extend(u32::MAX.to_ne_bytes());
    let end = |end: SocketAddrV4| {
        let mut address = [0u8; 16];
        address[..4].copy_from_slice(&end.ip().octets());
        address
    };
    request.extend(orphan.from.port().to_be_bytes());
    request.extend(orphan.to.port().to_be_bytes());
    request.extend(end(orphan.from));
    request.extend(end(orphan.to));
    request.extend([0; 4]);
    request.extend(cookie);
    send(netlink.as_raw_fd(), &request, MsgFlags::empty())?;
    let mut answer = vec![0; 4096];
    let length = recv(netlink.as_raw_fd(), &mut answer, MsgFlags::empty())?;
    answer.truncate(length);
    let kind = answer.get(4..6).map(|kind| u16::from_ne_bytes([kind[0], kind[1]]));
    if kind != Some(libc::NLMSG_ERROR as u16) {
        return Ok(Some(answer));
    }
    let code = answer.get(HEADER..HEADER + 4).and_then(|code| code.try_into().ok());
    match code.map_or(0, i32::from_ne_bytes) {
        0 => Ok(Some(answer)),
        code if -code == libc::ENOENT => Ok(None),
        code => Err(Errno::from_raw(-code)),
    }
}
