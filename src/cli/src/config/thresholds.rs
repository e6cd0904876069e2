//! `thresholds` of `meshproof.yaml`, which states as many as it likes; the rest stay as the target has them.

use super::value::Span;
use meshproof_contract::{Percent, Thresholds};
use schemars::JsonSchema;
use serde::Deserialize;

/// Promised service levels. Durations are written `60s`, `1500ms`, `2m`; shares `99.9%`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ThresholdsEntry {
    /// Longest outage of a stream after a failure, until requests succeed again for good.
    pub recovery: Option<Span>,
    /// Longest time until restored local backends answer again instead of remote ones.
    pub fail_back: Option<Span>,
    /// Lowest share of requests that succeed.
    pub availability: Option<Percent>,
    /// Longest time until a change in one cluster takes effect in another.
    pub propagation: Option<Span>,
    /// Longest time from applying or deleting a policy until every node enforces the change.
    pub policy_enforcement: Option<Span>,
    /// Longest time from an endpoint becoming not ready until no new connection reaches it.
    pub endpoint_removal: Option<Span>,
    /// Highest 99th percentile of the round-trip time within a cluster.
    pub local_latency: Option<Span>,
    /// Highest 99th percentile of the round-trip time between clusters.
    pub cross_cluster_latency: Option<Span>,
    /// Highest difference between the median round-trip times to another cluster and within a cluster.
    pub cross_cluster_overhead: Option<Span>,
    /// Highest 99th percentile of the response time of cluster DNS.
    pub dns_latency: Option<Span>,
}

impl ThresholdsEntry {
    /// These, and `base` for what is not stated.
    pub fn over(self, base: Thresholds) -> Thresholds {
        let or = |stated: Option<Span>, base| stated.map_or(base, |span| span.0);
        // Every field by name, so that a new one cannot be forgotten here.
        let Self {
            recovery,
            fail_back,
            availability,
            propagation,
            policy_enforcement,
            endpoint_removal,
            local_latency,
            cross_cluster_latency,
            cross_cluster_overhead,
            dns_latency,
        } = self;
        Thresholds {
            recovery: or(recovery, base.recovery),
            fail_back: or(fail_back, base.fail_back),
            availability: availability.unwrap_or(base.availability),
            propagation: or(propagation, base.propagation),
            policy_enforcement: or(policy_enforcement, base.policy_enforcement),
            endpoint_removal: or(endpoint_removal, base.endpoint_removal),
            local_latency: or(local_latency, base.local_latency),
            cross_cluster_latency: or(cross_cluster_latency, base.cross_cluster_latency),
            cross_cluster_overhead: or(cross_cluster_overhead, base.cross_cluster_overhead),
            dns_latency: or(dns_latency, base.dns_latency),
        }
    }
}
