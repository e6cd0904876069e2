//! Two clusters of two nodes each, as Cilium 1.18.3 and Kubernetes printed them (VXLAN, WireGuard, KVStoreMesh); of
//! Services those of namespace `demo`. One node's agent was recorded, and stands for both; CiliumEndpoints of
//! kube-system were not, and are what that agent's lists say. The same clusters once more with native routing.

use crate::testing::Fake;
use meshproof_contract::CiliumQuery;
use serde_json::{Value, json};
use std::{collections::BTreeSet, sync::Arc};

/// How the clusters were configured when they were recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Routing {
    /// VXLAN. Configuration and status are those of the other one.
    Tunnel,
    /// Native routing with DSR, Maglev, node encryption and strict mode, and a Service with a load balancer's address.
    Native,
}

macro_rules! recorded {
    ($folder:literal, $cluster:expr, $file:literal) => {
        match $cluster {
            "infra" => include_str!(concat!("recorded/", $folder, "infra-", $file, ".json")),
            _ => include_str!(concat!("recorded/", $folder, "apps-", $file, ".json")),
        }
    };
}

macro_rules! of_both {
    ($routing:expr, $cluster:expr, $file:literal) => {
        match $routing {
            Routing::Tunnel => recorded!("", $cluster, $file),
            Routing::Native => recorded!("native/", $cluster, $file),
        }
    };
}

fn parsed(text: &str) -> Value {
    serde_json::from_str(text).expect("JSON, as recorded")
}

fn objects(routing: Routing, cluster: &str) -> Value {
    parsed(of_both!(routing, cluster, "objects"))
}

/// What the agents of a cluster print.
pub fn printed(routing: Routing, cluster: &str, query: CiliumQuery) -> Value {
    match query {
        CiliumQuery::Services => parsed(of_both!(routing, cluster, "service-list")),
        CiliumQuery::BalancerMap => parsed(of_both!(routing, cluster, "bpf-lb-list")),
        CiliumQuery::Ipcache => parsed(of_both!(routing, cluster, "bpf-ipcache-list")),
        CiliumQuery::Identities => parsed(of_both!(routing, cluster, "identity-list")),
        CiliumQuery::Nodes => parsed(of_both!(routing, cluster, "node-list")),
        CiliumQuery::Configuration => parsed(include_str!("recorded/config-all.json")),
        CiliumQuery::Status => parsed(include_str!("recorded/status.json")),
        _ => json!(null),
    }
}

/// The clusters, healthy.
pub fn world() -> Fake {
    told(|_, _, _| {})
}

/// The same, with what an agent on a node prints tampered with.
pub fn told(tamper: impl Fn(&str, CiliumQuery, &mut Value) + Send + Sync + 'static) -> Fake {
    routed(Routing::Tunnel, tamper)
}

/// The same in the other configuration.
pub fn routed(routing: Routing, tamper: impl Fn(&str, CiliumQuery, &mut Value) + Send + Sync + 'static) -> Fake {
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
    for cluster in ["infra", "apps"] {
        let objects = objects(routing, cluster);
        let recorded: BTreeSet<&str> = objects.as_array().into_iter().flatten().filter_map(node_name).collect();
        for node in recorded {
            world = world.without_object(cluster, "Node", node);
        }
        for object in objects.as_array().into_iter().flatten() {
            world = world.object(cluster, object.clone());
        }
    }
    let tamper = Arc::new(tamper);
    // One agent was recorded. Each other one has its own entries where that one has its.
    let of_nodes = Arc::clone(&tamper);
    let world = world.nodes(move |cluster, node, list| {
        *list = printed(routing, cluster, CiliumQuery::Nodes);
        of_nodes(node, CiliumQuery::Nodes, list);
    });
    let of_status = Arc::clone(&tamper);
    let world = world.status(move |cluster, node, status| {
        let recorded = printed(routing, cluster, CiliumQuery::Status);
        for (key, value) in recorded.as_object().into_iter().flatten() {
            status[key] = value.clone();
        }
        of_status(node, CiliumQuery::Status, status);
    });
    world.policies(move |node, query| {
        let cluster = node.split('-').next().unwrap_or_default();
        let mut output = printed(routing, cluster, query);
        if query == CiliumQuery::Ipcache {
            as_seen_on(node, &mut output);
        }
        if query == CiliumQuery::Configuration {
            output["ClusterName"] = json!(cluster);
        }
        tamper(node, query, &mut output);
        output
    })
}

/// The recorded ipcache is that of node -1; node -2 has the host's identity, and its pods without a tunnel.
fn as_seen_on(node: &str, ipcache: &mut Value) {
    let Some((cluster, "2")) = node.split_once('-') else {
        return;
    };
    let (first, second) = match cluster {
        "infra" => ("10.25.12.11", "10.25.12.12"),
        _ => ("10.25.12.14", "10.25.12.15"),
    };
    let (near, far) = match cluster {
        "infra" => ("10.244.1.", "10.244.2."),
        _ => ("10.246.1.", "10.246.2."),
    };
    for (prefix, texts) in ipcache.as_object_mut().into_iter().flatten() {
        let text = texts[0].as_str().unwrap_or_default();
        let is_single = prefix.ends_with("/32");
        let text = if is_single && (prefix.starts_with(near) || prefix.starts_with(&format!("{first}/"))) {
            let text = text.replace("identity=1 ", "identity=6 ");
            text.replace("tunnelendpoint=0.0.0.0", &format!("tunnelendpoint={first}"))
        } else if is_single && (prefix.starts_with(far) || prefix.starts_with(&format!("{second}/"))) {
            let text = text.replace("identity=6 ", "identity=1 ");
            text.replace(&format!("tunnelendpoint={second}"), "tunnelendpoint=0.0.0.0")
        } else {
            text.to_owned()
        };
        *texts = json!([text]);
    }
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
    let objects = objects(Routing::Tunnel, cluster);
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
