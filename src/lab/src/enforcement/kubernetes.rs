//! NetworkPolicies read into rules, as Cilium translates them (`pkg/k8s/network_policy.go`): an empty or absent list of
//! peers is everybody, also outside the clusters; an empty rule allows everything; no rules allow nothing.

use super::{
    cilium::Reading,
    rule::{Clause, Entity, Peer, Peers, PolicyKind, Port, PortNumber, PortRule, Ports, Rule, Side, Transport},
    selector::{CLUSTER, NAMESPACE, NAMESPACE_LABELS, Operator, Selector},
};
use ipnet::IpNet;
use serde_json::{Value, json};

/// The rule of a policy.
///
/// # Errors
/// In words, when it makes no sense.
pub(crate) fn read(object: &Value, reading: &Reading) -> Result<Rule, String> {
    let namespace = object["metadata"]["namespace"].as_str().unwrap_or("default");
    let spec = &object["spec"];
    let own = |selector: Selector| selector.and(NAMESPACE, Operator::In(vec![namespace.to_owned()]));
    let subject = own(Selector::parse(&spec["podSelector"])?);
    let types: Vec<_> = spec["policyTypes"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    let has = |kind: &str, default: bool| {
        if types.is_empty() {
            default
        } else {
            types.contains(&kind)
        }
    };
    let egress = spec["egress"].as_array().is_some_and(|list| !list.is_empty());
    let peers = |rule: &Value, field: &str| -> Result<Peers, String> {
        match rule[field].as_array().filter(|list| !list.is_empty()) {
            None => Ok(Peers::Of(vec![Peer::Entity(Entity::All)])),
            Some(list) => list
                .iter()
                .map(|item| peer(item, namespace, reading))
                .collect::<Result<_, _>>()
                .map(Peers::Of),
        }
    };
    let side = |kind: &str, field: &str, from: &str, default: bool| -> Result<Side, String> {
        let mut side = Side {
            default_deny: has(kind, default),
            ..Side::default()
        };
        if side.default_deny {
            for rule in spec[field].as_array().into_iter().flatten() {
                let mut entering = rule["from"].as_array().into_iter().flatten();
                if reading.refuses_blocks && entering.any(|peer| !peer["ipBlock"].is_null()) {
                    // A selector of the own cluster is added to each peer that enters, also to a block.
                    return Err("Combining FromEndpoints and FromCIDRSet is not supported yet".into());
                }
                side.allow.push(Clause {
                    peers: peers(rule, from)?,
                    ports: ports(rule)?,
                    authentication: None,
                });
            }
        }
        Ok(side)
    };
    let ingress = side("Ingress", "ingress", "from", true)?;
    let egress = side("Egress", "egress", "to", egress)?;
    let text = |field: &str| object["metadata"][field].as_str().unwrap_or_default();
    let label =
        |key: &str, value: &str| json!({"key": format!("io.cilium.k8s.policy.{key}"), "value": value, "source": "k8s"});
    let mut shown = json!({"endpointSelector": subject.shown()});
    for (field, side) in [("ingress", &ingress), ("egress", &egress)] {
        if side.default_deny {
            shown[field] = match spec[field].as_array().filter(|list| !list.is_empty()) {
                Some(rules) => Value::Array(rules.clone()),
                None => json!([{}]),
            };
        }
    }
    shown["labels"] = json!([
        label("derived-from", PolicyKind::Kubernetes.as_str()),
        label("name", text("name")),
        label("namespace", namespace),
        label("uid", text("uid")),
    ]);
    shown["enableDefaultDeny"] = json!({"ingress": ingress.default_deny, "egress": egress.default_deny});
    Ok(Rule {
        kind: PolicyKind::Kubernetes,
        uid: text("uid").to_owned(),
        subject,
        ingress,
        egress,
        shown,
    })
}

fn peer(item: &Value, namespace: &str, reading: &Reading) -> Result<Peer, String> {
    let block = &item["ipBlock"];
    if block.is_object() {
        let parse = |value: &Value| {
            let text = value.as_str().unwrap_or_default();
            text.parse::<IpNet>().map_err(|_| format!("not a CIDR: {text:?}"))
        };
        let IpNet::V4(net) = parse(&block["cidr"])? else {
            return Ok(Peer::Entity(Entity::None));
        };
        let mut except = Vec::new();
        for item in block["except"].as_array().into_iter().flatten() {
            if let IpNet::V4(net) = parse(item)? {
                except.push(net.trunc());
            }
        }
        return Ok(Peer::Cidr {
            net: net.trunc(),
            except,
        });
    }
    let mut selector = Selector::parse(&item["podSelector"])?;
    let namespaces = &item["namespaceSelector"];
    if namespaces.is_object() {
        let of_namespace = Selector::parse(namespaces)?;
        if of_namespace.0.is_empty() {
            selector = selector.and(NAMESPACE, Operator::Exists);
        }
        for requirement in of_namespace.0 {
            selector = selector.and(&format!("{NAMESPACE_LABELS}{}", requirement.key), requirement.operator);
        }
    } else {
        selector = selector.and(NAMESPACE, Operator::In(vec![namespace.to_owned()]));
    }
    if reading.local_by_default {
        selector = selector.and(CLUSTER, Operator::In(vec![reading.cluster.clone()]));
    }
    Ok(Peer::Labels(selector))
}

fn ports(rule: &Value) -> Result<Ports, String> {
    let Some(list) = rule["ports"].as_array().filter(|list| !list.is_empty()) else {
        return Ok(Ports::All);
    };
    let ports = list.iter().map(|port| {
        let protocol = match port["protocol"].as_str().unwrap_or("TCP") {
            "UDP" => Transport::Udp,
            "SCTP" => Transport::Sctp,
            _ => Transport::Tcp,
        };
        let number = |value: &Value| value.as_u64().and_then(|number| u16::try_from(number).ok());
        let number = match &port["port"] {
            Value::Null => PortNumber::All,
            Value::String(name) => PortNumber::Named(name.to_ascii_lowercase()),
            value => {
                let first = number(value).ok_or_else(|| format!("not a port: {value}"))?;
                PortNumber::Range(first, number(&port["endPort"]).unwrap_or(first).max(first))
            }
        };
        Ok(Port { protocol, number })
    });
    let ports = ports.collect::<Result<_, String>>()?;
    Ok(Ports::List(vec![PortRule { ports, layer7: None }]))
}
