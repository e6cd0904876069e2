//! The UDP server of the agents' private echo protocol ([`crate::echo`]). It answers from the address that was asked.

use super::Shared;
use crate::{
    echo::{self, Card, Question, Reply},
    socket::{self, Fragmentation},
};
use nix::{
    errno::Errno,
    libc,
    sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, SockaddrIn, recvmsg, sendmsg, setsockopt, sockopt},
};
use std::{
    io::{self, IoSlice, IoSliceMut},
    net::SocketAddrV4,
    os::fd::AsRawFd,
    sync::Arc,
    time::Duration,
};
use tokio::{io::Interest, net::UdpSocket, time::sleep};

/// A datagram that came in: how long, from whom, and to which of our addresses.
struct Arrival {
    length: usize,
    from: SocketAddrV4,
    to: libc::in_pktinfo,
}

/// A UDP socket for [`serve`].
pub(crate) async fn bind(address: std::net::IpAddr, port: u16) -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind((address, port)).await?;
    setsockopt(&socket, sockopt::Ipv4PacketInfo, &true)?;
    // A batch's burst of datagrams should not be lost in the last metre. The kernel caps this at its own limit.
    let _ = setsockopt(&socket, sockopt::RcvBuf, &(1 << 20));
    Ok(socket)
}

/// Serves until dropped.
pub(crate) async fn serve(socket: UdpSocket, shared: Arc<Shared>) {
    let mut buffer = vec![0; 1 << 16];
    loop {
        let arrival = socket
            .async_io(Interest::READABLE, || receive(&socket, &mut buffer))
            .await;
        match arrival {
            Ok(Some(arrival)) => answer(&socket, &shared, &buffer[..arrival.length], &arrival),
            Ok(None) => {}
            Err(_) => sleep(Duration::from_millis(1)).await,
        }
    }
}

fn receive(socket: &UdpSocket, buffer: &mut [u8]) -> io::Result<Option<Arrival>> {
    let mut control = nix::cmsg_space!(libc::in_pktinfo);
    let mut parts = [IoSliceMut::new(buffer)];
    let message = recvmsg::<SockaddrIn>(
        socket.as_raw_fd(),
        &mut parts,
        Some(&mut control),
        MsgFlags::MSG_DONTWAIT,
    )?;
    let to = message.cmsgs()?.find_map(|control| match control {
        ControlMessageOwned::Ipv4PacketInfo(info) => Some(info),
        _ => None,
    });
    Ok(message.address.zip(to).map(|(from, to)| Arrival {
        length: message.bytes,
        from: SocketAddrV4::new(from.ip(), from.port()),
        to,
    }))
}

/// Answers at once or not at all: nothing is queued, so nothing grows.
fn answer(socket: &UdpSocket, shared: &Shared, request: &[u8], arrival: &Arrival) {
    let Some(question) = Question::read(request) else {
        return;
    };
    let mut card = Card {
        identity: shared.settings.identity.clone(),
        source: (*arrival.from.ip()).into(),
        mtu: None,
    };
    let full = echo::udp_answer(question, request, &card);
    if question.reply == Reply::Plain {
        let _ = send(socket, &full, arrival);
        return;
    }
    let refused = unfragmented(socket, &full, arrival) == Err(Errno::EMSGSIZE);
    if refused || question.reply == Reply::UnfragmentedOrReported {
        let packet = full.len() + 28;
        if let Some(mtu) = way_back(arrival).filter(|mtu| refused || (*mtu as usize) < packet) {
            card.mtu = Some(mtu);
            // Only its card is read, so it repeats nothing of the request.
            let report = echo::udp_answer(question, &[], &card);
            let _ = send(socket, &report, arrival);
        }
    }
}

fn unfragmented(socket: &UdpSocket, answer: &[u8], arrival: &Arrival) -> Result<(), Errno> {
    // An option of the socket, not of the datagram: no other send can come between, as all of them are here.
    if socket::set_fragmentation(socket, Fragmentation::Forbidden).is_err() {
        return Err(Errno::EINVAL);
    }
    let sent = send(socket, answer, arrival);
    let _ = socket::set_fragmentation(socket, Fragmentation::Allowed);
    sent
}

fn send(socket: &UdpSocket, answer: &[u8], arrival: &Arrival) -> Result<(), Errno> {
    let info = libc::in_pktinfo {
        ipi_ifindex: 0,
        ipi_spec_dst: arrival.to.ipi_spec_dst,
        ipi_addr: libc::in_addr { s_addr: 0 },
    };
    sendmsg(
        socket.as_raw_fd(),
        &[IoSlice::new(answer)],
        &[ControlMessage::Ipv4PacketInfo(&info)],
        MsgFlags::MSG_DONTWAIT,
        Some(&SockaddrIn::from(arrival.from)),
    )
    .map(drop)
}

/// The MTU of the path to the client as this kernel knows it, from its devices and from ICMP.
fn way_back(arrival: &Arrival) -> Option<u32> {
    let socket = std::net::UdpSocket::bind("0.0.0.0:0").ok()?;
    socket.connect(arrival.from).ok()?;
    socket::path_mtu(&socket).ok()
}
