//! What the wire shows: ciphertext and counters with encryption, the pods' bytes without.

use crate::{
    capture::Capture,
    fixture::{APPS_1, INFRA_1, INFRA_2, Lab, Shape},
    probe::{ask_tcp, ask_udp, is_silence, ping, udp},
};
use meshproof_datapath::{DropReason, Encryption, Fault, Nodes, Protocol, Traffic};
use std::{
    net::Ipv4Addr,
    time::{Duration, SystemTime},
};

pub const CASES: &[(&str, fn())] = &[
    ("tunnel::the_wire_shows_only_wireguard", only_wireguard),
    ("tunnel::peers_have_handshakes_and_counters_once_used", peers),
    ("tunnel::without_encryption_the_wire_shows_vxlan", vxlan_in_clear),
    ("tunnel::a_plaintext_peer_is_seen", plaintext_peer),
    ("tunnel::a_peer_without_key_leaks", peer_without_key),
    ("tunnel::in_strict_mode_a_peer_without_key_is_cut_off", strict_mode),
    (
        "tunnel::only_strict_mode_keeps_what_no_peer_announces_from_leaving",
        nobodys_address,
    ),
    ("tunnel::the_capture_sees_what_a_host_sends", capture_control),
];

/// Pod CIDRs of both clusters.
const CLUSTERS: &str = "10.244.0.0/14";
const MARKER: &[u8] = b"a marker that nobody else sends 0123456789";

fn contains(packet: &[u8], marker: &[u8]) -> bool {
    packet.windows(marker.len()).any(|window| window == marker)
}

/// Source, destination, protocol, destination port and UDP payload.
fn read(packet: &[u8]) -> (Ipv4Addr, Ipv4Addr, u8, u16, &[u8]) {
    let address = |at: usize| Ipv4Addr::new(packet[at], packet[at + 1], packet[at + 2], packet[at + 3]);
    (
        address(12),
        address(16),
        packet[9],
        u16::from_be_bytes([packet[22], packet[23]]),
        &packet[28..],
    )
}

/// Sends the marker both ways between two pods.
fn send_marker(lab: &Lab, from: usize, to: usize) {
    let socket = udp(lab.pod(from, 0).namespace());
    socket.connect(lab.server(to, 0)).expect("connected");
    socket.send(MARKER).expect("sent");
    socket.recv(&mut [0; 256]).expect("answered");
}

fn only_wireguard() {
    let lab = Lab::new();
    let capture = Capture::on_eth0(lab.node(INFRA_1).namespace());
    for to in [INFRA_2, APPS_1] {
        send_marker(&lab, INFRA_1, to);
        ask_tcp(lab.pod(to, 0).namespace(), lab.server(INFRA_1, 0)).expect("reachable");
        ping(lab.pod(INFRA_1, 0).namespace(), lab.pod(to, 0).address(), 56).expect("reachable");
    }
    let frames = capture.take();
    assert!(frames.len() > 20, "{} frames captured", frames.len());
    let mut data = 0;
    for frame in &frames {
        let (source, destination, protocol, port, payload) = read(frame);
        assert_eq!((protocol, port), (17, 51871), "{source} to {destination}");
        assert!(!contains(frame, MARKER), "the marker is visible");
        assert!(
            matches!(payload[..4], [1 | 2 | 4, 0, 0, 0]),
            "no WireGuard message: {:x?}",
            &payload[..4]
        );
        data += usize::from(payload[0] == 4);
    }
    assert!(data > 15, "{data} of {} are data", frames.len());
}

fn peers() {
    let lab = Lab::new();
    let peers = crate::fixture::wait(lab.node(INFRA_1).peers());
    assert_eq!(peers.len(), 2);
    for peer in &peers {
        assert_eq!(
            (peer.last_handshake, peer.rx_bytes, peer.tx_bytes),
            (None, 0, 0),
            "{}: unused",
            peer.node
        );
        assert_eq!(
            peer.allowed_ips,
            [lab.node(if *peer.node.as_str() == *"apps-1" {
                APPS_1
            } else {
                INFRA_2
            })
            .config()
            .address
            .into()]
        );
    }
    send_marker(&lab, INFRA_1, APPS_1);
    let peer = |from: usize, name: &str| {
        let peers = crate::fixture::wait(lab.node(from).peers());
        peers
            .into_iter()
            .find(|peer| *peer.node.as_str() == *name)
            .expect("a peer")
    };
    for peer in [peer(INFRA_1, "apps-1"), peer(APPS_1, "infra-1")] {
        let handshake = peer.last_handshake.expect("a handshake");
        let age = SystemTime::now().duration_since(handshake).unwrap_or_default();
        assert!(age < Duration::from_secs(5), "{}: {age:?}", peer.node);
        assert!(peer.rx_bytes > 100 && peer.tx_bytes > 100, "{peer:?}");
    }
    assert_eq!(
        peer(INFRA_1, "infra-2").last_handshake,
        None,
        "the other one is still unused"
    );
    let before = peer(INFRA_1, "apps-1").tx_bytes;
    for _ in 0..10 {
        send_marker(&lab, INFRA_1, APPS_1);
    }
    let volume = peer(INFRA_1, "apps-1").tx_bytes - before;
    assert!(
        volume >= 10 * (MARKER.len() as u64 + 28 + 50 + 32),
        "{volume} bytes for ten datagrams"
    );
}

fn vxlan_in_clear() {
    let lab = Lab::shaped(Shape {
        encryption: Encryption::None,
        ..Shape::default()
    });
    let capture = Capture::on_eth0(lab.node(INFRA_1).namespace());
    send_marker(&lab, INFRA_1, APPS_1);
    let frames = capture.take();
    assert_eq!(
        frames.iter().filter(|frame| contains(frame, MARKER)).count(),
        1,
        "the marker, once"
    );
    for frame in &frames {
        let (_, _, protocol, port, payload) = read(frame);
        assert_eq!((protocol, port), (17, 8472));
        let identity = u32::from_be_bytes([0, payload[4], payload[5], payload[6]]);
        assert_eq!(identity, 10_010, "the VNI is the sender's identity");
    }
    assert!(crate::fixture::wait(lab.node(INFRA_1).peers()).is_empty());
}

fn plaintext_peer() {
    let lab = Lab::new();
    send_marker(&lab, INFRA_1, APPS_1);
    let (from, to) = (Nodes::one("infra-1"), Nodes::one("apps-1"));
    let fault = lab.fabric.inject(Fault::Plaintext {
        from,
        to,
        traffic: Traffic::Protocol(Protocol::Udp),
    });
    let capture = Capture::on_eth0(lab.node(APPS_1).namespace());
    send_marker(&lab, INFRA_1, APPS_1);
    let frames = capture.take();
    assert_eq!(
        frames.iter().filter(|frame| contains(frame, MARKER)).count(),
        1,
        "one way unencrypted"
    );
    let (answered, ports) = (frames.iter().any(|frame| read(frame).3 == 51871), frames.len());
    assert!(answered, "the answer is encrypted ({ports} frames)");
    ask_tcp(lab.pod(INFRA_1, 0).namespace(), lab.server(APPS_1, 0)).expect("reachable");
    assert!(
        capture.take().iter().all(|frame| read(frame).3 == 51871),
        "TCP stays encrypted"
    );
    lab.fabric.heal(fault).expect("it was injected");
    send_marker(&lab, INFRA_1, APPS_1);
    assert!(!capture.take().iter().any(|frame| contains(frame, MARKER)), "healed");
}

fn peer_without_key() {
    let lab = Lab::new();
    let without_keys = |node: usize| {
        let mut peers: Vec<_> = lab.nodes.iter().map(|node| node.handle.as_peer()).collect();
        peers.retain(|peer| peer.node != lab.name(node));
        peers.iter_mut().for_each(|peer| peer.public_key = None);
        lab.node(node).set_peers(peers);
    };
    assert_eq!(lab.node(INFRA_1).config().strict_encryption, None);
    [INFRA_1, INFRA_2, APPS_1].into_iter().for_each(without_keys);
    let capture = Capture::on_eth0(lab.node(INFRA_1).namespace());
    send_marker(&lab, INFRA_1, APPS_1);
    assert!(
        capture.take().iter().any(|frame| contains(frame, MARKER)),
        "it leaks, as Cilium does"
    );
}

fn strict_mode() {
    let lab = Lab::shaped(Shape {
        strict_encryption: Some(CLUSTERS.parse().expect("a CIDR")),
        ..Shape::default()
    });
    let mut peers: Vec<_> = lab.nodes.iter().map(|node| node.handle.as_peer()).collect();
    peers.retain(|peer| peer.node != lab.name(INFRA_1));
    peers
        .iter_mut()
        .filter(|peer| peer.node == lab.name(APPS_1))
        .for_each(|peer| peer.public_key = None);
    lab.node(INFRA_1).set_peers(peers);
    let capture = Capture::on_eth0(lab.node(INFRA_1).namespace());
    let socket = udp(lab.pod(INFRA_1, 0).namespace());
    socket.connect(lab.server(APPS_1, 0)).expect("connected");
    socket.send(MARKER).expect("sent");
    assert!(is_silence(&socket.recv(&mut [0; 256]).expect_err("withheld")));
    assert!(capture.take().is_empty(), "nothing leaks");
    let counters = crate::fixture::wait(lab.node(INFRA_1).counters());
    assert_eq!(counters.dropped_for(DropReason::Unencrypted), 1, "{counters:?}");
    send_marker(&lab, INFRA_1, INFRA_2);
}

/// Whether what a pod sends to an address in the pods' range that no peer announces is seen between nodes.
fn leaks_to_nobody(lab: &Lab) -> bool {
    let capture = Capture::on_eth0(lab.node(INFRA_1).namespace());
    let socket = udp(lab.pod(INFRA_1, 0).namespace());
    socket.connect((Ipv4Addr::new(10, 244, 200, 7), 9)).expect("connected");
    socket.send(MARKER).expect("sent");
    assert!(is_silence(&socket.recv(&mut [0; 256]).expect_err("nobody is there")));
    capture.take().iter().any(|frame| contains(frame, MARKER))
}

fn nobodys_address() {
    assert!(leaks_to_nobody(&Lab::new()), "to Cilium it is an address outside");
    let strict = |range: &str| {
        Lab::shaped(Shape {
            strict_encryption: Some(range.parse().expect("a CIDR")),
            ..Shape::default()
        })
    };
    assert!(
        leaks_to_nobody(&strict("10.246.0.0/16")),
        "strict mode is for another range"
    );
    let lab = strict(CLUSTERS);
    assert!(!leaks_to_nobody(&lab));
    let counters = crate::fixture::wait(lab.node(INFRA_1).counters());
    assert_eq!(counters.dropped_for(DropReason::Unencrypted), 1, "{counters:?}");
    let nodes = Nodes::one(lab.name(INFRA_1));
    let fault = lab.fabric.inject(Fault::StrictIgnored { nodes });
    assert!(leaks_to_nobody(&lab), "the fault");
    lab.fabric.heal(fault).expect("it was injected");
    assert!(!leaks_to_nobody(&lab), "healed");
}

fn capture_control() {
    let lab = Lab::new();
    let capture = Capture::on_eth0(lab.node(INFRA_1).namespace());
    let socket = udp(lab.node(INFRA_1).namespace());
    socket
        .send_to(MARKER, (lab.node(APPS_1).config().address, 9))
        .expect("sent");
    assert!(
        capture.take().iter().any(|frame| contains(frame, MARKER)),
        "what a host sends unencrypted is seen"
    );
    let refused = ask_udp(
        lab.node(INFRA_1).namespace(),
        std::net::SocketAddrV4::new(lab.node(APPS_1).config().address, 9),
    );
    assert!(
        !is_silence(&refused.expect_err("nobody listens")),
        "the other host's stack refuses"
    );
}
