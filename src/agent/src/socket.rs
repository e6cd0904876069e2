//! What the standard library does not say to sockets: options, the error queue, the device behind an address.

use crate::failure::Failure;
use nix::{
    errno::Errno,
    libc,
    sys::socket::{
        AddressFamily, ControlMessageOwned, MsgFlags, SockFlag, SockType, SockaddrStorage, connect, getsockopt,
        recvmsg, setsockopt, socket as open_socket, sockopt,
    },
};
use std::{
    io::{self, IoSliceMut},
    net::{IpAddr, Ipv4Addr, SocketAddr},
    os::fd::{AsFd, AsRawFd},
};
use tokio::{
    io::Interest,
    net::{TcpStream, UdpSocket},
};

/// What the kernel does about datagrams that exceed the path's MTU (ip(7), IP_MTU_DISCOVER).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fragmentation {
    /// As for an application: fragmented as the kernel's knowledge of the path says.
    Allowed,
    /// Don't-fragment set, and the kernel's own knowledge of the path is not heeded: only the device limits the size.
    Forbidden,
}

/// Where nothing is sent to (RFC 863).
const DISCARD: u16 = 9;

/// Sets `IP_MTU_DISCOVER` of an IPv4 socket.
pub(crate) fn set_fragmentation(socket: &impl AsRawFd, fragmentation: Fragmentation) -> io::Result<()> {
    let value: libc::c_int = match fragmentation {
        Fragmentation::Allowed => libc::IP_PMTUDISC_WANT,
        Fragmentation::Forbidden => libc::IP_PMTUDISC_PROBE,
    };
    // SAFETY: the pointer and length describe one c_int that outlives the call; the kernel checks the descriptor.
    #[allow(unsafe_code)]
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_IP,
            libc::IP_MTU_DISCOVER,
            (&raw const value).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    Errno::result(result).map(drop).map_err(io::Error::from)
}

/// The MTU of a connected IPv4 socket's path as the kernel knows it.
pub(crate) fn path_mtu(socket: &impl AsFd) -> io::Result<u32> {
    Ok(u32::try_from(getsockopt(socket, sockopt::IpMtu)?).unwrap_or(0))
}

/// The MTU of the route towards an IPv4 address, whatever ICMP has reported for that address before (which Linux
/// believes for ten minutes): the largest that the kernel knows towards it and towards the addresses beside it. Sends
/// nothing.
pub(crate) fn route_mtu(to: Ipv4Addr) -> io::Result<u32> {
    let connected = |address: Ipv4Addr| -> io::Result<std::net::UdpSocket> {
        let socket = std::net::UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
        socket.connect((address, DISCARD))?;
        Ok(socket)
    };
    let mut largest = path_mtu(&connected(to)?)?;
    for bit in 0..u8::BITS {
        let beside = Ipv4Addr::from(u32::from(to) ^ (1 << bit));
        let Ok(socket) = connected(beside) else { continue };
        // One's own address is reached by the loopback device, whatever its neighbours are reached by.
        if socket.local_addr()?.ip() != beside {
            largest = largest.max(path_mtu(&socket)?);
        }
    }
    Ok(largest)
}

/// One entry of the error queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum QueuedError {
    /// A router (or this host's own stack) answered "too big", and which size would do.
    TooBig(u32),
    /// Any other.
    Other(Errno),
}

/// Takes the next entry from a socket's error queue; none when it is empty.
pub(crate) fn next_error(socket: &impl AsRawFd) -> Option<QueuedError> {
    let mut payload = [0; 64];
    let mut control = nix::cmsg_space!(libc::sock_extended_err, libc::sockaddr_in6);
    let mut parts = [IoSliceMut::new(&mut payload)];
    let flags = MsgFlags::MSG_ERRQUEUE | MsgFlags::MSG_DONTWAIT;
    let message = recvmsg::<SockaddrStorage>(socket.as_raw_fd(), &mut parts, Some(&mut control), flags).ok()?;
    let mut found = None;
    for control in message.cmsgs().ok()? {
        let error = match control {
            ControlMessageOwned::Ipv4RecvErr(error, _) | ControlMessageOwned::Ipv6RecvErr(error, _) => Some(error),
            _ => None,
        };
        if let Some(error) = error {
            found = Some(match Errno::from_raw(error.ee_errno as i32) {
                Errno::EMSGSIZE => QueuedError::TooBig(error.ee_info),
                other => QueuedError::Other(other),
            });
        }
    }
    found.or(Some(QueuedError::Other(Errno::UnknownErrno)))
}

/// MTU of the device that holds this local address; none if it is unknown.
pub(crate) fn device_mtu(local: IpAddr, socket: &impl AsRawFd) -> Option<u32> {
    let device = nix::ifaddrs::getifaddrs().ok()?.find(|device| {
        device.address.is_some_and(|address| match local {
            IpAddr::V4(local) => address.as_sockaddr_in().is_some_and(|a| a.ip() == local),
            IpAddr::V6(local) => address.as_sockaddr_in6().is_some_and(|a| a.ip() == local),
        })
    });
    let name = match device {
        Some(device) => device.interface_name,
        // The whole of 127.0.0.0/8 is local to a device that lists one address of it.
        None if local.is_loopback() => "lo".to_owned(),
        None => return None,
    };
    // SAFETY: an all-zero ifreq is valid: it is plain old data.
    #[allow(unsafe_code)]
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    if name.len() >= request.ifr_name.len() {
        return None;
    }
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = from as libc::c_char;
    }
    // SAFETY: SIOCGIFMTU reads the name and writes the MTU into the ifreq that we own, then the union holds an MTU.
    #[allow(unsafe_code)]
    let mtu = unsafe {
        Errno::result(libc::ioctl(socket.as_raw_fd(), libc::SIOCGIFMTU as _, &raw mut request)).ok()?;
        request.ifr_ifru.ifru_mtu
    };
    u32::try_from(mtu).ok()
}

/// The unspecified address of the other's family, any port: what a client binds to.
pub(crate) fn any_local(to: SocketAddr) -> SocketAddr {
    match to {
        SocketAddr::V4(_) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
        SocketAddr::V6(_) => SocketAddr::from((std::net::Ipv6Addr::UNSPECIFIED, 0)),
    }
}

/// A UDP socket connected to `to`, so that ICMP errors arrive and strangers' datagrams do not.
pub(crate) async fn connected_udp(to: SocketAddr) -> Result<UdpSocket, Failure> {
    let socket = UdpSocket::bind(any_local(to)).await?;
    report_icmp(&socket, to, &true)?;
    socket.connect(to).await.map_err(Failure::of_call)?;
    Ok(socket)
}

/// Sends a datagram on a connected socket. One that the pod's own device dropped counts as sent: only sockets that ask
/// for errors get the error (`ENOBUFS`), and to everybody else it is as lost as any other.
pub(crate) async fn send(socket: &UdpSocket, datagram: &[u8]) -> Result<(), Failure> {
    match socket.send(datagram).await {
        Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => Ok(()),
        sent => sent.map(drop).map_err(Failure::of_call),
    }
}

/// Connects, and fails at the first ICMP error. By itself Linux goes on trying after some of them (RFC 1122, 4.2.3.9),
/// which would make "unreachable" look like silence.
pub(crate) async fn connect_tcp(to: SocketAddr) -> Result<TcpStream, Failure> {
    let family = match to {
        SocketAddr::V4(_) => AddressFamily::Inet,
        SocketAddr::V6(_) => AddressFamily::Inet6,
    };
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let socket = open_socket(family, SockType::Stream, flags, None)?;
    report_icmp(&socket, to, &true)?;
    match connect(socket.as_raw_fd(), &SockaddrStorage::from(to)) {
        Ok(()) | Err(Errno::EINPROGRESS) => {}
        Err(errno) => return Err(Failure::of_call(errno.into())),
    }
    let stream = TcpStream::from_std(socket.into())?;
    loop {
        stream.ready(Interest::WRITABLE | Interest::ERROR).await?;
        if let Some(error) = stream.take_error()? {
            return Err(error.into());
        }
        while let Some(entry) = next_error(&stream) {
            if let QueuedError::Other(errno) = entry
                && errno != Errno::UnknownErrno
            {
                return Err(errno.into());
            }
        }
        if stream.peer_addr().is_ok() {
            // An established connection has to survive such errors.
            report_icmp(&stream, to, &false)?;
            stream.set_nodelay(true)?;
            return Ok(stream);
        }
        // Woken for nothing: wait for the next event.
        let nothing = || -> io::Result<()> { Err(io::ErrorKind::WouldBlock.into()) };
        let _ = stream.try_io(Interest::WRITABLE, nothing);
        let _ = stream.try_io(Interest::ERROR, nothing);
    }
}

/// Asks for every ICMP error, not only the fatal ones (ip(7), IP_RECVERR).
pub(crate) fn report_icmp(socket: &impl AsFd, to: SocketAddr, wanted: &bool) -> io::Result<()> {
    match to {
        SocketAddr::V4(_) => setsockopt(socket, sockopt::Ipv4RecvErr, wanted),
        SocketAddr::V6(_) => setsockopt(socket, sockopt::Ipv6RecvErr, wanted),
    }
    .map_err(io::Error::from)
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::libc::{BPF_ABS, BPF_JEQ, BPF_JMP, BPF_K, BPF_LD, BPF_RET, BPF_W, SECCOMP_RET_ALLOW, SECCOMP_RET_ERRNO};

    /// Has the kernel refuse `connect()` with EPERM on this thread, as programs on a pod's cgroup do for a Service
    /// without backends.
    #[allow(unsafe_code)]
    fn refuse_connect() {
        let step = |code: u32, k: u32, jt: u8, jf: u8| libc::sock_filter {
            code: code as u16,
            jt,
            jf,
            k,
        };
        let mut steps = [
            step(BPF_LD | BPF_W | BPF_ABS, 0, 0, 0),
            step(BPF_JMP | BPF_JEQ | BPF_K, libc::SYS_connect as u32, 0, 1),
            step(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | libc::EPERM as u32, 0, 0),
            step(BPF_RET | BPF_K, SECCOMP_RET_ALLOW, 0, 0),
        ];
        let program = libc::sock_fprog {
            len: steps.len() as u16,
            filter: steps.as_mut_ptr(),
        };
        // SAFETY: the program and its steps outlive the calls, and the kernel copies them.
        let set = unsafe {
            libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
            libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program)
        };
        assert_eq!(set, 0, "{}", io::Error::last_os_error());
    }

    #[test]
    fn a_connect_that_the_kernel_refuses_is_denied_over_tcp_and_udp() {
        // The filter lasts as long as its thread.
        let thread = std::thread::spawn(|| {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime");
            refuse_connect();
            let to = SocketAddr::from((Ipv4Addr::LOCALHOST, 9));
            let (tcp, udp) = runtime.block_on(async { (connect_tcp(to).await.err(), connected_udp(to).await.err()) });
            (tcp, udp)
        });
        let (tcp, udp) = thread.join().expect("no panic");
        for failure in [tcp, udp] {
            assert!(matches!(failure, Some(Failure::Denied(Errno::EPERM))), "{failure:?}");
        }
    }
}
