//! `cilium-dbg service list` and `cilium-dbg bpf lb list`.

use super::{
    super::view::{BackendView, ServiceView},
    table::{row, table},
};
use meshproof_datapath::{BackendState, Protocol};
use serde_json::{Value, json};
use std::collections::BTreeMap;

fn protocol(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Tcp => "TCP",
        Protocol::Udp => "UDP",
        Protocol::Icmp | Protocol::Other(_) => "ANY",
    }
}

fn state(state: BackendState) -> &'static str {
    match state {
        BackendState::Active => "active",
        BackendState::Terminating => "terminating",
        BackendState::Quarantined => "quarantined",
    }
}

/// `service list -o json`.
pub fn list(services: &[ServiceView]) -> Value {
    services
        .iter()
        .map(|service| json!({"spec": spec(service), "status": {"realized": spec(service)}}))
        .collect()
}

fn spec(service: &ServiceView) -> Value {
    let mut value = json!({
        "flags": {
            "extTrafficPolicy": service.external_policy,
            "intTrafficPolicy": service.internal_policy,
            "name": service.name,
            "namespace": service.namespace,
            "trafficPolicy": service.external_policy,
            "type": service.kind,
        },
        "frontend-address": {
            "ip": service.address.to_string(),
            "port": service.port,
            "protocol": protocol(service.protocol),
            "scope": "external",
        },
        "id": service.id,
    });
    if !service.backends.is_empty() {
        value["backend-addresses"] = service
            .backends
            .iter()
            .map(|backend| address(backend, service))
            .collect();
    }
    value
}

/// Backends of other clusters have no node's name: the agent knows nodes by the endpoint slices of its own.
fn address(backend: &BackendView, service: &ServiceView) -> Value {
    let mut value = json!({
        "ip": backend.address.to_string(),
        "port": backend.port,
        "preferred": true,
        "protocol": protocol(service.protocol),
        "state": state(backend.state),
        "weight": 100,
    });
    if let Some(node) = &backend.node {
        value["nodeName"] = json!(node);
    }
    if let Some(zone) = &backend.zone {
        value["zone"] = json!(zone);
    }
    value
}

/// `service list`.
pub fn text(services: &[ServiceView]) -> String {
    let mut rows = vec![row!["ID", "Frontend", "Service Type", "Backend"]];
    for service in services {
        let name = protocol(service.protocol);
        let backends = service.backends.iter().zip(1..).map(|(backend, number)| {
            format!(
                "{number} => {}:{}/{name} ({})",
                backend.address,
                backend.port,
                state(backend.state)
            )
        });
        let mut backends = backends.collect::<Vec<_>>().into_iter();
        let frontend = format!("{}:{}/{name}", service.address, service.port);
        rows.push(row![
            service.id,
            frontend,
            service.kind,
            backends.next().unwrap_or_default()
        ]);
        rows.extend(backends.map(|backend| row!["", "", "", backend]));
    }
    table(&rows)
}

/// `bpf lb list -o json`: each frontend's slots.
pub fn slots(services: &[ServiceView]) -> Value {
    let mut all: BTreeMap<String, Value> = BTreeMap::new();
    for service in services {
        let (id, name) = (service.id, protocol(service.protocol));
        let key = |slot: usize| format!("{}:{}/{name} ({slot})", service.address, service.port);
        let flags = if service.kind == "LoadBalancer" {
            service.kind.to_owned()
        } else {
            format!("{}, non-routable", service.kind)
        };
        all.insert(key(0), json!([format!("0.0.0.0:0 ({id}) (0) [{flags}] ")]));
        for (backend, slot) in service.backends.iter().zip(1..) {
            all.insert(
                key(slot),
                json!([format!("{}:{}/{name} ({id}) ({slot})", backend.address, backend.port)]),
            );
        }
    }
    json!(all)
}
