//! CiliumNetworkPolicy and CiliumClusterwideNetworkPolicy (docs.cilium.io, "Network Policy": "Layer 3 Policies",
//! "Layer 4 Policies", "Layer 7 Policies", "Deny Policies").

mod l7;
mod peers;
mod ports;

use super::{ParseError, elements, only_keys, title};
use crate::model::{Authentication, Direction, Effect, Peer, Peers, Policy, Port, Ports, Rule, Side, Subject};
pub(super) use peers::cidr;
use peers::{l3_member, own_selector};
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
    let ingress = side(spec, Direction::Ingress, reach)?;
    let egress = side(spec, Direction::Egress, reach)?;
    Ok(Policy {
        name,
        cluster: cluster.to_owned(),
        subject,
        ingress,
        egress,
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
    let mut peers: Option<Vec<Peer>> = None;
    let mut ports: Option<Vec<Port>> = None;
    let mut authentication = Authentication::Disabled;
    for (key, value) in object.iter().filter(|(_, value)| !value.is_null()) {
        match key.as_str() {
            "toPorts" => ports.get_or_insert_default().extend(port_rules(value, &place)?),
            "icmps" => ports.get_or_insert_default().extend(icmps(value, &place)?),
            "authentication" => authentication = authentication_mode(value, &place)?,
            key => {
                let found = l3_member(key, value, &place, direction, reach)?;
                if peers.replace(found).is_some() {
                    return Err(ParseError::invalid(
                        &place,
                        "two L3 members in one rule: Cilium needs a rule for each",
                    ));
                }
            }
        }
    }
    let peers = match (peers, &ports) {
        (Some(list), _) => Peers::OneOf(list),
        (None, Some(_)) => Peers::Any,
        (None, None) => Peers::Nobody,
    };
    Ok(Rule {
        place,
        effect,
        peers,
        ports: ports.map_or(Ports::Any, Ports::OneOf),
        authentication,
    })
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
