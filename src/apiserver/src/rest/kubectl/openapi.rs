//! OpenAPI, as much as clients need: which parameters writes take (so that `kubectl` leaves validation to the server),
//! and schemas down to spec and status, for custom resources the ones of their definitions.

use crate::{
    error::ApiError,
    resource::{ResourceDef, Verbs, api_version, names::CUSTOM_RESOURCE_DEFINITIONS},
    rest::{call::Call, render},
    store::Store,
};
use axum::response::Response;
use serde_json::{Map, Value, json};
use std::sync::Arc;

/// A gnostic `openapi.v2.Document` with `swagger: "2.0"` and nothing else. kubectl up to 1.26 parses it for validation
/// and skips what it does not find there.
const GNOSTIC: &[u8] = &[0x0a, 3, b'2', b'.', b'0'];

pub(crate) fn answer(call: &Call, definitions: &[Arc<ResourceDef>], parts: &[&str]) -> Result<Response, ApiError> {
    match parts {
        ["v2"] if call.accept.protobuf_first => Ok(render::typed_response(
            200,
            "application/com.github.proto-openapi.spec.v2.v1.0+protobuf",
            GNOSTIC,
        )),
        ["v2"] => {
            let info = json!({"title": "Kubernetes", "version": call.api.git_version});
            Ok(render::value(
                200,
                &json!({"swagger": "2.0", "info": info, "paths": {}, "definitions": {}}),
            ))
        }
        ["v3"] => {
            // Clients keep a document as long as its hash is the same: it changes with the definitions, not with
            // objects.
            let definitions_at = call.api.store.all(&CUSTOM_RESOURCE_DEFINITIONS, None);
            let hash = definitions_at
                .iter()
                .map(|object| object.resource_version())
                .max()
                .unwrap_or_default();
            let mut paths = Map::new();
            for def in definitions {
                for version in &def.served {
                    let path = path_of(&def.group, version);
                    let url = format!("/openapi/v3/{path}?hash={hash}-{}", definitions_at.len());
                    paths.insert(path, json!({"serverRelativeURL": url}));
                }
            }
            Ok(render::value(200, &json!({"paths": paths})))
        }
        ["v3", "api", version] => document(call, definitions, "", version),
        ["v3", "apis", group, version] => document(call, definitions, group, version),
        _ => Err(ApiError::no_such_path()),
    }
}

fn path_of(group: &str, version: &str) -> String {
    if group.is_empty() {
        format!("api/{version}")
    } else {
        format!("apis/{group}/{version}")
    }
}

fn document(call: &Call, definitions: &[Arc<ResourceDef>], group: &str, version: &str) -> Result<Response, ApiError> {
    let of_version = |def: &&Arc<ResourceDef>| def.group == group && def.served.iter().any(|v| v == version);
    let mut paths = Map::new();
    let mut schemas = Map::new();
    for def in definitions.iter().filter(of_version) {
        let kind = json!({"group": group, "version": version, "kind": def.kind});
        let name = format!(
            "{}.{version}.{}",
            if group.is_empty() { "core" } else { group },
            def.kind
        );
        let scope = if def.is_namespaced() {
            "/namespaces/{namespace}"
        } else {
            ""
        };
        let base = format!("/{}{scope}/{}", path_of(group, version), def.plural);
        if def.verbs == Verbs::Stored {
            paths.insert(format!("{base}/{{name}}"), item(&kind, def));
        }
        paths.insert(base, collection(&kind, def, &name));
        schemas.insert(name, schema(&call.api.store, def, version, &kind));
    }
    if schemas.is_empty() {
        return Err(ApiError::no_such_path());
    }
    let info = json!({"title": "Kubernetes", "version": call.api.git_version});
    let document = json!({"openapi": "3.0.0", "info": info, "paths": paths, "components": {"schemas": schemas}});
    Ok(render::value(200, &document))
}

fn parameters(names: &[&str]) -> Value {
    let one = |name: &&str| json!({"name": name, "in": "query", "schema": {"type": "string", "uniqueItems": true}});
    Value::Array(names.iter().map(one).collect())
}

fn responses() -> Value {
    json!({"200": {"description": "OK"}})
}

fn item(kind: &Value, def: &ResourceDef) -> Value {
    let write = ["dryRun", "fieldManager", "fieldValidation"];
    let operation = |action: &str, names: &[&str]| {
        json!({
            "operationId": format!("{action}{}", def.kind), "x-kubernetes-action": action,
            "x-kubernetes-group-version-kind": kind, "parameters": parameters(names), "responses": responses(),
        })
    };
    json!({
        "get": operation("get", &["pretty"]),
        "put": operation("put", &write),
        "patch": operation("patch", &["dryRun", "fieldManager", "fieldValidation", "force"]),
        "delete": operation("delete", &["dryRun", "gracePeriodSeconds", "propagationPolicy"]),
    })
}

fn collection(kind: &Value, def: &ResourceDef, schema: &str) -> Value {
    let content = json!({"application/json": {"schema": {"$ref": format!("#/components/schemas/{schema}")}}});
    json!({
        "post": {
            "operationId": format!("create{}", def.kind), "x-kubernetes-action": "post",
            "x-kubernetes-group-version-kind": kind, "requestBody": {"content": content},
            "parameters": parameters(&["dryRun", "fieldManager", "fieldValidation"]), "responses": responses(),
        },
    })
}

fn schema(store: &Store, def: &ResourceDef, version: &str, kind: &Value) -> Value {
    let own = def.is_custom().then(|| custom_schema(store, def, version)).flatten();
    let mut schema = own.unwrap_or_else(|| json!({"type": "object"}));
    let text = |description: &str| json!({"type": "string", "description": description});
    if schema["description"].is_null() {
        schema["description"] = json!(format!("{} of {}", def.kind, api_version(&def.group, version)));
    }
    let properties = &mut schema["properties"];
    properties["apiVersion"] = text("The version of the schema of this object.");
    properties["kind"] = text("The kind of this object.");
    properties["metadata"] = json!({"type": "object", "description": "Standard object metadata."});
    if !def.is_custom() {
        let free =
            |part: &str| json!({"type": "object", "description": part, "x-kubernetes-preserve-unknown-fields": true});
        properties["spec"] = free("What is wanted.");
        properties["status"] = free("What is observed.");
    }
    schema["x-kubernetes-group-version-kind"] = json!([kind]);
    schema
}

fn custom_schema(store: &Store, def: &ResourceDef, version: &str) -> Option<Value> {
    let name = format!("{}.{}", def.plural, def.group);
    let definition = store.find(&CUSTOM_RESOURCE_DEFINITIONS, None, &name)?;
    let versions = definition["spec"]["versions"].as_array()?;
    let schema = &versions.iter().find(|v| v["name"] == version)?["schema"]["openAPIV3Schema"];
    schema.is_object().then(|| schema.clone())
}
