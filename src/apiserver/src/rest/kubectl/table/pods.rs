//! The columns of pods, with the state that `kubectl get pods` derives
//! (`k8s.io/kubernetes/pkg/printers/internalversion.printPod`).

use super::{Printer, age, columns, count, created, items, or_none, text};
use crate::{object::Object, resource::ResourceDef};
use jiff::Timestamp;
use serde_json::{Value, json};

pub(super) fn printer(def: &ResourceDef) -> Option<Printer> {
    (def.group.is_empty() && def.kind == "Pod").then(|| {
        let columns = columns("Name,Ready,Status,Restarts,Age|IP,Node,Nominated Node,Readiness Gates");
        Printer::new(columns, cells)
    })
}

fn cells(pod: &Object, now: Timestamp) -> Vec<Value> {
    let (spec, status) = (&pod["spec"], &pod["status"]);
    let wanted = items(&spec["containers"]).count();
    let ready = items(&status["containerStatuses"])
        .filter(|c| c["ready"] == true)
        .count();
    let gates = items(&spec["readinessGates"]).count();
    let fulfilled = items(&spec["readinessGates"])
        .filter(|gate| {
            items(&status["conditions"]).any(|c| c["type"] == gate["conditionType"] && c["status"] == "True")
        })
        .count();
    let address = items(&status["podIPs"])
        .next()
        .map_or_else(|| text(&status["podIP"]), |ip| text(&ip["ip"]));
    vec![
        json!(pod.name()),
        json!(format!("{ready}/{wanted}")),
        json!(reason(pod)),
        json!(restarts(status, now)),
        created(pod, now),
        or_none(address),
        or_none(text(&spec["nodeName"])),
        or_none(text(&status["nominatedNodeName"])),
        if gates == 0 {
            json!("<none>")
        } else {
            json!(format!("{fulfilled}/{gates}"))
        },
    ]
}

fn restarts(status: &Value, now: Timestamp) -> String {
    let total: i64 = items(&status["containerStatuses"])
        .map(|c| count(&c["restartCount"]))
        .sum();
    let last = items(&status["containerStatuses"])
        .filter_map(|c| {
            c["lastState"]["terminated"]["finishedAt"]
                .as_str()?
                .parse::<Timestamp>()
                .ok()
        })
        .max();
    match last {
        Some(last) if total > 0 => format!("{total} ({} ago)", age::human(now.as_second() - last.as_second())),
        _ => total.to_string(),
    }
}

fn reason(pod: &Object) -> String {
    let status = &pod["status"];
    let mut reason = text(&status["phase"]).to_owned();
    if !text(&status["reason"]).is_empty() {
        reason = text(&status["reason"]).to_owned();
    }
    let initializing = initializing(pod);
    if let Some(initializing) = &initializing {
        reason.clone_from(initializing);
    } else {
        let mut running = false;
        for container in status["containerStatuses"].as_array().into_iter().flatten().rev() {
            let state = &container["state"];
            if let Some(waiting) = state["waiting"]["reason"].as_str().filter(|r| !r.is_empty()) {
                reason = waiting.to_owned();
            } else if state["terminated"].is_object() {
                reason = ended(&state["terminated"]);
            } else if container["ready"] == true && state["running"].is_object() {
                running = true;
            }
        }
        if reason == "Completed" && running {
            let ready = items(&status["conditions"]).any(|c| c["type"] == "Ready" && c["status"] == "True");
            reason = if ready { "Running" } else { "NotReady" }.to_owned();
        }
    }
    match (pod.is_terminating(), text(&status["reason"])) {
        (true, "NodeLost") => "Unknown".to_owned(),
        (true, _) if !matches!(text(&status["phase"]), "Succeeded" | "Failed") => "Terminating".to_owned(),
        _ => reason,
    }
}

fn ended(terminated: &Value) -> String {
    match (text(&terminated["reason"]), count(&terminated["signal"])) {
        ("", 0) => format!("ExitCode:{}", count(&terminated["exitCode"])),
        ("", signal) => format!("Signal:{signal}"),
        (reason, _) => reason.to_owned(),
    }
}

/// What the init containers wait for, if they do.
fn initializing(pod: &Object) -> Option<String> {
    let total = items(&pod["spec"]["initContainers"]).count();
    for (index, container) in items(&pod["status"]["initContainerStatuses"]).enumerate() {
        let state = &container["state"];
        if state["terminated"].is_object() {
            if count(&state["terminated"]["exitCode"]) == 0 {
                continue;
            }
            return Some(format!("Init:{}", ended(&state["terminated"])));
        }
        let waiting = text(&state["waiting"]["reason"]);
        if !waiting.is_empty() && waiting != "PodInitializing" {
            return Some(format!("Init:{waiting}"));
        }
        return Some(format!("Init:{index}/{total}"));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::reason;
    use crate::object::Object;
    use serde_json::{Value, json};

    fn shown(status: Value, metadata: Value) -> String {
        reason(&Object::new(json!({"metadata": metadata, "status": status})))
    }

    #[test]
    fn the_status_is_what_kubectl_shows() {
        let state = |state: Value| json!({"phase": "Pending", "containerStatuses": [{"state": state}]});
        assert_eq!(shown(json!({"phase": "Running"}), json!({})), "Running");
        assert_eq!(
            shown(state(json!({"waiting": {"reason": "ImagePullBackOff"}})), json!({})),
            "ImagePullBackOff"
        );
        assert_eq!(
            shown(state(json!({"terminated": {"exitCode": 3}})), json!({})),
            "ExitCode:3"
        );
        assert_eq!(
            shown(json!({"phase": "Running"}), json!({"deletionTimestamp": "x"})),
            "Terminating"
        );
        let waiting = json!({"phase": "Pending", "initContainerStatuses": [{"state": {"running": {}}}]});
        assert_eq!(shown(waiting, json!({})), "Init:0/0");
    }
}
