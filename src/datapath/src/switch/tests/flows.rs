//! Single flows: set-up, translation, fragments, faults, and what is remembered of them.

use super::net::{Net, VIP, answer, assert_checksums, at, node_address, pod, segment, service, udp};
use crate::{
    config::{NodeConfig, PodConfig},
    fault::{Effect, Fault, FaultId, Impairment, Nodes},
    flow::{Direction, DropReason},
    identity::Identity,
    packet::{Headers, Packet, Tuple, fix_checksums, fragment, tcp},
    service::{Affinity, Protocol, Service, ServiceOverride},
    switch::{Source, Switch, TRANSLATED_PORTS, Target},
};
use etherparse::PacketBuilder;
use std::{
    net::Ipv4Addr,
    time::{Duration, Instant},
};

#[test]
fn a_new_syn_on_a_closed_connection_is_a_new_flow() {
    let mut net = Net::new();
    net.set_services(&[service(Protocol::Tcp, &[pod(1, 1)])]);
    let (client, to) = (at(pod(0, 0), 1000), at(VIP, 80));
    let opened = net.send(*client.ip(), &segment(client, to, tcp::SYN));
    net.send(pod(1, 1), &answer(&opened));
    net.set_services(&[service(Protocol::Tcp, &[pod(1, 1), pod(1, 2)])]);
    net.switches[0].set_faults(&[(
        FaultId(1),
        Fault::Service {
            nodes: Nodes::Any,
            service: "demo/echo".into(),
            change: ServiceOverride::Pinned(at(pod(1, 2), 8080)),
        },
    )]);
    let again = net.send(*client.ip(), &segment(client, to, tcp::ACK));
    assert_eq!(again.target, Target::Pod(pod(1, 1)), "the open connection stays");
    net.send(*client.ip(), &segment(client, to, tcp::RST));
    let reopened = net.send(*client.ip(), &segment(client, to, tcp::SYN));
    assert_eq!(reopened.target, Target::Pod(pod(1, 2)), "the new one is chosen afresh");
}

#[test]
fn a_pod_cannot_lie_about_its_address() {
    let mut net = Net::new();
    let forged = udp(at(pod(0, 1), 1), at(pod(1, 1), 2));
    assert!(net.carry(0, Source::Pod(pod(0, 0)), &forged).is_empty());
    assert_eq!(net.switches[0].counters().dropped_for(DropReason::InvalidSource), 1);
}

#[test]
fn a_removed_pods_flows_are_forgotten() {
    let mut net = Net::new();
    let (client, to) = (at(pod(0, 0), 1000), at(pod(1, 1), 8080));
    let arrival = net.send(*client.ip(), &udp(client, to));
    net.switches[0].remove_pod(pod(0, 0));
    assert_eq!(net.switches[0].counters().conntrack_entries, 0);
    assert!(net.carry(1, Source::Pod(pod(1, 1)), &answer(&arrival)).is_empty());
}

#[test]
fn a_host_without_its_own_ports_is_hidden_behind_the_node() {
    let mut net = Net::new();
    let world = at(Ipv4Addr::new(192, 0, 2, 1), 53);
    let mut sources = Vec::new();
    for n in 0..3 {
        let client = at(pod(0, n), 1000);
        let out = net.send(*client.ip(), &udp(client, world));
        assert_eq!(out.target, Target::Wire);
        assert_checksums(out.packet.bytes());
        let source = out.headers().tuple.source;
        assert_eq!(*source.ip(), node_address(0));
        assert!(
            TRANSLATED_PORTS.contains(&source.port()) && !sources.contains(&source),
            "{source}: {sources:?}"
        );
        sources.push(source);
        let back = net.carry(0, Source::Wire, &answer(&out));
        assert_eq!(back[0].target, Target::Pod(pod(0, n)));
        assert_eq!(
            back[0].headers().tuple,
            Tuple {
                protocol: Protocol::Udp,
                source: world,
                destination: client
            }
        );
    }
    let stray = net.carry(0, Source::Wire, &udp(world, at(node_address(0), 60_000)));
    assert_eq!(stray[0].target, Target::Host, "what belongs to no flow is the host's");
}

#[test]
fn fragments_follow_their_first_through_a_service() {
    let mut net = Net::new();
    net.set_services(&[service(Protocol::Udp, &[pod(1, 1)])]);
    let client = at(pod(0, 0), 1000);
    let mut bytes = Vec::new();
    let builder = PacketBuilder::ipv4(client.ip().octets(), VIP.octets(), 64);
    builder.udp(client.port(), 80).write(&mut bytes, &[9; 3000]).unwrap();
    let headers = Headers::read(&bytes).unwrap();
    let pieces = fragment(Packet::copy_of(&bytes), &headers, 1000);
    assert!(pieces.len() > 2);
    for piece in &pieces {
        let arrival = net.send(*client.ip(), piece.bytes());
        assert_eq!(arrival.target, Target::Pod(pod(1, 1)));
        assert_eq!(arrival.headers().destination(), pod(1, 1));
    }
    let mut other = pieces[1].bytes().to_vec();
    other[4] ^= 0xff;
    assert!(net.carry(0, Source::Pod(*client.ip()), &other).is_empty());
    assert_eq!(net.switches[0].counters().dropped_for(DropReason::FragmentNotFound), 1);
}

#[test]
fn affinity_covers_both_protocols_of_one_client_separately() {
    let mut net = Net::new();
    let sticky = |protocol| Service {
        affinity: Affinity::ClientIp {
            timeout: Duration::from_secs(100),
        },
        ..service(protocol, &[pod(0, 1), pod(1, 1), pod(1, 2)])
    };
    net.set_services(&[sticky(Protocol::Tcp), sticky(Protocol::Udp)]);
    let mut targets: Vec<Target> = Vec::new();
    for port in 1000..1030 {
        let client = at(pod(0, 0), port);
        targets.push(net.send(*client.ip(), &segment(client, at(VIP, 80), tcp::SYN)).target);
    }
    targets.dedup();
    assert_eq!(targets.len(), 1, "{targets:?}");
}

#[test]
fn the_ring_forgets_the_oldest_and_numbers_the_rest() {
    let now = Instant::now();
    let mut config = NodeConfig::new("a", "infra", node_address(0), "10.244.1.0/24".parse().unwrap());
    config.flow_capacity = 4;
    let mut switch = Switch::new(&config, 1500, 1, now);
    for n in 0..2 {
        let (address, identity) = (pod(0, n), Identity(1));
        switch.add_pod(&PodConfig {
            name: "demo/x".into(),
            address,
            identity,
        });
    }
    for port in 1..=10 {
        let packet = Packet::copy_of(&udp(at(pod(0, 0), port), at(pod(0, 1), 9)));
        switch.receive(now, Source::Pod(pod(0, 0)), packet, &mut Vec::new());
    }
    let numbers = |from| switch.flows(from).iter().map(|flow| flow.sequence).collect::<Vec<_>>();
    assert_eq!(numbers(0), [6, 7, 8, 9]);
    assert_eq!(numbers(8), [8, 9]);
    assert_eq!(numbers(20), Vec::<u64>::new());
    assert_eq!(switch.counters().flows_seen, 10);
}

#[test]
fn a_delayed_endpoint_delays_its_packets_and_a_reset_answers_the_sender() {
    let mut net = Net::new();
    let delay = Duration::from_millis(40);
    let fault = |effect| Fault::Endpoint {
        address: pod(0, 1),
        direction: Direction::Ingress,
        impairment: Impairment::all(effect),
    };
    net.switches[0].set_faults(&[(FaultId(1), fault(Effect::Delay(delay)))]);
    let mut out = Vec::new();
    let packet = Packet::copy_of(&segment(at(pod(0, 0), 1), at(pod(0, 1), 2), tcp::SYN));
    net.switches[0].receive(net.now, Source::Pod(pod(0, 0)), packet, &mut out);
    assert_eq!((out[0].target, out[0].delay), (Target::Pod(pod(0, 1)), delay));

    net.switches[0].set_faults(&[(FaultId(2), fault(Effect::Reset))]);
    let arrivals = net.carry(
        0,
        Source::Pod(pod(0, 0)),
        &segment(at(pod(0, 0), 1), at(pod(0, 1), 2), tcp::ACK),
    );
    assert_eq!(arrivals[0].target, Target::Pod(pod(0, 0)));
    assert!(arrivals[0].headers().tcp_flags() & tcp::RST != 0);
}

#[test]
fn a_packet_that_has_travelled_too_far_is_answered() {
    let mut net = Net::new();
    let mut bytes = udp(at(pod(0, 0), 1), at(pod(1, 1), 2));
    bytes[8] = 1;
    let headers = Headers::read(&bytes).unwrap();
    fix_checksums(&mut bytes, &headers);
    let arrivals = net.carry(0, Source::Pod(pod(0, 0)), &bytes);
    assert_eq!(arrivals[0].headers().icmp(), Some((11, 0)));
}
