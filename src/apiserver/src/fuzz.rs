//! The entry points of the fuzz targets `spdy_frame` and `patch`.

#[cfg(test)]
#[path = "../../../fuzz/replay.rs"]
mod replay;

pub use crate::rest::spdy_frame;

use crate::{
    Object, Patch, Resource, Store, WriteOptions,
    decode::{self, FieldValidation},
    resource::{
        Subresource,
        names::{
            CONFIG_MAPS, CUSTOM_RESOURCE_DEFINITIONS, DEPLOYMENTS, NAMESPACES, NETWORK_POLICIES, NODES, PODS, SERVICES,
        },
    },
};
use serde_json::{Value, json};

/// Custom resources of a definition without a schema, with a scale.
const WIDGETS: Resource = Resource::of("example.io", "widgets");
const NAME: &str = "a";
const NAMESPACE: &str = "default";

/// Any bytes as a patch: a line with the resource, the language and perhaps a subresource, then JSON. What is stored
/// afterwards is still an object of its type, with the same identity; and all but a JSON patch change nothing when they
/// are applied again.
///
/// # Panics
/// When it does not hold.
pub fn patch(bytes: &[u8]) {
    let Some((resource, language, subresource, body)) = parts(bytes) else {
        return;
    };
    let store = store();
    let Some(old) = store.find(&resource, Some(NAMESPACE), NAME) else {
        return;
    };
    let def = store.definition(&resource).expect("it has an object");
    let Some(patch) = patch_of(&language, body) else { return };
    let patch = match patch {
        // As the handler does; the result of a JSON patch is checked by the store.
        Patch::Merge(mut value) if value.is_object() => {
            if decode::check(&def, &mut value, FieldValidation::Warn).is_err() {
                return;
            }
            Patch::Merge(value)
        }
        Patch::Strategic(mut value) if value.is_object() => {
            if decode::check(&def, &mut value, FieldValidation::Warn).is_err() {
                return;
            }
            Patch::Strategic(value)
        }
        Patch::Apply { mut object, force } if object.is_object() => {
            if decode::check(&def, &mut object, FieldValidation::Warn).is_err() {
                return;
            }
            Patch::Apply { object, force }
        }
        other => other,
    };
    let options = WriteOptions {
        manager: Some("fuzz".to_owned()),
        subresource,
        ..WriteOptions::default()
    };
    let apply = |patch: Patch| store.patch_with(&resource, Some(NAMESPACE), NAME, patch, &options);
    let Ok(new) = apply(patch.clone()) else { return };
    assert_eq!(identity(&new), identity(&old));
    assert!(new.generation() >= old.generation());
    let mut decoded = new.to_value();
    decode::check(&def, &mut decoded, FieldValidation::Ignore).expect("what is stored is of its type");
    if def.scale.is_some() {
        let scale = json!({"spec": {"replicas": 2}});
        let dry_run = WriteOptions {
            dry_run: true,
            ..WriteOptions::default()
        };
        let _ = store.scale(&resource, Some(NAMESPACE), NAME);
        let _ = store.update_scale(&resource, Some(NAMESPACE), NAME, &scale, &dry_run);
    }
    let is_json = matches!(patch, Patch::Json(_));
    if !is_json && store.find(&resource, Some(NAMESPACE), NAME).is_some() && !names_version(&patch) {
        let again = apply(patch).expect("what was applied can be applied again");
        assert_eq!(again.resource_version(), new.resource_version(), "it changed again");
    }
}

fn parts(bytes: &[u8]) -> Option<(Resource, String, Option<Subresource>, Value)> {
    let line = bytes.iter().position(|byte| *byte == b'\n')?;
    let (head, body) = bytes.split_at(line);
    let mut words = std::str::from_utf8(head).ok()?.split_whitespace();
    let resource = match words.next()? {
        "configmaps" => CONFIG_MAPS,
        "customresourcedefinitions" => CUSTOM_RESOURCE_DEFINITIONS,
        "deployments" => DEPLOYMENTS,
        "namespaces" => NAMESPACES,
        "networkpolicies" => NETWORK_POLICIES,
        "nodes" => NODES,
        "pods" => PODS,
        "services" => SERVICES,
        "widgets" => WIDGETS,
        _ => return None,
    };
    let language = words.next()?.to_owned();
    let subresource = words
        .next()
        .and_then(|word| Subresource::ALL.into_iter().find(|s| s.as_str() == word));
    Some((resource, language, subresource, serde_json::from_slice(body).ok()?))
}

fn patch_of(language: &str, value: Value) -> Option<Patch> {
    Some(match language {
        "json" => Patch::Json(value),
        "merge" => Patch::Merge(value),
        "strategic" => Patch::Strategic(value),
        "apply" => Patch::Apply {
            object: value,
            force: true,
        },
        _ => return None,
    })
}

fn identity(object: &Object) -> [&Value; 5] {
    let metadata = &object["metadata"];
    [
        &object["kind"],
        &object["apiVersion"],
        &metadata["name"],
        &metadata["namespace"],
        &metadata["uid"],
    ]
}

/// Whether the patch insists on a version, which is another one after it.
fn names_version(patch: &Patch) -> bool {
    match patch {
        Patch::Merge(value) | Patch::Strategic(value) | Patch::Apply { object: value, .. } => {
            !value["metadata"]["resourceVersion"].is_null()
        }
        Patch::Json(_) => false,
    }
}

fn store() -> Store {
    let store = Store::new();
    let metadata = json!({"name": NAME, "namespace": NAMESPACE, "labels": {"app": "a"}, "finalizers": ["x/y"]});
    let pod = json!({"containers": [{
        "name": "c", "image": "i", "ports": [{"containerPort": 80}], "env": [{"name": "E", "value": "v"}],
    }]});
    let definition = json!({"metadata": {"name": "widgets.example.io"}, "spec": {
        "group": "example.io", "scope": "Namespaced", "names": {"kind": "Widget", "plural": "widgets"},
        "versions": [{"name": "v1", "served": true, "storage": true, "subresources": {
            "status": {}, "scale": {"specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas"},
        }, "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}}],
    }});
    let template = json!({"metadata": {"labels": {"app": "a"}}, "spec": pod});
    let selector = json!({"matchLabels": {"app": "a"}});
    let policy = json!({"podSelector": {}, "ingress": [{"from": [{"podSelector": {}}], "ports": [{"port": 80}]}]});
    let objects = [
        (CUSTOM_RESOURCE_DEFINITIONS, definition),
        (NAMESPACES, json!({"metadata": {"name": NAME}})),
        (CONFIG_MAPS, json!({"metadata": metadata, "data": {"key": "value"}})),
        (
            DEPLOYMENTS,
            json!({"metadata": metadata, "spec": {"selector": selector, "template": template}}),
        ),
        (NETWORK_POLICIES, json!({"metadata": metadata, "spec": policy})),
        (
            NODES,
            json!({"metadata": {"name": NAME}, "status": {"conditions": [{"type": "Ready", "status": "True"}]}}),
        ),
        (PODS, json!({"metadata": metadata, "spec": pod})),
        (
            SERVICES,
            json!({"metadata": metadata, "spec": {"selector": {"app": "a"}, "ports": [{"port": 80}]}}),
        ),
        (
            WIDGETS,
            json!({"metadata": metadata, "spec": {"replicas": 1, "list": [1]}}),
        ),
    ];
    for (resource, object) in objects {
        store.create(&resource, object).expect("the object is valid");
    }
    store
}

#[cfg(test)]
mod tests {
    use super::replay::replay;

    #[test]
    fn frames_of_spdy() {
        replay("spdy_frame", 20_000, super::spdy_frame);
    }

    #[test]
    fn patches() {
        replay("patch", 3_000, super::patch);
    }
}
