//! CiliumNetworkPolicy and CiliumClusterwideNetworkPolicy (docs.cilium.io, "Network Policy": "Layer 3 Policies",
//! "Layer 4 Policies", "Layer 7 Policies", "Deny Policies").

mod l7;
mod peers;
mod ports;

use super::{ParseError, elements, only_keys, title};
use crate::model::{Authentication, Direction, Effect, L7, Peer, Peers, Policy, Port, Ports, Rule, Side, Subject};
pub(super) use peers::cidr_with_exceptions;
use peers::{L3Member, l3_member, own_selector};
use ports::{icmps, port_rules};
use serde_json::Value;

/// Which pods a selector without a namespace selects.
#[derive(Clone, Copy)]
pub enum Reach<'a> {
    /// Those of the policy's namespace.
    Namespace(&'a str),
    /// Those of the cluster.
    Cluster,
}

pub fn parse(object: &Value, cluster: &str, reach: Reach<'_>) -> Result<Vec<Policy>, ParseError> {
    only_keys(
        object,
        &["apiVersion", "kind", "metadata", "spec", "specs", "status"],
        "policy",
    )?;
    let mut specs: Vec<&Value> = elements(&object["specs"], "specs")?.iter().collect();
    specs.extend(Some(&object["spec"]).filter(|spec| !spec.is_null()));
    if specs.is_empty() {
        return Err(ParseError::invalid(
            "policy",
            "neither spec nor specs: it has no effect",
        ));
    }
    let several = specs.len() > 1;
    let name = |number: usize| {
        if several {
            format!("{} spec {number}", title(object))
        } else {
            title(object)
        }
    };
    specs
        .into_iter()
        .enumerate()
        .map(|(number, spec)| policy(spec, name(number), cluster, reach))
        .collect()
}

fn policy(spec: &Value, name: String, cluster: &str, reach: Reach<'_>) -> Result<Policy, ParseError> {
    const KEYS: &[&str] = &[
        "endpointSelector",
        "nodeSelector",
        "ingress",
        "ingressDeny",
        "egress",
        "egressDeny",
        "enableDefaultDeny",
        "description",
        "labels",
        "log",
    ];
    only_keys(spec, KEYS, "spec")?;
    let subject = match (&spec["endpointSelector"], &spec["nodeSelector"]) {
        (Value::Null, Value::Null) => {
            return Err(ParseError::invalid("spec", "neither endpointSelector nor nodeSelector"));
        }
        (Value::Null, _) => Subject::Nodes,
        (selector, Value::Null) => Subject::Endpoints(own_selector(selector, "endpointSelector", reach)?),
        _ => return Err(ParseError::invalid("spec", "both endpointSelector and nodeSelector")),
    };
    // The CRD demands one of the sections, Cilium one that is not empty (semantics A34, A50; rule_validation.go).
    let sections = ["ingress", "ingressDeny", "egress", "egressDeny"];
    let is_empty = |key: &str| spec[key].is_null() || spec[key].as_array().is_some_and(Vec::is_empty);
    if sections.into_iter().all(is_empty) {
        return Err(ParseError::invalid(
            "spec",
            "ingress, ingressDeny, egress and egressDeny are all empty: nothing of it is in force",
        ));
    }
    let ingress = side(spec, Direction::Ingress, reach)?;
    let egress = side(spec, Direction::Egress, reach)?;
    Ok(Policy {
        name,
        cluster: cluster.to_owned(),
        subject,
        ingress,
        egress,
        admits_block: false,
    })
}

fn side(spec: &Value, direction: Direction, reach: Reach<'_>) -> Result<Side, ParseError> {
    let (allow, deny) = match direction {
        Direction::Ingress => ("ingress", "ingressDeny"),
        Direction::Egress => ("egress", "egressDeny"),
    };
    let mut rules = Vec::new();
    for (key, effect) in [(allow, Effect::Allow), (deny, Effect::Deny)] {
        for (number, rule) in elements(&spec[key], key)?.iter().enumerate() {
            rules.push(self::rule(rule, format!("{key}[{number}]"), effect, direction, reach)?);
        }
    }
    // A section with at least one rule, allowing or denying, puts the endpoint into default deny for its direction;
    // an empty list does not (docs.cilium.io, "Policy Enforcement Modes" and "Policy Deny and Default Deny Modes").
    let switch = match &spec["enableDefaultDeny"] {
        Value::Null => None,
        switches => {
            only_keys(switches, &["ingress", "egress"], "enableDefaultDeny")?;
            switches[allow].as_bool()
        }
    };
    Ok(Side {
        default_deny: switch.unwrap_or(!rules.is_empty()),
        rules,
    })
}

fn rule(
    rule: &Value,
    place: String,
    effect: Effect,
    direction: Direction,
    reach: Reach<'_>,
) -> Result<Rule, ParseError> {
    let object = rule
        .as_object()
        .ok_or_else(|| ParseError::kind(&place, "a rule", rule))?;
    let mut members: Vec<L3Member> = Vec::new();
    let (mut to_ports, mut icmp) = (None, None);
    let mut authentication = None;
    for (key, value) in object.iter().filter(|(_, value)| !value.is_null()) {
        match key.as_str() {
            // An empty list is as none (semantics A23).
            "toPorts" if elements(value, &place)?.is_empty() => {}
            "icmps" if elements(value, &place)?.is_empty() => {}
            "toPorts" => to_ports = Some(port_rules(value, &place, direction)?),
            "icmps" => icmp = Some(icmps(value, &place)?),
            "authentication" if effect == Effect::Allow => authentication = Some(authentication_mode(value, &place)?),
            key => members.push(l3_member(key, value, &place, (direction, effect), reach)?),
        }
    }
    let ports: Option<Vec<Port>> = match (to_ports, icmp) {
        (Some(_), Some(_)) => return Err(ParseError::invalid(&place, "icmps beside toPorts")),
        (to_ports, icmp) => to_ports.or(icmp),
    };
    let proxied = ports.iter().flatten().any(|port| !matches!(port.l7, L7::None));
    if proxied && effect == Effect::Deny {
        return Err(ParseError::invalid(&place, "L7 rules in a deny rule"));
    }
    Ok(Rule {
        peers: peers(members, ports.is_some(), &place)?,
        place,
        effect,
        ports: ports.map_or(Ports::Any, Ports::OneOf),
        authentication,
    })
}

/// The peers of a rule by its L3 members. Without any it is for everybody on its ports, and without ports for nobody.
fn peers(members: Vec<L3Member>, has_ports: bool, place: &str) -> Result<Peers, ParseError> {
    let mut counted: Vec<Vec<Peer>> = Vec::new();
    for member in members {
        match member {
            L3Member::Peers(peers) => counted.push(peers),
            L3Member::Absent => {}
        }
    }
    match (counted.len(), has_ports) {
        (0, true) => Ok(Peers::Any),
        (0, false) => Ok(Peers::Nobody),
        (1, _) => Ok(Peers::OneOf(counted.remove(0))),
        _ if counted.iter().any(Vec::is_empty) => Err(ParseError::Unsupported {
            place: place.to_owned(),
            what: "an empty L3 member beside another".to_owned(),
        }),
        _ => Err(ParseError::invalid(
            place,
            "two L3 members in one rule: Cilium needs a rule for each",
        )),
    }
}

fn authentication_mode(value: &Value, place: &str) -> Result<Authentication, ParseError> {
    match value["mode"].as_str() {
        Some("disabled") => Ok(Authentication::Disabled),
        Some("required") => Ok(Authentication::Required),
        Some("test-always-fail") => Ok(Authentication::AlwaysFail),
        _ => Err(ParseError::kind(
            place,
            "disabled, required or test-always-fail",
            &value["mode"],
        )),
    }
}
