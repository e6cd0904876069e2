//! Pools of addresses for LoadBalancers.

use super::Context;
use crate::{
    finding::{Findings, Rule, Severity},
    sources::Document,
    yaml::Node,
};
use std::net::IpAddr;

/// Pools that overlap.
pub const POOLS_OVERLAP: Rule = Rule {
    id: "pools-overlap",
    severity: Severity::Error,
    finds: "Two CiliumLoadBalancerIPPools have addresses in common.",
    reason: "In one cluster the later one is disabled (condition cilium.io/PoolConflict); in two clusters of one \
             network, both may give away the same address.",
};

/// A field without effect.
pub const FIRST_LAST: Rule = Rule {
    id: "pool-first-last",
    severity: Severity::Warning,
    finds: "allowFirstLastIPs is No for blocks that are ranges.",
    reason: "It leaves out the first and last address of `cidr` blocks only (B19).",
};

pub(super) fn check(context: &Context<'_>, out: &mut Findings) {
    let pools: Vec<_> = context.of_kind("CiliumLoadBalancerIPPool").collect();
    for (at, pool) in pools.iter().enumerate() {
        let ours = blocks(pool);
        for other in &pools[..at] {
            let meets = |a: &(u128, u128), b: &(u128, u128)| a.0 <= b.1 && b.0 <= a.1;
            let theirs = blocks(other);
            let is_copy = other.name == pool.name && other.file() == pool.file();
            if !is_copy && ours.iter().any(|a| theirs.iter().any(|b| meets(a, b))) {
                let place = pool.place_of(&["spec", "blocks"]);
                let what = format!("pool {} has addresses of pool {}", pool.name, other.name);
                out.add(
                    &POOLS_OVERLAP,
                    place,
                    format!("{what} ({}:{})", context.sources.path(other.file()), other.place.line),
                );
            }
        }
        let is_no = pool.node.dig(&["spec", "allowFirstLastIPs"]).and_then(Node::scalar);
        let no_range = pool
            .node
            .items_at(&["spec", "blocks"])
            .iter()
            .all(|block| block.get("cidr").is_none());
        if is_no.is_some_and(|text| ["No", "false"].contains(&text.as_str())) && no_range {
            let place = pool.place_of(&["spec", "allowFirstLastIPs"]);
            out.add(
                &FIRST_LAST,
                place,
                "allowFirstLastIPs has no effect on start/stop ranges",
            );
        }
    }
}

/// The addresses of a pool, as first and last.
fn blocks(pool: &Document) -> Vec<(u128, u128)> {
    let number = |address: IpAddr| match address {
        IpAddr::V4(address) => u128::from(u32::from(address)),
        IpAddr::V6(address) => u128::from(address),
    };
    let lists = ["blocks", "cidrs"].into_iter();
    let blocks = lists.flat_map(|list| pool.node.items_at(&["spec", list]));
    let range = |block: &Node| {
        if let Some(cidr) = block.text_at(&["cidr"]) {
            let net: ipnet::IpNet = cidr.parse().ok()?;
            return Some((number(net.network()), number(net.broadcast())));
        }
        let start: IpAddr = block.text_at(&["start"])?.parse().ok()?;
        let stop = block.text_at(&["stop"]).map_or(Ok(start), str::parse).ok()?;
        Some((number(start), number(stop)))
    };
    blocks.filter_map(range).collect()
}
