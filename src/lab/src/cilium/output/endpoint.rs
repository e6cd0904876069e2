//! `cilium-dbg endpoint list`.

use super::{
    super::{
        object::external_identifiers,
        time::seconds,
        view::{AgentView, EndpointKind, EndpointView, PolicyEnabled},
    },
    controller,
    table::{row, table},
};
use serde_json::{Value, json};

/// As JSON.
pub fn list(view: &AgentView) -> Value {
    view.endpoints.iter().map(|endpoint| one(endpoint, view)).collect()
}

fn one(endpoint: &EndpointView, view: &AgentView) -> Value {
    let mut status = json!({
        "controllers": controller::of_endpoint(endpoint, view.now),
        "external-identifiers": external(endpoint),
        "health": {"bpf": "OK", "connected": true, "overallHealth": "OK", "policy": "OK"},
        "identity": {"id": endpoint.identity, "labels": endpoint.labels},
        "labels": {"realized": {}, "security-relevant": endpoint.labels},
        "log": [{
            "code": "OK",
            "message": "Successfully regenerated endpoint program (Reason: updated security labels)",
            "state": "ready",
            "timestamp": seconds(endpoint.created),
        }],
        "networking": networking(endpoint),
        "policy": policy(endpoint),
        "realized": options(),
        "state": "ready",
    });
    if !endpoint.derived.is_empty() {
        status["labels"]["derived"] = json!(endpoint.derived);
    }
    if !endpoint.named_ports.is_empty() {
        let ports = endpoint.named_ports.iter();
        status["namedPorts"] = ports
            .map(|(name, protocol, port)| json!({"name": name, "port": port, "protocol": protocol}))
            .collect();
    }
    json!({"id": endpoint.id, "spec": options(), "status": status})
}

/// The options of every endpoint under the chart's configuration.
fn options() -> Value {
    json!({
        "label-configuration": {},
        "options": {
            "ConntrackAccounting": "Disabled",
            "Debug": "Disabled",
            "DebugLB": "Disabled",
            "DebugPolicy": "Disabled",
            "DropNotification": "Enabled",
            "MonitorAggregationLevel": "Medium",
            "PolicyAccounting": "Enabled",
            "PolicyAuditMode": "Disabled",
            "PolicyVerdictNotification": "Enabled",
            "SourceIPVerification": "Enabled",
            "TraceNotification": "Enabled",
        },
    })
}

fn external(endpoint: &EndpointView) -> Value {
    match &endpoint.kind {
        EndpointKind::Pod {
            namespace, name, uid, ..
        } => external_identifiers(namespace, name, uid),
        EndpointKind::Host => json!({"pod-name": "/"}),
        EndpointKind::Health => json!({"container-name": "cilium-health", "pod-name": "/"}),
    }
}

fn networking(endpoint: &EndpointView) -> Value {
    let address = match endpoint.address {
        Some(address) => json!({"ipv4": address.to_string(), "ipv4-pool-name": "default"}),
        None => json!({}),
    };
    let mut value = json!({
        "addressing": [address],
        "host-mac": mac(endpoint, 0x0e),
        "interface-index": u32::from(endpoint.id) + 2,
        "interface-name": interface(endpoint),
        "mac": mac(endpoint, if endpoint.kind == EndpointKind::Host { 0x0e } else { 0x0a }),
    });
    if matches!(endpoint.kind, EndpointKind::Pod { .. }) {
        value["container-interface-name"] = json!("eth0");
    }
    value
}

/// The name of the endpoint's device on the node.
pub(super) fn interface(endpoint: &EndpointView) -> String {
    match &endpoint.kind {
        EndpointKind::Host => "cilium_host".to_owned(),
        EndpointKind::Health => "lxc_health".to_owned(),
        EndpointKind::Pod { uid, .. } => format!("lxc{}", uid.replace('-', "").get(..12).unwrap_or_default()),
    }
}

/// A locally administered address made of the endpoint's number: the data path has no Ethernet between pod and node.
fn mac(endpoint: &EndpointView, first: u8) -> String {
    let [high, low] = endpoint.id.to_be_bytes();
    let identity = endpoint.identity.to_be_bytes();
    format!(
        "{first:02x}:{:02x}:{:02x}:{:02x}:{high:02x}:{low:02x}",
        identity[1], identity[2], identity[3]
    )
}

/// What nobody restricts: everything (0) may go out and come in, and the host (1) may always come in.
fn policy(endpoint: &EndpointView) -> Value {
    let enabled = endpoint.policy.enabled;
    let is = |one: PolicyEnabled| enabled == one || enabled == PolicyEnabled::Both;
    let egress = if is(PolicyEnabled::Egress) {
        json!(null)
    } else {
        json!([0])
    };
    let ingress = match (&endpoint.kind, is(PolicyEnabled::Ingress)) {
        (EndpointKind::Host, _) => json!([0]),
        (_, true) => json!([1]),
        (_, false) => json!([0, 1]),
    };
    let revision = endpoint.policy.revision;
    let realized = json!({
        "allowed-egress-identities": egress,
        "allowed-ingress-identities": ingress,
        "build": revision,
        "denied-egress-identities": null,
        "denied-ingress-identities": null,
        "id": endpoint.identity,
        "l4": {"egress": [], "ingress": []},
        "policy-enabled": enabled.as_str(),
        "policy-revision": revision,
    });
    let mut value = json!({"proxy-statistics": [], "realized": realized, "spec": realized});
    if endpoint.kind != EndpointKind::Host {
        value["proxy-policy-revision"] = json!(revision);
    }
    value
}

/// As text.
pub fn text(view: &AgentView) -> String {
    let mut rows = vec![
        row![
            "ENDPOINT",
            "POLICY (ingress)",
            "POLICY (egress)",
            "IDENTITY",
            "LABELS (source:key[=value])",
            "IPv6",
            "IPv4",
            "STATUS"
        ],
        row!["", "ENFORCEMENT", "ENFORCEMENT", "", "", "", "", ""],
    ];
    for endpoint in &view.endpoints {
        let enabled = endpoint.policy.enabled;
        let is = |one| {
            if enabled == one || enabled == PolicyEnabled::Both {
                "Enabled"
            } else {
                "Disabled"
            }
        };
        let address = endpoint.address.map(|address| address.to_string()).unwrap_or_default();
        let mut labels = endpoint.labels.iter();
        let first = labels.next().cloned().unwrap_or_default();
        let (ingress, egress) = (is(PolicyEnabled::Ingress), is(PolicyEnabled::Egress));
        rows.push(row![
            endpoint.id,
            ingress,
            egress,
            endpoint.identity,
            first,
            "",
            address,
            "ready"
        ]);
        rows.extend(labels.map(|label| row!["", "", "", "", label, "", "", ""]));
    }
    table(&rows)
}
