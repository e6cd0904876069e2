//! Default values, as `k8s.io/kubernetes/pkg/apis/*/v1/defaults.go` sets them: what clients expect to read back.

mod pod;
mod service;
mod workload;

use crate::resource::ResourceDef;
use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Map, Value, json};

pub(super) fn complete(def: &ResourceDef, old: Option<&Value>, object: &mut Value) {
    if def.is_custom() {
        return;
    }
    match (&*def.group, &*def.kind) {
        ("", "Pod") => pod::complete(object),
        ("", "Service") => service::complete(old, object),
        ("", "Namespace") => namespace(object),
        ("", "Secret") => secret(object),
        ("", "PersistentVolumeClaim") => set(&mut object["spec"], "volumeMode", json!("Filesystem")),
        ("", "Endpoints") => {
            for subset in each(&mut object["subsets"]) {
                each(&mut subset["ports"]).for_each(|port| set(port, "protocol", json!("TCP")));
            }
        }
        ("discovery.k8s.io", "EndpointSlice") => {
            for port in each(&mut object["ports"]) {
                set(port, "protocol", json!("TCP"));
                set(port, "name", json!(""));
            }
        }
        ("networking.k8s.io", "NetworkPolicy") => network_policy(object),
        ("rbac.authorization.k8s.io", "RoleBinding" | "ClusterRoleBinding") => binding(object),
        ("storage.k8s.io", "StorageClass") => {
            set(object, "reclaimPolicy", json!("Delete"));
            set(object, "volumeBindingMode", json!("Immediate"));
        }
        ("apiextensions.k8s.io", "CustomResourceDefinition") => definition(object),
        _ => workload::complete(def, object),
    }
}

/// Sets a field that is absent or null.
fn set(object: &mut Value, field: &str, value: Value) {
    if object.is_null() {
        *object = Value::Object(Map::new());
    }
    if let Value::Object(map) = object
        && map.get(field).is_none_or(Value::is_null)
    {
        map.insert(field.to_owned(), value);
    }
}

/// The items of a list that may be absent; asking does not make it.
fn each(list: &mut Value) -> impl Iterator<Item = &mut Value> {
    list.as_array_mut().into_iter().flatten()
}

/// A field that is there and an object.
fn present<'a>(object: &'a mut Value, field: &str) -> Option<&'a mut Value> {
    object.get_mut(field).filter(|value| value.is_object())
}

fn namespace(object: &mut Value) {
    let name = object["metadata"]["name"].clone();
    object["metadata"]["labels"]["kubernetes.io/metadata.name"] = name;
    if object["metadata"]["deletionTimestamp"].is_null() {
        set(&mut object["spec"], "finalizers", json!(["kubernetes"]));
    }
}

fn secret(object: &mut Value) {
    set(object, "type", json!("Opaque"));
    let plain = object.as_object_mut().and_then(|object| object.remove("stringData"));
    if let Some(Value::Object(plain)) = plain {
        for (key, value) in plain {
            object["data"][key] = json!(STANDARD.encode(value.as_str().unwrap_or_default()));
        }
    }
}

fn network_policy(object: &mut Value) {
    let spec = &mut object["spec"];
    for direction in ["ingress", "egress"] {
        for rule in each(&mut spec[direction]) {
            each(&mut rule["ports"]).for_each(|port| set(port, "protocol", json!("TCP")));
        }
        if spec[direction].is_null()
            && let Some(spec) = spec.as_object_mut()
        {
            spec.remove(direction);
        }
    }
    let egress = spec["egress"].as_array().is_some_and(|rules| !rules.is_empty());
    set(
        spec,
        "policyTypes",
        if egress {
            json!(["Ingress", "Egress"])
        } else {
            json!(["Ingress"])
        },
    );
    if spec["egress"].is_null()
        && let Some(spec) = spec.as_object_mut()
    {
        spec.remove("egress");
    }
}

fn binding(object: &mut Value) {
    set(&mut object["roleRef"], "apiGroup", json!("rbac.authorization.k8s.io"));
    for subject in each(&mut object["subjects"]) {
        if subject["kind"] != "ServiceAccount" {
            set(subject, "apiGroup", json!("rbac.authorization.k8s.io"));
        }
    }
}

fn definition(object: &mut Value) {
    let names = &mut object["spec"]["names"];
    let kind = names["kind"].as_str().unwrap_or_default().to_owned();
    set(names, "singular", json!(kind.to_lowercase()));
    set(names, "listKind", json!(format!("{kind}List")));
    set(&mut object["spec"], "conversion", json!({"strategy": "None"}));
}

#[cfg(test)]
mod tests {
    use crate::{
        resource::names::{NAMESPACES, NETWORK_POLICIES, SECRETS},
        store::Store,
    };
    use serde_json::json;

    #[test]
    fn small_kinds_get_their_defaults() {
        let store = Store::new();
        let namespace = store.get(&NAMESPACES, None, "default").expect("it is there");
        assert_eq!(namespace.label("kubernetes.io/metadata.name"), Some("default"));
        assert_eq!(namespace["status"]["phase"], "Active");
        let secret = json!({"metadata": {"name": "s", "namespace": "default"}, "stringData": {"a": "b"}});
        let secret = store.create(&SECRETS, secret).expect("created");
        assert_eq!(
            (&secret["data"]["a"], &secret["type"]),
            (&json!("Yg=="), &json!("Opaque"))
        );
        assert!(secret.get("stringData").is_none());
        let policy = json!({"metadata": {"name": "p", "namespace": "default"}, "spec": {"podSelector": {}}});
        let policy = store.create(&NETWORK_POLICIES, policy).expect("created");
        assert_eq!(policy["spec"], json!({"podSelector": {}, "policyTypes": ["Ingress"]}));
    }
}
