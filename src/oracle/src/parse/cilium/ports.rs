//! `toPorts` and `icmps`.

use super::{
    super::{ParseError, elements, only_keys},
    l7::l7,
};
use crate::{
    flow::Protocol,
    model::{Direction, L7, Port, PortMatch},
};
use serde_json::Value;

/// More ports in one entry are refused (semantics A20; pkg/policy/api/l4.go).
const MOST: usize = 40;
/// The longest name of a port (RFC 6335).
const LONGEST_NAME: usize = 15;

/// An entry without ports matches nothing, so a rule with such entries only allows nothing (semantics A23).
pub(super) fn port_rules(value: &Value, place: &str, direction: Direction) -> Result<Vec<Port>, ParseError> {
    let mut ports = Vec::new();
    for rule in elements(value, place)? {
        only_keys(rule, &["ports", "rules"], &format!("{place}.toPorts"))?;
        let l7 = l7(&rule["rules"], place)?;
        let listed = elements(&rule["ports"], place)?;
        if listed.len() > MOST {
            return Err(ParseError::invalid(place, format!("more than {MOST} ports")));
        }
        if listed.is_empty() && matches!(l7, L7::Dns(_)) {
            return Err(ParseError::invalid(place, "DNS rules without a port"));
        }
        for port in listed {
            only_keys(
                port,
                &["port", "endPort", "protocol"],
                &format!("{place}.toPorts.ports"),
            )?;
            let port = Port {
                which: port_match(port, place)?,
                protocol: protocol(&port["protocol"], place)?,
                l7: l7.clone(),
            };
            if let Some(reason) = misfit(&port, direction) {
                return Err(ParseError::invalid(place, reason));
            }
            ports.push(port);
        }
    }
    Ok(ports)
}

/// Why L7 rules cannot be for a port (semantics A22; pkg/policy/api/rule_validation.go).
fn misfit(port: &Port, direction: Direction) -> Option<&'static str> {
    match (&port.l7, &port.which, port.protocol) {
        (L7::None, ..) => None,
        (_, PortMatch::Any | PortMatch::Range(0, _), _) => Some("L7 rules on port 0"),
        (L7::Http(_), _, Some(Protocol::Tcp)) => None,
        (L7::Http(_), ..) => Some("HTTP rules on another protocol than TCP"),
        (L7::Dns(_), ..) if direction == Direction::Ingress => Some("DNS rules on ingress"),
        (L7::Dns(_), PortMatch::Range(first, last), _) if first != last => Some("DNS rules on a range of ports"),
        (L7::Dns(_), _, Some(Protocol::Sctp | Protocol::Icmp)) => Some("DNS rules on another protocol"),
        (L7::Dns(_), ..) => None,
    }
}

/// Port 0 is every port, with an `endPort` those up to it; an `endPort` of 0 or below the port is ignored, and a name
/// has none (semantics A20; pkg/policy/api/l4.go).
fn port_match(port: &Value, place: &str) -> Result<PortMatch, ParseError> {
    let text = port["port"]
        .as_str()
        .ok_or_else(|| ParseError::kind(place, "a port as a string", &port["port"]))?;
    let last = match &port["endPort"] {
        Value::Null => 0,
        end => end
            .as_u64()
            .and_then(|n| u16::try_from(n).ok())
            .ok_or_else(|| ParseError::kind(place, "a port", end))?,
    };
    if let Ok(first) = text.parse::<u16>() {
        return Ok(match (first, last) {
            (0, 0) => PortMatch::Any,
            (first, last) => PortMatch::Range(first, last.max(first)),
        });
    }
    let is_name = text.len() <= LONGEST_NAME
        && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
        && text.chars().any(|c| c.is_ascii_alphabetic());
    if is_name {
        Ok(PortMatch::Named(text.to_ascii_lowercase()))
    } else {
        Err(ParseError::kind(place, "a number or a name of a port", &port["port"]))
    }
}

fn protocol(value: &Value, place: &str) -> Result<Option<Protocol>, ParseError> {
    match value.as_str() {
        None | Some("ANY") => Ok(None),
        Some("TCP") => Ok(Some(Protocol::Tcp)),
        Some("UDP") => Ok(Some(Protocol::Udp)),
        Some("SCTP") => Ok(Some(Protocol::Sctp)),
        Some(_) => Err(ParseError::kind(place, "TCP, UDP, SCTP or ANY", value)),
    }
}

pub(super) fn icmps(value: &Value, place: &str) -> Result<Vec<Port>, ParseError> {
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
