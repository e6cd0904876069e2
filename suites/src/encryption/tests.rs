//! The checks against a world that fails in every way: what must be red, and what must not be green.

mod network;
pub mod wire;
pub mod world;

use super::{
    allowed_ips, counters_rise, handshakes_fresh, keys_agree, mode_in_force, peers_complete,
    traffic::{HEADERS, PODS, PODS_ACROSS},
};
use crate::testing::{infra, infra_to_apps, instance_of};
use meshproof_contract::{Action, Check, ClaimSource, Transport};
use serde_json::json;
use wire::Shown;
use world::World;

const STATUS: [&dyn Check; 6] = [
    &mode_in_force::ModeInForce,
    &peers_complete::PeersComplete,
    &keys_agree::KeysAgree,
    &handshakes_fresh::HandshakesFresh,
    &allowed_ips::AllowedIps,
    &counters_rise::CountersRise,
];

#[tokio::test(start_paused = true)]
async fn everything_as_claimed_is_green() {
    for check in STATUS {
        World::healthy().expect(check, infra(), "pass").await;
    }
    World::healthy().expect(&HEADERS, infra(), "pass").await;
    World::healthy().expect(&PODS_ACROSS, infra_to_apps(), "pass").await;
    let said = World::healthy().expect(&PODS, infra(), "pass").await;
    assert!(said.contains("3 controls"), "{said}");
}

#[tokio::test(start_paused = true)]
async fn every_check_is_green_where_everything_is_claimed_and_in_use() {
    for check in super::SUITE.checks {
        World::complete(crate::testing::MISSION)
            .expect(*check, instance_of(*check), "pass")
            .await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_ping_that_may_not_be_sent_is_left_out() {
    let said = World::healthy().without_pings().expect(&HEADERS, infra(), "pass").await;
    assert!(
        said.contains("18 flows of pods of infra"),
        "without the six pings: {said}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_marker_or_a_header_between_two_nodes_is_red_with_the_packet() {
    let udp = |_: &str, _: &str, action: &Action| match action {
        Action::MarkedEcho {
            transport: Transport::Udp,
            ..
        } => Shown::Everything,
        _ => Shown::Ciphertext,
    };
    let said = World::healthy().wire(udp).expect(&PODS, infra(), "fail").await;
    let findings: Vec<&str> = said.lines().filter(|line| line.starts_with("finding: ")).collect();
    let has = |text: &str| findings.iter().any(|finding| finding.contains(text));
    assert!(has("payload readable: 1 packet on infra-1/ens3 (egress)"), "{said}");
    assert!(
        has("pod addresses visible in an unencrypted tunnel: 1 packet on infra-"),
        "{said}"
    );
    assert!(
        has("no plaintext between nodes (claimed: encryption=wireguard"),
        "{said}"
    );
    assert!(!has("4500"), "first bytes are evidence, not a finding: {said}");
    let packets = World::healthy().wire(udp).packets(&PODS, infra()).await;
    let first = packets.first().expect("a packet");
    assert_eq!(
        (first.meaning.as_str(), first.first_bytes.as_str()),
        ("payload readable", "4500")
    );
    assert_eq!((first.device.as_str(), first.length), ("ens3", 100));
    let one_way = |from: &str, to: &str, _: &Action| match (from, to) {
        ("infra-1", "infra-2") => Shown::Headers,
        _ => Shown::Ciphertext,
    };
    World::healthy().wire(one_way).expect(&HEADERS, infra(), "fail").await;
    World::healthy().wire(one_way).expect(&PODS, infra(), "fail").await;
    World::healthy()
        .wire(one_way)
        .expect(&PODS_ACROSS, infra_to_apps(), "pass")
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_capture_that_does_not_see_its_control_is_no_proof() {
    let blind = World::healthy().report(|device| device.hits.clear());
    let said = blind.expect(&PODS, infra(), "inconclusive").await;
    assert!(said.contains("control"), "{said}");
    let drops = World::healthy().report(|device| device.dropped = 1);
    drops.expect(&PODS, infra(), "inconclusive").await;
    let broken = World::healthy().report(|device| device.broken = Some("the device went down".to_owned()));
    broken.expect(&PODS, infra(), "inconclusive").await;
    let elsewhere =
        World::healthy().status(|_, status| status["kube-proxy-replacement"]["deviceList"][0]["name"] = json!("lo"));
    let said = elsewhere.expect(&PODS, infra(), "inconclusive").await;
    assert!(said.contains("does not leave the node"), "{said}");
    // Without Cilium's word the node's own list is enough.
    let unnamed = World::healthy().status(|_, status| status["kube-proxy-replacement"] = json!({"mode": "False"}));
    unnamed.expect(&PODS, infra(), "pass").await;
}

#[tokio::test(start_paused = true)]
async fn traffic_that_is_seen_neither_in_clear_nor_encrypted_is_no_proof() {
    let hidden = World::healthy().wire(|_, _, _| Shown::Nothing);
    let said = hidden.expect(&PODS, infra(), "inconclusive").await;
    assert!(said.contains("ciphertext"), "{said}");
    World::healthy().lost().expect(&PODS, infra(), "inconclusive").await;
    let mut without = World::healthy();
    without
        .facts
        .agents
        .retain(|a| a.workload != "capture" || a.node.as_str() != "infra-2");
    without.expect(&PODS, infra(), "inconclusive").await;
}

#[tokio::test(start_paused = true)]
async fn where_nothing_is_encrypted_on_purpose_plaintext_must_be_seen() {
    let clear = World::healthy().claims("none").wire(|_, _, _| Shown::Everything);
    let said = clear.clone().expect(&PODS, infra(), "pass").await;
    assert!(said.contains("plaintext by design"), "{said}");
    clear.expect(&HEADERS, infra(), "pass").await;
    // A configuration that is off promises no plaintext: the network below may encrypt.
    let said = World::healthy().claims("none").expect(&PODS, infra(), "skipped").await;
    assert!(said.contains("nobody promises plaintext"), "{said}");
    let mut promised = World::healthy().claims("none");
    for claim in &mut promised.facts.claims {
        claim.source = ClaimSource::File {
            path: "meshproof.yaml".to_owned(),
            line: 7,
        };
    }
    promised.expect(&PODS, infra(), "fail").await;
    World::healthy()
        .claims("none")
        .expect(&mode_in_force::ModeInForce, infra(), "fail")
        .await;
    World::healthy()
        .claims("none")
        .expect(&keys_agree::KeysAgree, infra(), "skipped")
        .await;
}

#[tokio::test(start_paused = true)]
async fn ipsec_is_judged_by_its_own_ciphertext_keys_and_errors() {
    let ipsec = World::healthy().claims("ipsec");
    let said = ipsec.clone().expect(&PODS, infra(), "pass").await;
    assert!(said.contains("IPsec ciphertext (ESP)"), "{said}");
    let hidden = ipsec.clone().report(|device| device.esp.clear());
    hidden.expect(&PODS, infra(), "inconclusive").await;
    let clear = ipsec.clone().wire(|_, _, _| Shown::Everything);
    clear.expect(&PODS, infra(), "fail").await;
    for check in [&keys_agree::KeysAgree as &dyn Check, &counters_rise::CountersRise] {
        ipsec.clone().expect(check, infra(), "skipped").await;
    }
    let ipsec = ipsec.status(|_, status| status["encryption"]["mode"] = json!("IPsec"));
    let mode = &mode_in_force::ModeInForce;
    ipsec.clone().expect(mode, infra(), "pass").await;
    let keyless = ipsec
        .clone()
        .encrypt_status(|_, shown| shown["ipsec"]["keys-in-use"] = json!(0));
    let said = keyless.expect(mode, infra(), "fail").await;
    assert!(said.contains("keys-in-use 0"), "{said}");
    let reads = std::sync::atomic::AtomicU64::new(7);
    let failing = ipsec.encrypt_status(move |_, shown| {
        let errors = reads.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        shown["ipsec"]["xfrm-errors"] = json!({"XfrmInStateProtoError": errors});
    });
    let said = failing.expect(mode, infra(), "fail").await;
    assert!(said.contains("XfrmInStateProtoError +"), "{said}");
}

#[tokio::test(start_paused = true)]
async fn every_deviation_of_a_peer_is_red_in_its_own_check() {
    let on = |change: fn(&mut serde_json::Value)| {
        World::healthy().interface(move |node, interface| {
            if node == "infra-1" {
                change(&mut interface["peers"]);
            }
        })
    };
    let cases: [(&dyn Check, World); 9] = [
        (
            &peers_complete::PeersComplete,
            on(|peers| {
                let mut more = peers[0].clone();
                more["endpoint"] = json!("10.25.11.99:51871");
                peers.as_array_mut().expect("peers").push(more);
            }),
        ),
        (
            &peers_complete::PeersComplete,
            on(|peers| {
                let more = peers[0].clone();
                peers.as_array_mut().expect("peers").push(more);
            }),
        ),
        (
            &peers_complete::PeersComplete,
            on(|peers| drop(peers.as_array_mut().map(Vec::pop))),
        ),
        (
            &keys_agree::KeysAgree,
            on(|peers| peers[0]["public-key"] = json!("another")),
        ),
        (
            &handshakes_fresh::HandshakesFresh,
            on(|peers| peers[0]["last-handshake-time"] = json!("2020-01-01T00:00:00.000Z")),
        ),
        (
            &handshakes_fresh::HandshakesFresh,
            on(|peers| peers[0]["last-handshake-time"] = json!("0001-01-01T00:00:00.000Z")),
        ),
        (
            &allowed_ips::AllowedIps,
            on(|peers| peers[0]["allowed-ips"] = json!(["0.0.0.0/0"])),
        ),
        (
            &allowed_ips::AllowedIps,
            on(|peers| peers[0]["allowed-ips"] = json!([])),
        ),
        (
            &counters_rise::CountersRise,
            on(|peers| peers[0]["transfer-rx"] = json!(1000)),
        ),
    ];
    for (check, world) in cases {
        let said = world.expect(check, infra(), "fail").await;
        assert!(said.contains("infra-1"), "{said}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_handshake_without_traffic_is_not_judged() {
    let silent = World::healthy().lost().interface(|_, interface| {
        interface["peers"][0]["last-handshake-time"] = json!("0001-01-01T00:00:00.000Z");
    });
    silent
        .expect(&handshakes_fresh::HandshakesFresh, infra(), "inconclusive")
        .await;
}
