//! Path MTU: what fits, what is reported, what vanishes.

use crate::{
    fixture::{APPS_1, INFRA_1, Lab, Shape},
    probe::{self, connect, echo, greeting, is_silence, udp},
};
use meshproof_datapath::{Effect, Encryption, Fault, Impairment, MtuSignal, Nodes, Routing};
use std::{
    io::ErrorKind,
    net::{SocketAddrV4, UdpSocket},
    os::fd::AsRawFd,
};

pub const CASES: &[(&str, fn())] = &[
    ("mtu::the_largest_datagram_is_the_routes_mtu", the_largest_datagram),
    ("mtu::a_smaller_path_is_learned", a_smaller_path_is_learned),
    (
        "mtu::a_smaller_underlay_is_learned_inside_the_tunnel",
        a_smaller_underlay_is_learned,
    ),
    ("mtu::a_blackhole_is_silent", a_blackhole_is_silent),
    ("mtu::fragmentable_datagrams_pass_a_smaller_path", fragmentable),
];

const IP_AND_UDP: usize = 28;

/// Sends one datagram that makes an IP packet of `size` bytes with DF and waits for the answer.
fn probe_df(socket: &UdpSocket, to: SocketAddrV4, size: usize) -> std::io::Result<()> {
    socket.connect(to)?;
    socket.send(&vec![1; size - IP_AND_UDP])?;
    socket.recv(&mut [0; 256]).map(drop)
}

/// A socket that never fragments and, with `Probe`, does not heed what the kernel has learned.
fn with_df(lab: &Lab, heed: Heed) -> UdpSocket {
    let socket = udp(lab.pod(INFRA_1, 0).namespace());
    let mode = match heed {
        Heed::Learned => nix::libc::IP_PMTUDISC_DO,
        Heed::Nothing => nix::libc::IP_PMTUDISC_PROBE,
    };
    discover(&socket, mode);
    socket
}

/// Sets `IP_MTU_DISCOVER`, which nix does not know.
#[allow(unsafe_code)]
fn discover(socket: &UdpSocket, mode: nix::libc::c_int) {
    // SAFETY: the value lives through the call and has the given length.
    let result = unsafe {
        nix::libc::setsockopt(
            socket.as_raw_fd(),
            nix::libc::IPPROTO_IP,
            nix::libc::IP_MTU_DISCOVER,
            (&raw const mode).cast(),
            size_of_val(&mode) as nix::libc::socklen_t,
        )
    };
    assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
}

#[derive(Clone, Copy)]
enum Heed {
    Learned,
    Nothing,
}

fn the_largest_datagram() {
    let wireguard = Encryption::default();
    for (encryption, routing, expected) in [
        (wireguard, Routing::default(), 1370),
        (Encryption::None, Routing::default(), 1450),
        (wireguard, Routing::Native, 1420),
        (Encryption::None, Routing::Native, 1500),
    ] {
        let lab = Lab::shaped(Shape {
            encryption,
            routing,
            ..Shape::default()
        });
        assert_eq!(usize::from(lab.node(INFRA_1).route_mtu()), expected);
        let socket = with_df(&lab, Heed::Learned);
        let to = lab.server(APPS_1, 0);
        probe_df(&socket, to, expected).unwrap_or_else(|error| panic!("{expected} bytes in {encryption:?}: {error}"));
        let too_big = probe_df(&socket, to, expected + 1).expect_err("one byte more");
        assert_eq!(too_big.raw_os_error(), Some(nix::libc::EMSGSIZE), "{too_big}");
    }
    let lab = Lab::new();
    let reported = with_df(&lab, Heed::Nothing);
    let error = probe_df(&reported, lab.server(APPS_1, 0), 1371).expect_err("the switch answers with an ICMP error");
    assert_eq!(error.raw_os_error(), Some(nix::libc::EMSGSIZE), "{error}");
    probe_df(&reported, lab.server(INFRA_1, 1), 1500).expect("within the node the device's MTU holds");
}

fn path(effect: Effect) -> Fault {
    Fault::Path {
        from: Nodes::one("infra-1"),
        to: Nodes::one("apps-1"),
        impairment: Impairment::all(effect),
    }
}

fn underlay(effect: Effect) -> Fault {
    Fault::Underlay {
        from: Nodes::one("infra-1"),
        to: Nodes::one("apps-1"),
        impairment: Impairment::all(effect),
    }
}

/// Finds out that `inner` bytes pass and one more does not, with a message or without.
fn expect_mtu(lab: &Lab, inner: usize) {
    let (socket, to) = (with_df(lab, Heed::Learned), lab.server(APPS_1, 0));
    probe_df(&socket, to, inner).unwrap_or_else(|error| panic!("{inner} bytes: {error}"));
    // The first one too large is lost and makes the error known to the next; with an underlay that the node itself
    // has to learn about first, the second.
    let reported = (0..3).any(|_| {
        let outcome = probe_df(&socket, to, inner + 1);
        outcome.is_err_and(|error| error.raw_os_error() == Some(nix::libc::EMSGSIZE))
    });
    assert!(reported, "{} bytes: ICMP reports it to the sender", inner + 1);
    let mut stream = connect(lab.pod(INFRA_1, 0).namespace(), to).expect("connected");
    greeting(&mut stream).expect("greeted");
    echo(&mut stream, 64 << 10).expect("TCP adapts");
}

fn a_smaller_path_is_learned() {
    let lab = Lab::new();
    lab.fabric.inject(path(Effect::Mtu {
        bytes: 1280,
        signal: MtuSignal::Icmp,
    }));
    expect_mtu(&lab, 1280);
}

fn a_smaller_underlay_is_learned() {
    let lab = Lab::new();
    lab.fabric.inject(underlay(Effect::Mtu {
        bytes: 1400,
        signal: MtuSignal::Icmp,
    }));
    let (socket, to) = (with_df(&lab, Heed::Nothing), lab.server(APPS_1, 0));
    let _ = probe_df(&socket, to, 1370);
    expect_mtu(&lab, 1270);
}

fn a_blackhole_is_silent() {
    for (fault, inner) in [
        (
            path(Effect::Mtu {
                bytes: 1200,
                signal: MtuSignal::Silent,
            }),
            1200,
        ),
        // Outside: 1300 bytes of the pod, VXLAN in WireGuard in UDP in IPv4.
        (
            underlay(Effect::Mtu {
                bytes: 1300 + 50 + 32 + 28,
                signal: MtuSignal::Silent,
            }),
            1300,
        ),
    ] {
        let lab = Lab::new();
        let (socket, to) = (with_df(&lab, Heed::Nothing), lab.server(APPS_1, 0));
        probe_df(&socket, to, 1370).expect("healthy");
        let id = lab.fabric.inject(fault.clone());
        probe_df(&socket, to, inner).unwrap_or_else(|error| panic!("{inner} bytes under {fault:?}: {error}"));
        let lost = probe_df(&socket, to, inner + 1).expect_err("one byte more");
        assert!(is_silence(&lost), "{fault:?}: {lost}");
        let mut stream = connect(lab.pod(INFRA_1, 0).namespace(), to).expect("small packets pass");
        greeting(&mut stream).expect("small packets pass");
        let stuck = echo(&mut stream, 64 << 10).expect_err("TCP is stuck");
        assert!(
            is_silence(&stuck) || stuck.kind() == ErrorKind::UnexpectedEof,
            "{stuck}"
        );
        lab.fabric.heal(id).expect("it was injected");
        probe_df(&socket, to, 1370).expect("healed");
    }
}

fn fragmentable() {
    let lab = Lab::new();
    lab.fabric.inject(path(Effect::Mtu {
        bytes: 600,
        signal: MtuSignal::Icmp,
    }));
    let socket = probe::udp(lab.pod(INFRA_1, 0).namespace());
    discover(&socket, nix::libc::IP_PMTUDISC_DONT);
    socket.connect(lab.server(APPS_1, 0)).expect("connected");
    for size in [500, 1300, 9000] {
        socket.send(&vec![1; size]).expect("sent");
        socket
            .recv(&mut [0; 256])
            .unwrap_or_else(|error| panic!("{size} bytes in fragments: {error}"));
    }
}
