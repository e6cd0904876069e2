//! Policy at the hook point: denied flows vanish, redirected ones go through a proxy that speaks for its client.

use crate::{
    fixture::{APPS_1, INFRA_1, INFRA_2, Lab, eventually, wait},
    probe::{ask_tcp, ask_udp, connect as open, greeting, is_silence, ping},
};
use meshproof_datapath::{
    Direction, DropReason, FlowQuery, FlowVerdict, NodeHandle, Observation, Policy, Protocol, ProxyPort, Verdict,
    netns::Namespace, switch::Upstream,
};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrIn, bind, connect, getsockname, socket};
use std::{
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, TcpStream},
    os::fd::AsRawFd,
};

pub const CASES: &[(&str, fn())] = &[
    ("policy::a_denied_flow_vanishes_on_either_side", denied),
    ("policy::an_open_connection_is_stopped_by_a_new_policy", stopped),
    ("policy::a_proxy_in_between_is_seen_by_neither_side", proxied),
];

/// Decides alike about every TCP flow in one direction.
struct Tcp(Direction, Verdict);

impl Policy for Tcp {
    fn verdict(&mut self, query: &FlowQuery) -> Verdict {
        if query.protocol == Protocol::Tcp && query.direction == self.0 {
            self.1
        } else {
            Verdict::Allow
        }
    }
}

const DENIED: Verdict = Verdict::Deny(DropReason::PolicyDenied);

fn denied() {
    let lab = Lab::new();
    let (client, server) = (lab.pod(INFRA_1, 0).namespace(), lab.server(APPS_1, 0));
    for (node, direction) in [(INFRA_1, Direction::Egress), (APPS_1, Direction::Ingress)] {
        ask_tcp(client, server).expect("open before");
        lab.node(node).set_policy(Box::new(Tcp(direction, DENIED)));
        let silent = ask_tcp(client, server).expect_err("denied");
        assert!(is_silence(&silent), "{silent}");
        ask_udp(client, server).expect("only TCP is denied");
        ping(client, *server.ip(), 56).expect("only TCP is denied");
        let flows = wait(lab.node(node).flows(0));
        let drops: Vec<_> = flows
            .iter()
            .filter(|flow| flow.observation == Observation::Drop)
            .collect();
        assert!(!drops.is_empty(), "a drop is remembered");
        for drop in drops {
            assert_eq!(drop.verdict, FlowVerdict::Dropped(DropReason::PolicyDenied));
            assert_eq!(
                (drop.source.address, drop.destination.address),
                (lab.pod(INFRA_1, 0).address(), *server.ip())
            );
        }
        lab.node(node).set_policy(Box::new(meshproof_datapath::AllowAll));
    }
    ask_tcp(client, server).expect("open again");
}

fn stopped() {
    let lab = Lab::new();
    let mut stream = open(lab.pod(INFRA_1, 0).namespace(), lab.server(APPS_1, 0)).expect("connected");
    greeting(&mut stream).expect("greeted");
    lab.node(APPS_1).set_policy(Box::new(Tcp(Direction::Ingress, DENIED)));
    stream.write_all(b"still there?").expect("sent");
    let silent = stream.read_exact(&mut [0; 12]).expect_err("stopped");
    assert!(is_silence(&silent), "{silent}");
}

const PROXY: ProxyPort = ProxyPort(10_001);

/// Accepts connections in the node's namespace and passes them on in their clients' names.
fn serve_proxy(node: NodeHandle, after: Direction) {
    let listener = node
        .namespace()
        .within(|| TcpListener::bind((Ipv4Addr::UNSPECIFIED, PROXY.0)));
    let listener = listener.expect("inside").expect("bound");
    std::thread::spawn(move || {
        while let Ok((mut stream, SocketAddr::V4(client))) = listener.accept() {
            let flow = wait(node.proxied_flow(Protocol::Tcp, client, PROXY)).expect("a redirected flow");
            let mut upstream = connect_for(&node, Upstream { client, after }, flow.destination);
            std::thread::spawn(move || {
                let mut line = Vec::new();
                let mut byte = [0];
                while upstream.read(&mut byte).is_ok_and(|len| len == 1) && byte[0] != b'\n' {
                    line.push(byte[0]);
                }
                line.push(b'\n');
                stream.write_all(&line)
            });
        }
    });
}

fn connect_for(node: &NodeHandle, upstream: Upstream, to: SocketAddrV4) -> TcpStream {
    let inside = |namespace: &Namespace| {
        namespace.within(|| socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, None))
    };
    let socket = inside(node.namespace()).expect("inside").expect("a socket");
    let local = SockaddrIn::from(SocketAddrV4::new(node.config().router, 0));
    bind(socket.as_raw_fd(), &local).expect("bound");
    let local: SockaddrIn = getsockname(socket.as_raw_fd()).expect("bound");
    wait(node.impersonate(Protocol::Tcp, local.into(), upstream));
    connect(socket.as_raw_fd(), &SockaddrIn::from(to)).expect("connected");
    TcpStream::from(socket)
}

fn proxied() {
    for (direction, node) in [(Direction::Egress, INFRA_1), (Direction::Ingress, APPS_1)] {
        let lab = Lab::new();
        serve_proxy(lab.node(node).clone(), direction);
        lab.node(node)
            .set_policy(Box::new(Tcp(direction, Verdict::Redirect(PROXY))));
        let client = lab.pod(INFRA_1, 0);
        let (who, seen) = ask_tcp(client.namespace(), lab.server(APPS_1, 0)).expect("through the proxy");
        assert_eq!(who, lab.pod(APPS_1, 0).address().to_string());
        assert_eq!(seen.ip(), client.address(), "{direction:?}: the server sees the client");
        let redirected = || {
            let flows = wait(lab.node(node).flows(0));
            flows.iter().any(|flow| flow.verdict == FlowVerdict::Redirected(PROXY))
        };
        assert!(eventually(redirected), "{direction:?}: the redirection is remembered");
        ask_udp(client.namespace(), lab.server(INFRA_2, 0)).expect("UDP is not redirected");
    }
}
