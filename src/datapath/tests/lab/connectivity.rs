//! Pods and nodes reach each other, on every kind of path, with their own addresses.

use crate::{
    fixture::{APPS_1, INFRA_1, INFRA_2, Lab, PORT, Shape, wait},
    probe::{self, ask_tcp, ask_udp, connect, echo, greeting, ping},
};
use meshproof_datapath::{Encryption, HostConfig, Routing};
use std::{
    net::{Ipv4Addr, SocketAddrV4},
    time::Duration,
};

pub const CASES: &[(&str, fn())] = &[
    ("connectivity::pods_reach_pods", pods_reach_pods),
    ("connectivity::in_every_mode", in_every_mode),
    ("connectivity::a_mebibyte_comes_back_whole", a_mebibyte_comes_back_whole),
    (
        "connectivity::large_datagrams_are_fragmented_and_put_together",
        large_datagrams,
    ),
    (
        "connectivity::pods_and_hosts_reach_each_other",
        pods_and_hosts_reach_each_other,
    ),
    ("connectivity::only_what_leaves_the_clusters_is_masqueraded", masquerade),
    ("connectivity::latency_between_clusters", latency_between_clusters),
    (
        "connectivity::a_removed_pod_is_silent_and_its_address_free",
        a_removed_pod,
    ),
];

/// Same node, other node, other cluster, in both directions.
const PATHS: [(usize, usize); 5] = [
    (INFRA_1, INFRA_1),
    (INFRA_1, INFRA_2),
    (INFRA_2, INFRA_1),
    (INFRA_1, APPS_1),
    (APPS_1, INFRA_1),
];

fn check_paths(lab: &Lab) {
    for (from, to) in PATHS {
        let (client, server) = (lab.pod(from, 0), lab.server(to, 1));
        let path = format!("{} to {}", lab.name(from), lab.name(to));
        let round_trip = ping(client.namespace(), *server.ip(), 56);
        assert!(round_trip.is_ok(), "{path}: ping: {round_trip:?}");
        for (how, answer) in [
            ("UDP", ask_udp(client.namespace(), server)),
            ("TCP", ask_tcp(client.namespace(), server)),
        ] {
            let (who, seen) = answer.unwrap_or_else(|error| panic!("{path}: {how}: {error}"));
            assert_eq!(who, server.ip().to_string(), "{path}: {how}: answered by the wrong pod");
            assert_eq!(
                seen.ip(),
                client.address(),
                "{path}: {how}: source address not preserved"
            );
        }
    }
}

fn pods_reach_pods() {
    let lab = Lab::new();
    check_paths(&lab);
    let refused = ask_tcp(
        lab.pod(INFRA_1, 0).namespace(),
        SocketAddrV4::new(*lab.server(APPS_1, 0).ip(), 81),
    );
    let error = refused.expect_err("nobody listens on port 81");
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionRefused);
    for node in &lab.nodes {
        let counters = wait(node.handle.counters());
        assert_eq!(
            counters.overruns,
            0,
            "{}: the lab itself lost packets",
            node.handle.name()
        );
        assert!(
            counters.dropped.is_empty(),
            "{}: {:?}",
            node.handle.name(),
            counters.dropped
        );
    }
}

fn in_every_mode() {
    for encryption in [Encryption::default(), Encryption::None] {
        for routing in [Routing::default(), Routing::Native] {
            check_paths(&Lab::shaped(Shape {
                encryption,
                routing,
                ..Shape::default()
            }));
        }
    }
}

fn a_mebibyte_comes_back_whole() {
    let lab = Lab::new();
    for (from, to) in PATHS {
        let mut stream = connect(lab.pod(from, 0).namespace(), lab.server(to, 1)).expect("connected");
        greeting(&mut stream).expect("greeted");
        for len in [1, 1400, 64 << 10, 1 << 20] {
            echo(&mut stream, len).unwrap_or_else(|error| panic!("{from} to {to}: {len} bytes: {error}"));
        }
    }
}

fn large_datagrams() {
    let lab = Lab::new();
    for to in [INFRA_1, APPS_1] {
        let socket = probe::udp(lab.pod(INFRA_1, 0).namespace());
        socket.connect(lab.server(to, 1)).expect("connected");
        socket.send(&vec![7; 60_000]).expect("sent");
        let answered = socket.recv(&mut [0; 256]);
        assert!(answered.is_ok(), "60,000 bytes to node {to}: {answered:?}");
    }
}

fn pods_and_hosts_reach_each_other() {
    let lab = Lab::new();
    for node in &lab.nodes {
        probe::serve(node.handle.namespace(), 4240, node.handle.name().to_string());
    }
    for (from, to) in PATHS {
        let (from_name, to_name) = (lab.name(from), lab.name(to));
        let host = SocketAddrV4::new(lab.node(to).config().address, 4240);
        let pod = lab.pod(from, 0).namespace();
        let (who, _) =
            ask_tcp(pod, host).unwrap_or_else(|error| panic!("pod on {from_name} to host {to_name}: {error}"));
        assert_eq!(who, to_name.as_str());
        ask_udp(pod, host).unwrap_or_else(|error| panic!("pod on {from_name} to host {to_name}: UDP: {error}"));
        ping(pod, *host.ip(), 56).unwrap_or_else(|error| panic!("pod on {from_name} pings host {to_name}: {error}"));

        let namespace = lab.node(from).namespace();
        let (_, seen) = ask_tcp(namespace, lab.server(to, 0))
            .unwrap_or_else(|error| panic!("host {from_name} to pod on {to_name}: {error}"));
        assert_eq!(
            seen.ip(),
            lab.node(from).config().router,
            "the host speaks from its router address"
        );
        ping(namespace, lab.pod(to, 0).address(), 56)
            .unwrap_or_else(|error| panic!("host {from_name} pings pod on {to_name}: {error}"));
        if from != to {
            ask_tcp(namespace, host).unwrap_or_else(|error| panic!("host {from_name} to host {to_name}: {error}"));
        }
    }
}

fn masquerade() {
    let lab = Lab::new();
    let address = Ipv4Addr::new(192, 168, 42, 7);
    let world = wait(lab.fabric.add_host(HostConfig {
        name: "world".into(),
        address,
        prefix_len: 24,
    }))
    .expect("a host");
    probe::serve(world.namespace(), PORT, "world".into());
    let to = SocketAddrV4::new(address, PORT);
    for answer in [
        ask_tcp(lab.pod(INFRA_1, 0).namespace(), to),
        ask_udp(lab.pod(INFRA_1, 1).namespace(), to),
    ] {
        let (who, seen) = answer.expect("the world answers");
        assert_eq!(who, "world");
        assert_eq!(
            seen.ip(),
            lab.node(INFRA_1).config().address,
            "the node's address, not the pod's"
        );
    }
    ping(lab.pod(INFRA_1, 0).namespace(), address, 56).expect("a pod pings the world");
    drop(world);
    let gone = ask_udp(lab.pod(INFRA_1, 0).namespace(), to).expect_err("the world is gone");
    assert!(probe::is_silence(&gone), "{gone}");
}

fn latency_between_clusters() {
    let latency = Duration::from_millis(3);
    let lab = Lab::shaped(Shape {
        latency,
        ..Shape::default()
    });
    let pod = lab.pod(INFRA_1, 0).namespace();
    ping(pod, lab.pod(APPS_1, 0).address(), 56).expect("the first ping makes the handshake");
    let best = |to| (0..20).filter_map(|_| ping(pod, to, 56).ok()).min().expect("an answer");
    let across = best(lab.pod(APPS_1, 0).address());
    assert!(
        (2 * latency..3 * latency).contains(&across),
        "6 ms and little more expected, {across:?} measured"
    );
    assert!(
        best(lab.pod(INFRA_2, 0).address()) < latency,
        "no latency within the cluster"
    );
}

fn a_removed_pod() {
    let lab = Lab::new();
    let (client, server) = (lab.pod(INFRA_1, 0), lab.server(INFRA_2, 1));
    ask_tcp(client.namespace(), server).expect("reachable");
    wait(lab.node(INFRA_2).remove_pod(*server.ip())).expect("removed");
    let silent = ask_tcp(client.namespace(), server).expect_err("removed");
    assert!(probe::is_silence(&silent), "{silent}");
    wait(lab.node(INFRA_2).remove_pod(*server.ip())).expect_err("removed already");
    let again = wait(crate::fixture::add_pod(lab.node(INFRA_2), *server.ip()));
    ask_tcp(client.namespace(), server).expect("a new pod at the old address");
    drop(again);
}
