//! What the server has: versions, groups and resources, in the old form and the aggregated one; and its health.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::response::Response;
use serde_json::{Value, json};

use super::path::{PlainPath, method_not_allowed};
use super::{Call, openapi, render};
use crate::error::ApiError;
use crate::resource::{ResourceDef, StrategicMerge, Subresource, api_version};

pub(crate) fn answer(call: &Call, path: &PlainPath) -> Result<Response, ApiError> {
    if !matches!(path.verb.as_str(), "get" | "head") {
        return Err(method_not_allowed());
    }
    let definitions = call.api.store.definitions();
    let parts: Vec<&str> = path.path.split('/').filter(|part| !part.is_empty()).collect();
    match parts.as_slice() {
        [] => Ok(render::value(
            200,
            &json!({"paths": ["/api", "/apis", "/healthz", "/livez", "/openapi/v2", "/openapi/v3", "/readyz", "/version"]}),
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

#[derive(Default)]
struct Group<'a> {
    /// Preferred first.
    versions: Vec<&'a str>,
    resources: Vec<&'a ResourceDef>,
}

impl Group<'_> {
    fn value(&self, name: &str) -> Value {
        let version = |v: &&str| json!({"groupVersion": api_version(name, v), "version": v});
        let versions: Vec<Value> = self.versions.iter().map(version).collect();
        json!({"name": name, "versions": versions, "preferredVersion": versions.first()})
    }
}

/// Groups by name; the core group has the name "".
fn groups(definitions: &[Arc<ResourceDef>]) -> BTreeMap<&str, Group<'_>> {
    let mut groups: BTreeMap<&str, Group<'_>> = BTreeMap::new();
    for def in definitions {
        let group = groups.entry(&def.group).or_default();
        group.resources.push(def);
        for version in &def.served {
            if !group.versions.contains(&&**version) {
                group.versions.push(version);
            }
        }
    }
    for group in groups.values_mut() {
        group
            .versions
            .sort_by_key(|version| std::cmp::Reverse(crate::resource::priority(version)));
    }
    groups.retain(|name, _| !name.is_empty());
    groups
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

/// What a subresource takes and gives.
struct Shape<'a> {
    kind: &'a str,
    group_version: Option<(&'static str, &'static str)>,
    verbs: &'static [&'static str],
}

impl<'a> Shape<'a> {
    fn of(def: &'a ResourceDef, subresource: Subresource) -> Self {
        let (kind, group_version, verbs): (&str, _, &[&str]) = match subresource {
            Subresource::Status | Subresource::EphemeralContainers => (&def.kind, None, &["get", "patch", "update"]),
            Subresource::Finalize => (&def.kind, None, &["update"]),
            Subresource::Scale => ("Scale", Some(("autoscaling", "v1")), &["get", "patch", "update"]),
            Subresource::Binding => ("Binding", None, &["create"]),
            Subresource::Eviction => ("Eviction", Some(("policy", "v1")), &["create"]),
            Subresource::Log => ("Pod", None, &["get"]),
            Subresource::Exec => ("PodExecOptions", None, &["create", "get"]),
            Subresource::Attach => ("PodAttachOptions", None, &["create", "get"]),
            Subresource::PortForward => ("PodPortForwardOptions", None, &["create", "get"]),
            Subresource::Token => ("TokenRequest", Some(("authentication.k8s.io", "v1")), &["create"]),
        };
        Self {
            kind,
            group_version,
            verbs,
        }
    }
}

/// `apidiscovery.k8s.io` `APIGroupDiscoveryList`: everything in one answer.
fn aggregated(definitions: &[Arc<ResourceDef>], form: &'static str, core: bool) -> Response {
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
