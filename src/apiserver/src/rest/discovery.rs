//! What the server has: versions, groups and resources; and its health.

use super::{
    call::Call,
    groups::{Shape, groups},
    kubectl::{aggregated::aggregated, openapi},
    path::{PlainPath, method_not_allowed},
    render,
};
use crate::{
    error::ApiError,
    resource::{ResourceDef, api_version},
};
use axum::response::Response;
use serde_json::{Value, json};
use std::sync::Arc;

pub(crate) fn answer(call: &Call, path: &PlainPath) -> Result<Response, ApiError> {
    if !matches!(path.verb.as_str(), "get" | "head") {
        return Err(method_not_allowed());
    }
    let definitions = call.api.store.definitions();
    let parts: Vec<&str> = path.path.split('/').filter(|part| !part.is_empty()).collect();
    match parts.as_slice() {
        [] => Ok(render::value(
            200,
            &json!({"paths": [
                "/api", "/apis", "/healthz", "/livez", "/openapi/v2", "/openapi/v3", "/readyz", "/version",
            ]}),
        )),
        ["healthz" | "livez" | "readyz", ..] => Ok(render::typed_response(200, "text/plain; charset=utf-8", "ok")),
        ["version"] => Ok(render::value(200, &version(&call.api.git_version))),
        ["api"] => Ok(match call.accept.aggregated {
            Some(form) => aggregated(&definitions, form, true),
            None => {
                let address = call
                    .request
                    .headers()
                    .get("host")
                    .and_then(|h| h.to_str().ok())
                    .unwrap_or_default();
                let server = json!([{"clientCIDR": "0.0.0.0/0", "serverAddress": address}]);
                render::value(
                    200,
                    &json!({"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": server}),
                )
            }
        }),
        ["apis"] => Ok(match call.accept.aggregated {
            Some(form) => aggregated(&definitions, form, false),
            None => {
                let list: Vec<Value> = groups(&definitions)
                    .iter()
                    .map(|(name, group)| group.value(name))
                    .collect();
                render::value(
                    200,
                    &json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": list}),
                )
            }
        }),
        ["apis", name] => {
            let groups = groups(&definitions);
            let group = groups.get(*name).ok_or_else(ApiError::no_such_path)?;
            let mut value = group.value(name);
            value["kind"] = json!("APIGroup");
            value["apiVersion"] = json!("v1");
            Ok(render::value(200, &value))
        }
        ["api", version] => resources(&definitions, "", version),
        ["apis", group, version] => resources(&definitions, group, version),
        ["openapi", ..] => openapi::answer(call, &definitions, &parts[1..]),
        _ => Err(ApiError::no_such_path()),
    }
}

fn version(git_version: &str) -> Value {
    let mut numbers = git_version.trim_start_matches('v').split('.');
    json!({
        "major": numbers.next().unwrap_or("1"), "minor": numbers.next().unwrap_or("33"), "gitVersion": git_version,
        "gitCommit": "", "gitTreeState": "clean", "buildDate": "2025-01-01T00:00:00Z", "goVersion": "none",
        "compiler": "rustc", "platform": concat!("linux/", env!("CARGO_PKG_RUST_VERSION")),
    })
}

fn resources(definitions: &[Arc<ResourceDef>], group: &str, version: &str) -> Result<Response, ApiError> {
    let mut list = Vec::new();
    for def in definitions
        .iter()
        .filter(|d| d.group == group && d.served.iter().any(|v| v == version))
    {
        let mut entry = json!({
            "name": def.plural, "singularName": def.singular, "namespaced": def.is_namespaced(), "kind": def.kind,
            "verbs": def.verbs.names(),
        });
        if !def.short_names.is_empty() {
            entry["shortNames"] = json!(def.short_names);
        }
        if !def.categories.is_empty() {
            entry["categories"] = json!(def.categories);
        }
        list.push(entry);
        for subresource in &def.subresources {
            let shape = Shape::of(def, *subresource);
            let mut entry = json!({
                "name": format!("{}/{}", def.plural, subresource.as_str()), "singularName": "",
                "namespaced": def.is_namespaced(), "kind": shape.kind, "verbs": shape.verbs,
            });
            if let Some((group, version)) = shape.group_version {
                entry["group"] = json!(group);
                entry["version"] = json!(version);
            }
            list.push(entry);
        }
    }
    if list.is_empty() {
        return Err(ApiError::no_such_path());
    }
    let version = api_version(group, version);
    Ok(render::value(
        200,
        &json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": version, "resources": list}),
    ))
}
