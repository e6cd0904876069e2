//! SPIRE as the chart installs it for mutual authentication: a server, and an agent on every node. What they attest,
//! the lab's data path decides; nothing here issues an identity.

use super::meta_in;
use serde_json::{Value, json};

/// The beginning of the references of its images.
pub(crate) const IMAGES: &str = "ghcr.io/spiffe/spire-";
/// Their version, by chart 1.18.3.
const VERSION: &str = "1.12.4";

/// Its objects in their namespace.
pub(super) fn objects(namespace: &str) -> Vec<Value> {
    let account = |name: &str| {
        let metadata = meta_in(namespace, name, json!({}));
        json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata})
    };
    let pod = |name: &str, extra: Value| {
        let mut pod = json!({
            "nodeSelector": {"kubernetes.io/os": "linux"},
            "serviceAccountName": name,
            "terminationGracePeriodSeconds": 1,
            "containers": [{
                "name": name,
                "image": format!("{IMAGES}{}:{VERSION}", name.trim_start_matches("spire-")),
                "imagePullPolicy": "IfNotPresent",
                "args": ["-config", format!("/run/spire/config/{}.conf", name.trim_start_matches("spire-"))],
            }],
        });
        if let (Some(pod), Some(extra)) = (pod.as_object_mut(), extra.as_object()) {
            pod.extend(extra.clone());
        }
        pod
    };
    let workload = |kind: &str, name: &str, pod: Value| {
        let labels = json!({"app": name});
        json!({
            "apiVersion": "apps/v1", "kind": kind, "metadata": meta_in(namespace, name, labels.clone()),
            "spec": {
                "selector": {"matchLabels": labels},
                "template": {"metadata": {"labels": labels}, "spec": pod},
            },
        })
    };
    let mut server = workload("StatefulSet", "spire-server", pod("spire-server", json!({})));
    server["spec"]["replicas"] = json!(1);
    server["spec"]["serviceName"] = json!("spire-server");
    let on_nodes = json!({"hostNetwork": true, "hostPID": true, "tolerations": [{"operator": "Exists"}]});
    vec![
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}}),
        account("spire-server"),
        account("spire-agent"),
        json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": meta_in(namespace, "spire-server", json!({"app": "spire-server"})),
            "spec": {
                "type": "ClusterIP", "selector": {"app": "spire-server"},
                "ports": [{"name": "grpc", "port": 8081, "targetPort": 8081, "protocol": "TCP"}],
            },
        }),
        server,
        workload("DaemonSet", "spire-agent", pod("spire-agent", on_nodes)),
    ]
}
