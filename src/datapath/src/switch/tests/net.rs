//! Two nodes joined in memory, and packets to send between their pods.

use crate::{
    config::{FabricConfig, NodeConfig, Peer, PodConfig, PublicKey},
    identity::Identity,
    packet::{Headers, Packet, tcp},
    service::{Backend, Frontend, Protocol, Service},
    switch::{Delivery, PeerIndex, Source, Switch, Target},
};
use etherparse::{PacketBuilder, SlicedPacket, TransportSlice};
use std::{
    collections::VecDeque,
    net::{Ipv4Addr, SocketAddrV4},
    time::Instant,
};

pub(super) const VIP: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 10);

pub(super) fn pod(node: usize, n: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 244, node as u8 + 1, 10 + n)
}

pub(super) fn node_address(node: usize) -> Ipv4Addr {
    Ipv4Addr::new(10, 25, 11, 11 + node as u8)
}

/// Two nodes with three pods each.
pub(super) struct Net {
    pub(super) switches: [Switch; 2],
    pub(super) now: Instant,
}

/// Where a packet ended up.
#[derive(Debug)]
pub(super) struct Arrival {
    pub(super) node: usize,
    pub(super) target: Target,
    pub(super) packet: Packet,
}

impl Arrival {
    pub(super) fn headers(&self) -> Headers {
        Headers::read(self.packet.bytes()).expect("what the switch delivers can be read")
    }
}

impl Net {
    pub(super) fn new() -> Self {
        Self::shaped(|_| {})
    }

    /// With nodes that are configured otherwise.
    pub(super) fn shaped(shape: impl Fn(&mut NodeConfig)) -> Self {
        let now = Instant::now();
        let configs = [0, 1].map(|node: usize| {
            let cidr = format!("10.244.{}.0/24", node + 1).parse().unwrap();
            let mut config = NodeConfig::new(format!("node-{node}"), "infra", node_address(node), cidr);
            config.cluster_pod_cidrs = vec!["10.244.0.0/16".parse().unwrap()];
            config.service_cidrs = vec!["10.96.0.0/16".parse().unwrap()];
            shape(&mut config);
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
                cluster: "infra".into(),
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

    pub(super) fn set_services(&mut self, services: &[Service]) {
        self.switches
            .iter_mut()
            .for_each(|switch| switch.set_services(services.to_vec()));
    }

    /// Carries one packet as far as it gets.
    pub(super) fn carry(&mut self, node: usize, from: Source, packet: &[u8]) -> Vec<Arrival> {
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
    pub(super) fn send(&mut self, from: Ipv4Addr, packet: &[u8]) -> Arrival {
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

pub(super) fn at(address: Ipv4Addr, port: u16) -> SocketAddrV4 {
    SocketAddrV4::new(address, port)
}

pub(super) fn udp(from: SocketAddrV4, to: SocketAddrV4) -> Vec<u8> {
    let mut bytes = Vec::new();
    let builder = PacketBuilder::ipv4(from.ip().octets(), to.ip().octets(), 64);
    builder
        .udp(from.port(), to.port())
        .write(&mut bytes, b"payload")
        .unwrap();
    bytes
}

pub(super) fn segment(from: SocketAddrV4, to: SocketAddrV4, flags: u8) -> Vec<u8> {
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
pub(super) fn answer(arrival: &Arrival) -> Vec<u8> {
    let tuple = arrival.headers().tuple;
    match tuple.protocol {
        Protocol::Udp => udp(tuple.destination, tuple.source),
        _ => segment(tuple.destination, tuple.source, tcp::ACK),
    }
}

pub(super) fn assert_checksums(packet: &[u8]) {
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

pub(super) fn service(protocol: Protocol, backends: &[Ipv4Addr]) -> Service {
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
