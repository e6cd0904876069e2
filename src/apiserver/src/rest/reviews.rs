//! Reviews: who am I, may I, may they, is this token good.

use super::{body, call::Call, path::ResolvedPath, render};
use crate::{
    auth::{
        MASTERS, User,
        rbac::{self, Attributes, Target},
    },
    error::ApiError,
};
use axum::response::Response;
use serde_json::{Value, json};

pub(crate) async fn answer(mut call: Call, path: &ResolvedPath<'_>) -> Result<Response, ApiError> {
    let request = std::mem::take(&mut call.request);
    let mut review = body::object(request).await?;
    if !review.is_object() {
        return Err(ApiError::bad_request("the body of the request is not a JSON object"));
    }
    review["kind"] = json!(path.def.kind);
    review["apiVersion"] = json!(path.def.api_version());
    if !review["metadata"].is_object() {
        review["metadata"] = json!({"creationTimestamp": null});
    }
    let status = match &*path.def.kind {
        "SelfSubjectReview" => json!({"userInfo": user_info(&call.user)}),
        "TokenReview" => token_review(&call, &review["spec"]),
        "SelfSubjectAccessReview" => access(&call, &call.user, &review["spec"])?,
        "SubjectAccessReview" | "LocalSubjectAccessReview" => {
            access(&call, &subject(&review["spec"])?, &review["spec"])?
        }
        "SelfSubjectRulesReview" => rules_review(&call, &review["spec"]),
        kind => return Err(ApiError::not_implemented(kind)),
    };
    review["status"] = status;
    Ok(render::value(201, &review))
}

fn user_info(user: &User) -> Value {
    let mut info = json!({"username": user.name, "groups": user.all_groups().collect::<Vec<_>>()});
    if !user.uid.is_empty() {
        info["uid"] = json!(user.uid);
    }
    info
}

fn token_review(call: &Call, spec: &Value) -> Value {
    match call.api.tokens.user(spec["token"].as_str().unwrap_or_default()) {
        Some(user) => json!({"authenticated": true, "user": user_info(&user)}),
        None => json!({"user": {}, "error": "invalid bearer token"}),
    }
}

fn subject(spec: &Value) -> Result<User, ApiError> {
    let groups = spec["groups"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str);
    let user = User {
        name: spec["user"].as_str().unwrap_or_default().to_owned(),
        groups: groups.map(str::to_owned).collect(),
        uid: String::new(),
    };
    if user.name.is_empty() && user.groups.is_empty() {
        return Err(ApiError::bad_request(
            "spec.user: Required value: at least one of user or group must be specified",
        ));
    }
    Ok(user)
}

fn access(call: &Call, user: &User, spec: &Value) -> Result<Value, ApiError> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let (resource, path) = (&spec["resourceAttributes"], &spec["nonResourceAttributes"]);
    let wanted = match (resource.is_object(), path.is_object()) {
        (true, false) => Attributes {
            verb: text(&resource["verb"]),
            target: Target::Resource {
                group: text(&resource["group"]),
                resource: text(&resource["resource"]),
                subresource: text(&resource["subresource"]),
                namespace: text(&resource["namespace"]),
                name: text(&resource["name"]),
            },
        },
        (false, true) => Attributes {
            verb: text(&path["verb"]),
            target: Target::Path(text(&path["path"])),
        },
        _ => {
            return Err(ApiError::bad_request(
                "spec: exactly one of nonResourceAttributes or resourceAttributes must be specified",
            ));
        }
    };
    Ok(json!({"allowed": rbac::allows(&call.api.store, user, &wanted)}))
}

fn rules_review(call: &Call, spec: &Value) -> Value {
    let namespace = spec["namespace"].as_str().unwrap_or_default();
    let mut rules = rbac::rules(&call.api.store, &call.user, namespace);
    if call.user.groups.iter().any(|group| group == MASTERS) {
        rules.push(json!({"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}));
        rules.push(json!({"nonResourceURLs": ["*"], "verbs": ["*"]}));
    }
    let (paths, resources): (Vec<Value>, Vec<Value>) =
        rules.into_iter().partition(|rule| rule["nonResourceURLs"].is_array());
    json!({"resourceRules": resources, "nonResourceRules": paths, "incomplete": false})
}
