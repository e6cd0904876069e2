//! External hosts: names, addresses and the entity `world`, with the hosts that meshproof.yaml names (docs.cilium.io,
//! "DNS based", "CIDR based", "Entities based").

use super::names::admitting_queries;
use crate::policy::{
    case::{Case, PolicyCheck},
    cell::{Cell, GET},
    fixture::{Fixture, external_hosts::ExternalHost},
    participant::Participant,
};
use meshproof_contract::{CheckText, ClaimKind, Scope};
use serde_json::{Value, json};
use std::sync::Arc;

const CONTROL: &str = "Every external host is reached before the policy and after its deletion. Under it, the hosts \
                       that it opens are reached by the same pods to which others stay closed.";

/// From the subject pods to the external hosts, and to the peers.
fn outward(fixture: &Fixture, peers: &[Arc<Participant>]) -> Vec<Cell> {
    let mut cells = fixture.cells_to_external_hosts();
    cells.extend(Fixture::cells(&fixture.subjects, peers, &[GET]));
    cells
}

/// Admits every query of the subject pods, and what the rule says of the first external host.
fn for_first(fixture: &Fixture, rule: impl Fn(&ExternalHost) -> Value) -> Vec<Value> {
    let Some(first) = fixture.external_hosts.first() else {
        return Vec::new();
    };
    admitting_queries(fixture, |_| json!([{"matchPattern": "*"}]), &[rule(first)])
}

fn name(host: &ExternalHost) -> &str {
    host.name.trim_end_matches('.')
}

/// `toFQDNs`.
pub const FQDN: PolicyCheck = PolicyCheck {
    id: "policy::fqdn",
    text: CheckText {
        title: "A rule with a name opens the addresses behind the name, and no other external host",
        proves: "`toFQDNs`, by exact name and by pattern, opens the addresses that a pod's own DNS answers gave for \
                 these names, and nothing else.",
        how: "The external hosts under `outside` in meshproof.yaml are contacted by name through the DNS proxy, \
              before, under and after policies that admit every query and egress to one host: by its exact name, and \
              by a pattern. Peers are probed by address; the check is skipped without external hosts.",
        control: CONTROL,
        when_red: "`kubectl --context CONTEXT -n kube-system exec AGENT_POD -c cilium-agent -- cilium-dbg fqdn cache \
                   list` must show name and address, `cilium-dbg bpf ipcache list` the identity of the address. \
                   `hubble observe --to-fqdn NAME` shows the verdicts. Only the pattern is closed: before 1.18.5 \
                   Cilium does not add a selector to an address that another policy selects already \
                   (cilium/cilium#42832); `cilium-dbg ip list` shows its labels.",
    },
    scope: Scope::Cluster,
    claim: ClaimKind::FqdnPolicy,
    faults: &[
        "policy-fqdn-matches-nothing",
        "policy-fqdn-ignored",
        "policy-fqdn-labelled-once",
    ],
    cases: &[
        Case {
            name: "an exact name",
            policies: |fixture| for_first(fixture, |first| json!({"toFQDNs": [{"matchName": name(first)}]})),
            cells: outward,
        },
        Case {
            name: "a pattern",
            policies: |fixture| {
                for_first(fixture, |first| {
                    let (host, domain) = name(first).split_once('.').unwrap_or((name(first), ""));
                    let start: String = host.chars().take(1).collect();
                    json!({"toFQDNs": [{"matchPattern": format!("{start}*.{domain}")}]})
                })
            },
            cells: outward,
        },
    ],
};

/// `toCIDR` and `toEntities`.
pub const ADDRESSES: PolicyCheck = PolicyCheck {
    id: "policy::outside_addresses",
    text: CheckText {
        title: "Rules with addresses and entity world open external hosts, except the exceptions",
        proves: "A single address opens that host only, 0.0.0.0/0 with an exception opens all but that host, and \
                 `world` opens every external host. None of them opens a pod or node of the mesh.",
        how: "The external hosts under `outside` in meshproof.yaml are contacted before, under and after policies \
              that allow egress to the address of one of them, to 0.0.0.0/0 except that address, and to entity \
              `world`. Peers are probed, too; the check is skipped without external hosts.",
        control: CONTROL,
        when_red: "`kubectl --context CONTEXT -n kube-system exec AGENT_POD -c cilium-agent -- cilium-dbg bpf ipcache \
                   list`: the address must have an identity of its range, from 16777217 on; `cilium-dbg policy get` \
                   shows what is in force.",
    },
    scope: Scope::Cluster,
    claim: ClaimKind::Policy,
    faults: &["policy-cidr-except-ignored", "policy-entities-ignored"],
    cases: &[
        Case {
            name: "one address",
            policies: |fixture| {
                for_first(
                    fixture,
                    |first| json!({"toCIDR": [format!("{}/32", first.participant.agent.address)]}),
                )
            },
            cells: outward,
        },
        Case {
            name: "every address less one",
            policies: |fixture| {
                for_first(fixture, |first| {
                    let except = format!("{}/32", first.participant.agent.address);
                    json!({"toCIDRSet": [{"cidr": "0.0.0.0/0", "except": [except]}]})
                })
            },
            cells: outward,
        },
        Case {
            name: "the world",
            policies: |fixture| for_first(fixture, |_| json!({"toEntities": ["world"]})),
            cells: outward,
        },
    ],
};
