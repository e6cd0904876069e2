//! Is what pods send between nodes readable by whoever listens there? By the word of Cilium, and on the wire itself.

pub mod allowed_ips;
pub mod counters_rise;
pub mod handshakes_fresh;
pub mod keys_agree;
pub mod mode_in_force;
pub mod peers_complete;
pub mod strict_mode;
pub mod traffic;

mod claim;
mod flows;
mod judge;
mod peers;
mod proxied;
mod stage;
mod window;

#[cfg(test)]
mod fixture;
#[cfg(test)]
mod tests;

use meshproof_contract::{Admission, ClaimKind, Needs, Suite};

/// The suite.
pub const SUITE: Suite = Suite {
    name: "encryption",
    about: "What is claimed of encryption is in force: every node is WireGuard's peer of every other one, with the key that it announces, a fresh handshake and the right addresses; and nothing that pods, Services or DNS carry between nodes can be read on any device between them, which the capture that looks for it proves that it would see.",
    checks: &[
        &mode_in_force::ModeInForce,
        &peers_complete::PeersComplete,
        &keys_agree::KeysAgree,
        &handshakes_fresh::HandshakesFresh,
        &allowed_ips::AllowedIps,
        &counters_rise::CountersRise,
        &traffic::PODS,
        &traffic::PODS_ACROSS,
        &traffic::SERVICE,
        &traffic::GLOBAL_SERVICE,
        &traffic::DNS,
        &traffic::HEADERS,
        &traffic::PROXIED_DNS,
        &traffic::PROXIED_HTTP,
        &strict_mode::StrictMode,
    ],
};

/// The suite's scenario, and its workloads.
const SCENARIO: &str = "encryption";
const TALKER: &str = "talker";
const LISTENER: &str = "listener";
const CAPTURE: &str = "capture";

/// What the checks need that only ask Cilium.
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
