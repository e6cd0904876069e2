//! Every output of the lab that was also recorded, from the fixture.

use super::{
    super::{
        command, install,
        object::{Endpoint, cilium_identity, cilium_node},
        output::{
            address, encryption, endpoint, flow, health, metrics, node, policy,
            remote::{Observer, cluster},
            service, status, version,
        },
        view::{EncryptionView, FlowView},
    },
    fixture,
};
use crate::{
    crd::{CILIUM_ENDPOINTS, CILIUM_IDENTITIES, CILIUM_NODES},
    identity::SecurityLabels,
    profile::EncryptionMode,
    topology::Topology,
};
use base64::Engine;
use meshproof_apiserver::{
    Object, Resource, Store,
    resource::names::{NAMESPACES, NODES, PODS},
};
use serde_json::{Value, json};
use std::net::Ipv4Addr;

pub(super) async fn produced() -> Vec<(&'static str, Vec<Value>)> {
    let view = fixture::agent();
    let mut plain = view.clone();
    plain.encryption = EncryptionView::Disabled;
    let flows: FlowView = fixture::flows();
    let debuginfo = json!({
        "cilium-version": version(&view.settings),
        "encryption": encryption::debuginfo(&view.encryption),
        "kernel-version": command::kernel_version(),
    });
    let of_kvstoremesh = fixture::remotes(view.now);
    let mut all = vec![
        ("status.json", vec![status::status(&view), status::status(&plain)]),
        (
            "encrypt-status.json",
            vec![
                encryption::encrypt_status(&view.encryption),
                encryption::encrypt_status(&plain.encryption),
            ],
        ),
        ("debuginfo-excerpt.json", vec![debuginfo]),
        ("endpoint-list.json", vec![endpoint::list(&view)]),
        ("service-list.json", vec![service::list(&view.services)]),
        ("node-list.json", vec![node::list(&view.nodes)]),
        ("policy-get.json", vec![policy::get(&view.policy)]),
        ("identity-list.json", vec![address::identities(&view.identities)]),
        ("ip-list.json", vec![address::list(&view.addresses)]),
        ("bpf-ipcache-list.json", vec![address::ipcache(&view)]),
        ("bpf-lb-list.json", vec![service::slots(&view.services)]),
        (
            "cilium-health-status.json",
            vec![health::status(&view.health, "infra/infra-1")],
        ),
        ("metrics-list.json", vec![metrics::list(&view)]),
        (
            "kvstoremesh-status.json",
            vec![
                of_kvstoremesh
                    .iter()
                    .map(|remote| cluster(remote, Observer::Kvstoremesh))
                    .collect(),
            ],
        ),
        (
            "observe.jsonpb",
            flows.events.iter().map(|event| flow::flow(event, &flows)).collect(),
        ),
    ];
    all.extend(objects());
    all
}

const INSTALLED: [(&str, &str, &str, &str); 8] = [
    ("configmap-cilium-config.yaml", "", "configmaps", "cilium-config"),
    (
        "configmap-hubble-relay-config.yaml",
        "",
        "configmaps",
        "hubble-relay-config",
    ),
    ("daemonset-cilium.yaml", "apps", "daemonsets", "cilium"),
    (
        "deployment-cilium-operator.yaml",
        "apps",
        "deployments",
        "cilium-operator",
    ),
    (
        "deployment-clustermesh-apiserver.yaml",
        "apps",
        "deployments",
        "clustermesh-apiserver",
    ),
    ("deployment-hubble-relay.yaml", "apps", "deployments", "hubble-relay"),
    (
        "service-clustermesh-apiserver.yaml",
        "",
        "services",
        "clustermesh-apiserver",
    ),
    ("service-hubble-peer.yaml", "", "services", "hubble-peer"),
];

/// Objects as the API server shows them once they have been created.
fn objects() -> Vec<(&'static str, Vec<Value>)> {
    let topology = Topology::default();
    let store = Store::new();
    let mut crds = json!({});
    for object in install::objects(&topology, &topology.clusters[0]) {
        let group = object["apiVersion"]
            .as_str()
            .unwrap()
            .split_once('/')
            .map_or("", |(group, _)| group)
            .to_owned();
        let plural = format!("{}s", object["kind"].as_str().unwrap().to_lowercase());
        let stored = store.create(&Resource::new(group, plural.clone()), object).unwrap();
        if plural == "customresourcedefinitions" {
            let versions = stored["spec"]["versions"].as_array().unwrap();
            let versions: serde_json::Map<_, _> = versions
                .iter()
                .map(|v| (v["name"].as_str().unwrap().to_owned(), json!(true)))
                .collect();
            crds[stored.name()] = json!({stored["spec"]["scope"].as_str().unwrap(): versions});
        }
    }
    let mut all = vec![("crds.txt", vec![crds])];
    for (file, group, plural, name) in INSTALLED {
        let object = store
            .get(&Resource::new(group, plural), Some("kube-system"), name)
            .unwrap();
        all.push((file, vec![shown(&object)]));
    }
    let relay = store
        .get(&Resource::new("", "services"), Some("kube-system"), "hubble-relay")
        .unwrap();
    all.push(("service-hubble-relay.yaml", vec![shown(&relay)]));
    for (file, name) in [
        ("secret-cilium-clustermesh.yaml", "cilium-clustermesh"),
        ("secret-cilium-kvstoremesh.yaml", "cilium-kvstoremesh"),
    ] {
        let secret = store
            .get(&Resource::new("", "secrets"), Some("kube-system"), name)
            .unwrap();
        all.push((file, vec![decoded(&secret)]));
    }
    all.extend(written(&store, &topology));
    all
}

/// As kubectl shows it: without the book-keeping of field managers.
fn shown(object: &Object) -> Value {
    let mut value = object.to_value();
    value["metadata"].as_object_mut().unwrap().remove("managedFields");
    value
}

/// As the recording was reduced: names and decoded text.
fn decoded(secret: &Object) -> Value {
    let decode = |text: &Value| {
        let bytes = base64::engine::general_purpose::STANDARD
            .decode(text.as_str().unwrap())
            .unwrap();
        Value::String(String::from_utf8(bytes).unwrap())
    };
    let data: serde_json::Map<_, _> = secret["data"]
        .as_object()
        .unwrap()
        .iter()
        .map(|(key, value)| (key.clone(), decode(value)))
        .collect();
    json!({
        "apiVersion": secret["apiVersion"],
        "kind": secret["kind"],
        "type": secret["type"],
        "metadata": {"name": secret.name(), "namespace": secret.namespace()},
        "stringData": data,
    })
}

/// What agents write.
fn written(store: &Store, topology: &Topology) -> Vec<(&'static str, Vec<Value>)> {
    let spec = &topology.clusters[0].nodes[0];
    let meta = json!({"name": spec.name, "labels": {"kubernetes.io/os": "linux"}});
    let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": meta});
    let node = store.create(&NODES, node).unwrap();
    let router = Ipv4Addr::new(10, 244, 1, 1);
    let node = cilium_node(&node, spec, router, EncryptionMode::WireGuard, "key");
    let node = store.create(&CILIUM_NODES, node).unwrap();

    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "demo"}});
    store.create(&NAMESPACES, namespace).unwrap();
    let container = json!({"name": "c", "image": "i", "ports": [{"name": "http", "containerPort": 8080}]});
    let meta = json!({"namespace": "demo", "name": "client", "labels": {"app": "client"}});
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": {"containers": [container]}});
    let pod = store.create(&PODS, pod).unwrap();
    let labels = SecurityLabels::from([
        ("k8s:app".to_owned(), "client".to_owned()),
        ("k8s:io.kubernetes.pod.namespace".to_owned(), "demo".to_owned()),
    ]);
    let endpoint = Endpoint {
        pod: &pod,
        id: 7,
        address: Ipv4Addr::new(10, 244, 1, 23),
        node: spec.address,
        identity: 78_032,
        labels: &super::super::object::label_list(&labels),
        encryption: EncryptionMode::WireGuard,
    };
    let endpoint = store.create(&CILIUM_ENDPOINTS, endpoint.object()).unwrap();
    let identity = store
        .create(&CILIUM_IDENTITIES, cilium_identity(78_032, &labels))
        .unwrap();
    vec![
        ("ciliumnodes.yaml", vec![shown(&node)]),
        ("ciliumendpoints.yaml", vec![shown(&endpoint)]),
        ("ciliumidentities.yaml", vec![shown(&identity)]),
    ]
}
