//! What a policy of others does to probe pods: closes them by default, or denies what they try. Pure. It judges deny
//! rules by peers and ports only as far as probes use them; the whole meaning of policies is not its subject.

use super::{
    ProbePod,
    selector::{self, NAMESPACE},
};
use meshproof_contract::port;
use serde_json::Value;

/// Ports that probes use: their own, those in the nodes' networks, and DNS.
const PORTS: [u16; 7] = [
    53,
    port::HTTP,
    port::TCP,
    port::UDP,
    port::HTTP + port::HOST_OFFSET,
    port::TCP + port::HOST_OFFSET,
    port::UDP + port::HOST_OFFSET,
];
/// Entities that probes talk with.
const ENTITIES: [&str; 5] = ["all", "cluster", "host", "remote-node", "unmanaged"];
/// Members of a rule that name peers, of which none is a probe or a node: Cilium's CIDRs select neither.
const OTHER_PEERS: [&str; 8] = [
    "fromCIDR",
    "fromCIDRSet",
    "toCIDR",
    "toCIDRSet",
    "toServices",
    "toGroups",
    "fromGroups",
    "toFQDNs",
];

/// Whether a policy acts on a pod.
pub(super) fn selects(policy: &Value, pod: &ProbePod) -> bool {
    let in_namespace = |policy: &Value| policy["metadata"]["namespace"] == pod.namespace;
    match policy["kind"].as_str().unwrap_or_default() {
        "NetworkPolicy" => in_namespace(policy) && selector::matches(&policy["spec"]["podSelector"], &pod.labels),
        "CiliumNetworkPolicy" if !in_namespace(policy) => false,
        _ => specs(policy).any(|spec| acts_on(spec, pod)),
    }
}

/// Whether what it does not allow is denied, in either direction.
pub(super) fn closes(policy: &Value) -> bool {
    if policy["kind"] == "NetworkPolicy" {
        return true;
    }
    specs(policy).any(|spec| {
        [("ingress", "ingressDeny"), ("egress", "egressDeny")]
            .iter()
            .any(|(allow, deny)| {
                let stated = spec["enableDefaultDeny"][allow].as_bool();
                let some = |key: &str| spec[key].as_array().is_some_and(|rules| !rules.is_empty());
                stated.unwrap_or_else(|| some(allow) || some(deny))
            })
    })
}

/// The place of a rule that denies something that probes try.
pub(super) fn denies_probes(policy: &Value, selected: &[&ProbePod], pods: &[ProbePod]) -> Option<String> {
    let specs = specs(policy).filter(|spec| selected.iter().any(|pod| acts_on(spec, pod)));
    for spec in specs {
        for section in ["ingressDeny", "egressDeny"] {
            let rules = spec[section].as_array().into_iter().flatten();
            for (index, rule) in rules.enumerate() {
                if names_probes(rule, pods) && names_their_ports(rule) {
                    return Some(format!("{section}[{index}]"));
                }
            }
        }
    }
    None
}

fn specs(policy: &Value) -> impl Iterator<Item = &Value> {
    let list = policy["specs"].as_array().into_iter().flatten();
    std::iter::once(&policy["spec"])
        .filter(|spec| spec.is_object())
        .chain(list)
}

/// Policies of nodes (`nodeSelector`) act on no pod.
fn acts_on(spec: &Value, pod: &ProbePod) -> bool {
    spec["endpointSelector"].is_object() && selector::matches(&spec["endpointSelector"], &pod.labels)
}

fn names_probes(rule: &Value, pods: &[ProbePod]) -> bool {
    let list = |keys: [&str; 2]| keys.into_iter().find_map(|key| rule[key].as_array());
    let endpoints = list(["fromEndpoints", "toEndpoints"]);
    let entities = list(["fromEntities", "toEntities"]);
    let nodes = list(["fromNodes", "toNodes"]);
    if endpoints.is_none() && entities.is_none() && nodes.is_none() {
        let others = OTHER_PEERS.iter().any(|key| !rule[*key].is_null());
        let has_ports = !rule["toPorts"].is_null() || !rule["icmps"].is_null();
        // Ports alone are those of everybody, and a rule of neither matches nobody.
        return !others && has_ports;
    }
    let is_dns = |selector: &Value| {
        let labels = [("k8s-app", "kube-dns"), (NAMESPACE, "kube-system")];
        let labels = labels.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
        selector::matches(selector, &labels)
    };
    let mut endpoints = endpoints.into_iter().flatten();
    let mut entities = entities.into_iter().flatten();
    endpoints.any(|s| is_dns(s) || pods.iter().any(|pod| selector::matches(s, &pod.labels)))
        || entities.any(|entity| ENTITIES.iter().any(|known| entity == known))
        || nodes.is_some_and(|nodes| !nodes.is_empty())
}

fn names_their_ports(rule: &Value) -> bool {
    if !rule["icmps"].is_null() {
        return true;
    }
    let Some(lists) = rule["toPorts"].as_array() else {
        return true;
    };
    let mut ports = lists
        .iter()
        .flat_map(|list| list["ports"].as_array().into_iter().flatten());
    ports.any(|entry| {
        let text = entry["port"].as_str().unwrap_or_default();
        match text.parse::<u16>() {
            Ok(0) => true,
            Ok(first) => {
                let last = entry["endPort"].as_u64().and_then(|last| u16::try_from(last).ok());
                let last = last.map_or(first, |last| last.max(first));
                PORTS.iter().any(|port| (first..=last).contains(port))
            }
            Err(_) => text.starts_with("mp-") || text.starts_with("dns"),
        }
    })
}
