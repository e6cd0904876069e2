//! Objects in memory, with the times of their creation and deletion, so that followers can be late.

use super::{fake::Follows, topology::service_net};
use meshproof_contract::{ClusterName, Facts};
use serde_json::{Value, json};
use std::sync::{
    Arc, Mutex,
    atomic::{AtomicU64, Ordering},
};
use tokio::time::Instant;

#[derive(Clone)]
struct Object {
    cluster: ClusterName,
    value: Value,
    created: Option<Instant>,
    deleted: Option<Instant>,
}

impl Object {
    fn is(&self, cluster: &str, kind: &str, name: &str) -> bool {
        self.cluster.as_str() == cluster && self.value["kind"] == kind && self.value["metadata"]["name"] == name
    }
    fn known_to(&self, follows: Follows) -> bool {
        let learnt = match (self.created, follows.learns) {
            (None, _) => true,
            (Some(created), Some(after)) => created.elapsed() >= after,
            (Some(_), None) => false,
        };
        let forgotten = match (self.deleted, follows.forgets) {
            (Some(deleted), Some(after)) => deleted.elapsed() >= after,
            _ => false,
        };
        learnt && !forgotten
    }
}

/// JSON merge patch (RFC 7396).
fn merge(value: &mut Value, change: &Value) {
    let Value::Object(keys) = change else {
        *value = change.clone();
        return;
    };
    for (key, change) in keys {
        match (change, value.as_object_mut()) {
            (Value::Null, Some(object)) => drop(object.remove(key)),
            _ => merge(&mut value[key], change),
        }
    }
}

/// Services of type LoadBalancer get an address where there is one.
const POOL: &str = "CiliumLoadBalancerIPPool";

/// The port that every Service of type NodePort gets.
pub const NODE_PORT: u16 = 30080;

/// The pod of the Cilium agent on a node, with that condition.
pub fn agent_pod(node: &str, condition: &Value) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": format!("cilium-{node}"), "namespace": "kube-system", "labels": {"k8s-app": "cilium"}},
        "spec": {"nodeName": node}, "status": {"conditions": [condition]},
    })
}

/// A pod of clustermesh-apiserver whose condition Ready has that status.
pub fn mesh_pod(ready: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "name": "clustermesh-apiserver-x", "namespace": "kube-system",
            "labels": {"k8s-app": "clustermesh-apiserver"},
        },
        "status": {"conditions": [{"type": "Ready", "status": ready}]},
    })
}

#[derive(Clone)]
pub struct Objects(Arc<Mutex<Vec<Object>>>, Arc<AtomicU64>);

impl Objects {
    pub fn of(facts: &Facts) -> Self {
        let mut objects = Vec::new();
        for cluster in &facts.clusters {
            let mut add = |value: Value| {
                objects.push(Object {
                    cluster: cluster.name.clone(),
                    value,
                    created: None,
                    deleted: None,
                });
            };
            for node in &cluster.nodes {
                add(json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": node.name}}));
                add(agent_pod(
                    node.name.as_str(),
                    &json!({"type": "Ready", "status": "True"}),
                ));
            }
            add(mesh_pod("True"));
            // As many as the other cluster says to know.
            for n in 1..=11 {
                let metadata = json!({"name": format!("{n}")});
                add(json!({"apiVersion": "cilium.io/v2", "kind": "CiliumIdentity", "metadata": metadata}));
                let networking = json!({"addressing": [{"ipv4": format!("10.9.9.{n}")}]});
                add(json!({
                    "apiVersion": "cilium.io/v2", "kind": "CiliumEndpoint", "metadata": metadata,
                    "status": {"networking": networking},
                }));
            }
            for service in facts.services.iter().filter(|s| s.cluster == cluster.name) {
                let ip = service.address.map_or("None".to_owned(), |a| a.to_string());
                add(json!({
                        "apiVersion": "v1", "kind": "Service",
                        "metadata": {"name": service.name, "namespace": "meshproof"},
                    "spec": {"clusterIP": ip, "selector": {"meshproof.dev/workload": service.workload}}}));
                let ready: Vec<Value> = facts
                    .agents
                    .iter()
                    .filter(|a| a.id.cluster == cluster.name && a.workload == service.workload)
                    .map(|a| json!({"addresses": [a.address], "conditions": {"ready": true}}))
                    .chain([json!({"addresses": ["10.99.0.1"], "conditions": {"ready": false}})])
                    .collect();
                add(
                    json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "endpoints": ready,
                    "metadata": {
                        "name": format!("{}-x", service.name),
                        "labels": {"kubernetes.io/service-name": service.name},
                    }}),
                );
            }
        }
        Self(Arc::new(Mutex::new(objects)), Arc::default())
    }
    /// A copy that does not share state.
    pub fn fork(&self) -> Self {
        Self(Arc::new(Mutex::new(self.with(|o| o.clone()))), Arc::default())
    }
    fn with<T>(&self, f: impl FnOnce(&mut Vec<Object>) -> T) -> T {
        f(&mut self.0.lock().expect("no panic while an object is changed"))
    }
    /// How many changes there were.
    pub fn revision(&self) -> u64 {
        self.1.load(Ordering::Relaxed)
    }
    fn change<T>(&self, f: impl FnOnce(&mut Vec<Object>) -> T) -> T {
        self.1.fetch_add(1, Ordering::Relaxed);
        self.with(f)
    }
    /// Stores the object; a service gets a cluster IP, and what its type wants.
    pub fn put(&self, cluster: &ClusterName, mut value: Value) -> Value {
        self.change(|objects| {
            if value["kind"] == "Service" {
                let net = service_net(cluster.as_str());
                if value["spec"]["clusterIP"].is_null() && value["spec"]["type"] != "ExternalName" {
                    value["spec"]["clusterIP"] = json!(format!("10.{net}.1.{}", objects.len() % 250));
                }
                let has_pool = objects.iter().any(|o| o.cluster == *cluster && o.value["kind"] == POOL);
                if value["spec"]["type"] == "LoadBalancer" && value["status"].is_null() && has_pool {
                    let address = format!("192.168.{net}.{}", objects.len() % 250);
                    value["status"] = json!({"loadBalancer": {"ingress": [{"ip": address}]}});
                }
                if value["spec"]["type"] == "NodePort" {
                    let ports = value["spec"]["ports"].as_array_mut().into_iter().flatten();
                    for (port, number) in ports.zip(NODE_PORT..) {
                        if port["nodePort"].is_null() {
                            port["nodePort"] = json!(number);
                        }
                    }
                }
            }
            objects.push(Object {
                cluster: cluster.clone(),
                value: value.clone(),
                created: Some(Instant::now()),
                deleted: None,
            });
        });
        value
    }
    /// Merges a patch into an object, if it exists: null removes a key.
    pub fn patch(&self, cluster: &ClusterName, kind: &str, name: &str, change: &Value) -> Option<Value> {
        self.change(|objects| {
            let mut live = objects.iter_mut().filter(|o| o.deleted.is_none());
            let object = live.find(|o| o.is(cluster.as_str(), kind, name))?;
            merge(&mut object.value, change);
            Some(object.value.clone())
        })
    }
    pub fn remove(&self, cluster: &ClusterName, kind: &str, name: &str) {
        self.change(|objects| {
            for object in objects.iter_mut().filter(|o| o.is(cluster.as_str(), kind, name)) {
                object.deleted.get_or_insert(Instant::now());
            }
        });
    }
    pub fn get(&self, cluster: &ClusterName, kind: &str, name: &str) -> Option<Value> {
        self.with(|objects| {
            let found = objects
                .iter()
                .find(|o| o.deleted.is_none() && o.is(cluster.as_str(), kind, name));
            found.map(|o| o.value.clone())
        })
    }
    pub fn list(&self, cluster: &ClusterName, kind: &str) -> Vec<Value> {
        self.with(|objects| {
            let found = objects
                .iter()
                .filter(|o| o.deleted.is_none() && &o.cluster == cluster && o.value["kind"] == kind);
            found.map(|o| o.value.clone()).collect()
        })
    }
    /// What was created and not deleted.
    pub fn created(&self) -> Vec<String> {
        self.with(|objects| {
            let left = objects.iter().filter(|o| o.created.is_some() && o.deleted.is_none());
            left.map(|o| format!("{} in {}", o.value["metadata"]["name"], o.cluster))
                .collect()
        })
    }
    /// The name of the service that has the address now.
    pub fn service_at(&self, cluster: &str, address: &str) -> Option<String> {
        self.with(|objects| {
            let mut live = objects
                .iter()
                .filter(|o| o.deleted.is_none() && o.cluster.as_str() == cluster);
            let found = live.find(|o| o.value["spec"]["clusterIP"] == address)?;
            Some(found.value["metadata"]["name"].as_str()?.to_owned())
        })
    }
    /// Whether a follower knows a service of that name in the cluster that selects the servers.
    pub fn has_backends(&self, cluster: &str, name: &str, follows: Follows) -> bool {
        self.with(|objects| {
            objects.iter().any(|o| {
                o.is(cluster, "Service", name)
                    && o.value["spec"]["selector"]["meshproof.dev/workload"] == "server"
                    && o.known_to(follows)
            })
        })
    }
    /// The cluster IP of a service that a follower knows.
    pub fn address_of(&self, cluster: &str, name: &str, follows: Follows) -> Option<String> {
        self.with(|objects| {
            let found = objects
                .iter()
                .find(|o| o.is(cluster, "Service", name) && o.known_to(follows))?;
            Some(found.value["spec"]["clusterIP"].as_str()?.to_owned())
        })
    }
}
