//! CiliumNetworkPolicy and CiliumClusterwideNetworkPolicy (docs.cilium.io, "Network Policy": "Layer 3 Policies", "Layer 4 Policies", "Layer 7 Policies", "Deny Policies").

use super::{ParseError, elements, only_keys, title};
use crate::{
    fqdn::NamePattern,
    model::{
        Authentication, Direction, Effect, Entity, HttpMatch, L7, Peer, Peers, Policy, Port, PortMatch, Ports, Rule,
        Side, Subject,
    },
    selector::Selector,
    subject::Protocol,
};
use ipnet::IpNet;
use regex::Regex;
use serde_json::Value;

/// Which pods a policy without further words is about.
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
            "neither spec nor specs: it would do nothing",
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
    let asked = match &spec["enableDefaultDeny"] {
        Value::Null => None,
        switches => {
            only_keys(switches, &["ingress", "egress"], "enableDefaultDeny")?;
            switches[allow].as_bool()
        }
    };
    Ok(Side {
        default_deny: asked.unwrap_or(!rules.is_empty()),
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
    let prefix = match direction {
        Direction::Ingress => "from",
        Direction::Egress => "to",
    };
    let object = rule
        .as_object()
        .ok_or_else(|| ParseError::kind(&place, "a rule", rule))?;
    let mut peers: Option<Vec<Peer>> = None;
    let mut ports: Option<Vec<Port>> = None;
    let mut authentication = Authentication::Disabled;
    for (key, value) in object.iter().filter(|(_, value)| !value.is_null()) {
        let found = match (key.as_str(), key.strip_prefix(prefix)) {
            ("toPorts", _) => {
                ports.get_or_insert_default().extend(port_rules(value, &place)?);
                continue;
            }
            ("icmps", _) => {
                ports.get_or_insert_default().extend(icmps(value, &place)?);
                continue;
            }
            ("authentication", _) => {
                authentication = authentication_mode(value, &place)?;
                continue;
            }
            (_, Some("Endpoints")) => {
                let selectors = elements(value, &place)?.iter();
                selectors
                    .map(|s| Ok(Peer::Endpoints(peer_selector(s, &place, reach)?)))
                    .collect::<Result<Vec<_>, _>>()?
            }
            (_, Some("CIDR")) => elements(value, &place)?
                .iter()
                .map(|net| {
                    Ok(Peer::Cidr {
                        net: cidr(net, &place)?,
                        except: Vec::new(),
                    })
                })
                .collect::<Result<Vec<_>, _>>()?,
            (_, Some("CIDRSet")) => elements(value, &place)?
                .iter()
                .map(|set| cidr_set(set, &place))
                .collect::<Result<Vec<_>, _>>()?,
            (_, Some("Entities")) => elements(value, &place)?
                .iter()
                .map(|name| Ok(Peer::Entity(entity(name, &place)?)))
                .collect::<Result<Vec<_>, _>>()?,
            ("toFQDNs", _) => elements(value, &place)?
                .iter()
                .map(|name| names(name, &place).map(Peer::Name))
                .collect::<Result<Vec<_>, _>>()?,
            (other, Some("Requires" | "Groups" | "Nodes" | "Services")) => {
                return Err(ParseError::Unsupported {
                    place,
                    what: other.to_owned(),
                });
            }
            (other, _) => {
                return Err(ParseError::UnknownKey {
                    place,
                    key: other.to_owned(),
                });
            }
        };
        if peers.replace(found).is_some() {
            return Err(ParseError::invalid(
                &place,
                "two L3 members in one rule: Cilium wants a rule for each",
            ));
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

/// The selector of the policy's own endpoints.
fn own_selector(value: &Value, place: &str, reach: Reach<'_>) -> Result<Selector, ParseError> {
    let selector = Selector::parse(value, place)?;
    Ok(match reach {
        Reach::Namespace(namespace) => selector.in_namespace(namespace),
        Reach::Cluster => selector,
    })
}

/// A peer's selector: in a namespaced policy it means the policy's namespace unless it names one ("the namespace is
/// limited to the policy's own"); an empty one of a cluster-wide policy means every managed pod.
fn peer_selector(value: &Value, place: &str, reach: Reach<'_>) -> Result<Selector, ParseError> {
    if value.to_string().contains("\"reserved:") {
        return Err(ParseError::Unsupported {
            place: place.to_owned(),
            what: "reserved: label".to_owned(),
        });
    }
    let selector = Selector::parse(value, place)?;
    Ok(match reach {
        _ if selector.names_namespace() => selector,
        Reach::Namespace(namespace) => selector.in_namespace(namespace),
        Reach::Cluster => selector.in_any_namespace(),
    })
}

fn port_rules(value: &Value, place: &str) -> Result<Vec<Port>, ParseError> {
    let mut ports = Vec::new();
    for rule in elements(value, place)? {
        only_keys(rule, &["ports", "rules"], &format!("{place}.toPorts"))?;
        let l7 = l7(&rule["rules"], place)?;
        let listed = elements(&rule["ports"], place)?;
        if listed.is_empty() {
            ports.push(Port {
                which: PortMatch::Any,
                protocol: None,
                l7: l7.clone(),
            });
        }
        for port in listed {
            only_keys(
                port,
                &["port", "endPort", "protocol"],
                &format!("{place}.toPorts.ports"),
            )?;
            ports.push(Port {
                which: port_match(port, place)?,
                protocol: protocol(&port["protocol"], place)?,
                l7: l7.clone(),
            });
        }
    }
    Ok(ports)
}

fn port_match(port: &Value, place: &str) -> Result<PortMatch, ParseError> {
    let text = port["port"]
        .as_str()
        .ok_or_else(|| ParseError::kind(place, "a port as text", &port["port"]))?;
    let Ok(first) = text.parse::<u16>() else {
        return Ok(PortMatch::Named(text.to_owned()));
    };
    let last = match &port["endPort"] {
        Value::Null => first,
        end => end
            .as_u64()
            .and_then(|n| u16::try_from(n).ok())
            .ok_or_else(|| ParseError::kind(place, "a port", end))?,
    };
    match (first, last) {
        (0, _) => Ok(PortMatch::Any),
        // An endPort of 0 is as none.
        (_, 0) => Ok(PortMatch::Range(first, first)),
        _ if last < first => Err(ParseError::invalid(place, "endPort is below port")),
        _ => Ok(PortMatch::Range(first, last)),
    }
}

fn protocol(value: &Value, place: &str) -> Result<Option<Protocol>, ParseError> {
    match value.as_str() {
        None | Some("ANY" | "") => Ok(None),
        Some("TCP") => Ok(Some(Protocol::Tcp)),
        Some("UDP") => Ok(Some(Protocol::Udp)),
        Some("SCTP") => Ok(Some(Protocol::Sctp)),
        Some(_) => Err(ParseError::kind(place, "TCP, UDP, SCTP or ANY", value)),
    }
}

fn icmps(value: &Value, place: &str) -> Result<Vec<Port>, ParseError> {
    let mut ports = Vec::new();
    for rule in elements(value, place)? {
        only_keys(rule, &["fields"], &format!("{place}.icmps"))?;
        for field in elements(&rule["fields"], place)? {
            only_keys(field, &["family", "type"], &format!("{place}.icmps.fields"))?;
            let kind = match &field["type"] {
                Value::String(name) if name == "EchoRequest" => 8,
                Value::String(name) if name == "EchoReply" => 0,
                other => other
                    .as_u64()
                    .or_else(|| other.as_str()?.parse().ok())
                    .and_then(|n| u16::try_from(n).ok())
                    .ok_or_else(|| ParseError::kind(place, "an ICMP type", other))?,
            };
            if field["family"].as_str() != Some("IPv6") {
                ports.push(Port {
                    which: PortMatch::Range(kind, kind),
                    protocol: Some(Protocol::Icmp),
                    l7: L7::None,
                });
            }
        }
    }
    Ok(ports)
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

fn l7(rules: &Value, place: &str) -> Result<L7, ParseError> {
    if rules.is_null() {
        return Ok(L7::None);
    }
    only_keys(rules, &["http", "dns"], &format!("{place}.rules"))?;
    match (&rules["http"], &rules["dns"]) {
        (Value::Null, Value::Null) => Ok(L7::None),
        (http, Value::Null) => Ok(L7::Http(
            elements(http, place)?
                .iter()
                .map(|m| http_match(m, place))
                .collect::<Result<_, _>>()?,
        )),
        (Value::Null, dns) => Ok(L7::Dns(
            elements(dns, place)?
                .iter()
                .map(|n| names(n, place))
                .collect::<Result<_, _>>()?,
        )),
        _ => Err(ParseError::invalid(place, "http and dns in one rule")),
    }
}

fn http_match(rule: &Value, place: &str) -> Result<HttpMatch, ParseError> {
    only_keys(
        rule,
        &["method", "path", "host", "headers", "headerMatches"],
        &format!("{place}.rules.http"),
    )?;
    // The proxy compares the whole value: an expression is anchored at both ends.
    let expression = |key: &str| match rule[key].as_str().filter(|text| !text.is_empty()) {
        None => Ok(None),
        Some(text) => Regex::new(&format!("^(?:{text})$"))
            .map(Some)
            .map_err(|e| ParseError::invalid(place, e.to_string())),
    };
    let mut headers = Vec::new();
    for header in elements(&rule["headers"], place)? {
        let text = header
            .as_str()
            .ok_or_else(|| ParseError::kind(place, "a header", header))?;
        let (name, value) = text
            .split_once([':', ' '])
            .map_or((text, None), |(name, value)| (name, Some(value.trim())));
        headers.push((name.trim().to_ascii_lowercase(), value.map(str::to_owned)));
    }
    for header in elements(&rule["headerMatches"], place)? {
        only_keys(header, &["name", "value"], &format!("{place}.headerMatches"))?;
        let name = header["name"]
            .as_str()
            .ok_or_else(|| ParseError::kind(place, "a header name", header))?;
        headers.push((name.to_ascii_lowercase(), header["value"].as_str().map(str::to_owned)));
    }
    Ok(HttpMatch {
        method: expression("method")?,
        path: expression("path")?,
        host: expression("host")?,
        headers,
    })
}

fn names(value: &Value, place: &str) -> Result<NamePattern, ParseError> {
    only_keys(value, &["matchName", "matchPattern"], place)?;
    match (value["matchName"].as_str(), value["matchPattern"].as_str()) {
        (Some(name), None) => Ok(NamePattern::name(name)),
        (None, Some(pattern)) => Ok(NamePattern::pattern(pattern)),
        _ => Err(ParseError::kind(place, "matchName or matchPattern", value)),
    }
}

pub(super) fn cidr(value: &Value, place: &str) -> Result<IpNet, ParseError> {
    let text = value.as_str().ok_or_else(|| ParseError::kind(place, "a CIDR", value))?;
    text.parse()
        .or_else(|_| text.parse::<std::net::IpAddr>().map(IpNet::from))
        .map_err(|_| ParseError::kind(place, "a CIDR", value))
}

fn cidr_set(set: &Value, place: &str) -> Result<Peer, ParseError> {
    if !set["cidrGroupRef"].is_null() || !set["cidrGroupSelector"].is_null() {
        return Err(ParseError::Unsupported {
            place: place.to_owned(),
            what: "cidrGroupRef".to_owned(),
        });
    }
    only_keys(set, &["cidr", "except"], place)?;
    let except = elements(&set["except"], place)?
        .iter()
        .map(|net| cidr(net, place))
        .collect::<Result<_, _>>()?;
    Ok(Peer::Cidr {
        net: cidr(&set["cidr"], place)?,
        except,
    })
}

fn entity(value: &Value, place: &str) -> Result<Entity, ParseError> {
    Ok(match value.as_str() {
        Some("all") => Entity::All,
        Some("world" | "world-ipv4") => Entity::World,
        Some("cluster") => Entity::Cluster,
        Some("host") => Entity::Host,
        Some("remote-node") => Entity::RemoteNode,
        Some("kube-apiserver") => Entity::KubeApiserver,
        Some("health" | "init" | "ingress" | "unmanaged" | "none" | "world-ipv6") => Entity::Other,
        _ => return Err(ParseError::kind(place, "an entity", value)),
    })
}
