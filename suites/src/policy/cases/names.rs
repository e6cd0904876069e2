//! Names: which queries the DNS proxy admits, and what names open (docs.cilium.io, "DNS based", "Layer 7 DNS").

use crate::{
    kit::object::policy::cilium,
    policy::{
        case::{Case, PolicyCheck},
        cell::{Cell, GET, Traffic},
        fixture::{Fixture, cluster_dns::ClusterDns},
        participant::Participant,
    },
};
use meshproof_contract::{CheckText, ClaimKind, Scope};
use serde_json::{Value, json};
use std::{slice, sync::Arc};

const CONTROL: &str = "Every name is answered before the policy and after its deletion. Under it, the servers that \
                       answer the admitted names are those for which others are refused.";
const WHEN_RED: &str = "`kubectl --context CONTEXT -n kube-system exec AGENT_POD -c cilium-agent -- cilium-dbg status \
                        --verbose` must show the DNS proxy and its redirects. `hubble observe --protocol dns --pod \
                        NAMESPACE/POD` shows its verdicts.";

/// DNS queries and requests of the subject pods: names that exist and names that do not, some of which a rule admits.
fn queries(fixture: &Fixture, peers: &[Arc<Participant>]) -> Vec<Cell> {
    let Some(dns) = &fixture.dns else { return Vec::new() };
    let (domain, port) = (&dns.domain, dns.port);
    let names = [
        format!("kubernetes.default.svc.{domain}."),
        format!("{}.{}.svc.{domain}.", dns.service, dns.namespace),
        format!("absent.{}.svc.{domain}.", fixture.namespace),
        format!("one.absent.{}.svc.{domain}.", fixture.namespace),
    ];
    let queries = names.into_iter().map(|name| Traffic::DnsQuery { name, port });
    let queries: Vec<Traffic> = queries.collect();
    let mut cells = Fixture::cells(&fixture.subjects, slice::from_ref(&dns.replica), &queries);
    cells.extend(Fixture::cells(&fixture.subjects, peers, &[GET]));
    cells
}

/// Admits queries of the subject pods to cluster DNS for these names, besides what `rules` allow.
pub(in crate::policy) fn admitting_queries(
    fixture: &Fixture,
    names: impl Fn(&ClusterDns) -> Value,
    rules: &[Value],
) -> Vec<Value> {
    let Some(dns) = &fixture.dns else { return Vec::new() };
    let mut egress = vec![json!({
        "toEndpoints": [{"matchLabels": {"k8s:io.kubernetes.pod.namespace": dns.namespace}}],
        "toPorts": [{"ports": [{"port": dns.port.to_string(), "protocol": "ANY"}], "rules": {"dns": names(dns)}}],
    })];
    egress.extend_from_slice(rules);
    vec![cilium(
        json!({"endpointSelector": fixture.selector(), "egress": egress}),
    )]
}

/// DNS rules.
pub const NAMES: PolicyCheck = PolicyCheck {
    id: "policy::dns_names",
    text: CheckText {
        title: "The DNS proxy admits queries for the names in a rule and refuses the others",
        proves: "DNS rules are enforced by exact name and by pattern, where `*` stands for one label and not for a \
                 dot. A query for a name that does not exist is still forwarded when a pattern admits it.",
        how: "One policy admits queries to cluster DNS for one exact name, another for a pattern. Four names inside \
              the cluster are queried before, under and after each.",
        control: CONTROL,
        when_red: WHEN_RED,
    },
    scope: Scope::Cluster,
    claim: ClaimKind::FqdnPolicy,
    faults: &["policy-dns-not-refused"],
    cases: &[
        Case {
            name: "an exact name",
            policies: |fixture| {
                admitting_queries(
                    fixture,
                    |dns| json!([{"matchName": format!("kubernetes.default.svc.{}", dns.domain)}]),
                    &[],
                )
            },
            cells: queries,
        },
        Case {
            name: "a pattern",
            policies: |fixture| {
                let namespace = fixture.namespace.clone();
                admitting_queries(
                    fixture,
                    |dns| json!([{"matchPattern": format!("*.{namespace}.svc.{}", dns.domain)}]),
                    &[],
                )
            },
            cells: queries,
        },
    ],
};

/// `toFQDNs` beside pods.
pub const NAMES_AND_PODS: PolicyCheck = PolicyCheck {
    id: "policy::fqdn_opens_no_pods",
    text: CheckText {
        title: "Rules with names open external hosts and no pod of the mesh",
        proves: "`toFQDNs` with a pattern for every name leaves pods closed, since they have identities of their own, \
                 while queries pass the DNS proxy.",
        how: "A policy admits queries for every name and egress to every name; pods are probed by address, and names \
              of cluster DNS are queried, before, under and after. No external host is contacted.",
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
        policies: |fixture| {
            admitting_queries(
                fixture,
                |_| json!([{"matchPattern": "*"}]),
                &[json!({"toFQDNs": [{"matchPattern": "*"}]})],
            )
        },
        cells: queries,
    }],
};
