//! The switch without sockets: two of them, joined in memory.

use super::*;
use crate::{
    config::{FabricConfig, Peer, PodConfig, PublicKey},
    fault::{Effect, Fault, FaultId, Impairment, Nodes},
    flow::FlowVerdict,
    packet::tcp,
    policy::{FlowQuery, ProxyPort, Verdict},
    service::{Affinity, Backend, Frontend, Service},
};
use etherparse::{PacketBuilder, SlicedPacket, TransportSlice};
use proptest::prelude::*;
use std::{
    collections::{BTreeMap, VecDeque},
    net::{Ipv4Addr, SocketAddrV4},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

const VIP: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 10);

fn pod(node: usize, n: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 244, node as u8 + 1, 10 + n)
}

fn node_address(node: usize) -> Ipv4Addr {
    Ipv4Addr::new(10, 25, 11, 11 + node as u8)
}

/// Two nodes with three pods each.
struct Net {
    switches: [Switch; 2],
    now: Instant,
}

/// Where a packet ended up.
#[derive(Debug)]
struct Arrival {
    node: usize,
    target: Target,
    packet: Packet,
}

impl Arrival {
    fn headers(&self) -> Headers {
        Headers::read(self.packet.bytes()).expect("what the switch delivers can be read")
    }
}

impl Net {
    fn new() -> Self {
        let now = Instant::now();
        let configs = [0, 1].map(|node: usize| {
            let cidr = format!("10.244.{}.0/24", node + 1).parse().unwrap();
            let mut config = NodeConfig::new(format!("node-{node}"), "infra", node_address(node), cidr);
            config.cluster_pod_cidrs = vec!["10.244.0.0/16".parse().unwrap()];
            config.service_cidrs = vec!["10.96.0.0/16".parse().unwrap()];
            config
        });
        let switches = [0, 1].map(|node: usize| {
            let mut switch = Switch::new(&configs[node], FabricConfig::default().mtu, 1, now);
            for n in 0..3 {
                let (address, identity) = (pod(node, n), Identity(1000 + u32::from(n)));
                switch.add_pod(&PodConfig {
                    name: format!("demo/{node}-{n}").into(),
                    address,
                    identity,
                });
            }
            let other = &configs[1 - node];
            switch.set_peers(vec![Peer {
                node: other.name.clone(),
                address: other.address,
                router: other.router,
                pod_cidrs: vec![other.pod_cidr],
                public_key: Some(PublicKey([1; 32])),
                wireguard_port: 51871,
            }]);
            switch.set_faults(&[]);
            switch
        });
        Self { switches, now }
    }

    fn set_services(&mut self, services: &[Service]) {
        self.switches
            .iter_mut()
            .for_each(|switch| switch.set_services(services.to_vec()));
    }

    /// Carries one packet as far as it gets.
    fn carry(&mut self, node: usize, from: Source, packet: &[u8]) -> Vec<Arrival> {
        let mut waiting = VecDeque::from([(node, from, Packet::copy_of(packet))]);
        let mut arrivals = Vec::new();
        while let Some((node, from, packet)) = waiting.pop_front() {
            let mut out = Vec::new();
            self.switches[node].receive(self.now, from, packet, &mut out);
            for Delivery { target, packet, .. } in out {
                match target {
                    Target::Peer { peer, identity, .. } => {
                        assert_eq!(peer, PeerIndex(0));
                        waiting.push_back((1 - node, Source::Tunnel(identity), packet));
                    }
                    target => arrivals.push(Arrival { node, target, packet }),
                }
            }
        }
        arrivals
    }

    /// Carries a packet of a pod that must arrive exactly once.
    fn send(&mut self, from: Ipv4Addr, packet: &[u8]) -> Arrival {
        let node = usize::from(from.octets()[2] - 1);
        let mut arrivals = self.carry(node, Source::Pod(from), packet);
        assert_eq!(
            arrivals.len(),
            1,
            "exactly one arrival of {:?}: {arrivals:?}",
            Packet::copy_of(packet)
        );
        arrivals.remove(0)
    }
}

fn at(address: Ipv4Addr, port: u16) -> SocketAddrV4 {
    SocketAddrV4::new(address, port)
}

fn udp(from: SocketAddrV4, to: SocketAddrV4) -> Vec<u8> {
    let mut bytes = Vec::new();
    let builder = PacketBuilder::ipv4(from.ip().octets(), to.ip().octets(), 64);
    builder
        .udp(from.port(), to.port())
        .write(&mut bytes, b"payload")
        .unwrap();
    bytes
}

fn segment(from: SocketAddrV4, to: SocketAddrV4, flags: u8) -> Vec<u8> {
    let mut header = etherparse::TcpHeader::new(from.port(), to.port(), 7, 1000);
    header.syn = flags & tcp::SYN != 0;
    header.ack = flags & tcp::ACK != 0;
    header.fin = flags & tcp::FIN != 0;
    header.rst = flags & tcp::RST != 0;
    let mut bytes = Vec::new();
    let builder = PacketBuilder::ipv4(from.ip().octets(), to.ip().octets(), 64);
    builder.tcp_header(header).write(&mut bytes, b"payload").unwrap();
    bytes
}

/// The answer that whoever received this packet sends.
fn answer(arrival: &Arrival) -> Vec<u8> {
    let tuple = arrival.headers().tuple;
    match tuple.protocol {
        Protocol::Udp => udp(tuple.destination, tuple.source),
        _ => segment(tuple.destination, tuple.source, tcp::ACK),
    }
}

fn assert_checksums(packet: &[u8]) {
    let sliced = SlicedPacket::from_ip(packet).expect("a packet");
    let Some(etherparse::NetSlice::Ipv4(ip)) = &sliced.net else {
        panic!("not IPv4")
    };
    let header = ip.header().to_header();
    assert_eq!(
        header.header_checksum,
        header.calc_header_checksum(),
        "IP header checksum"
    );
    match sliced.transport {
        Some(TransportSlice::Tcp(tcp)) => {
            assert_eq!(
                tcp.checksum(),
                tcp.calc_checksum_ipv4(header.source, header.destination).unwrap()
            );
        }
        Some(TransportSlice::Udp(udp)) => {
            let expected = udp.to_header().calc_checksum_ipv4(&header, udp.payload()).unwrap();
            assert_eq!(udp.checksum(), expected);
        }
        _ => {}
    }
}

fn service(protocol: Protocol, backends: &[Ipv4Addr]) -> Service {
    let backends = backends.iter().map(|address| Backend::active(*address, 8080)).collect();
    Service::new(
        "demo/echo",
        Frontend::Address {
            address: at(VIP, 80),
            protocol,
        },
        backends,
    )
}

/// One step of a generated history.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// Client pod `client` of `node` sends from `port` to a server, and the server answers.
    Ask {
        node: usize,
        client: u8,
        port: u16,
        server: Server,
        protocol: Protocol,
    },
    /// Time passes.
    Wait(u16),
}

#[derive(Clone, Copy, Debug)]
enum Server {
    Service,
    Pod(usize, u8),
}

fn step() -> impl Strategy<Value = Step> {
    let server = prop_oneof![
        2 => Just(Server::Service),
        1 => (0usize..2, 0u8..3).prop_map(|(node, n)| Server::Pod(node, n)),
    ];
    let protocol = prop_oneof![Just(Protocol::Tcp), Just(Protocol::Udp)];
    let ask =
        (0usize..2, 0u8..3, 1000u16..1004, server, protocol).prop_map(|(node, client, port, server, protocol)| {
            Step::Ask {
                node,
                client,
                port,
                server,
                protocol,
            }
        });
    prop_oneof![12 => ask, 1 => (1u16..90).prop_map(Step::Wait)]
}

proptest! {
    /// Whatever flows there are: every packet reaches one party, every answer reaches who asked, from the address that
    /// was asked, checksums hold, and a live flow keeps its backend.
    #[test]
    fn answers_reach_who_asked_and_flows_keep_their_backend(steps in proptest::collection::vec(step(), 1..60)) {
        let mut net = Net::new();
        let backends = [pod(0, 1), pod(1, 1), pod(1, 2)];
        net.set_services(&[service(Protocol::Tcp, &backends), service(Protocol::Udp, &backends)]);
        let mut kept: BTreeMap<(SocketAddrV4, u8), (SocketAddrV4, Instant)> = BTreeMap::new();
        for step in steps {
            let (node, client, server, protocol) = match step {
                Step::Wait(seconds) => {
                    net.now += Duration::from_secs(seconds.into());
                    continue;
                }
                Step::Ask { node, client, port, server, protocol } => (node, at(pod(node, client), port), server, protocol),
            };
            let to = match server {
                Server::Service => at(VIP, 80),
                Server::Pod(there, n) if pod(there, n) == *client.ip() => continue,
                Server::Pod(there, n) => at(pod(there, n), 8080),
            };
            let request = match protocol {
                Protocol::Udp => udp(client, to),
                _ => segment(client, to, tcp::SYN),
            };
            let arrival = net.send(*client.ip(), &request);
            assert_checksums(arrival.packet.bytes());
            let tuple = arrival.headers().tuple;
            let Target::Pod(at_pod) = arrival.target else { panic!("not at a pod: {arrival:?}") };
            prop_assert_eq!(at_pod, *tuple.destination.ip());
            if let Server::Service = server {
                prop_assert!(backends.contains(&at_pod), "{} is no backend", at_pod);
                // UDP flows are forgotten after a minute; this one may then go anywhere.
                let lifetime = Duration::from_secs(60);
                let key = (client, protocol.number());
                if let Some((backend, last)) = kept.get(&key)
                    && net.now < *last + lifetime
                {
                    prop_assert_eq!(*backend, tuple.destination, "a live flow changed its backend");
                }
                kept.insert(key, (tuple.destination, net.now));
            } else {
                prop_assert_eq!(tuple.destination, to);
            }
            if at_pod != *client.ip() {
                prop_assert_eq!(tuple.source.ip(), client.ip(), "source address");
            }
            let back = net.send(at_pod, &answer(&arrival));
            assert_checksums(back.packet.bytes());
            prop_assert_eq!(back.target, Target::Pod(*client.ip()));
            prop_assert_eq!(back.node, node);
            let back = back.headers().tuple;
            prop_assert_eq!((back.source, back.destination), (to, client), "the answer is for another flow");
        }
    }

    #[test]
    fn garbage_is_counted_and_goes_nowhere(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
        let mut net = Net::new();
        let arrivals = net.carry(0, Source::Pod(pod(0, 0)), &bytes);
        prop_assert!(arrivals.is_empty(), "{:?}", arrivals);
        prop_assert_eq!(net.switches[0].counters().dropped.values().sum::<u64>(), 1);
    }
}

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
            change: crate::service::ServiceOverride::Pinned(at(pod(1, 2), 8080)),
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

/// Denies what its map says, and remembers what it was asked.
#[derive(Clone, Default)]
struct Scripted {
    asked: Arc<Mutex<Vec<FlowQuery>>>,
    denied: Option<(Direction, DropReason)>,
    redirected: Option<(Direction, ProxyPort)>,
}

impl Policy for Scripted {
    fn verdict(&mut self, query: &FlowQuery) -> Verdict {
        self.asked.lock().unwrap().push(*query);
        match (self.denied, self.redirected) {
            (Some((direction, reason)), _) if direction == query.direction => Verdict::Deny(reason),
            (_, Some((direction, port))) if direction == query.direction => Verdict::Redirect(port),
            _ => Verdict::Allow,
        }
    }
}

#[test]
fn policy_is_asked_once_a_flow_on_each_side_with_the_backend() {
    let mut net = Net::new();
    net.set_services(&[service(Protocol::Tcp, &[pod(1, 1)])]);
    let policies = [Scripted::default(), Scripted::default()];
    for (switch, policy) in net.switches.iter_mut().zip(&policies) {
        switch.set_policy(Box::new(policy.clone()));
    }
    let client = at(pod(0, 0), 1000);
    for flags in [tcp::SYN, tcp::ACK, tcp::ACK] {
        let arrival = net.send(*client.ip(), &segment(client, at(VIP, 80), flags));
        net.send(pod(1, 1), &answer(&arrival));
    }
    let egress = policies[0].asked.lock().unwrap();
    let ingress = policies[1].asked.lock().unwrap();
    assert_eq!((egress.len(), ingress.len()), (1, 1));
    assert_eq!(
        (egress[0].direction, egress[0].endpoint, egress[0].remote),
        (Direction::Egress, pod(0, 0), pod(1, 1))
    );
    assert_eq!(egress[0].port, 8080, "the backend's port, not the service's");
    assert_eq!(
        (ingress[0].direction, ingress[0].endpoint),
        (Direction::Ingress, pod(1, 1))
    );
    assert_eq!(ingress[0].remote_identity, Identity(1000), "carried as VNI");
}

#[test]
fn a_denied_flow_is_dropped_with_its_reason_and_a_changed_policy_stops_open_flows() {
    for (node, direction) in [(0, Direction::Egress), (1, Direction::Ingress)] {
        let mut net = Net::new();
        let (client, to) = (at(pod(0, 0), 1000), at(pod(1, 1), 8080));
        net.send(*client.ip(), &segment(client, to, tcp::SYN));
        let denied = Some((direction, DropReason::PolicyDenied));
        net.switches[node].set_policy(Box::new(Scripted {
            denied,
            ..Scripted::default()
        }));
        for source in [client, at(*client.ip(), 1001)] {
            assert!(
                net.carry(0, Source::Pod(*client.ip()), &segment(source, to, tcp::SYN))
                    .is_empty()
            );
        }
        let counters = net.switches[node].counters();
        assert_eq!(
            counters.dropped.get(&(DropReason::PolicyDenied, direction)),
            Some(&2),
            "{counters:?}"
        );
        let flows = net.switches[node].flows(0);
        let of = |observation| flows.iter().filter(|flow| flow.observation == observation).count();
        // As Cilium: one dropped SYN gives two flows.
        assert_eq!(
            (of(Observation::PolicyVerdict), of(Observation::Drop)),
            (2, 2),
            "{flows:#?}"
        );
    }
}

#[test]
fn a_redirected_flow_goes_to_the_proxy_and_its_answers_come_from_whom_was_asked() {
    for (node, direction) in [(0, Direction::Egress), (1, Direction::Ingress)] {
        let mut net = Net::new();
        let redirected = Some((direction, ProxyPort(10_001)));
        net.switches[node].set_policy(Box::new(Scripted {
            redirected,
            ..Scripted::default()
        }));
        let (client, to) = (at(pod(0, 0), 1000), at(pod(1, 1), 8080));
        let arrival = net.send(*client.ip(), &segment(client, to, tcp::SYN));
        assert_eq!((arrival.node, arrival.target), (node, Target::Host));
        assert_checksums(arrival.packet.bytes());
        let tuple = arrival.headers().tuple;
        assert_eq!(tuple.destination.port(), 10_001);
        let proxied = net.switches[node].proxied_flow(net.now, Protocol::Tcp, tuple.source, ProxyPort(10_001));
        let proxied = proxied.expect("the flow was handed over");
        assert_eq!((proxied.destination, proxied.backend), (to, to));
        assert_eq!(proxied.source_identity, Identity(1000));
        let back = net.carry(node, Source::Host, &answer(&arrival));
        assert_eq!(back[0].target, Target::Pod(*client.ip()));
        assert_eq!(
            back[0].headers().tuple,
            Tuple {
                protocol: Protocol::Tcp,
                source: to,
                destination: client
            }
        );
        let flows = net.switches[node].flows(0);
        let verdict = FlowVerdict::Redirected(ProxyPort(10_001));
        assert!(flows.iter().any(|flow| flow.verdict == verdict), "{flows:#?}");
    }
}

#[test]
fn a_proxy_speaks_for_its_client() {
    let mut net = Net::new();
    let policy = Scripted {
        redirected: Some((Direction::Ingress, ProxyPort(10_001))),
        ..Scripted::default()
    };
    net.switches[1].set_policy(Box::new(policy.clone()));
    let (client, to) = (at(pod(0, 0), 1000), at(pod(1, 1), 8080));
    // Egress proxy on node 0: node 1 must see the client, and its own policy is asked.
    let router = at(net.switches[0].topology.router, 40_000);
    net.switches[0].impersonate(
        Protocol::Tcp,
        router,
        Upstream {
            client,
            after: Direction::Egress,
        },
    );
    let arrivals = net.carry(0, Source::Host, &segment(router, to, tcp::SYN));
    assert_eq!(
        (arrivals[0].node, arrivals[0].target),
        (1, Target::Host),
        "redirected again, by node 1"
    );
    assert_eq!(policy.asked.lock().unwrap()[0].remote_identity, Identity(1000));
    assert_eq!(arrivals[0].headers().tuple.source, client);
    // Ingress proxy on node 1: it goes on to the pod, which sees the client; the policy is not asked again.
    let router = at(net.switches[1].topology.router, 40_001);
    net.switches[1].impersonate(
        Protocol::Tcp,
        router,
        Upstream {
            client,
            after: Direction::Ingress,
        },
    );
    let arrivals = net.carry(1, Source::Host, &segment(router, to, tcp::SYN));
    assert_eq!(arrivals[0].target, Target::Pod(*to.ip()));
    assert_eq!(arrivals[0].headers().source(), *client.ip());
    let back = net.carry(1, Source::Pod(*to.ip()), &answer(&arrivals[0]));
    assert_eq!(back[0].target, Target::Host);
    assert_eq!(
        back[0].headers().tuple,
        Tuple {
            protocol: Protocol::Tcp,
            source: to,
            destination: router
        }
    );
    assert_eq!(policy.asked.lock().unwrap().len(), 1);
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
    let pieces = crate::packet::fragment(Packet::copy_of(&bytes), &headers, 1000);
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
    crate::packet::fix_checksums(&mut bytes, &headers);
    let arrivals = net.carry(0, Source::Pod(pod(0, 0)), &bytes);
    assert_eq!(arrivals[0].headers().icmp(), Some((11, 0)));
}
