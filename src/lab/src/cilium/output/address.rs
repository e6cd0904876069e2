//! `cilium-dbg ip list`, `identity list` and `bpf ipcache list`.

use super::super::{
    object::WIREGUARD_KEY,
    view::{AddressView, AgentView},
};
use serde_json::{Map, Value, json};

/// `cilium-dbg ip list -o json`.
pub fn list(addresses: &[AddressView]) -> Value {
    let entries = addresses.iter().map(|entry| {
        let mut value = json!({"cidr": entry.cidr.to_string(), "identity": entry.identity});
        if entry.encrypted {
            value["encryptKey"] = json!(WIREGUARD_KEY);
        }
        if let Some(host) = entry.host {
            value["hostIP"] = json!(host.to_string());
        }
        if let Some((namespace, name, source)) = &entry.pod {
            value["metadata"] = json!({"name": name, "namespace": namespace, "source": source});
        }
        value
    });
    entries.collect()
}

/// `cilium-dbg bpf ipcache list -o json`.
pub fn ipcache(view: &AgentView) -> Value {
    let entries = view.addresses.iter().map(|entry| {
        let is_pod = entry.pod.is_some();
        let remote = entry
            .host
            .filter(|host| *host != view.node.address && (entry.encrypted || is_pod));
        let key = if entry.encrypted { WIREGUARD_KEY } else { 0 };
        let (tunnel, flags) = match remote {
            Some(host) => (host.to_string(), "hastunnel"),
            None => ("0.0.0.0".to_owned(), "<none>"),
        };
        let text = format!(
            "identity={} encryptkey={key} tunnelendpoint={tunnel} flags={flags}",
            entry.identity
        );
        (entry.cidr.to_string(), json!([text]))
    });
    Value::Object(entries.collect::<Map<_, _>>())
}

/// `cilium-dbg identity list -o json`.
pub fn identities(identities: &[(u32, Vec<String>)]) -> Value {
    identities
        .iter()
        .map(|(id, labels)| json!({"id": id, "labels": labels}))
        .collect()
}

/// `cilium-dbg identity list`.
pub fn identities_text(identities: &[(u32, Vec<String>)]) -> String {
    let mut text = "ID         LABELS\n".to_owned();
    for (id, labels) in identities {
        for (index, label) in labels.iter().enumerate() {
            let id = if index == 0 { id.to_string() } else { String::new() };
            text.push_str(&format!("{id:<10} {label}\n"));
        }
    }
    text
}

/// `cilium-dbg ip list`.
pub fn text(view: &AgentView) -> String {
    let mut text = "IP                  IDENTITY                                            SOURCE\n".to_owned();
    for entry in &view.addresses {
        let identity = view.identities.iter().find(|(id, _)| *id == entry.identity);
        let labels = identity
            .map(|(_, labels)| labels.join(","))
            .unwrap_or_else(|| entry.identity.to_string());
        let source = entry.pod.as_ref().map_or("", |(_, _, source)| source);
        text.push_str(&format!("{:<19} {labels:<51} {source}\n", entry.cidr.to_string()));
    }
    text
}
