//! `toPorts` and `icmps`.

use super::{
    super::{ParseError, elements, only_keys},
    l7::l7,
};
use crate::{
    flow::Protocol,
    model::{L7, Port, PortMatch},
};
use serde_json::Value;

pub(super) fn port_rules(value: &Value, place: &str) -> Result<Vec<Port>, ParseError> {
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
        .ok_or_else(|| ParseError::kind(place, "a port as a string", &port["port"]))?;
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
