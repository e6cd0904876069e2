//! `toPorts` and `icmps`: what of the peers' traffic a clause is about.

use super::Way;
use crate::enforcement::{
    layer7::{HttpRule, NamePattern},
    rule::{Layer7, Port, PortNumber, PortRule, Ports, Transport},
};
use serde_json::Value;

const MAX: usize = 40;
/// Names of ICMP types of IPv4 (`pkg/policy/api/icmp.go`).
const ICMP: [(&str, u8); 12] = [
    ("EchoReply", 0),
    ("DestinationUnreachable", 3),
    ("Redirect", 5),
    ("Echo", 8),
    ("EchoRequest", 8),
    ("RouterAdvertisement", 9),
    ("RouterSelection", 10),
    ("TimeExceeded", 11),
    ("ParameterProblem", 12),
    ("Timestamp", 13),
    ("TimestampReply", 14),
    ("Photuris", 40),
];

/// The ports of a clause.
pub(super) fn read(clause: &Value, way: Way, proxy: bool) -> Result<Ports, String> {
    let list = |field: &str| clause[field].as_array().filter(|list| !list.is_empty());
    match (list("toPorts"), list("icmps")) {
        (None, None) => Ok(Ports::All),
        (None, Some(icmps)) => icmp(icmps),
        (Some(rules), None) => {
            let rules = rules.iter().map(|rule| port_rule(rule, way, proxy));
            rules.collect::<Result<_, _>>().map(Ports::List)
        }
        (Some(_), Some(_)) => {
            Err("The ICMPs block may only be present without ToPorts. Define a separate rule to use ToPorts.".into())
        }
    }
}

impl Port {
    fn begins_at_0(&self) -> bool {
        matches!(self.number, PortNumber::All | PortNumber::Range(0, _))
    }
}

impl Ports {
    /// Whether a proxy has to look into some of it.
    pub(super) fn has_layer7(&self) -> bool {
        matches!(self, Ports::List(rules) if rules.iter().any(|rule| rule.layer7.is_some()))
    }
}

fn icmp(icmps: &[Value]) -> Result<Ports, String> {
    let mut types = Vec::new();
    for field in icmps
        .iter()
        .flat_map(|icmp| icmp["fields"].as_array().into_iter().flatten())
    {
        match field["family"].as_str().unwrap_or("IPv4") {
            "IPv4" | "" => {}
            "IPv6" => continue,
            other => return Err(format!("wrong family: {other}")),
        }
        let number = match &field["type"] {
            Value::Number(number) => number.as_u64().and_then(|number| u8::try_from(number).ok()),
            Value::String(name) => {
                let named = ICMP.iter().find(|(known, _)| known == name).map(|(_, number)| *number);
                named.or_else(|| name.parse().ok())
            }
            _ => None,
        };
        types.push(number.ok_or_else(|| format!("cannot parse ICMP type {}", field["type"]))?);
    }
    Ok(Ports::Icmp(types))
}

fn port_rule(rule: &Value, way: Way, proxy: bool) -> Result<PortRule, String> {
    let rules = &rule["rules"];
    let some = |field: &str| rules[field].as_array().filter(|list| !list.is_empty());
    let (http, dns) = (some("http"), some("dns"));
    if some("kafka").is_some() || some("l7").is_some() || !rules["l7proto"].is_null() {
        return Err("only HTTP and DNS rules are supported in the lab".into());
    }
    if rules.is_object() && rules["http"].is_null() && rules["dns"].is_null() {
        return Err("rules must have exactly one of http, kafka, dns and l7proto".into());
    }
    if (http.is_some() || dns.is_some()) && !proxy {
        return Err("L7 policy is not supported since L7 proxy is not enabled".into());
    }
    if http.is_some() && dns.is_some() {
        return Err("multiple L7 protocol rule types specified in single rule".into());
    }
    if dns.is_some() && way == Way::Ingress {
        return Err("DNS rules are not allowed on ingress".into());
    }
    let ports: Vec<_> = rule["ports"].as_array().into_iter().flatten().collect();
    if ports.len() > MAX {
        return Err(format!("too many ports, the max is {MAX}"));
    }
    let ports = ports
        .into_iter()
        .map(|port| self::port(port, dns.is_some()))
        .collect::<Result<Vec<_>, _>>()?;
    let layer7 = match (http, dns) {
        (Some(rules), _) => Some(Layer7::Http(
            rules.iter().map(HttpRule::parse).collect::<Result<_, _>>()?,
        )),
        (_, Some(rules)) => {
            if ports.is_empty() {
                return Err("Port 53 must be specified for DNS rules".into());
            }
            Some(Layer7::Dns(
                rules.iter().map(NamePattern::parse).collect::<Result<_, _>>()?,
            ))
        }
        _ => None,
    };
    if layer7.is_some() && ports.iter().any(Port::begins_at_0) {
        return Err("L7 rules can not be used when a port is 0".into());
    }
    if matches!(layer7, Some(Layer7::Http(_)))
        && let Some(port) = ports.iter().find(|port| port.protocol != Transport::Tcp)
    {
        let protocol = format!("{:?}", port.protocol).to_uppercase();
        return Err(format!(
            "L7 rules can only apply to TCP (not {protocol}) except for DNS rules"
        ));
    }
    Ok(PortRule { ports, layer7 })
}

fn port(port: &Value, has_dns: bool) -> Result<Port, String> {
    let text = port["port"].as_str().unwrap_or_default();
    if text.is_empty() {
        return Err("Port must be specified".into());
    }
    // As the definition enumerates them; ICMP has a section of its own.
    let protocol = match port["protocol"].as_str().unwrap_or("ANY") {
        "ANY" => Transport::Any,
        "TCP" => Transport::Tcp,
        "UDP" => Transport::Udp,
        "SCTP" => Transport::Sctp,
        other => {
            return Err(format!(
                "Unsupported value: {other:?}: supported values: TCP, UDP, SCTP, ANY"
            ));
        }
    };
    // A service name of RFC 6335 has a letter.
    let is_name = text.bytes().any(|c| c.is_ascii_alphabetic())
        && text.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'-')
        && text.len() <= 15;
    let number = if is_name {
        PortNumber::Named(text.to_ascii_lowercase())
    } else {
        let first: u16 = text.parse().map_err(|_| format!("Unable to parse port: {text:?}"))?;
        let last = match &port["endPort"] {
            Value::Null => 0,
            last => last
                .as_u64()
                .and_then(|last| u16::try_from(last).ok())
                .ok_or("endPort is not a port")?,
        };
        if has_dns && last > first {
            return Err("DNS rules do not support port ranges".into());
        }
        match (first, last) {
            (0, 0) => PortNumber::All,
            (first, last) => PortNumber::Range(first, last.max(first)),
        }
    };
    Ok(Port { protocol, number })
}
