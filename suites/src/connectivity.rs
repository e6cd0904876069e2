//! Do pods reach pods, and nodes pods, with everything that a network must carry?

pub mod host;
pub mod overhead;
pub mod path_mtu;
pub mod payload;
pub mod ping;
pub mod reach;
pub mod round_trips;
pub mod source_address;

use meshproof_contract::{Needs, Suite};

/// The suite.
pub const SUITE: Suite = Suite {
    name: "connectivity",
    about: "Pods reach pods on the same node, on other nodes and in the other cluster: over HTTP, TCP, UDP and ICMP, with their own source address, every size of payload, the full path MTU, without loss and in time; and nodes reach pods, and pods nodes.",
    checks: &[
        &reach::HTTP_SAME_NODE,
        &reach::HTTP_OTHER_NODE,
        &reach::HTTP_OTHER_CLUSTER,
        &reach::TCP_SAME_NODE,
        &reach::TCP_OTHER_NODE,
        &reach::TCP_OTHER_CLUSTER,
        &reach::UDP_SAME_NODE,
        &reach::UDP_OTHER_NODE,
        &reach::UDP_OTHER_CLUSTER,
        &ping::SAME_NODE,
        &ping::OTHER_NODE,
        &ping::OTHER_CLUSTER,
        &source_address::SAME_NODE,
        &source_address::OTHER_NODE,
        &source_address::OTHER_CLUSTER,
        &payload::SAME_NODE,
        &payload::OTHER_NODE,
        &payload::OTHER_CLUSTER,
        &path_mtu::SAME_NODE,
        &path_mtu::OTHER_NODE,
        &path_mtu::OTHER_CLUSTER,
        &host::TO_OWN_HOST,
        &host::TO_OTHER_HOST,
        &host::TO_OTHER_CLUSTER_HOST,
        &host::FROM_OWN_HOST,
        &host::FROM_OTHER_HOST,
        &host::FROM_OTHER_CLUSTER_HOST,
        &round_trips::SAME_NODE,
        &round_trips::OTHER_NODE,
        &round_trips::OTHER_CLUSTER,
        &overhead::CrossClusterOverhead,
    ],
};

/// What every check of the suite needs.
const NEEDS: Needs = Needs {
    scenario: Some(crate::kit::matrix::SCENARIO),
    claim: None,
    admission: meshproof_contract::Admission::Shared,
    mutates: false,
};

/// What measures time needs: nothing else of ours on the path meanwhile, or it would measure its neighbours.
const ALONE: Needs = Needs {
    admission: meshproof_contract::Admission::Exclusive,
    ..NEEDS
};
