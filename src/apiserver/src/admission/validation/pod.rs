//! Pods and pod templates.

use super::{items, names, text};
use crate::error::{Cause, CauseKind};
use serde_json::{Value, json};
use std::collections::HashSet;

const UPDATE: &str = "pod updates may not change fields other than \
                      `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.\
                      tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` \
                      (allow it to be set to 1 if it was previously negative)";

pub(super) fn check(old: Option<&Value>, pod: &Value, causes: &mut Vec<Cause>) {
    check_spec("spec", &pod["spec"], causes);
    if let Some(old) = old
        && fixed(&old["spec"]) != fixed(&with_node_of(&old["spec"], &pod["spec"]))
    {
        causes.push(Cause::forbidden("spec", UPDATE));
    }
}

/// A pod without a node may get one: that is what binding does.
fn with_node_of(old: &Value, new: &Value) -> Value {
    let mut new = new.clone();
    if text(&old["nodeName"]).is_empty()
        && let Some(new) = new.as_object_mut()
    {
        new.remove("nodeName");
    }
    new
}

/// The part of a specification that never changes.
fn fixed(spec: &Value) -> Value {
    let mut spec = spec.clone();
    if let Some(map) = spec.as_object_mut() {
        for changeable in [
            "activeDeadlineSeconds",
            "tolerations",
            "terminationGracePeriodSeconds",
            "ephemeralContainers",
        ] {
            map.remove(changeable);
        }
        if map.get("nodeName").is_some_and(|node| text(node).is_empty()) {
            map.remove("nodeName");
        }
        for list in ["containers", "initContainers"] {
            for container in map.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten() {
                if let Some(container) = container.as_object_mut() {
                    container.remove("image");
                    // The policy follows the image where the client does not say.
                    container.remove("imagePullPolicy");
                }
            }
        }
    }
    spec
}

/// The specification of a pod or of a template at `path`.
pub(super) fn check_spec(path: &str, spec: &Value, causes: &mut Vec<Cause>) {
    if items(&spec["containers"]).next().is_none() {
        causes.push(Cause::required(format!("{path}.containers"), ""));
    }
    let volumes: HashSet<&str> = items(&spec["volumes"])
        .map(|(_, volume)| text(&volume["name"]))
        .collect();
    check_unique(&format!("{path}.volumes"), &spec["volumes"], causes);
    let mut seen = HashSet::new();
    for list in ["initContainers", "containers", "ephemeralContainers"] {
        for (index, container) in items(&spec[list]) {
            let path = format!("{path}.{list}[{index}]");
            if !seen.insert(text(&container["name"])) && !text(&container["name"]).is_empty() {
                causes.push(Cause::duplicate(format!("{path}.name"), &container["name"]));
            }
            check_container(&path, container, &volumes, causes);
        }
    }
    let policies = ["Always", "OnFailure", "Never"];
    if !policies.contains(&text(&spec["restartPolicy"])) {
        causes.push(Cause::unsupported(
            format!("{path}.restartPolicy"),
            &spec["restartPolicy"],
            &policies,
        ));
    }
    let policies = ["ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"];
    if !policies.contains(&text(&spec["dnsPolicy"])) {
        causes.push(Cause::unsupported(
            format!("{path}.dnsPolicy"),
            &spec["dnsPolicy"],
            &policies,
        ));
    }
    if spec["terminationGracePeriodSeconds"]
        .as_i64()
        .is_some_and(|seconds| seconds < 0)
    {
        let field = format!("{path}.terminationGracePeriodSeconds");
        let value = &spec["terminationGracePeriodSeconds"];
        causes.push(Cause::invalid(field, value, "must be greater than or equal to 0"));
    }
    names::check_labels(&format!("{path}.nodeSelector"), &spec["nodeSelector"], causes);
}

fn check_unique(path: &str, list: &Value, causes: &mut Vec<Cause>) {
    let mut seen = HashSet::new();
    for (index, item) in items(list) {
        let (field, name) = (format!("{path}[{index}].name"), text(&item["name"]));
        if name.is_empty() {
            causes.push(Cause::required(field, ""));
        } else if !seen.insert(name) {
            causes.push(Cause::duplicate(field, &item["name"]));
        } else if let Some(why) = names::label(name) {
            causes.push(Cause::invalid(field, &item["name"], &why));
        }
    }
}

fn check_container(path: &str, container: &Value, volumes: &HashSet<&str>, causes: &mut Vec<Cause>) {
    match text(&container["name"]) {
        "" => causes.push(Cause::required(format!("{path}.name"), "")),
        name => causes
            .extend(names::label(name).map(|why| Cause::invalid(format!("{path}.name"), &container["name"], &why))),
    }
    match text(&container["image"]) {
        "" => causes.push(Cause::required(format!("{path}.image"), "")),
        image if image.trim() != image => {
            let why = "must not have leading or trailing whitespace";
            causes.push(Cause::invalid(format!("{path}.image"), &container["image"], why));
        }
        _ => {}
    }
    let policies = ["Always", "IfNotPresent", "Never"];
    if !policies.contains(&text(&container["imagePullPolicy"])) {
        causes.push(Cause::unsupported(
            format!("{path}.imagePullPolicy"),
            &container["imagePullPolicy"],
            &policies,
        ));
    }
    for (index, port) in items(&container["ports"]) {
        check_port(
            &format!("{path}.ports[{index}].containerPort"),
            &port["containerPort"],
            causes,
        );
        if port["hostPort"].as_i64().is_some_and(|number| number != 0) {
            check_port(&format!("{path}.ports[{index}].hostPort"), &port["hostPort"], causes);
        }
        check_protocol(&format!("{path}.ports[{index}].protocol"), &port["protocol"], causes);
    }
    for (index, variable) in items(&container["env"]) {
        if text(&variable["name"]).is_empty() {
            causes.push(Cause::required(format!("{path}.env[{index}].name"), ""));
        }
    }
    let mut paths = HashSet::new();
    for (index, mount) in items(&container["volumeMounts"]) {
        let path = format!("{path}.volumeMounts[{index}]");
        let (name, at) = (text(&mount["name"]), text(&mount["mountPath"]));
        if name.is_empty() {
            causes.push(Cause::required(format!("{path}.name"), ""));
        } else if !volumes.contains(name) {
            let message = format!("Not found: {}", json!(name));
            causes.push(Cause {
                kind: CauseKind::NotFound,
                field: format!("{path}.name"),
                message,
            });
        }
        if at.is_empty() {
            causes.push(Cause::required(format!("{path}.mountPath"), ""));
        } else if !paths.insert(at) {
            causes.push(Cause::invalid(
                format!("{path}.mountPath"),
                &mount["mountPath"],
                "must be unique",
            ));
        }
    }
}

/// A port number.
pub(super) fn check_port(field: &str, port: &Value, causes: &mut Vec<Cause>) {
    match port.as_i64() {
        Some(1..=65535) => {}
        None if port.is_null() => causes.push(Cause::required(field, "")),
        _ => causes.push(Cause::invalid(field, port, "must be between 1 and 65535, inclusive")),
    }
}

/// A transport protocol.
pub(super) fn check_protocol(field: &str, protocol: &Value, causes: &mut Vec<Cause>) {
    let known = ["SCTP", "TCP", "UDP"];
    if !known.contains(&text(protocol)) {
        causes.push(Cause::unsupported(field, protocol, &known));
    }
}
