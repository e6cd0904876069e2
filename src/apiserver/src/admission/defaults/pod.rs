//! Defaults of pods and pod templates.

use super::{each, present, set};
use serde_json::{Value, json};

/// A pod: its specification, and what the admission plugins of a usual cluster add.
pub(super) fn complete(pod: &mut Value) {
    let spec = &mut pod["spec"];
    complete_spec(spec);
    set(spec, "serviceAccountName", json!("default"));
    let account = spec["serviceAccountName"].clone();
    set(spec, "serviceAccount", account);
    set(spec, "enableServiceLinks", json!(true));
    set(spec, "priority", json!(0));
    set(spec, "preemptionPolicy", json!("PreemptLowerPriority"));
    tolerate(spec);
}

/// DefaultTolerationSeconds: a pod stays five minutes on a node that is not ready, unless it says otherwise.
fn tolerate(spec: &mut Value) {
    set(spec, "tolerations", json!([]));
    let Some(tolerations) = spec["tolerations"].as_array_mut() else {
        return;
    };
    for key in ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"] {
        let covered = tolerations.iter().any(|t| {
            let any_key = t["key"].as_str().unwrap_or_default().is_empty() && t["operator"] == "Exists";
            let effect = t["effect"].as_str().unwrap_or_default();
            (any_key || t["key"] == key) && matches!(effect, "" | "NoExecute")
        });
        if !covered {
            tolerations
                .push(json!({"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300}));
        }
    }
}

/// The specification of a pod or of a template.
pub(super) fn complete_spec(spec: &mut Value) {
    set(spec, "restartPolicy", json!("Always"));
    set(spec, "dnsPolicy", json!("ClusterFirst"));
    set(spec, "terminationGracePeriodSeconds", json!(30));
    set(spec, "securityContext", json!({}));
    set(spec, "schedulerName", json!("default-scheduler"));
    let host_network = spec["hostNetwork"] == true;
    for field in ["containers", "initContainers", "ephemeralContainers"] {
        if let Some(list) = spec.get_mut(field) {
            each(list).for_each(|container| complete_container(container, host_network));
        }
    }
    if let Some(volumes) = spec.get_mut("volumes") {
        each(volumes).for_each(complete_volume);
    }
}

fn complete_container(container: &mut Value, host_network: bool) {
    let image = container["image"].as_str().unwrap_or_default();
    let policy = if is_floating(image) { "Always" } else { "IfNotPresent" };
    set(container, "imagePullPolicy", json!(policy));
    set(container, "terminationMessagePath", json!("/dev/termination-log"));
    set(container, "terminationMessagePolicy", json!("File"));
    set(container, "resources", json!({}));
    if let Some(ports) = container.get_mut("ports") {
        for port in each(ports) {
            set(port, "protocol", json!("TCP"));
            if host_network {
                let number = port["containerPort"].clone();
                set(port, "hostPort", number);
            }
        }
    }
    for probe in ["livenessProbe", "readinessProbe", "startupProbe"] {
        if let Some(probe) = present(container, probe) {
            complete_probe(probe);
        }
    }
    if let Some(env) = container.get_mut("env") {
        for variable in each(env) {
            if let Some(reference) = present(variable, "valueFrom").and_then(|from| present(from, "fieldRef")) {
                set(reference, "apiVersion", json!("v1"));
            }
        }
    }
    let limits = container["resources"]
        .get("limits")
        .and_then(Value::as_object)
        .cloned()
        .unwrap_or_default();
    for (resource, limit) in limits {
        set(&mut container["resources"], "requests", json!({}));
        set(&mut container["resources"]["requests"], &resource, limit);
    }
}

fn complete_probe(probe: &mut Value) {
    set(probe, "timeoutSeconds", json!(1));
    set(probe, "periodSeconds", json!(10));
    set(probe, "successThreshold", json!(1));
    set(probe, "failureThreshold", json!(3));
    if let Some(get) = present(probe, "httpGet") {
        set(get, "path", json!("/"));
        set(get, "scheme", json!("HTTP"));
    }
    if let Some(grpc) = present(probe, "grpc") {
        set(grpc, "service", json!(""));
    }
}

fn complete_volume(volume: &mut Value) {
    if volume.as_object().is_some_and(|fields| fields.len() == 1) {
        set(volume, "emptyDir", json!({}));
    }
    for (source, mode) in [
        ("secret", 420),
        ("configMap", 420),
        ("downwardAPI", 420),
        ("projected", 420),
    ] {
        if let Some(source) = present(volume, source) {
            set(source, "defaultMode", json!(mode));
        }
    }
    if let Some(path) = present(volume, "hostPath") {
        set(path, "type", json!(""));
    }
    if let Some(projected) = present(volume, "projected")
        && let Some(sources) = projected.get_mut("sources")
    {
        for source in each(sources) {
            if let Some(token) = present(source, "serviceAccountToken") {
                set(token, "expirationSeconds", json!(3600));
            }
        }
    }
}

/// Whether an image reference may mean another image tomorrow: no tag or `latest`, and no digest.
fn is_floating(image: &str) -> bool {
    if image.contains('@') {
        return false;
    }
    let last = image.rsplit('/').next().unwrap_or_default();
    last.split_once(':').is_none_or(|(_, tag)| tag == "latest")
}

#[cfg(test)]
mod tests {
    use super::{complete, is_floating};
    use serde_json::json;

    #[test]
    fn a_pod_gets_what_clients_read() {
        let mut pod = json!({"spec": {
            "containers": [{"name": "a", "image": "registry.example:5000/x", "ports": [{"containerPort": 80}],
                "readinessProbe": {"httpGet": {"port": 80}}, "resources": {"limits": {"cpu": "1"}}}],
            "volumes": [{"name": "v"}],
        }});
        complete(&mut pod);
        let (spec, container) = (&pod["spec"], &pod["spec"]["containers"][0]);
        assert_eq!(spec["restartPolicy"], "Always");
        assert_eq!(spec["serviceAccountName"], "default");
        assert_eq!(spec["tolerations"].as_array().map(Vec::len), Some(2));
        assert_eq!(spec["volumes"][0]["emptyDir"], json!({}));
        assert_eq!(container["imagePullPolicy"], "Always");
        assert_eq!(container["ports"][0]["protocol"], "TCP");
        assert_eq!(container["readinessProbe"]["httpGet"]["scheme"], "HTTP");
        assert_eq!(container["resources"]["requests"]["cpu"], "1");
        let once = pod.clone();
        complete(&mut pod);
        assert_eq!(pod, once, "defaults are set once");
    }

    #[test]
    fn tags_decide_the_pull_policy() {
        assert!(is_floating("x") && is_floating("r:5000/x") && is_floating("x:latest"));
        assert!(!is_floating("x:1") && !is_floating("r:5000/x:1") && !is_floating("x@sha256:00"));
    }
}
