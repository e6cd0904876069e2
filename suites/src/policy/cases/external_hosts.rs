//! What is outside of the clusters: names, addresses and the entity `world`, where the operators name machines that pods reach
//! (docs.cilium.io, "DNS based", "CIDR based", "Entities based").

use super::names::asking;
use crate::policy::actor::Actor;
use crate::policy::case::{Case, Family, Provided};
use crate::policy::cell::{Cell, GET};
use crate::policy::scene::{Outside, Scene};
use meshproof_contract::{CheckContext, CheckText, ClaimKind, Scope, Verdict};
use serde_json::{Value, json};
use std::sync::Arc;

/// A family about machines outside, skipped where nobody names any.
pub const fn needs_outside(family: &'static Family) -> Provided {
    Provided {
        family,
        lacking: |context| Box::pin(async { nobody_named(context) }),
    }
}

fn nobody_named(context: &CheckContext) -> Option<Verdict> {
    let named = !context.environment.facts().outside.is_empty();
    (!named).then(|| Verdict::skipped("nobody names a machine outside of the clusters (`outside` in meshproof.yaml)"))
}

const CONTROL: &str = "Every machine outside is reached before the policy and after it; under it, those that it opens are reached by the same pods that others stay closed for.";

/// The ward asks the machines outside, and its neighbours.
fn outward(scene: &Scene, others: &[Arc<Actor>]) -> Vec<Cell> {
    let mut cells = scene.reaching();
    cells.extend(Scene::cells(&scene.wards, others, &[GET]));
    cells
}

/// The ward may ask every name, and what the rules say of the first machine outside.
fn about_first(scene: &Scene, rule: impl Fn(&Outside) -> Value) -> Vec<Value> {
    let Some(first) = scene.outside.first() else {
        return Vec::new();
    };
    asking(scene, |_| json!([{"matchPattern": "*"}]), &[rule(first)])
}

fn name(outside: &Outside) -> &str {
    outside.name.trim_end_matches('.')
}

/// `toFQDNs`.
pub const FQDN: Family = Family {
    id: "policy::fqdn",
    text: CheckText {
        title: "A rule with a name opens what the name leads to, and no other machine outside",
        proves: "`toFQDNs`, by exact name and by pattern, opens the addresses that pods were told for these names, once they were told, and nothing else outside or inside.",
        how: "The machines that `outside` of meshproof.yaml names (skipped where there is none) are asked by name, over the DNS proxy, before, under and after policies that let the group ask every name and reach one of them: by its exact name, and by a pattern for the names that begin alike. Neighbours are asked by address.",
        control: CONTROL,
        when_red: "`kubectl -n kube-system exec CILIUM-POD-OF-THE-NODE -- cilium-dbg fqdn cache list` must show name and address; `cilium-dbg bpf ipcache list` the identity of the address, `hubble observe --to-fqdn NAME` what was decided.",
    },
    scope: Scope::Cluster,
    claim: ClaimKind::FqdnPolicy,
    faults: &["policy-fqdn-matches-nothing", "policy-fqdn-ignored"],
    cases: &[
        Case {
            name: "an exact name",
            policies: |scene| about_first(scene, |first| json!({"toFQDNs": [{"matchName": name(first)}]})),
            cells: outward,
        },
        Case {
            name: "a pattern",
            policies: |scene| {
                about_first(scene, |first| {
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
pub const ADDRESSES: Family = Family {
    id: "policy::outside_addresses",
    text: CheckText {
        title: "Rules with addresses and with the entity world open what is outside, less the exceptions",
        proves: "A single address opens that machine only, everything less an exception opens all but that one, and `world` opens everything outside and no pod or node of the mesh.",
        how: "The machines that `outside` of meshproof.yaml names (skipped where there is none) are asked before, under and after policies that let the group reach the address of one of them, 0.0.0.0/0 except that address, and the entity `world`. Neighbours are asked, too.",
        control: CONTROL,
        when_red: "`kubectl -n kube-system exec CILIUM-POD-OF-THE-NODE -- cilium-dbg bpf ipcache list`: the address must have an identity of its range (from 16777217 on); `cilium-dbg policy get` what is in force.",
    },
    scope: Scope::Cluster,
    claim: ClaimKind::Policy,
    faults: &["policy-cidr-except-ignored", "policy-entities-ignored"],
    cases: &[
        Case {
            name: "one address",
            policies: |scene| {
                about_first(
                    scene,
                    |first| json!({"toCIDR": [format!("{}/32", first.machine.agent.address)]}),
                )
            },
            cells: outward,
        },
        Case {
            name: "every address less one",
            policies: |scene| {
                about_first(scene, |first| {
                    let except = format!("{}/32", first.machine.agent.address);
                    json!({"toCIDRSet": [{"cidr": "0.0.0.0/0", "except": [except]}]})
                })
            },
            cells: outward,
        },
        Case {
            name: "the world",
            policies: |scene| about_first(scene, |_| json!({"toEntities": ["world"]})),
            cells: outward,
        },
    ],
};
