//! Every fault has its effect, only where it should, and heals.

use crate::{
    fixture::{APPS_1, INFRA_1, INFRA_2, Lab, PORT, eventually, wait},
    probe::{ask_tcp, ask_udp, connect, echo, greeting, is_silence, ping, udp},
};
use meshproof_datapath::{
    Backend, Checksum, Direction, DropReason, Effect, Fault, FaultId, Frontend, Impairment, Nodes, Protocol, Service,
    ServiceOverride,
};
use std::{
    io::ErrorKind,
    net::{Ipv4Addr, SocketAddrV4},
    time::{Duration, Instant},
};

pub const CASES: &[(&str, fn())] = &[
    ("faults::a_blackhole_one_way", blackhole_one_way),
    ("faults::one_protocol_dropped", one_protocol_dropped),
    ("faults::a_cut_node", cut_node),
    ("faults::a_tunnel_down", tunnel_down),
    ("faults::a_wrong_key", wrong_key),
    ("faults::a_stale_handshake", stale_handshake),
    ("faults::masqueraded_sources", masqueraded_sources),
    ("faults::loss", loss),
    ("faults::latency", latency),
    ("faults::corruption", corruption),
    ("faults::duplication_and_reordering", duplication_and_reordering),
    ("faults::an_injected_reset", injected_reset),
    ("faults::one_pods_link", one_pods_link),
    ("faults::bent_services", bent_services),
];

fn pair() -> (Nodes, Nodes) {
    (Nodes::one("infra-1"), Nodes::one("apps-1"))
}

fn path(impairment: Impairment) -> Fault {
    let (from, to) = pair();
    Fault::Path { from, to, impairment }
}

fn heal(lab: &Lab, fault: FaultId) {
    lab.fabric.heal(fault).expect("it was injected");
    assert!(lab.fabric.faults().is_empty());
}

/// Whether the path between the pair works and the neighbour's does.
fn works(lab: &Lab) -> bool {
    ask_udp(lab.pod(INFRA_1, 0).namespace(), lab.server(INFRA_2, 0)).expect("the neighbour is not concerned");
    ask_udp(lab.pod(INFRA_1, 0).namespace(), lab.server(APPS_1, 0)).is_ok()
}

fn expect_silence(lab: &Lab, from: usize, to: usize) {
    let error = ask_tcp(lab.pod(from, 0).namespace(), lab.server(to, 0)).expect_err("a fault is injected");
    assert!(is_silence(&error), "{error}");
}

fn blackhole_one_way() {
    let lab = Lab::new();
    assert!(works(&lab));
    for fault in [
        path(Impairment::all(Effect::Drop)),
        Fault::Underlay {
            from: pair().0,
            to: pair().1,
            impairment: Impairment::all(Effect::Drop),
        },
    ] {
        let one_way = udp(lab.pod(APPS_1, 0).namespace());
        let id = lab.fabric.inject(fault);
        assert!(!works(&lab));
        expect_silence(&lab, INFRA_1, APPS_1);
        // The other direction still carries: apps' datagrams arrive, only the answers are lost.
        let sink = udp(lab.pod(INFRA_1, 0).namespace());
        let port = sink.local_addr().expect("bound").port();
        one_way
            .send_to(b"still there", (lab.pod(INFRA_1, 0).address(), port))
            .expect("sent");
        sink.recv(&mut [0; 64]).expect("one way carries");
        heal(&lab, id);
        assert!(works(&lab));
    }
}

fn one_protocol_dropped() {
    let lab = Lab::new();
    let (client, server) = (lab.pod(INFRA_1, 0).namespace(), lab.server(APPS_1, 0));
    for protocol in [Protocol::Tcp, Protocol::Udp, Protocol::Icmp] {
        let id = lab.fabric.inject(path(Impairment::of(protocol, Effect::Drop)));
        let outcomes = [
            (Protocol::Tcp, ask_tcp(client, server).is_ok()),
            (Protocol::Udp, ask_udp(client, server).is_ok()),
            (Protocol::Icmp, ping(client, *server.ip(), 56).is_ok()),
        ];
        for (tried, worked) in outcomes {
            assert_eq!(worked, tried != protocol, "{tried:?} with {protocol:?} dropped");
        }
        heal(&lab, id);
    }
    let counters = wait(lab.node(INFRA_1).counters());
    assert!(counters.dropped_for(DropReason::Fault) >= 3, "{:?}", counters.dropped);
}

fn cut_node() {
    let lab = Lab::new();
    assert!(works(&lab));
    let id = lab.fabric.inject(Fault::Cut { node: lab.name(APPS_1) });
    expect_silence(&lab, INFRA_1, APPS_1);
    expect_silence(&lab, APPS_1, INFRA_2);
    ask_tcp(lab.pod(APPS_1, 0).namespace(), lab.server(APPS_1, 1)).expect("within the node nothing is cut");
    ping(lab.node(INFRA_1).namespace(), lab.node(APPS_1).config().address, 56).expect_err("the node itself is cut off");
    heal(&lab, id);
    assert!(works(&lab));
}

fn tunnel_down() {
    let lab = Lab::new();
    let (from, to) = pair();
    let id = lab.fabric.inject(Fault::TunnelDown { from, to });
    expect_silence(&lab, INFRA_1, APPS_1);
    let peers = wait(lab.node(INFRA_1).peers());
    let handshake = peers
        .iter()
        .find(|peer| *peer.node.as_str() == *"apps-1")
        .expect("a peer")
        .last_handshake;
    assert_eq!(handshake, None, "no handshake passes");
    ping(lab.node(INFRA_1).namespace(), lab.node(APPS_1).config().address, 56).expect("only the tunnel is down");
    heal(&lab, id);
    let start = Instant::now();
    assert!(works(&lab));
    assert!(
        start.elapsed() < Duration::from_secs(1),
        "a healed tunnel does not wait for WireGuard's next retry"
    );
}

fn wrong_key() {
    let lab = Lab::new();
    assert!(works(&lab));
    let id = lab.fabric.inject(Fault::WrongKey {
        node: Nodes::one("infra-1"),
        peer: lab.name(APPS_1),
    });
    expect_silence(&lab, INFRA_1, APPS_1);
    expect_silence(&lab, APPS_1, INFRA_1);
    let peers = wait(lab.node(INFRA_1).peers());
    let peer = peers
        .iter()
        .find(|peer| *peer.node.as_str() == *"apps-1")
        .expect("a peer");
    assert_ne!(peer.public_key, lab.node(APPS_1).public_key());
    assert_eq!(peer.last_handshake, None);
    heal(&lab, id);
    assert!(eventually(|| works(&lab)));
    ask_tcp(lab.pod(APPS_1, 0).namespace(), lab.server(INFRA_1, 0)).expect("the other way too");
}

fn stale_handshake() {
    let lab = Lab::new();
    assert!(works(&lab));
    let age = Duration::from_secs(600);
    let id = lab.fabric.inject(Fault::StaleHandshake {
        node: Nodes::one("infra-1"),
        peer: lab.name(APPS_1),
        age,
    });
    let ages = || -> Vec<Duration> {
        let peers = wait(lab.node(INFRA_1).peers());
        peers
            .iter()
            .map(|peer| peer.last_handshake.expect("used").elapsed().unwrap_or_default())
            .collect()
    };
    assert_eq!(ages().iter().filter(|shown| **shown >= age).count(), 1, "{:?}", ages());
    assert!(works(&lab), "traffic goes on");
    heal(&lab, id);
    assert!(ages().iter().all(|shown| *shown < age), "{:?}", ages());
}

fn masqueraded_sources() {
    let lab = Lab::new();
    let (from, to) = pair();
    let id = lab.fabric.inject(Fault::Masquerade { from, to });
    let client = lab.pod(INFRA_1, 0);
    for ask in [ask_tcp, ask_udp] {
        let (_, seen) = ask(client.namespace(), lab.server(APPS_1, 0)).expect("reachable");
        assert_eq!(seen.ip(), lab.node(INFRA_1).config().router, "masqueraded");
        let (_, seen) = ask(client.namespace(), lab.server(INFRA_2, 0)).expect("reachable");
        assert_eq!(seen.ip(), client.address(), "only to apps-1");
    }
    ping(client.namespace(), lab.pod(APPS_1, 0).address(), 56).expect("reachable");
    heal(&lab, id);
    let (_, seen) = ask_tcp(client.namespace(), lab.server(APPS_1, 0)).expect("reachable");
    assert_eq!(seen.ip(), client.address(), "healed");
}

fn loss() {
    let lab = Lab::new();
    assert!(works(&lab));
    let id = lab.fabric.inject(path(Impairment::all(Effect::Loss(0.2))));
    let socket = udp(lab.pod(INFRA_1, 0).namespace());
    socket
        .set_read_timeout(Some(Duration::from_millis(20)))
        .expect("a timeout");
    socket.connect(lab.server(APPS_1, 0)).expect("connected");
    let lost = (0..300)
        .filter(|_| {
            socket.send(b"x").expect("sent");
            socket.recv(&mut [0; 64]).is_err()
        })
        .count();
    assert!((30..100).contains(&lost), "20 % of 300 expected, {lost} lost");
    heal(&lab, id);
}

fn latency() {
    let lab = Lab::new();
    assert!(works(&lab));
    let (client, to) = (lab.pod(INFRA_1, 0).namespace(), lab.pod(APPS_1, 0).address());
    let delay = Duration::from_millis(50);
    let (from, to_nodes) = pair();
    let on_the_wire = Fault::Underlay {
        from,
        to: to_nodes,
        impairment: Impairment::all(Effect::Delay(delay)),
    };
    for fault in [on_the_wire, path(Impairment::all(Effect::Delay(delay)))] {
        let id = lab.fabric.inject(fault);
        // The best of three: the machine may be busy with something else.
        let slow = (0..3)
            .filter_map(|_| ping(client, to, 56).ok())
            .min()
            .expect("an answer");
        assert!((delay..delay * 2).contains(&slow), "50 ms one way, {slow:?} measured");
        heal(&lab, id);
        let quick = (0..5)
            .filter_map(|_| ping(client, to, 56).ok())
            .min()
            .expect("an answer");
        assert!(quick < delay / 2, "{quick:?} after healing");
    }
}

fn corruption() {
    let lab = Lab::new();
    let (client, server) = (lab.pod(INFRA_1, 0).namespace(), lab.server(APPS_1, 0));
    let corrupt = |checksum| path(Impairment::of(Protocol::Tcp, Effect::Corrupt { share: 1.0, checksum }));
    let mut stream = connect(client, server).expect("connected");
    greeting(&mut stream).expect("greeted");
    let id = lab.fabric.inject(corrupt(Checksum::Recomputed));
    let wrong = echo(&mut stream, 100).expect_err("every segment is corrupted");
    assert_eq!(wrong.to_string(), "the echo differs");
    heal(&lab, id);
    let mut stream = connect(client, server).expect("connected");
    greeting(&mut stream).expect("greeted");
    let id = lab.fabric.inject(corrupt(Checksum::Stale));
    let stuck = echo(&mut stream, 100).expect_err("the kernel discards every segment");
    assert!(is_silence(&stuck), "{stuck}");
    heal(&lab, id);
}

fn duplication_and_reordering() {
    let lab = Lab::new();
    assert!(works(&lab));
    let sink = udp(lab.pod(APPS_1, 0).namespace());
    let to = SocketAddrV4::new(lab.pod(APPS_1, 0).address(), sink.local_addr().expect("bound").port());
    let socket = udp(lab.pod(INFRA_1, 0).namespace());
    socket.connect(to).expect("connected");
    let receive = || {
        let mut byte = [0];
        sink.recv(&mut byte).map(|_| byte[0])
    };
    let id = lab.fabric.inject(path(Impairment::all(Effect::Duplicate(1.0))));
    socket.send(&[1]).expect("sent");
    assert_eq!((receive().expect("once"), receive().expect("twice")), (1, 1));
    heal(&lab, id);
    let by = Duration::from_millis(30);
    let id = lab
        .fabric
        .inject(path(Impairment::all(Effect::Reorder { share: 1.0, by })));
    socket.send(&[2]).expect("sent");
    // The first packet must be on its way before the fault is healed: its path has none of its own to wait for.
    assert!(eventually(|| wait(lab.node(INFRA_1).counters())
        .forwarded
        .values()
        .sum::<u64>()
        >= 3));
    heal(&lab, id);
    socket.send(&[3]).expect("sent");
    let order = (receive().expect("one"), receive().expect("another"));
    assert!(order == (3, 2) || order == (2, 3), "both arrive: {order:?}");
}

fn injected_reset() {
    let lab = Lab::new();
    let mut stream = connect(lab.pod(INFRA_1, 0).namespace(), lab.server(APPS_1, 0)).expect("connected");
    greeting(&mut stream).expect("greeted");
    let id = lab.fabric.inject(path(Impairment::all(Effect::Reset)));
    let reset = echo(&mut stream, 100).expect_err("reset");
    assert_eq!(reset.kind(), ErrorKind::ConnectionReset);
    heal(&lab, id);
    ask_tcp(lab.pod(INFRA_1, 0).namespace(), lab.server(APPS_1, 0)).expect("new connections work");
}

fn one_pods_link() {
    let lab = Lab::new();
    let address = lab.pod(INFRA_1, 0).address();
    for direction in [Direction::Ingress, Direction::Egress] {
        let id = lab.fabric.inject(Fault::Endpoint {
            address,
            direction,
            impairment: Impairment::all(Effect::Drop),
        });
        expect_silence(&lab, INFRA_1, APPS_1);
        ask_tcp(lab.pod(INFRA_1, 1).namespace(), lab.server(APPS_1, 0)).expect("its neighbour is not concerned");
        heal(&lab, id);
        ask_tcp(lab.pod(INFRA_1, 0).namespace(), lab.server(APPS_1, 0)).expect("healed");
    }
}

fn bent_services() {
    let lab = Lab::new();
    let vip = Ipv4Addr::new(10, 96, 0, 10);
    let backends = [(INFRA_2, 0), (APPS_1, 0)].map(|(node, pod)| Backend::active(lab.pod(node, pod).address(), PORT));
    for node in &lab.nodes {
        node.handle.set_services(vec![Service::new(
            "demo/echo",
            Frontend::tcp(vip, 80),
            backends.to_vec(),
        )]);
    }
    let asked = |node: usize| -> Vec<String> {
        let ask = || {
            ask_tcp(lab.pod(node, 0).namespace(), SocketAddrV4::new(vip, 80))
                .expect("an answer")
                .0
        };
        let mut answered: Vec<String> = (0..30).map(|_| ask()).collect();
        answered.sort_unstable();
        answered.dedup();
        answered
    };
    let bend = |change| {
        lab.fabric.inject(Fault::Service {
            nodes: Nodes::one("infra-1"),
            service: "demo/echo".into(),
            change,
        })
    };
    for (change, expected) in [
        (ServiceOverride::Pinned(backends[0].address), backends[0]),
        (ServiceOverride::Ignored(backends[0].address), backends[1]),
    ] {
        let id = bend(change);
        assert_eq!(asked(INFRA_1), [expected.address.ip().to_string()]);
        assert_eq!(asked(APPS_1).len(), 2, "only infra-1 is concerned");
        heal(&lab, id);
        assert_eq!(asked(INFRA_1).len(), 2);
    }
}
