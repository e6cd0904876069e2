//! `hubble observe -o jsonpb`: one flow a line, from what the data path remembers.

use super::{
    super::{
        time::nanos,
        view::{EndpointKind, FlowView},
    },
    endpoint::interface,
};
use meshproof_datapath::{Direction, DropReason, FlowEvent, FlowVerdict, Observation, Party, Protocol};
use serde_json::{Value, json};

/// One flow. Fields that are zero or empty are left out, as protobuf's JSON does.
pub fn flow(event: &FlowEvent, view: &FlowView) -> Value {
    let time = nanos(event.time);
    let mut flow = json!({
        "time": time,
        "uuid": uuid(event),
        "verdict": verdict(event.verdict),
        "IP": {
            "source": event.source.address.to_string(),
            "destination": event.destination.address.to_string(),
            "ipVersion": "IPv4",
        },
        "l4": l4(event),
        "source": party(&event.source, view),
        "destination": party(&event.destination, view),
        "Type": "L3_L4",
        "node_name": view.node,
        "node_labels": view.node_labels,
        "event_type": event_type(event),
        "traffic_direction": match event.direction {
            Direction::Ingress => "INGRESS",
            Direction::Egress => "EGRESS",
        },
        "Summary": summary(event),
    });
    if let FlowVerdict::Dropped(reason) = event.verdict {
        if reason.code() > 0 {
            flow["drop_reason"] = json!(reason.code());
        }
        flow["drop_reason_desc"] = json!(reason_name(reason));
    }
    if let Some(point) = trace_point(event.observation) {
        flow["trace_observation_point"] = json!(point);
        let reason = match (event.is_reply, event.tcp_flags & (SYN | ACK)) {
            (true, _) => "REPLY",
            (false, SYN) => "NEW",
            (false, _) if event.protocol == Protocol::Tcp => "ESTABLISHED",
            (false, _) => "NEW",
        };
        flow["trace_reason"] = json!(reason);
    }
    if event.observation != Observation::Drop {
        flow["is_reply"] = json!(event.is_reply);
        if event.is_reply {
            flow["reply"] = json!(true);
        }
    }
    if event.observation == Observation::PolicyVerdict && event.verdict == FlowVerdict::Forwarded {
        // No rule selects the endpoint: everything is allowed (POLICY_MATCH_ALL).
        flow["policy_match_type"] = json!(4);
    }
    if event.observation == Observation::ToEndpoint {
        let to = view
            .endpoints
            .iter()
            .find(|endpoint| endpoint.address == Some(event.destination.address));
        if let Some(endpoint) = to {
            flow["interface"] = json!({"index": u32::from(endpoint.id) + 2, "name": interface(endpoint)});
        }
    }
    json!({"flow": flow, "node_name": view.node, "time": time})
}

/// One flow as the compact text has it.
pub fn text(event: &FlowEvent, view: &FlowView) -> String {
    let time = jiff::Timestamp::try_from(event.time).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    let name = |party: &Party| {
        let known = view
            .addresses
            .iter()
            .find(|entry| entry.cidr.network() == party.address && entry.cidr.prefix_len() == 32);
        let name = known
            .and_then(|entry| entry.pod.as_ref())
            .map(|(namespace, name, _)| format!("{namespace}/{name}"));
        let port = if party.port > 0 {
            format!(":{}", party.port)
        } else {
            String::new()
        };
        match (name, party.identity.0) {
            (Some(name), id) => format!("{name}{port} (ID:{id})"),
            (None, 1) => format!("{}{port} (host)", party.address),
            (None, 6) => format!("{}{port} (remote-node)", party.address),
            (None, 2) => format!("{}{port} (world)", party.address),
            (None, id) => format!("{}{port} (ID:{id})", party.address),
        }
    };
    let (left, arrow, right) = if event.is_reply {
        (name(&event.destination), "<-", name(&event.source))
    } else {
        (name(&event.source), "->", name(&event.destination))
    };
    let point = match event.verdict {
        FlowVerdict::Dropped(reason) if event.observation == Observation::Drop => reason_text(reason).to_owned(),
        _ => trace_point(event.observation).map_or("policy-verdict:none".to_owned(), |point| {
            point.to_lowercase().replace('_', "-")
        }),
    };
    let stamp = time.strftime("%b %e %H:%M:%S%.3f");
    format!(
        "{stamp}: {left} {arrow} {right} {point} {} ({})",
        verdict(event.verdict),
        summary(event)
    )
}

fn verdict(verdict: FlowVerdict) -> &'static str {
    match verdict {
        FlowVerdict::Forwarded => "FORWARDED",
        FlowVerdict::Dropped(_) => "DROPPED",
        FlowVerdict::Redirected(_) => "REDIRECTED",
    }
}

const FIN: u8 = 1;
const SYN: u8 = 2;
const RST: u8 = 4;
const PSH: u8 = 8;
const ACK: u8 = 16;
const FLAGS: [(u8, &str); 5] = [(FIN, "FIN"), (SYN, "SYN"), (RST, "RST"), (PSH, "PSH"), (ACK, "ACK")];

fn l4(event: &FlowEvent) -> Value {
    let ports = || {
        let mut value = json!({});
        for (name, port) in [
            ("source_port", event.source.port),
            ("destination_port", event.destination.port),
        ] {
            if port > 0 {
                value[name] = json!(port);
            }
        }
        value
    };
    match event.protocol {
        Protocol::Tcp => {
            let mut tcp = ports();
            let set = FLAGS.iter().filter(|(bit, _)| event.tcp_flags & bit != 0);
            let set: serde_json::Map<_, _> = set.map(|(_, name)| ((*name).to_owned(), json!(true))).collect();
            if !set.is_empty() {
                tcp["flags"] = Value::Object(set);
            }
            json!({"TCP": tcp})
        }
        Protocol::Udp => json!({"UDP": ports()}),
        Protocol::Icmp => {
            let (kind, code) = event.icmp.unwrap_or_default();
            let mut icmp = json!({});
            for (name, value) in [("type", kind), ("code", code)] {
                if value > 0 {
                    icmp[name] = json!(value);
                }
            }
            json!({"ICMPv4": icmp})
        }
        Protocol::Other(_) => json!({}),
    }
}

fn party(party: &Party, view: &FlowView) -> Value {
    let mut value = json!({});
    if party.identity.0 > 0 {
        value["identity"] = json!(party.identity.0);
    }
    let local = view
        .endpoints
        .iter()
        .find(|endpoint| endpoint.address == Some(party.address));
    if let Some(endpoint) = local {
        value["ID"] = json!(endpoint.id);
        if let EndpointKind::Pod {
            workload: Some((name, kind)),
            ..
        } = &endpoint.kind
        {
            value["workloads"] = json!([{"name": name, "kind": kind}]);
        }
    }
    let known = view
        .addresses
        .iter()
        .find(|entry| entry.cidr.prefix_len() == 32 && entry.cidr.network() == party.address);
    if let Some((namespace, name, _)) = known.and_then(|entry| entry.pod.as_ref()) {
        value["namespace"] = json!(namespace);
        value["pod_name"] = json!(name);
    }
    let labels = view
        .identities
        .iter()
        .find(|(id, _)| *id == party.identity.0)
        .map(|(_, labels)| labels);
    if let Some(labels) = labels.filter(|labels| !labels.is_empty()) {
        value["labels"] = json!(labels);
        let cluster = labels
            .iter()
            .find_map(|label| label.strip_prefix("k8s:io.cilium.k8s.policy.cluster="));
        if let Some(cluster) = cluster {
            value["cluster_name"] = json!(cluster);
        }
    }
    value
}

/// Hubble's message types: 1 drop, 4 trace, 5 policy verdict; the sub type is the drop's reason or the trace point.
fn event_type(event: &FlowEvent) -> Value {
    let (kind, sub) = match (event.observation, event.verdict) {
        (Observation::Drop, FlowVerdict::Dropped(reason)) => (1, reason.code()),
        (Observation::Drop, _) => (1, 0),
        (Observation::PolicyVerdict, _) => (5, 0),
        (Observation::ToEndpoint, _) => (4, 0),
        (Observation::ToHost, _) => (4, 3),
        (Observation::ToOverlay, _) => (4, 4),
        (Observation::ToNetwork, _) => (4, 11),
    };
    match sub {
        0 => json!({"type": kind}),
        sub => json!({"type": kind, "sub_type": sub}),
    }
}

fn trace_point(observation: Observation) -> Option<&'static str> {
    match observation {
        Observation::ToEndpoint => Some("TO_ENDPOINT"),
        Observation::ToOverlay => Some("TO_OVERLAY"),
        Observation::ToHost => Some("TO_STACK"),
        Observation::ToNetwork => Some("TO_NETWORK"),
        Observation::PolicyVerdict | Observation::Drop => None,
    }
}

fn summary(event: &FlowEvent) -> String {
    match event.protocol {
        Protocol::Tcp => {
            let set = FLAGS
                .iter()
                .filter(|(bit, _)| event.tcp_flags & bit != 0)
                .map(|(_, name)| *name);
            format!("TCP Flags: {}", set.collect::<Vec<_>>().join(", "))
        }
        Protocol::Udp => "UDP".to_owned(),
        Protocol::Icmp => match event.icmp.unwrap_or_default() {
            (8, _) => "ICMPv4 EchoRequest".to_owned(),
            (0, _) => "ICMPv4 EchoReply".to_owned(),
            (3, _) => "ICMPv4 DestinationUnreachable".to_owned(),
            (kind, code) => format!("ICMPv4 type {kind} code {code}"),
        },
        Protocol::Other(number) => format!("IP protocol {number}"),
    }
}

/// The same flow has the same id however often it is shown.
fn uuid(event: &FlowEvent) -> String {
    let nanos = event
        .time
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap_or_default()
        .as_nanos();
    let mixed = (nanos << 32 ^ u128::from(event.sequence)).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
    uuid::Builder::from_random_bytes(mixed.to_be_bytes())
        .into_uuid()
        .to_string()
}

/// A reason by its name in Hubble's API.
pub fn reason_name(reason: DropReason) -> &'static str {
    match reason {
        DropReason::InvalidSource => "INVALID_SOURCE_IP",
        DropReason::PolicyDenied => "POLICY_DENIED",
        DropReason::PolicyDeny => "POLICY_DENY",
        DropReason::InvalidPacket => "INVALID_PACKET_DROPPED",
        DropReason::ConntrackFull => "CT_MAP_INSERTION_FAILED",
        DropReason::FragmentNotFound => "IP_FRAGMENTATION_NOT_SUPPORTED",
        DropReason::ServiceBackendNotFound => "SERVICE_BACKEND_NOT_FOUND",
        DropReason::UnsupportedL3 => "UNSUPPORTED_L3_PROTOCOL",
        DropReason::TtlExceeded => "TTL_EXCEEDED",
        DropReason::NoMappingLeft => "FAILED_TO_INSERT_INTO_PROXYMAP",
        DropReason::AuthRequired => "AUTH_REQUIRED",
        DropReason::Unencrypted => "UNENCRYPTED_TRAFFIC",
        DropReason::NoEndpoint | DropReason::TooBig | DropReason::Fault => "DROP_REASON_UNKNOWN",
    }
}

/// A reason as metrics and the compact text have it.
pub fn reason_text(reason: DropReason) -> &'static str {
    match reason {
        DropReason::InvalidSource => "Invalid source ip",
        DropReason::PolicyDenied => "Policy denied",
        DropReason::PolicyDeny => "Policy denied by denylist",
        DropReason::InvalidPacket => "Invalid packet",
        DropReason::ConntrackFull => "CT: Map insertion failed",
        DropReason::FragmentNotFound => "Fragmented packet",
        DropReason::ServiceBackendNotFound => "Service backend not found",
        DropReason::UnsupportedL3 => "Unsupported L3 protocol",
        DropReason::TtlExceeded => "TTL exceeded",
        DropReason::NoMappingLeft => "No mapping for NAT masquerade",
        DropReason::AuthRequired => "Authentication required",
        DropReason::Unencrypted => "Traffic is unencrypted",
        DropReason::NoEndpoint => "Unknown destination",
        DropReason::TooBig => "Packet too big",
        DropReason::Fault => "Unknown reason",
    }
}
