//! Kubernetes NetworkPolicy (kubernetes.io, "Network Policies"), as Cilium enforces it.

use super::{ParseError, cilium::cidr_with_exceptions, elements, only_keys, title};
use crate::{
    flow::Protocol,
    model::{Effect, L7, Peer, Peers, Policy, Port, PortMatch, Ports, Rule, Side, Subject},
    selector::Selector,
};
use serde_json::Value;

pub fn parse(object: &Value, cluster: &str, namespace: &str) -> Result<Policy, ParseError> {
    let spec = &object["spec"];
    only_keys(spec, &["podSelector", "policyTypes", "ingress", "egress"], "spec")?;
    let types: Vec<&str> = elements(&spec["policyTypes"], "policyTypes")?
        .iter()
        .filter_map(Value::as_str)
        .collect();
    // Without policyTypes: Ingress always, Egress if there are egress rules.
    let isolates = |name: &str, default: bool| {
        if types.is_empty() {
            default
        } else {
            types.contains(&name)
        }
    };
    let egress = !elements(&spec["egress"], "egress")?.is_empty();
    let ingress = side(spec, "ingress", "from", isolates("Ingress", true), namespace)?;
    let admits_block = ingress
        .rules
        .iter()
        .any(|rule| matches!(&rule.peers, Peers::OneOf(peers) if peers.iter().any(|p| matches!(p, Peer::Cidr { .. }))));
    Ok(Policy {
        name: title(object),
        cluster: cluster.to_owned(),
        subject: Subject::Endpoints(selector(&spec["podSelector"], "podSelector")?.in_namespace(namespace)),
        ingress,
        egress: side(spec, "egress", "to", isolates("Egress", egress), namespace)?,
        admits_block,
    })
}

fn side(spec: &Value, key: &str, peers: &str, isolated: bool, namespace: &str) -> Result<Side, ParseError> {
    if !isolated {
        return Ok(Side::default());
    }
    let rules = elements(&spec[key], key)?.iter().enumerate().map(|(number, rule)| {
        let place = format!("{key}[{number}]");
        only_keys(rule, &[peers, "ports"], &place)?;
        let peers = elements(&rule[peers], &place)?
            .iter()
            .map(|p| peer(p, &place, namespace))
            .collect::<Result<Vec<_>, _>>()?;
        let ports = elements(&rule["ports"], &place)?
            .iter()
            .map(|p| port(p, &place))
            .collect::<Result<Vec<_>, _>>()?;
        Ok(Rule {
            place,
            effect: Effect::Allow,
            // An empty or missing list of peers, or of ports, means all.
            peers: if peers.is_empty() {
                Peers::Any
            } else {
                Peers::OneOf(peers)
            },
            ports: if ports.is_empty() {
                Ports::Any
            } else {
                Ports::OneOf(ports)
            },
            authentication: None,
        })
    });
    Ok(Side {
        default_deny: true,
        rules: rules.collect::<Result<_, ParseError>>()?,
    })
}

fn peer(peer: &Value, place: &str, namespace: &str) -> Result<Peer, ParseError> {
    only_keys(peer, &["podSelector", "namespaceSelector", "ipBlock"], place)?;
    match (&peer["podSelector"], &peer["namespaceSelector"], &peer["ipBlock"]) {
        (Value::Null, Value::Null, block) if !block.is_null() => {
            only_keys(block, &["cidr", "except"], place)?;
            cidr_with_exceptions(block, place)
        }
        (pods, Value::Null, Value::Null) if !pods.is_null() => {
            Ok(Peer::Endpoints(selector(pods, place)?.in_namespace(namespace)))
        }
        (pods, namespaces, Value::Null) => {
            let pods = selector(pods, place)?;
            Ok(Peer::Endpoints(
                pods.in_namespaces(selector(namespaces, place)?).in_any_namespace(),
            ))
        }
        _ => Err(ParseError::invalid(
            place,
            "ipBlock excludes podSelector and namespaceSelector",
        )),
    }
}

fn selector(value: &Value, place: &str) -> Result<Selector, ParseError> {
    if value.is_null() {
        Ok(Selector::default())
    } else {
        Selector::parse(value, place)
    }
}

fn port(port: &Value, place: &str) -> Result<Port, ParseError> {
    only_keys(port, &["port", "endPort", "protocol"], place)?;
    let number = |value: &Value| {
        value
            .as_u64()
            .and_then(|n| u16::try_from(n).ok())
            .ok_or_else(|| ParseError::kind(place, "a port", value))
    };
    let protocol = match port["protocol"].as_str() {
        None | Some("TCP") => Protocol::Tcp,
        Some("UDP") => Protocol::Udp,
        Some("SCTP") => Protocol::Sctp,
        Some(_) => return Err(ParseError::kind(place, "TCP, UDP or SCTP", &port["protocol"])),
    };
    let which = match (&port["port"], &port["endPort"]) {
        (Value::Null, _) => PortMatch::Any,
        (Value::String(name), _) => PortMatch::Named(name.to_ascii_lowercase()),
        (first, Value::Null) => PortMatch::Range(number(first)?, number(first)?),
        (first, last) => PortMatch::Range(number(first)?, number(last)?),
    };
    Ok(Port {
        which,
        protocol: Some(protocol),
        l7: L7::None,
    })
}
