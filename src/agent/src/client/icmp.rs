//! One ICMP echo through an unprivileged ping socket (icmp(7)).

use super::udp::MAX_DATAGRAM;
use crate::{
    attempt::{Attempt, ByName, Peer},
    failure::Failure,
    payload::Pattern,
    socket,
};
use meshproof_contract::Outcome;
use nix::{
    errno::Errno,
    sys::socket::{AddressFamily, SockFlag, SockProtocol, SockType, socket as open},
};
use std::net::{IpAddr, SocketAddr};
use tokio::net::UdpSocket;

const HEADER: usize = 8;
/// Echo request and reply: RFC 792 and RFC 4443.
const V4: (u8, u8) = (8, 0);
const V6: (u8, u8) = (128, 129);

pub(super) async fn echo(attempt: &mut Attempt, to: IpAddr, payload: u32) -> Result<Outcome, Failure> {
    attempt.resolved(to, ByName::No);
    let size = payload as usize;
    if size > MAX_DATAGRAM {
        return Err(Failure::Local(format!(
            "an echo request carries at most {MAX_DATAGRAM} bytes, not {size}"
        )));
    }
    let (request, reply) = if to.is_ipv4() { V4 } else { V6 };
    let socket = ping_socket(to)?;
    let pattern = Pattern::fresh();
    let sequence = [0, 1];
    // The kernel fills in checksum and identifier.
    let mut packet = vec![request, 0, 0, 0, 0, 0, sequence[0], sequence[1]];
    packet.extend(pattern.bytes(0, size));
    socket::send(&socket, &packet).await?;
    let mut buffer = vec![0; HEADER + size + 64];
    loop {
        let length = socket.recv(&mut buffer).await?;
        let answer = &buffer[..length];
        if answer.len() < HEADER || answer[0] != reply || answer[6..8] != sequence {
            continue;
        }
        attempt.first_byte();
        let echoed = &answer[HEADER..];
        return if echoed.len() == size && pattern.difference(0, echoed).is_none() {
            Ok(attempt.answered(Peer::default(), None, u64::from(payload)))
        } else {
            Err(Failure::Corrupted(format!(
                "the echo of {size} bytes has {} bytes or other content",
                echoed.len()
            )))
        };
    }
}

fn ping_socket(to: IpAddr) -> Result<UdpSocket, Failure> {
    let (family, protocol) = match to {
        IpAddr::V4(_) => (AddressFamily::Inet, SockProtocol::Icmp),
        IpAddr::V6(_) => (AddressFamily::Inet6, SockProtocol::IcmpV6),
    };
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let socket = open(family, SockType::Datagram, flags, protocol).map_err(|errno| match errno {
        Errno::EACCES | Errno::EPERM => Failure::Local(
            "the pod cannot send pings: its group ID is outside net.ipv4.ping_group_range (containerd 2 opens it with \
             enable_unprivileged_icmp)"
                .to_owned(),
        ),
        other => Failure::from(other),
    })?;
    socket::report_icmp(&socket, SocketAddr::new(to, 0), &true)?;
    // A ping socket is a datagram socket: the runtime drives it like a UDP one.
    let socket = std::net::UdpSocket::from(socket);
    socket.connect(SocketAddr::new(to, 0))?;
    Ok(UdpSocket::from_std(socket)?)
}
