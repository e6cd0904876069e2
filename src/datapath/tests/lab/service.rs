//! Services: cluster IPs, NodePorts, choice of backends, refusal, and flows that stay where they are.

use crate::{
    fixture::{APPS_1, INFRA_1, INFRA_2, Lab, PORT, wait},
    probe::{self, ask_tcp, ask_udp, connect, echo, greeting, ping},
};
use meshproof_datapath::{
    Affinity, Algorithm, Backend, BackendState, DropReason, Frontend, HostConfig, NoBackend, Protocol, Service,
};
use std::{
    collections::BTreeSet,
    io::ErrorKind,
    net::{Ipv4Addr, SocketAddrV4},
};

pub const CASES: &[(&str, fn())] = &[
    ("service::every_backend_answers_over_tcp_and_udp", every_backend_answers),
    ("service::a_pod_reaches_itself", a_pod_reaches_itself),
    ("service::hosts_reach_services_and_services_reach_hosts", hosts),
    ("service::node_ports", node_ports),
    ("service::a_port_of_one_node_leads_to_its_pod", at_one_node),
    ("service::without_backends_it_refuses_or_is_silent", without_backends),
    ("service::affinity_and_maglev", affinity_and_maglev),
    (
        "service::connections_outlive_a_terminating_backend_and_not_a_removed_one",
        terminating,
    ),
    (
        "service::an_unanswered_udp_port_behind_a_service_is_refused",
        refused_udp,
    ),
    (
        "service::source_ports_are_shared_without_confusion",
        shared_source_ports,
    ),
];

const VIP: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 10);

fn backend(lab: &Lab, node: usize, pod: usize) -> Backend {
    Backend::active(lab.pod(node, pod).address(), PORT)
}

fn echo_services(backends: &[Backend]) -> Vec<Service> {
    vec![
        Service::new("demo/echo", Frontend::tcp(VIP, 80), backends.to_vec()),
        Service::new("demo/echo", Frontend::udp(VIP, 80), backends.to_vec()),
    ]
}

fn set(lab: &Lab, services: Vec<Service>) {
    for node in &lab.nodes {
        node.handle.set_services(services.clone());
    }
}

fn vip(port: u16) -> SocketAddrV4 {
    SocketAddrV4::new(VIP, port)
}

fn every_backend_answers() {
    let lab = Lab::new();
    let backends = [
        backend(&lab, INFRA_1, 1),
        backend(&lab, INFRA_2, 0),
        backend(&lab, APPS_1, 0),
    ];
    set(&lab, echo_services(&backends));
    let expected: BTreeSet<String> = backends
        .iter()
        .map(|backend| backend.address.ip().to_string())
        .collect();
    for client in [lab.pod(INFRA_1, 0), lab.pod(APPS_1, 1)] {
        for (how, ask) in [("TCP", ask_tcp as fn(_, _) -> _), ("UDP", ask_udp)] {
            let mut answered = BTreeSet::new();
            for _ in 0..60 {
                let (who, seen) = ask(client.namespace(), vip(80)).unwrap_or_else(|error| panic!("{how}: {error}"));
                assert_eq!(seen.ip(), client.address(), "{how}: source address not preserved");
                answered.insert(who);
            }
            assert_eq!(answered, expected, "{how}: all backends and nobody else");
        }
    }
    let mut stream = connect(lab.pod(INFRA_1, 0).namespace(), vip(80)).expect("connected");
    greeting(&mut stream).expect("greeted");
    echo(&mut stream, 1 << 20).expect("a mebibyte through the service");
    let other_port = ask_tcp(lab.pod(INFRA_1, 0).namespace(), vip(81)).expect_err("no such service port");
    assert!(probe::is_silence(&other_port), "{other_port}");
}

fn a_pod_reaches_itself() {
    let lab = Lab::new();
    set(&lab, echo_services(&[backend(&lab, INFRA_1, 0)]));
    for answer in [
        ask_tcp(lab.pod(INFRA_1, 0).namespace(), vip(80)),
        ask_udp(lab.pod(INFRA_1, 0).namespace(), vip(80)),
    ] {
        let (who, seen) = answer.expect("it answers itself");
        assert_eq!(who, lab.pod(INFRA_1, 0).address().to_string());
        assert_eq!(
            seen.ip(),
            Ipv4Addr::new(169, 254, 42, 1),
            "as Cilium's service loopback address"
        );
    }
}

fn hosts() {
    let lab = Lab::new();
    let host = lab.node(INFRA_2);
    probe::serve(host.namespace(), 6443, "api".into());
    let mut services = echo_services(&[backend(&lab, APPS_1, 0)]);
    let api = Backend::active(host.config().address, 6443);
    services.push(Service::new("default/kubernetes", Frontend::tcp(VIP, 443), vec![api]));
    set(&lab, services);
    for node in [INFRA_1, INFRA_2, APPS_1] {
        let name = lab.name(node);
        for client in [lab.node(node).namespace(), lab.pod(node, 0).namespace()] {
            let answer = ask_tcp(client, vip(80));
            answer.unwrap_or_else(|error| panic!("{name}: to a pod through the service: {error}"));
            let answer = ask_tcp(client, vip(443));
            let (who, _) = answer.unwrap_or_else(|error| panic!("{name}: to a host through the service: {error}"));
            assert_eq!(who, "api");
        }
    }
}

fn node_ports() {
    let lab = Lab::new();
    let backends = [backend(&lab, INFRA_1, 0), backend(&lab, APPS_1, 0)];
    let port = |protocol| Frontend::NodePort { port: 30080, protocol };
    let services = [Protocol::Tcp, Protocol::Udp].map(|p| Service::new("demo/echo", port(p), backends.to_vec()));
    set(&lab, services.to_vec());
    let world = HostConfig {
        name: "world".into(),
        address: Ipv4Addr::new(192, 168, 42, 7),
        prefix_len: 24,
    };
    let world = wait(lab.fabric.add_host(world)).expect("a host");
    for node in [INFRA_1, INFRA_2, APPS_1] {
        let to = SocketAddrV4::new(lab.node(node).config().address, 30080);
        for client in [world.namespace(), lab.pod(INFRA_2, 1).namespace()] {
            let mut answered = BTreeSet::new();
            for _ in 0..30 {
                answered.insert(
                    ask_tcp(client, to)
                        .unwrap_or_else(|error| panic!("{to}: TCP: {error}"))
                        .0,
                );
                answered.insert(
                    ask_udp(client, to)
                        .unwrap_or_else(|error| panic!("{to}: UDP: {error}"))
                        .0,
                );
            }
            assert_eq!(answered.len(), 2, "both backends behind {to}: {answered:?}");
        }
    }
    let closed = SocketAddrV4::new(lab.node(INFRA_1).config().address, 30081);
    let refused = ask_tcp(world.namespace(), closed).expect_err("no such NodePort");
    assert_eq!(
        refused.kind(),
        ErrorKind::ConnectionRefused,
        "the host's own stack refuses"
    );
}

fn at_one_node() {
    let lab = Lab::new();
    let served = lab.node(INFRA_2);
    let (at, pod) = (
        SocketAddrV4::new(served.config().address, 27080),
        backend(&lab, INFRA_2, 0),
    );
    let service = |frontend| Service::new("demo/web:host-port", frontend, vec![pod]);
    served.set_services(vec![
        service(Frontend::tcp(*at.ip(), at.port())),
        service(Frontend::udp(*at.ip(), at.port())),
    ]);
    let clients = [
        lab.pod(INFRA_2, 1).namespace(),
        lab.pod(INFRA_1, 0).namespace(),
        lab.node(INFRA_1).namespace(),
        lab.node(APPS_1).namespace(),
    ];
    for client in clients {
        for answer in [ask_tcp(client, at), ask_udp(client, at)] {
            let (who, _) = answer.expect("the pod answers at its node's address");
            assert_eq!(who, pod.address.ip().to_string());
        }
    }
    let other = SocketAddrV4::new(lab.node(INFRA_1).config().address, at.port());
    ask_tcp(lab.pod(INFRA_2, 1).namespace(), other).expect_err("no other node serves it");
}

fn without_backends() {
    let lab = Lab::new();
    let mut services = echo_services(&[]);
    services.push(Service {
        no_backend: NoBackend::Drop,
        ..Service::new("demo/mute", Frontend::tcp(VIP, 81), vec![])
    });
    set(&lab, services);
    for client in [lab.pod(INFRA_1, 0).namespace(), lab.node(INFRA_1).namespace()] {
        for answer in [ask_tcp(client, vip(80)), ask_udp(client, vip(80))] {
            assert_eq!(answer.expect_err("nobody there").kind(), ErrorKind::ConnectionRefused);
        }
        let silent = ask_tcp(client, vip(81)).expect_err("nobody there");
        assert!(probe::is_silence(&silent), "{silent}");
    }
    let counters = wait(lab.node(INFRA_1).counters());
    assert!(
        counters.dropped_for(DropReason::ServiceBackendNotFound) >= 6,
        "{:?}",
        counters.dropped
    );
}

fn affinity_and_maglev() {
    let lab = Lab::new();
    let backends = [
        backend(&lab, INFRA_1, 1),
        backend(&lab, INFRA_2, 0),
        backend(&lab, APPS_1, 0),
    ];
    let mut services = echo_services(&backends);
    for service in &mut services {
        service.affinity = Affinity::ClientIp {
            timeout: std::time::Duration::from_secs(600),
        };
        service.algorithm = Algorithm::Maglev { table_size: 251 };
    }
    set(&lab, services.clone());
    let ask = |_| ask_tcp(lab.pod(INFRA_1, 0).namespace(), vip(80)).expect("an answer").0;
    let sticky: BTreeSet<String> = (0..20).map(ask).collect();
    assert_eq!(sticky.len(), 1, "one backend for one client: {sticky:?}");
    services
        .iter_mut()
        .for_each(|service| service.affinity = Affinity::None);
    set(&lab, services);
    let spread: BTreeSet<String> = (0..60).map(ask).collect();
    assert_eq!(spread.len(), 3, "Maglev spreads by the five-tuple: {spread:?}");
}

fn terminating() {
    let lab = Lab::new();
    let (leaving, staying) = (backend(&lab, INFRA_2, 0), backend(&lab, APPS_1, 0));
    set(&lab, echo_services(&[leaving]));
    let client = lab.pod(INFRA_1, 0).namespace();
    let mut stream = connect(client, vip(80)).expect("connected");
    greeting(&mut stream).expect("greeted");
    let socket = probe::udp(client);
    let (who, _) = probe::ask_from(&socket, vip(80)).expect("an answer");
    assert_eq!(who, leaving.address.ip().to_string());

    set(
        &lab,
        echo_services(&[
            Backend {
                state: BackendState::Terminating,
                ..leaving
            },
            staying,
        ]),
    );
    echo(&mut stream, 1000).expect("established connections go on");
    for _ in 0..20 {
        let (who, _) = ask_tcp(client, vip(80)).expect("an answer");
        assert_eq!(who, staying.address.ip().to_string(), "new connections go elsewhere");
    }
    set(&lab, echo_services(&[staying]));
    echo(&mut stream, 1000).expect_err("its backend is gone");
    let (who, _) = probe::ask_from(&socket, vip(80)).expect("an answer");
    assert_eq!(
        who,
        staying.address.ip().to_string(),
        "a UDP flow is given another backend"
    );
}

fn refused_udp() {
    let lab = Lab::new();
    let closed = Backend::active(lab.pod(APPS_1, 0).address(), 9);
    set(
        &lab,
        vec![Service::new("demo/closed", Frontend::udp(VIP, 9), vec![closed])],
    );
    let refused = ask_udp(lab.pod(INFRA_1, 0).namespace(), vip(9)).expect_err("nobody listens");
    assert_eq!(
        refused.kind(),
        ErrorKind::ConnectionRefused,
        "the ICMP error is translated back"
    );
    let direct = ask_udp(lab.pod(INFRA_1, 0).namespace(), closed.address).expect_err("nobody listens");
    assert_eq!(direct.kind(), ErrorKind::ConnectionRefused);
    ping(lab.pod(INFRA_1, 0).namespace(), lab.pod(APPS_1, 0).address(), 56).expect("the pod itself is there");
}

/// One socket asks a backend directly and through the service: the two flows would have the same answers.
fn shared_source_ports() {
    let lab = Lab::new();
    let backend = backend(&lab, APPS_1, 0);
    set(&lab, echo_services(&[backend]));
    let socket = probe::udp(lab.pod(INFRA_1, 0).namespace());
    for _ in 0..3 {
        for to in [backend.address, vip(80)] {
            socket.send_to(b"who are you?", to).expect("sent");
            let (_, from) = socket.recv_from(&mut [0; 256]).expect("an answer");
            assert_eq!(from, to.into(), "the answer comes from whom was asked");
        }
    }
}
