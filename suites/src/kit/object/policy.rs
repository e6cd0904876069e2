//! Policy objects as they are applied: a kind around a spec, and a unique name.

use crate::kit::unique_name;
use serde_json::{Value, json};

/// A CiliumNetworkPolicy with this spec.
pub fn cilium(spec: Value) -> Value {
    json!({"apiVersion": "cilium.io/v2", "kind": "CiliumNetworkPolicy", "spec": spec})
}

/// A CiliumNetworkPolicy with several specs.
pub fn cilium_specs(specs: &[Value]) -> Value {
    json!({"apiVersion": "cilium.io/v2", "kind": "CiliumNetworkPolicy", "specs": specs})
}

/// A CiliumClusterwideNetworkPolicy with this spec. Its selector must name the subject pods.
pub fn cluster_wide(spec: Value) -> Value {
    json!({"apiVersion": "cilium.io/v2", "kind": "CiliumClusterwideNetworkPolicy", "spec": spec})
}

/// A Kubernetes NetworkPolicy with this spec.
pub fn kubernetes(spec: Value) -> Value {
    json!({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "spec": spec})
}

/// Gives the object a unique name, and the namespace if its kind has one.
pub fn named(mut object: Value, namespace: &str) -> Value {
    let mut metadata = json!({"name": unique_name::label("meshproof-policy")});
    if object["kind"] != "CiliumClusterwideNetworkPolicy" {
        metadata["namespace"] = json!(namespace);
    }
    object["metadata"] = metadata;
    object
}
