//! Backends chosen at the socket, and answers that go straight to the client.

use super::net::{Net, VIP, answer, assert_checksums, at, node_address, pod, segment, service, udp};
use crate::{
    config::{Dispatch, NodeConfig, RefusedCall, Routing},
    packet::tcp,
    service::{Backend, Frontend, Protocol, Service},
    switch::{Source, Target},
};

fn by_socket(config: &mut NodeConfig) {
    config.socket_balancing = Some(RefusedCall::NotPermitted);
}

#[test]
fn a_connection_stays_with_a_backend_that_has_gone() {
    let client = at(pod(0, 0), 40_000);
    for (shape, keeps) in [(by_socket as fn(&mut NodeConfig), true), (|_| {}, false)] {
        let mut net = Net::shaped(shape);
        net.set_services(&[service(Protocol::Tcp, &[pod(1, 0)])]);
        let arrival = net.send(*client.ip(), &segment(client, at(VIP, 80), tcp::SYN));
        net.carry(1, Source::Pod(pod(1, 0)), &answer(&arrival));
        net.set_services(&[service(Protocol::Tcp, &[pod(1, 1)])]);
        let later = net.send(*client.ip(), &segment(client, at(VIP, 80), tcp::ACK));
        assert_eq!(later.target == Target::Pod(pod(1, 0)), keeps, "{later:?}");
    }
}

#[test]
fn datagrams_without_a_backend_are_orphans_once() {
    let client = at(pod(0, 0), 40_000);
    let mut net = Net::shaped(by_socket);
    net.set_services(&[service(Protocol::Udp, &[pod(1, 0)])]);
    net.send(*client.ip(), &udp(client, at(VIP, 80)));
    assert_eq!(net.switches[0].take_orphans(), []);
    net.set_services(&[service(Protocol::Udp, &[])]);
    let orphans = net.switches[0].take_orphans();
    assert_eq!(
        orphans.iter().map(|o| (o.from, o.to)).collect::<Vec<_>>(),
        [(client, at(VIP, 80))]
    );
    assert_eq!(net.switches[0].take_orphans(), []);
    assert!(
        net.switches[0]
            .unserved()
            .addresses
            .contains(&(Protocol::Udp, at(VIP, 80)))
    );
}

#[test]
fn with_dsr_the_backends_node_answers_in_the_name_of_the_node_that_was_asked() {
    let mut net = Net::shaped(|config| {
        config.routing = Routing::Native;
        config.dispatch = Dispatch::Dsr;
    });
    let protocol = Protocol::Udp;
    let frontend = Frontend::NodePort { port: 30_080, protocol };
    net.set_services(&[Service::new(
        "demo/echo",
        frontend,
        vec![Backend::active(pod(1, 0), 8080)],
    )]);
    let (client, asked) = (at([192, 0, 2, 7].into(), 40_000), at(node_address(0), 30_080));
    let mut passed_on = net.carry(0, Source::Wire, &udp(client, asked));
    let passed_on = passed_on.remove(0);
    assert_eq!(
        (passed_on.node, passed_on.target),
        (0, Target::Wire),
        "past the encryption"
    );
    assert_eq!(passed_on.headers().tuple.source, client);
    assert_eq!(passed_on.headers().header_len, 28);
    assert_checksums(passed_on.packet.bytes());
    let arrival = net.carry(1, Source::Wire, passed_on.packet.bytes()).remove(0);
    assert_eq!(arrival.target, Target::Pod(pod(1, 0)));
    assert_eq!(arrival.headers().header_len, 20);
    let answered = net.carry(1, Source::Pod(pod(1, 0)), &answer(&arrival)).remove(0);
    assert_eq!(answered.target, Target::Wire);
    assert_eq!(
        (answered.headers().tuple.source, answered.headers().tuple.destination),
        (asked, client)
    );
    assert_checksums(answered.packet.bytes());
}
