//! Defaults of services. Cluster addresses are not allocated here: that is for whoever owns the address range.

use super::{each, set};
use serde_json::{Value, json};

pub(super) fn complete(old: Option<&Value>, service: &mut Value) {
    if let Some(old) = old {
        keep_allocated(&old["spec"], &mut service["spec"]);
    }
    let spec = &mut service["spec"];
    set(spec, "type", json!("ClusterIP"));
    set(spec, "sessionAffinity", json!("None"));
    if spec["sessionAffinity"] == "ClientIP" {
        set(
            spec,
            "sessionAffinityConfig",
            json!({"clientIP": {"timeoutSeconds": 10800}}),
        );
    }
    if let Some(ports) = spec.get_mut("ports") {
        for port in each(ports) {
            set(port, "protocol", json!("TCP"));
            let number = port["port"].clone();
            if port["targetPort"].is_null() || port["targetPort"] == 0 || port["targetPort"] == "" {
                port["targetPort"] = number;
            }
        }
    }
    let kind = spec["type"].as_str().unwrap_or_default().to_owned();
    if kind == "ExternalName" {
        return;
    }
    set(spec, "internalTrafficPolicy", json!("Cluster"));
    set(spec, "ipFamilies", json!(["IPv4"]));
    set(spec, "ipFamilyPolicy", json!("SingleStack"));
    if matches!(kind.as_str(), "NodePort" | "LoadBalancer") {
        set(spec, "externalTrafficPolicy", json!("Cluster"));
    }
    if kind == "LoadBalancer" {
        set(spec, "allocateLoadBalancerNodePorts", json!(true));
    }
    if let Some(address) = spec["clusterIP"].as_str().filter(|address| !address.is_empty()) {
        let addresses = json!([address]);
        set(spec, "clusterIPs", addresses);
    }
}

/// An update that leaves out what was allocated keeps it (`patchAllocatedValues`).
fn keep_allocated(old: &Value, new: &mut Value) {
    let external = |spec: &Value| spec["type"] == "ExternalName";
    if external(old) || external(new) {
        return;
    }
    for field in ["clusterIP", "clusterIPs"] {
        let left_out = match &new[field] {
            Value::Null => true,
            Value::String(text) => text.is_empty(),
            Value::Array(list) => list.is_empty(),
            _ => false,
        };
        if left_out && !old[field].is_null() {
            new[field] = old[field].clone();
        }
    }
    let allocates = |spec: &Value| matches!(spec["type"].as_str(), Some("NodePort" | "LoadBalancer"));
    if !allocates(old) || !allocates(new) {
        return;
    }
    let old_ports = old["ports"].as_array().cloned().unwrap_or_default();
    if let Some(ports) = new.get_mut("ports") {
        for port in each(ports) {
            let protocol = |port: &Value| port["protocol"].as_str().unwrap_or("TCP").to_owned();
            let before = old_ports
                .iter()
                .find(|p| p["port"] == port["port"] && protocol(p) == protocol(port));
            if let Some(node_port) = before.map(|port| &port["nodePort"]).filter(|number| number.is_number()) {
                set(port, "nodePort", node_port.clone());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::complete;
    use serde_json::json;

    #[test]
    fn an_update_keeps_what_was_allocated() {
        let mut old = json!({"spec": {
            "type": "NodePort", "clusterIP": "10.0.0.1", "ports": [{"port": 80, "nodePort": 30000}],
        }});
        complete(None, &mut old);
        assert_eq!(old["spec"]["clusterIPs"], json!(["10.0.0.1"]));
        assert_eq!(old["spec"]["ports"][0]["targetPort"], 80);
        let mut new = json!({"spec": {"type": "NodePort", "ports": [{"port": 80}, {"port": 81}]}});
        complete(Some(&old), &mut new);
        assert_eq!(new["spec"]["clusterIP"], "10.0.0.1");
        assert_eq!(new["spec"]["ports"][0]["nodePort"], 30000);
        assert!(new["spec"]["ports"][1].get("nodePort").is_none());
    }
}
