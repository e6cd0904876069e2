//! Aggregated discovery: every group, version and resource in one answer.

use crate::{
    resource::{ResourceDef, StrategicMerge},
    rest::{
        groups::{Group, Shape, groups},
        render,
    },
};
use axum::response::Response;
use serde_json::{Value, json};
use std::{collections::BTreeMap, sync::Arc};

/// `apidiscovery.k8s.io` `APIGroupDiscoveryList`: everything in one answer.
pub(in crate::rest) fn aggregated(definitions: &[Arc<ResourceDef>], form: &'static str, core: bool) -> Response {
    let mut groups = groups(definitions);
    if core {
        let resources = definitions
            .iter()
            .map(|def| &**def)
            .filter(|def| def.group.is_empty())
            .collect();
        groups = BTreeMap::from([(
            "",
            Group {
                versions: vec!["v1"],
                resources,
            },
        )]);
    }
    let items: Vec<Value> = groups
        .iter()
        .map(|(name, group)| {
            let version = |version: &&str| {
                let served = group
                    .resources
                    .iter()
                    .filter(|def| def.served.iter().any(|v| v == version));
                let resources: Vec<Value> = served.map(|def| aggregated_resource(def, version)).collect();
                json!({"version": version, "freshness": "Current", "resources": resources})
            };
            let mut metadata = json!({"creationTimestamp": null});
            if !name.is_empty() {
                metadata["name"] = json!(name);
            }
            json!({"metadata": metadata, "versions": group.versions.iter().map(version).collect::<Vec<_>>()})
        })
        .collect();
    let list = json!({
        "kind": "APIGroupDiscoveryList", "apiVersion": format!("apidiscovery.k8s.io/{form}"), "metadata": {},
        "items": items,
    });
    let media = match form {
        "v2" => "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList",
        _ => "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList",
    };
    render::typed_response(200, media, list.to_string())
}

fn aggregated_resource(def: &ResourceDef, version: &str) -> Value {
    let kind = |group: &str, version: &str, kind: &str| json!({"group": group, "version": version, "kind": kind});
    let mut entry = json!({
        "resource": def.plural, "responseKind": kind(&def.group, version, &def.kind),
        "scope": if def.is_namespaced() { "Namespaced" } else { "Cluster" },
        "singularResource": def.singular, "verbs": def.verbs.names(),
    });
    if !def.short_names.is_empty() {
        entry["shortNames"] = json!(def.short_names);
    }
    if !def.categories.is_empty() {
        entry["categories"] = json!(def.categories);
    }
    let subresources: Vec<Value> = def
        .subresources
        .iter()
        .map(|subresource| {
            let shape = Shape::of(def, *subresource);
            let (group, version) = shape.group_version.unwrap_or((&def.group, version));
            json!({
                "subresource": subresource.as_str(), "responseKind": kind(group, version, shape.kind),
                "verbs": shape.verbs,
            })
        })
        .collect();
    if !subresources.is_empty() {
        entry["subresources"] = json!(subresources);
    }
    debug_assert!(def.strategic_merge == StrategicMerge::Supported || def.is_custom());
    entry
}
