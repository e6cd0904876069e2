//! Two clusters of two nodes each, as Cilium 1.18.3 and Kubernetes printed them (VXLAN, WireGuard, KVStoreMesh); of
//! Services those of namespace `demo`. One node's agent was recorded, and stands for both; CiliumEndpoints of
//! kube-system were not, and are what that agent's lists say.

use crate::testing::Fake;
use meshproof_contract::CiliumQuery;
use serde_json::{Value, json};
use std::{collections::BTreeSet, sync::Arc};

const OBJECTS: [(&str, &str); 2] = [
    ("infra", include_str!("recorded/infra-objects.json")),
    ("apps", include_str!("recorded/apps-objects.json")),
];

fn parsed(text: &str) -> Value {
    serde_json::from_str(text).expect("JSON, as recorded")
}

/// What the agents of a cluster print.
pub fn printed(cluster: &str, query: CiliumQuery) -> Value {
    let of = |infra, apps| parsed(if cluster == "infra" { infra } else { apps });
    match query {
        CiliumQuery::Services => of(
            include_str!("recorded/infra-service-list.json"),
            include_str!("recorded/apps-service-list.json"),
        ),
        CiliumQuery::BalancerMap => of(
            include_str!("recorded/infra-bpf-lb-list.json"),
            include_str!("recorded/apps-bpf-lb-list.json"),
        ),
        CiliumQuery::Ipcache => of(
            include_str!("recorded/infra-bpf-ipcache-list.json"),
            include_str!("recorded/apps-bpf-ipcache-list.json"),
        ),
        CiliumQuery::Identities => of(
            include_str!("recorded/infra-identity-list.json"),
            include_str!("recorded/apps-identity-list.json"),
        ),
        CiliumQuery::Nodes => of(
            include_str!("recorded/infra-node-list.json"),
            include_str!("recorded/apps-node-list.json"),
        ),
        CiliumQuery::Configuration => parsed(include_str!("recorded/config-all.json")),
        _ => json!(null),
    }
}

/// The clusters, healthy.
pub fn world() -> Fake {
    told(|_, _, _| {})
}

/// The same, with what an agent on a node prints tampered with.
pub fn told(tamper: impl Fn(&str, CiliumQuery, &mut Value) + Send + Sync + 'static) -> Fake {
    let mut world = Fake::healthy().facts(|facts| {
        let config: Value = parsed(include_str!("recorded/cilium-config.json"));
        for cluster in &mut facts.clusters {
            cluster.nodes.truncate(2);
            let name = cluster.name.to_string();
            let texts = config.as_object().expect("an object").iter();
            let own = texts.map(|(key, value)| (key.clone(), value.as_str().unwrap_or_default().to_owned()));
            let cilium = cluster.cilium.as_mut().expect("Cilium");
            cilium.config = own.collect();
            cilium.config.insert("cluster-name".to_owned(), name);
        }
    });
    for (cluster, objects) in OBJECTS {
        let objects = parsed(objects);
        let recorded: BTreeSet<&str> = objects.as_array().into_iter().flatten().filter_map(node_name).collect();
        for node in recorded {
            world = world.without_object(cluster, "Node", node);
        }
        for object in objects.as_array().into_iter().flatten() {
            world = world.object(cluster, object.clone());
        }
    }
    let tamper = Arc::new(tamper);
    let of_nodes = Arc::clone(&tamper);
    let world = world.nodes(move |cluster, node, list| {
        *list = printed(cluster, CiliumQuery::Nodes);
        of_nodes(node, CiliumQuery::Nodes, list);
    });
    world.policies(move |node, query| {
        let cluster = node.split('-').next().unwrap_or_default();
        let mut output = printed(cluster, query);
        if query == CiliumQuery::Configuration {
            output["ClusterName"] = json!(cluster);
        }
        tamper(node, query, &mut output);
        output
    })
}

fn node_name(object: &Value) -> Option<&str> {
    (object["kind"] == "Node").then(|| object["metadata"]["name"].as_str())?
}

/// An object of a recorded cluster, by the beginning of its name.
pub fn object(cluster: &str, kind: &str, name: &str) -> Value {
    found(cluster, |one| {
        one["kind"] == kind
            && one["metadata"]["name"]
                .as_str()
                .is_some_and(|known| known.starts_with(name))
    })
}

/// The EndpointSlice of a Service.
pub fn slice_of(cluster: &str, service: &str) -> Value {
    found(cluster, |one| {
        one["kind"] == "EndpointSlice" && one["metadata"]["labels"]["kubernetes.io/service-name"] == service
    })
}

fn found(cluster: &str, is_it: impl Fn(&Value) -> bool) -> Value {
    let (_, objects) = OBJECTS
        .iter()
        .find(|(one, _)| *one == cluster)
        .expect("a recorded cluster");
    let objects = parsed(objects);
    let mut all = objects.as_array().into_iter().flatten();
    all.find(|one| is_it(one)).expect("it was recorded").clone()
}

/// The name of an object whose name begins so.
pub fn full_name(cluster: &str, kind: &str, name: &str) -> String {
    object(cluster, kind, name)["metadata"]["name"]
        .as_str()
        .expect("a name")
        .to_owned()
}
