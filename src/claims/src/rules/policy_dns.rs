//! Default denies that close cluster DNS: at the DNS servers, or at those who ask them.

use super::Context;
use crate::{
    finding::{Findings, Rule, Severity},
    policy::{Allow, Direction, Selector, Spec},
};

/// Closed at the servers.
pub const CLOSES_ALL: Rule = Rule {
    id: "default-deny-closes-dns-server",
    severity: Severity::Error,
    finds: "A policy brings default deny to the pods of cluster DNS, and no policy of the repository lets queries in.",
    reason: "A rule for some ports makes everything else denied, for every pod that the policy selects (A2). L7 rules \
             are no mere visibility. Where nothing should be denied: enableDefaultDeny: {ingress: false}.",
};

/// Closed at the clients.
pub const CLOSES_DNS: Rule = Rule {
    id: "default-deny-closes-dns",
    severity: Severity::Error,
    finds: "A policy brings default deny for egress and allows some, and no policy for these pods allows DNS.",
    reason: "Names do not resolve, so what is allowed is not reached by name; toFQDNs learns nothing (A31).",
};

/// Names that are never learnt.
pub const FQDN_WITHOUT_DNS: Rule = Rule {
    id: "fqdn-without-dns-rule",
    severity: Severity::Error,
    finds: "A policy has toFQDNs, and no policy for these pods has a DNS rule.",
    reason: "Addresses are learnt from answers that the DNS proxy sees, and it sees those of pods with a rule \
             `rules: {dns: [...]}` only (A31). Without it, toFQDNs selects nothing.",
};

/// The labels of cluster DNS, as kubeadm, Talos and kind have them.
const DNS_LABELS: &[(&str, &str)] = &[("k8s-app", "kube-dns")];
const DNS_NAMESPACE: &str = "kube-system";

pub(super) fn check(context: &Context<'_>, out: &mut Findings) {
    for spec in &context.policies.specs {
        if let Some(subject) = spec.subject.as_ref().filter(|_| !spec.is_for_nodes) {
            server(context, spec, subject, out);
            client(context, spec, subject, out);
            names(context, spec, subject, out);
        }
    }
}

fn selects_dns(subject: &Selector<'_>) -> bool {
    !subject.has_more && subject.can_select(DNS_NAMESPACE, DNS_LABELS)
}

fn server(context: &Context<'_>, spec: &Spec<'_>, subject: &Selector<'_>, out: &mut Findings) {
    if !selects_dns(subject) || !spec.has_default_deny(Direction::Ingress) {
        return;
    }
    let lets_in = |other: &Spec<'_>| {
        let is_for_dns = other.subject.as_ref().is_some_and(|subject| {
            // DNS servers have other labels in some distributions.
            subject.can_select(DNS_NAMESPACE, DNS_LABELS) || subject.namespace == Some(DNS_NAMESPACE)
        });
        let allows = other.allows(Direction::Ingress);
        is_for_dns
            && allows
                .iter()
                .any(|allow| allow.allows_port(53, "UDP") && is_somebody(allow))
    };
    if context.policies.specs.iter().any(lets_in) {
        return;
    }
    let ports: Vec<_> = spec.section("ingress").iter().flat_map(open_ports).collect();
    let what = match (subject.is_empty() && subject.namespace.is_none(), ports.is_empty()) {
        (true, false) => format!(
            "{} selects every endpoint and brings default deny: whatever is not {} is closed, cluster DNS too",
            spec.document.name,
            ports.join(", ")
        ),
        (true, true) => format!(
            "{} selects every endpoint and closes cluster DNS, too",
            spec.document.name
        ),
        _ => format!(
            "{} brings default deny to cluster DNS, and nothing lets queries in",
            spec.document.name
        ),
    };
    out.add(&CLOSES_ALL, spec.place("ingress"), what);
}

fn open_ports(rule: &crate::yaml::Node) -> Vec<String> {
    let items = rule.items_at(&["toPorts"]).iter();
    items
        .flat_map(|item| {
            let is_http = item.dig(&["rules", "http"]).is_some();
            item.items_at(&["ports"]).iter().map(move |port| {
                let text = |key: &str| port.get(key).and_then(crate::yaml::Node::scalar).unwrap_or_default();
                let port = format!("{} {}", text("protocol"), text("port"));
                if is_http {
                    format!("HTTP on {}", port.trim())
                } else {
                    port.trim().to_owned()
                }
            })
        })
        .collect()
}

fn client(context: &Context<'_>, spec: &Spec<'_>, subject: &Selector<'_>, out: &mut Findings) {
    let is_system = subject.namespace == Some(DNS_NAMESPACE);
    if is_system || !spec.has_default_deny(Direction::Egress) {
        return;
    }
    let same = |other: &&Spec<'_>| other.subject.as_ref().is_some_and(|other| other.covers(subject));
    let specs: Vec<_> = context.policies.specs.iter().filter(same).collect();
    let allows: Vec<_> = specs.iter().flat_map(|spec| spec.allows(Direction::Egress)).collect();
    let opens = allows.iter().filter(|allow| is_somebody(allow)).count();
    if opens == 0 || allows.iter().any(allows_dns) {
        return;
    }
    let what = format!(
        "{} denies egress by default and allows no DNS: names do not resolve",
        spec.document.name
    );
    out.add(&CLOSES_DNS, spec.place("egress"), what);
}

fn names(context: &Context<'_>, spec: &Spec<'_>, subject: &Selector<'_>, out: &mut Findings) {
    let rules = spec.section("egress").iter();
    let Some(named) = rules
        .filter_map(|rule| rule.entry("toFQDNs"))
        .find(|entry| !entry.node.items().is_empty())
    else {
        return;
    };
    let same = |other: &&Spec<'_>| other.subject.as_ref().is_some_and(|other| other.covers(subject));
    let mut rules = context
        .policies
        .specs
        .iter()
        .filter(same)
        .flat_map(|spec| spec.section("egress"));
    let has_dns = rules.any(|rule| {
        rule.items_at(&["toPorts"])
            .iter()
            .any(|item| item.dig(&["rules", "dns"]).is_some())
    });
    if !has_dns {
        let what = format!(
            "{} has toFQDNs and no DNS rule: it learns no address and allows nothing",
            spec.document.name
        );
        out.add(&FQDN_WITHOUT_DNS, named.place, what);
    }
}

/// Whether a rule allows anybody at all: `- {}` does not.
fn is_somebody(allow: &Allow<'_>) -> bool {
    !allow.node.entries().is_empty()
}

/// Whether a rule can be the one that allows DNS. A rule that names port 53 is; of others, who is their peer counts.
/// Addresses and entities are not looked into: DNS may be there.
fn allows_dns(allow: &Allow<'_>) -> bool {
    if !allow.allows_port(53, "UDP") || !is_somebody(allow) {
        return false;
    }
    if allow.has_ports() {
        return true;
    }
    let selectors = allow.selectors();
    let has_dns = selectors.iter().any(|selector| {
        let in_namespace = selector.namespace.is_none_or(|namespace| namespace == DNS_NAMESPACE);
        in_namespace && (selector.has_more || selector.can_select(DNS_NAMESPACE, DNS_LABELS))
    });
    let names_others = allow.direction.peer_keys().iter().any(|key| {
        let is_pods = key.ends_with("Endpoints") || ["toFQDNs", "toServices"].contains(key);
        !is_pods && !allow.node.items_at(&[key]).is_empty()
    });
    has_dns || names_others || (selectors.is_empty() && allow.node.get("to").is_some())
}
