//! Clusters of any shape with the components of Cilium and cluster DNS.

use crate::testing::{Fake, Shape, Site};
use meshproof_contract::{CiliumQuery, Environment, claim};
use serde_json::{Value, json};
use std::sync::Arc;

/// Healthy clusters of that shape.
pub fn world(shape: Shape) -> Arc<dyn Environment> {
    Arc::new(healthy(shape))
}

/// The same, to be broken.
pub fn healthy(shape: Shape) -> Fake {
    let mut world = Fake::of(shape);
    for site in shape.sites() {
        world = world.facts(|facts| {
            facts.claims.push(claim::Claim {
                cluster: site.name.into(),
                kind: claim::ClaimKind::KubeProxyReplacement,
                value: "true".to_owned(),
                source: claim::ClaimSource::Live {
                    object: "ConfigMap kube-system/cilium-config: kube-proxy-replacement".to_owned(),
                },
            });
        });
        // Those of the world of all suites are too bare.
        for n in site.nodes() {
            world = world.without_object(site.name, "Node", &site.node(n));
            world = world.without_object(site.name, "Pod", &format!("cilium-{}", site.node(n)));
        }
        world = world.without_object(site.name, "Pod", "clustermesh-apiserver-x");
        for object in objects(site) {
            world = world.object(site.name, object);
        }
        world = world.renewing(site.name, "cilium-operator-resource-lock");
        for n in site.nodes() {
            world = world.beating(site.name, &site.node(n), 0);
        }
    }
    let all: usize = shape.sites().iter().map(|site| site.nodes().count()).sum();
    world.policies(move |_, query| match query {
        CiliumQuery::RelayStatus { .. } => json!(format!("Connected Nodes: {all}/{all}\n")),
        _ => Value::Null,
    })
}

/// The workload of a component, and one pod on each of these nodes.
pub fn component(kind: &str, name: &str, labels: &Value, image: &str, nodes: &[String]) -> Vec<Value> {
    let containers = json!([{"name": name, "image": image}]);
    let count = nodes.len();
    let status = match kind {
        "DaemonSet" => {
            json!({"desiredNumberScheduled": count, "numberReady": count, "updatedNumberScheduled": count})
        }
        _ => json!({"replicas": count, "readyReplicas": count, "updatedReplicas": count}),
    };
    let mut spec = json!({
        "selector": {"matchLabels": labels},
        "template": {"metadata": {"labels": labels}, "spec": {"containers": containers}},
    });
    if kind == "Deployment" {
        spec["replicas"] = json!(count);
    }
    let meta = |name: &str| json!({"namespace": "kube-system", "name": name, "labels": labels});
    let mut all = vec![json!({"kind": kind, "metadata": meta(name), "spec": spec, "status": status})];
    for node in nodes {
        let mut pod = meta(&format!("{name}-{node}"));
        pod["uid"] = json!(format!("{name}-{node}"));
        all.push(json!({
            "kind": "Pod", "metadata": pod,
            "spec": {"nodeName": node, "containers": containers},
            "status": {
                "phase": "Running", "conditions": [{"type": "Ready", "status": "True"}],
                "containerStatuses": [{"name": name, "image": image, "ready": true, "restartCount": 0,
                    "state": {"running": {"startedAt": "2026-11-21T09:14:24Z"}}}],
            },
        }));
    }
    all
}

fn objects(site: Site) -> Vec<Value> {
    let nodes: Vec<String> = site.nodes().map(|n| site.node(n)).collect();
    let (first, two) = (&nodes[..1], &nodes[..nodes.len().min(2)]);
    let of = |image: &str| format!("quay.io/cilium/{image}:v1.18.3");
    let app = |app: &str| json!({"k8s-app": app});
    let mut all = [
        component("DaemonSet", "cilium", &app("cilium"), &of("cilium"), &nodes),
        component(
            "Deployment",
            "cilium-operator",
            &json!({"io.cilium/app": "operator"}),
            &of("operator-generic"),
            first,
        ),
        component(
            "Deployment",
            "clustermesh-apiserver",
            &app("clustermesh-apiserver"),
            &of("clustermesh-apiserver"),
            two,
        ),
        component(
            "Deployment",
            "hubble-relay",
            &app("hubble-relay"),
            &of("hubble-relay"),
            first,
        ),
        component(
            "Deployment",
            "resolver",
            &json!({"app": "dns"}),
            "registry.example/dns:1",
            two,
        ),
    ]
    .concat();
    let service = |name: &str, selector: Value| {
        json!({"kind": "Service", "metadata": {"namespace": "kube-system", "name": name},
            "spec": {"clusterIP": "10.96.0.77", "selector": selector}})
    };
    all.push(service("kube-dns", json!({"app": "dns"})));
    let mut relay = service("hubble-relay", app("hubble-relay"));
    relay["spec"]["ports"] = json!([{"port": 80, "targetPort": "grpc"}]);
    all.push(relay);
    all.extend(nodes.iter().map(|node| {
        let info = json!({"kernelVersion": "6.18.44-fc", "kubeletVersion": "v1.36.2"});
        let conditions = json!([{"type": "Ready", "status": "True"}, {"type": "DiskPressure", "status": "False"}]);
        json!({"kind": "Node", "metadata": {"name": node}, "status": {"nodeInfo": info, "conditions": conditions}})
    }));
    all.extend(
        [
            "ciliumclusterwidenetworkpolicies",
            "ciliumendpoints",
            "ciliumidentities",
            "ciliumnetworkpolicies",
            "ciliumnodes",
        ]
        .map(definition),
    );
    all.push(json!({"kind": "APIService", "metadata": {"name": "v1.apps"},
        "status": {"conditions": [{"type": "Available", "status": "True"}]}}));
    all.push(json!({"kind": "Namespace", "metadata": {"name": "kube-system"}}));
    all.push(lease(&nodes[0]));
    all.push(
        json!({"kind": "Secret", "metadata": {"namespace": "kube-system", "name": "hubble-server-certs"},
        "data": {"tls.crt": LASTING}}),
    );
    all
}

/// The Lease of an operator on that node.
pub fn lease(node: &str) -> Value {
    json!({
        "kind": "Lease", "metadata": {"namespace": "kube-system", "name": "cilium-operator-resource-lock"},
        "spec": {
            "holderIdentity": format!("{node}-c5k2v8xwqz"), "leaseDurationSeconds": 15,
            "renewTime": "2026-11-21T09:14:24.000000Z",
        },
    })
}

fn definition(plural: &str) -> Value {
    json!({
        "kind": "CustomResourceDefinition", "metadata": {"name": format!("{plural}.cilium.io")},
        "spec": {"group": "cilium.io", "versions": [{"name": "v2", "served": true, "storage": true}]},
        "status": {
            "storedVersions": ["v2"],
            "conditions": [{"type": "Established", "status": "True"}, {"type": "NamesAccepted", "status": "True"}],
        },
    })
}

/// A certificate of an authority of a test, valid from 2026-01-01 to 2099-01-01, as a Secret holds it.
pub const LASTING: &str = include_str!("lasting.b64");
/// The same, valid to 2026-02-01.
pub const ENDED: &str = include_str!("ended.b64");
