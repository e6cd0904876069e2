//! Services.

use super::{items, names, pod, text};
use crate::error::Cause;
use serde_json::Value;
use std::collections::HashSet;

pub(super) fn check(old: Option<&Value>, service: &Value, causes: &mut Vec<Cause>) {
    let spec = &service["spec"];
    let kinds = ["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"];
    let kind = text(&spec["type"]);
    if !kinds.contains(&kind) {
        causes.push(Cause::unsupported("spec.type", &spec["type"], &kinds));
    }
    let affinities = ["ClientIP", "None"];
    if !affinities.contains(&text(&spec["sessionAffinity"])) {
        causes.push(Cause::unsupported(
            "spec.sessionAffinity",
            &spec["sessionAffinity"],
            &affinities,
        ));
    }
    if kind == "ExternalName" && text(&spec["externalName"]).is_empty() {
        causes.push(Cause::required("spec.externalName", ""));
    }
    let headless = spec["clusterIP"] == "None";
    let count = items(&spec["ports"]).count();
    if count == 0 && !headless && kind != "ExternalName" {
        causes.push(Cause::required("spec.ports", ""));
    }
    check_ports(spec, count, causes);
    names::check_labels("spec.selector", &spec["selector"], causes);
    if let Some(old) = old {
        check_address(&old["spec"], spec, causes);
    }
}

fn check_ports(spec: &Value, count: usize, causes: &mut Vec<Cause>) {
    let (mut names, mut numbers) = (HashSet::new(), HashSet::new());
    for (index, port) in items(&spec["ports"]) {
        let path = format!("spec.ports[{index}]");
        let name = text(&port["name"]);
        if name.is_empty() && count > 1 {
            causes.push(Cause::required(format!("{path}.name"), ""));
        } else if !name.is_empty() && !names.insert(name) {
            causes.push(Cause::duplicate(format!("{path}.name"), &port["name"]));
        } else if !name.is_empty()
            && let Some(why) = names::label(name)
        {
            causes.push(Cause::invalid(format!("{path}.name"), &port["name"], &why));
        }
        pod::check_port(&format!("{path}.port"), &port["port"], causes);
        pod::check_protocol(&format!("{path}.protocol"), &port["protocol"], causes);
        if port["targetPort"].is_number() {
            pod::check_port(&format!("{path}.targetPort"), &port["targetPort"], causes);
        }
        if !numbers.insert((port["port"].as_i64(), text(&port["protocol"]))) {
            let shown = serde_json::json!({"port": port["port"], "protocol": port["protocol"]});
            causes.push(Cause::duplicate(path, &shown));
        }
    }
}

fn check_address(old: &Value, new: &Value, causes: &mut Vec<Cause>) {
    let external = |spec: &Value| spec["type"] == "ExternalName";
    let before = text(&old["clusterIP"]);
    if !external(old) && !external(new) && !before.is_empty() && before != text(&new["clusterIP"]) {
        causes.push(Cause::invalid(
            "spec.clusterIPs[0]",
            &new["clusterIPs"],
            "may not change once set",
        ));
    }
}
