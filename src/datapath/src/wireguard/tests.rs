//! Two WireGuard sides joined in memory.

use super::*;
use std::net::Ipv4Addr;

struct Side {
    wireguard: WireGuard,
    pool: PacketPool,
    address: SocketAddrV4,
}

fn pair() -> [Side; 2] {
    let secrets = [SecretKey::generate(), SecretKey::generate()];
    let address = |n: u8| Ipv4Addr::new(10, 25, 11, 10 + n);
    let mut sides = [0, 1].map(|n: u8| Side {
        wireguard: WireGuard::new(&secrets[usize::from(n)]),
        pool: PacketPool::new(2048, 16),
        address: SocketAddrV4::new(address(n), 51871),
    });
    for n in [0, 1] {
        let other = 1 - n;
        let peer = Peer {
            cluster: "infra".into(),
            node: NodeName::from(format!("node-{other}")),
            address: address(other),
            router: address(other),
            pod_cidrs: Vec::new(),
            public_key: Some(secrets[usize::from(other)].public_key()),
            wireguard_port: 51871,
        };
        let allowed = vec![Ipv4Net::from(peer.address)];
        sides[usize::from(n)]
            .wireguard
            .set_peers([(&peer, peer.public_key, allowed)]);
    }
    sides
}

fn packet(from: Ipv4Addr) -> Packet {
    let mut bytes = Vec::new();
    etherparse::PacketBuilder::ipv4(from.octets(), [9, 9, 9, 9], 64)
        .udp(1, 2)
        .write(&mut bytes, b"hi")
        .unwrap();
    Packet::copy_of(&bytes)
}

/// Carries datagrams to and fro until none is left; returns the packets that came out on each side.
fn settle(sides: &mut [Side; 2], mut flying: Vec<(usize, Packet)>) -> [usize; 2] {
    let mut arrived = [0, 0];
    while let Some((to, datagram)) = flying.pop() {
        let from = sides[1 - to].address;
        let mut out = Outcome::default();
        let Side { wireguard, pool, .. } = &mut sides[to];
        wireguard.receive(from, &datagram, pool, &mut out);
        arrived[to] += out.packets.len();
        flying.splice(0..0, out.datagrams.into_iter().map(|(datagram, _)| (1 - to, datagram)));
    }
    arrived
}

fn send(sides: &mut [Side; 2], from: usize) -> Vec<(usize, Packet)> {
    let packet = packet(*sides[from].address.ip());
    let mut out = Outcome::default();
    let Side { wireguard, pool, .. } = &mut sides[from];
    assert!(wireguard.encrypt(0, &packet, pool, &mut out));
    out.datagrams
        .into_iter()
        .map(|(datagram, _)| (1 - from, datagram))
        .collect()
}

#[test]
fn the_first_packet_makes_the_handshake_and_arrives() {
    let mut sides = pair();
    assert_eq!(sides[0].wireguard.status()[0].last_handshake, None);
    let flying = send(&mut sides, 0);
    assert_eq!(settle(&mut sides, flying), [0, 1]);
    for side in &sides {
        let status = &side.wireguard.status()[0];
        assert!(
            status.last_handshake.is_some() && status.rx_bytes > 0 && status.tx_bytes > 0,
            "{status:?}"
        );
    }
}

#[test]
fn both_sides_may_begin_at_once() {
    let mut sides = pair();
    let mut flying = send(&mut sides, 0);
    flying.extend(send(&mut sides, 1));
    assert_eq!(settle(&mut sides, flying), [1, 1]);
}

#[test]
fn a_lost_initiation_is_made_up_for_on_retry() {
    let mut sides = pair();
    drop(send(&mut sides, 0));
    let mut out = Outcome::default();
    let Side { wireguard, pool, .. } = &mut sides[0];
    wireguard.retry(pool, &mut out);
    let flying = out.datagrams.into_iter().map(|(datagram, _)| (1, datagram)).collect();
    assert_eq!(settle(&mut sides, flying), [0, 1], "the packet that had been queued");
}

#[test]
fn a_packet_from_outside_the_allowed_ips_is_dropped() {
    let mut sides = pair();
    let forged = packet(Ipv4Addr::new(1, 2, 3, 4));
    let mut out = Outcome::default();
    let Side { wireguard, pool, .. } = &mut sides[0];
    wireguard.encrypt(0, &forged, pool, &mut out);
    let flying = out.datagrams.into_iter().map(|(datagram, _)| (1, datagram)).collect();
    assert_eq!(settle(&mut sides, flying), [0, 0]);
}
