//! Names: what the DNS proxy lets pods ask, and what names open (docs.cilium.io, "DNS based", "Layer 7 DNS").

use crate::policy::actor::Actor;
use crate::policy::case::{Case, Family};
use crate::policy::cell::{Ask, Cell, GET};
use crate::kit::object::policy::cilium;
use crate::policy::scene::{Dns, Scene};
use meshproof_contract::{CheckText, ClaimKind, Scope};
use serde_json::{Value, json};
use std::sync::Arc;

const CONTROL: &str = "Every name is answered before the policy and after it, and names that a rule admits are answered under it by the same servers that others are refused for.";
const WHEN_RED: &str = "`kubectl -n kube-system exec CILIUM-POD-OF-THE-NODE -- cilium-dbg status --verbose` must show the DNS proxy and its redirects; `hubble observe --protocol dns --pod NAMESPACE/POD` what it decided.";

/// Questions and requests of the ward: names that exist and one that does not, some of which a rule admits.
fn questions(scene: &Scene, others: &[Arc<Actor>]) -> Vec<Cell> {
    let Some(dns) = &scene.dns else { return Vec::new() };
    let (domain, port) = (&dns.domain, dns.port);
    let names = [
        format!("kubernetes.default.svc.{domain}."),
        format!("{}.{}.svc.{domain}.", dns.service, dns.namespace),
        format!("absent.{}.svc.{domain}.", scene.namespace),
        format!("one.absent.{}.svc.{domain}.", scene.namespace),
    ];
    let asks: Vec<Ask> = names.into_iter().map(|name| Ask::Lookup { name, port }).collect();
    let mut cells = Scene::cells(&scene.wards, std::slice::from_ref(&dns.replica), &asks);
    cells.extend(Scene::cells(&scene.wards, others, &[GET]));
    cells
}

/// Lets the ward ask these names of cluster DNS, besides what `rules` allow.
pub(super) fn asking(scene: &Scene, names: impl Fn(&Dns) -> Value, rules: &[Value]) -> Vec<Value> {
    let Some(dns) = &scene.dns else { return Vec::new() };
    let mut egress = vec![json!({
        "toEndpoints": [{"matchLabels": {"k8s:io.kubernetes.pod.namespace": dns.namespace}}],
        "toPorts": [{"ports": [{"port": dns.port.to_string(), "protocol": "ANY"}], "rules": {"dns": names(dns)}}],
    })];
    egress.extend_from_slice(rules);
    vec![cilium(json!({"endpointSelector": scene.selector(), "egress": egress}))]
}

/// DNS rules.
pub const NAMES: Family = Family {
    id: "policy::dns_names",
    text: CheckText {
        title: "The DNS proxy lets pods ask the names that a rule has, and refuses the others",
        proves: "DNS rules are enforced, by exact name and by pattern; `*` in a pattern stands for one label and not for a dot; a name that does not exist is still asked of the servers when a pattern admits it.",
        how: "A policy lets the group ask cluster DNS one exact name, another one a pattern; four names are asked before, under and after, with nothing outside of the cluster involved.",
        control: CONTROL,
        when_red: WHEN_RED,
    },
    scope: Scope::Cluster,
    claim: ClaimKind::FqdnPolicy,
    faults: &["policy-dns-not-refused"],
    cases: &[
        Case {
            name: "an exact name",
            policies: |scene| {
                asking(
                    scene,
                    |dns| json!([{"matchName": format!("kubernetes.default.svc.{}", dns.domain)}]),
                    &[],
                )
            },
            cells: questions,
        },
        Case {
            name: "a pattern",
            policies: |scene| {
                let namespace = scene.namespace.clone();
                asking(
                    scene,
                    |dns| json!([{"matchPattern": format!("*.{namespace}.svc.{}", dns.domain)}]),
                    &[],
                )
            },
            cells: questions,
        },
    ],
};

/// `toFQDNs` beside pods.
pub const NAMES_AND_PODS: Family = Family {
    id: "policy::fqdn_opens_no_pods",
    text: CheckText {
        title: "Rules with names open what is outside of the mesh and no pod of it",
        proves: "`toFQDNs` with a pattern for every name leaves pods closed, since they have identities of their own, while questions pass through the DNS proxy.",
        how: "A policy lets the group ask every name and reach every name; pods are asked by address, names of cluster DNS, before, under and after. (What a name opens outside is not tried: nothing outside is ever asked.)",
        control: CONTROL,
        when_red: WHEN_RED,
    },
    scope: Scope::Cluster,
    claim: ClaimKind::FqdnPolicy,
    faults: &[
        "policy-fqdn-ignored",
        "policy-egress-ignored",
        "policy-default-deny-missing",
    ],
    cases: &[Case {
        name: "every name",
        policies: |scene| {
            asking(
                scene,
                |_| json!([{"matchPattern": "*"}]),
                &[json!({"toFQDNs": [{"matchPattern": "*"}]})],
            )
        },
        cells: questions,
    }],
};
