//! The parts of a spec: selectors, sections, peers.

use super::Judge;
use crate::{
    policy::{Direction, Kind},
    yaml::Node,
};
use ipnet::IpNet;

/// Entities of the CRD (A38, A50).
const ENTITIES: &[&str] = &[
    "all",
    "world",
    "cluster",
    "host",
    "init",
    "ingress",
    "unmanaged",
    "remote-node",
    "health",
    "none",
    "kube-apiserver",
];

pub(super) fn check(judge: &mut Judge<'_, '_>) {
    selectors(judge);
    emptiness(judge);
    for direction in Direction::BOTH {
        for key in [direction.key(), direction.deny_key()] {
            for rule in judge.spec.section(key) {
                peers(judge, direction, rule);
                authentication(judge, rule);
            }
        }
    }
}

fn selectors(judge: &mut Judge<'_, '_>) {
    let node = judge.spec.node;
    match (node.get("endpointSelector"), node.get("nodeSelector")) {
        (Some(_), Some(_)) => judge.invalid(node.place, "endpointSelector and nodeSelector exclude each other"),
        (None, None) => judge.invalid(node.place, "endpointSelector or nodeSelector is missing"),
        (None, Some(_)) if judge.spec.kind == Kind::Cilium => {
            judge.invalid(
                judge.spec.place("nodeSelector"),
                "only a CiliumClusterwideNetworkPolicy selects nodes",
            );
        }
        _ => {}
    }
    let subject = judge.spec.subject.as_ref();
    let own = judge.spec.namespace();
    if let (Some(subject), Some(own)) = (subject, own)
        && let Some(other) = subject
            .namespace
            .filter(|namespace| *namespace != own && !own.is_empty())
    {
        let what = format!("endpointSelector names namespace {other}, and the policy selects pods of {own} only");
        judge.ignored(subject.place, what);
    }
}

/// Sections that are there without a rule.
fn emptiness(judge: &mut Judge<'_, '_>) {
    let spec = judge.spec;
    let keys = Direction::BOTH
        .map(|direction| [direction.key(), direction.deny_key()])
        .concat();
    let stated: Vec<_> = keys.iter().filter(|key| spec.node.get(key).is_some()).collect();
    if stated.is_empty() {
        judge.invalid(
            spec.node.place,
            "none of ingress, ingressDeny, egress and egressDeny is there",
        );
        return;
    }
    // A stated enableDefaultDeny gives an empty section a meaning of its own.
    let is_meant = spec.node.get("enableDefaultDeny").is_some();
    let all_empty = keys.iter().all(|key| spec.section(key).is_empty());
    if all_empty && !is_meant {
        let what = "all sections are empty; a default deny is written with one empty rule, such as ingress: [{}]";
        judge.invalid(spec.place(stated[0]), what);
    } else if !all_empty && !is_meant {
        for key in stated.into_iter().filter(|key| spec.section(key).is_empty()) {
            judge.ignored(
                spec.place(key),
                format!("{key} is empty: it denies nothing, {key}: [{{}}] would"),
            );
        }
    }
}

fn peers(judge: &mut Judge<'_, '_>, direction: Direction, rule: &Node) {
    let keys = direction.peer_keys().iter().copied();
    let used: Vec<_> = keys
        .filter(|key| rule.get(key).is_some_and(|peers| !peers.items().is_empty()))
        .collect();
    if let [first, second, ..] = used.as_slice() {
        judge.invalid(rule.place, format!("{first} and {second} stand in one rule"));
    }
    for (key, entities) in [
        ("fromEntities", rule.items_at(&["fromEntities"])),
        ("toEntities", rule.items_at(&["toEntities"])),
    ] {
        for entity in entities.iter().filter(|entity| !entity.is_opaque()) {
            let name = entity.scalar().unwrap_or_default();
            if !ENTITIES.contains(&name.as_str()) {
                judge.invalid(entity.place, format!("{key}: there is no entity {name}"));
            }
        }
    }
    for key in ["fromCIDR", "toCIDR"] {
        for cidr in rule.items_at(&[key]).iter().filter(|cidr| !cidr.is_opaque()) {
            if cidr.scalar().is_none_or(|text| text.parse::<IpNet>().is_err()) {
                judge.invalid(cidr.place, format!("{key}: not a prefix with its length"));
            }
        }
    }
    for key in ["fromCIDRSet", "toCIDRSet"] {
        for item in rule.items_at(&[key]) {
            cidr_set(judge, key, item);
        }
    }
    let has_ports = !rule.items_at(&["toPorts"]).is_empty();
    for key in ["toFQDNs", "toServices"] {
        if has_ports
            && rule
                .get(key)
                .is_some_and(|list| matches!(&list.value, crate::yaml::Value::List(items) if items.is_empty()))
        {
            judge.ignored(rule.place, format!("{key} is empty: the ports are open to everybody"));
        }
    }
    for name in rule.items_at(&["toFQDNs"]) {
        let given = ["matchName", "matchPattern"]
            .into_iter()
            .filter(|key| name.get(key).is_some())
            .count();
        if given != 1 {
            judge.invalid(name.place, "an item of toFQDNs needs one of matchName and matchPattern");
        }
    }
    services(judge, rule, has_ports);
}

fn cidr_set(judge: &mut Judge<'_, '_>, key: &str, item: &Node) {
    let Some(cidr) = item.get("cidr").filter(|cidr| !cidr.is_opaque()) else {
        return;
    };
    let Some(range) = cidr.scalar().and_then(|text| text.parse::<IpNet>().ok()) else {
        judge.invalid(cidr.place, format!("{key}: not a prefix with its length"));
        return;
    };
    for except in item.items_at(&["except"]).iter().filter(|except| !except.is_opaque()) {
        let inside = except
            .scalar()
            .and_then(|text| text.parse::<IpNet>().ok())
            .is_some_and(|net| range.contains(&net));
        if !inside {
            judge.invalid(except.place, format!("{key}: except is not inside {range}"));
        }
    }
}

/// A reference to a Service that the repository does not have, where it has Services of that namespace.
fn services(judge: &mut Judge<'_, '_>, rule: &Node, has_ports: bool) {
    for item in rule.items_at(&["toServices"]) {
        let path = |key| item.text_at(&["k8sService", key]);
        let (Some(name), Some(namespace)) = (path("serviceName"), path("namespace")) else {
            continue;
        };
        let mut known = judge
            .context
            .of_kind("Service")
            .filter(|service| service.namespace == namespace)
            .peekable();
        if has_ports && known.peek().is_some() && !known.any(|service| service.name == name) {
            let what = format!("no Service {namespace}/{name} is in the repository: the ports are open to everybody");
            judge.ignored(item.place, what);
        }
    }
}

fn authentication(judge: &mut Judge<'_, '_>, rule: &Node) {
    if let Some(authentication) = rule.get("authentication") {
        let mode = authentication.text_at(&["mode"]);
        if !mode.is_some_and(|mode| ["disabled", "required", "test-always-fail"].contains(&mode)) {
            judge.invalid(
                authentication.place,
                "authentication needs the mode disabled, required or test-always-fail",
            );
        }
    }
}
