//! Can somebody who listens between nodes read what pods send? By what Cilium reports, and by what is on the wire.

pub mod agent_restart;
pub mod allowed_ips;
pub mod counters_rise;
pub mod flows_of_operators;
pub mod handshakes_fresh;
pub mod ipcache_keys;
pub mod keys_agree;
pub mod mode_in_force;
pub mod node_encryption;
pub mod peers_complete;
pub mod strict_mode;
pub mod traffic;

mod capture;
mod capture_point;
mod claim;
mod flow;
mod flows;
mod judge;
mod marks;
mod peers;
mod proxied;
mod traffic_kind;
mod window;

#[cfg(test)]
mod tests;

use meshproof_contract::{Admission, ClaimKind, Needs, Suite};

/// The suite.
pub const SUITE: Suite = Suite {
    name: "encryption",
    about: "The claimed encryption is in force: every node is a WireGuard peer of every other node, with the \
            announced key, a recent handshake and the right allowed IPs. No capture device between nodes shows \
            plaintext of pods, Services or DNS, and each capture proves that it would see plaintext.",
    checks: &[
        &mode_in_force::ModeInForce,
        &peers_complete::PeersComplete,
        &keys_agree::KeysAgree,
        &handshakes_fresh::HandshakesFresh,
        &allowed_ips::AllowedIps,
        &ipcache_keys::IpcacheKeys,
        &counters_rise::CountersRise,
        &traffic::PODS,
        &traffic::PODS_ACROSS,
        &traffic::SERVICE,
        &traffic::GLOBAL_SERVICE,
        &traffic::DNS,
        &traffic::HEADERS,
        &traffic::PROXIED_DNS,
        &traffic::PROXIED_HTTP,
        &flows_of_operators::FlowsOfOperators,
        &strict_mode::StrictMode,
        &node_encryption::InForce,
        &node_encryption::Traffic,
        &agent_restart::AgentRestart,
    ],
};

/// The suite's scenario, and its workloads.
/// Faults that cut two nodes off from each other: nothing between them proves anything then.
const PAIR_CUT_OFF: &[&str] = &[
    "wireguard-allowed-ips-narrow",
    "wireguard-key-mismatch",
    "wireguard-peer-missing",
];
const SCENARIO: &str = "encryption";
const TALKER: &str = "talker";
const LISTENER: &str = "listener";
const CAPTURE: &str = "capture";

/// What the checks need that only read Cilium's state.
const STATUS_NEEDS: Needs = Needs {
    scenario: None,
    claim: Some(ClaimKind::Encryption),
    admission: Admission::Shared,
    mutates: false,
};

/// What the checks need that send traffic.
const TRAFFIC_NEEDS: Needs = Needs {
    scenario: Some(SCENARIO),
    ..STATUS_NEEDS
};

/// The healthy world of the suite's tests, in which no check is skipped.
#[cfg(test)]
pub(crate) fn world(shape: crate::testing::Shape) -> std::sync::Arc<dyn meshproof_contract::Environment> {
    tests::world::World::complete(shape).environment()
}
