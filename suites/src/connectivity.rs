//! Do pods reach pods, and nodes pods, with everything that a network must carry?

pub mod host;
mod nearby;
pub mod overhead;
pub mod path_mtu;
pub mod payload;
pub mod ping;
pub mod ports;
pub mod reach;
pub mod round_trips;
pub mod running_pods;
pub mod source_address;
pub mod throughput;

use crate::kit::path_check::PathCheck;
use host::Host;
use meshproof_contract::Suite;
use path_mtu::PathMtu;
use payload::Payload;
use ping::Ping;
use ports::Ports;
use reach::Reach;
use round_trips::RoundTrips;
use running_pods::RunningPods;
use source_address::SourceAddress;
use throughput::Throughput;

/// The suite.
pub const SUITE: Suite = Suite {
    name: "connectivity",
    about: "Pods reach pods on the same node, on other nodes and in the other cluster over HTTP, TCP, UDP and ICMP: \
            with their own source address, every payload size and the full path MTU, without loss, in time, and \
            without a pair that carries much less than the others. Nodes \
            reach pods, and pods nodes, and nodes each other. Every running pod of others answers its own node.",
    checks: &[
        &PathCheck::same_node(Reach::Http),
        &PathCheck::other_node(Reach::Http),
        &PathCheck::other_cluster(Reach::Http),
        &PathCheck::same_node(Reach::Tcp),
        &PathCheck::other_node(Reach::Tcp),
        &PathCheck::other_cluster(Reach::Tcp),
        &PathCheck::same_node(Reach::Udp),
        &PathCheck::other_node(Reach::Udp),
        &PathCheck::other_cluster(Reach::Udp),
        &PathCheck::same_node(Ping),
        &PathCheck::other_node(Ping),
        &PathCheck::other_cluster(Ping),
        &PathCheck::other_node(Ports),
        &PathCheck::other_cluster(Ports),
        &PathCheck::same_node(SourceAddress),
        &PathCheck::other_node(SourceAddress),
        &PathCheck::other_cluster(SourceAddress),
        &PathCheck::same_node(Payload),
        &PathCheck::other_node(Payload),
        &PathCheck::other_cluster(Payload),
        &PathCheck::same_node(PathMtu),
        &PathCheck::other_node(PathMtu),
        &PathCheck::other_cluster(PathMtu),
        &PathCheck::same_node(Host::FromPods),
        &PathCheck::other_node(Host::FromPods),
        &PathCheck::other_cluster(Host::FromPods),
        &PathCheck::same_node(Host::ToPods),
        &PathCheck::other_node(Host::ToPods),
        &PathCheck::other_cluster(Host::ToPods),
        &PathCheck::other_node(Host::ToHosts),
        &PathCheck::other_cluster(Host::ToHosts),
        &RunningPods,
        &PathCheck::same_node(RoundTrips),
        &PathCheck::other_node(RoundTrips),
        &PathCheck::other_cluster(RoundTrips),
        &PathCheck::other_node(Throughput),
        &PathCheck::other_cluster(Throughput),
        &overhead::CrossClusterOverhead,
    ],
};
