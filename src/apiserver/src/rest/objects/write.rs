//! Writes over HTTP: bodies and queries into the store's options, results into answers.

use super::read::one;
use crate::{
    decode,
    error::{ApiError, Reason},
    object::Object,
    resource::Subresource,
    rest::{
        body,
        call::Call,
        path::{ResolvedPath, method_not_allowed},
        query, render, selectable,
    },
    store::{DeleteOptions, Deleted, ListOptions, Patch, Propagation, WriteOptions},
};
use axum::{
    http::{HeaderValue, header},
    response::Response,
};
use serde_json::{Value, json};

/// A call whose body has been taken.
struct Rest {
    call: Call,
}

async fn take_body(mut call: Call) -> Result<(Rest, Value), ApiError> {
    let request = take_request(&mut call);
    let object = body::object(request).await?;
    Ok((Rest { call }, object))
}

/// Leaves the head of the request in the call, for the headers.
fn take_request(call: &mut Call) -> axum::extract::Request {
    let mut head = axum::extract::Request::default();
    *head.headers_mut() = call.request.headers().clone();
    std::mem::replace(&mut call.request, head)
}

pub(super) async fn create(call: Call, path: &ResolvedPath<'_>) -> Result<Response, ApiError> {
    let (Rest { call }, mut object) = take_body(call).await?;
    let warnings = decode::check(path.def, &mut object, call.query.field_validation)?;
    take_namespace_of_path(path, &mut object)?;
    let created = call
        .api
        .store
        .create_with(&path.resource, object, &write_options(&call, None))?;
    one(&call, path, 201, &created).map(|answer| warn(answer, &warnings))
}

pub(super) async fn update(
    call: Call,
    path: &ResolvedPath<'_>,
    subresource: Option<Subresource>,
) -> Result<Response, ApiError> {
    let (Rest { call }, mut object) = take_body(call).await?;
    let warnings = decode::check(path.def, &mut object, call.query.field_validation)?;
    take_namespace_of_path(path, &mut object)?;
    check_name(path.name()?, &mut object)?;
    let updated = call
        .api
        .store
        .update_with(&path.resource, object, &write_options(&call, subresource))?;
    one(&call, path, 200, &updated).map(|answer| warn(answer, &warnings))
}

pub(super) async fn patch(
    mut call: Call,
    path: &ResolvedPath<'_>,
    subresource: Option<Subresource>,
) -> Result<Response, ApiError> {
    let mut patch = read_patch(&mut call).await?;
    let warnings = match &mut patch {
        Patch::Merge(object) | Patch::Strategic(object) | Patch::Apply { object, .. } if object.is_object() => {
            decode::check(path.def, object, call.query.field_validation)?
        }
        _ => Vec::new(),
    };
    let options = write_options(&call, subresource);
    let name = path.name()?;
    let existed = call.api.store.find(&path.resource, path.namespace, name).is_some();
    let patched = call
        .api
        .store
        .patch_with(&path.resource, path.namespace, name, patch, &options)?;
    one(&call, path, if existed { 200 } else { 201 }, &patched).map(|answer| warn(answer, &warnings))
}

/// The options of a write, from query and user agent.
fn write_options(call: &Call, subresource: Option<Subresource>) -> WriteOptions {
    let agent = || {
        let header = call.request.headers().get(header::USER_AGENT)?.to_str().ok()?;
        header
            .split('/')
            .next()
            .filter(|name| !name.is_empty())
            .map(str::to_owned)
    };
    WriteOptions {
        manager: call
            .query
            .field_manager
            .clone()
            .or_else(agent)
            .or_else(|| Some("unknown".to_owned())),
        dry_run: call.query.dry_run,
        subresource,
        user: Some(call.user.name.clone()),
    }
}

/// Adds warnings that `kubectl` prints (RFC 7234, code 299).
fn warn(mut answer: Response, warnings: &[String]) -> Response {
    for warning in warnings {
        let text = warning.replace('\\', "\\\\").replace('"', "\\\"");
        if let Ok(value) = HeaderValue::from_str(&format!("299 - \"{text}\"")) {
            answer.headers_mut().append(header::WARNING, value);
        }
    }
    answer
}

async fn read_patch(call: &mut Call) -> Result<Patch, ApiError> {
    let request = take_request(call);
    let media = body::media_type(&request);
    let is_apply = media == "application/apply-patch+yaml";
    if is_apply && call.query.field_manager.is_none() {
        let message =
            "PatchOptions.meta.k8s.io \"\" is invalid: fieldManager: Required value: is required for apply patch";
        return Err(ApiError::new(Reason::Invalid, message));
    }
    if !is_apply && call.query.force {
        let message =
            "PatchOptions.meta.k8s.io \"\" is invalid: force: Forbidden: may not be specified for non-apply patch";
        return Err(ApiError::new(Reason::Invalid, message));
    }
    let bytes = body::read(request).await?;
    Ok(match media.as_str() {
        "application/json-patch+json" => Patch::Json(body::json(&bytes)?),
        "application/merge-patch+json" => Patch::Merge(body::json(&bytes)?),
        "application/strategic-merge-patch+json" => Patch::Strategic(body::json(&bytes)?),
        "application/apply-patch+yaml" => Patch::Apply {
            object: body::yaml(&bytes)?,
            force: call.query.force,
        },
        _ => {
            return Err(ApiError::unsupported_media_type(&[
                "application/json-patch+json",
                "application/merge-patch+json",
                "application/strategic-merge-patch+json",
                "application/apply-patch+yaml",
            ]));
        }
    })
}

pub(super) async fn delete(call: Call, path: &ResolvedPath<'_>) -> Result<Response, ApiError> {
    let (call, options) = delete_options(call).await?;
    let name = path.name()?;
    let deleted = call.api.store.delete(&path.resource, path.namespace, name, &options)?;
    deletion(&call, path, &deleted)
}

fn deletion(call: &Call, path: &ResolvedPath<'_>, deleted: &Deleted) -> Result<Response, ApiError> {
    // Where the registry has `ReturnDeletedObject`.
    const RETURNED: [&str; 5] = [
        "Pod",
        "Service",
        "ServiceAccount",
        "ResourceQuota",
        "PersistentVolumeClaim",
    ];
    match deleted {
        Deleted::Now(object) if !RETURNED.contains(&&*path.def.kind) || path.def.is_custom() => {
            Ok(render::value(200, &success(path, object)))
        }
        Deleted::Now(object) | Deleted::Later(object) => one(call, path, 200, object),
    }
}

fn success(path: &ResolvedPath<'_>, object: &Object) -> Value {
    let mut details = json!({"name": object.name(), "kind": path.def.plural, "uid": object.uid()});
    if !path.def.group.is_empty() {
        details["group"] = json!(path.def.group);
    }
    json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details})
}

pub(super) async fn delete_collection(call: Call, path: &ResolvedPath<'_>) -> Result<Response, ApiError> {
    selectable::check(path.def, &call.query.labels, &call.query.fields)?;
    let (call, options) = delete_options(call).await?;
    let which = ListOptions {
        labels: call.query.labels.clone(),
        fields: call.query.fields.clone(),
        ..ListOptions::default()
    };
    let store = &call.api.store;
    let deleted = store.delete_collection(&path.resource, path.namespace, &which, &options)?;
    let metadata = json!({"resourceVersion": store.version().to_string()});
    let view = path.view(render::Form::Plain);
    Ok(render::json_response(200, view.list(&deleted, &metadata)))
}

/// From the body, or from the query where there is none.
async fn delete_options(mut call: Call) -> Result<(Call, DeleteOptions), ApiError> {
    let request = take_request(&mut call);
    let media = body::media_type(&request);
    let bytes = body::read(request).await?;
    let body = if bytes.is_empty() {
        Value::Null
    } else {
        body::parse(&media, &bytes)?
    };
    let options = options_of(&call, &body)?;
    Ok((call, options))
}

fn options_of(call: &Call, body: &Value) -> Result<DeleteOptions, ApiError> {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let dry = body["dryRun"]
        .as_array()
        .is_some_and(|list| list.iter().any(|entry| entry == "All"));
    let orphan = body["orphanDependents"] == true;
    let propagation = match body["propagationPolicy"].as_str() {
        Some(policy) => query::propagation(policy)?,
        None if orphan => Some(Propagation::Orphan),
        None => call.query.propagation,
    };
    Ok(DeleteOptions {
        grace_period_seconds: body["gracePeriodSeconds"].as_i64().or(call.query.grace_period_seconds),
        propagation,
        uid: text(&body["preconditions"]["uid"]),
        resource_version: text(&body["preconditions"]["resourceVersion"]),
        dry_run: dry || call.query.dry_run,
        user: Some(call.user.name.clone()),
    })
}

pub(super) async fn update_scale(call: Call, path: &ResolvedPath<'_>) -> Result<Response, ApiError> {
    let (Rest { call }, scale) = take_body(call).await?;
    let options = write_options(&call, Some(Subresource::Scale));
    let name = path.name()?;
    let updated = call
        .api
        .store
        .update_scale(&path.resource, path.namespace, name, &scale, &options)?;
    Ok(render::value(200, &updated))
}

pub(super) async fn patch_scale(mut call: Call, path: &ResolvedPath<'_>) -> Result<Response, ApiError> {
    let patch = read_patch(&mut call).await?;
    let options = write_options(&call, Some(Subresource::Scale));
    let (store, name) = (&call.api.store, path.name()?);
    store.patch_with(&path.resource, path.namespace, name, patch, &options)?;
    Ok(render::value(200, &store.scale(&path.resource, path.namespace, name)?))
}

pub(super) async fn bind(call: Call, path: &ResolvedPath<'_>) -> Result<Response, ApiError> {
    let (Rest { call }, binding) = take_body(call).await?;
    let node = binding["target"]["name"].as_str().unwrap_or_default();
    if node.is_empty() {
        return Err(ApiError::bad_request("the target of a binding needs a name"));
    }
    let options = WriteOptions {
        user: Some(call.user.name.clone()),
        ..WriteOptions::default()
    };
    let namespace = path.namespace.ok_or_else(method_not_allowed)?;
    if !options.dry_run && !call.query.dry_run {
        call.api.store.bind_pod(namespace, path.name()?, node)?;
    }
    Ok(render::value(
        201,
        &json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201}),
    ))
}

pub(super) async fn evict(call: Call, path: &ResolvedPath<'_>) -> Result<Response, ApiError> {
    let (Rest { call }, eviction) = take_body(call).await?;
    let options = options_of(&call, &eviction["deleteOptions"])?;
    let namespace = path.namespace.ok_or_else(method_not_allowed)?;
    call.api.store.evict_pod(namespace, path.name()?, &options)?;
    Ok(render::value(
        201,
        &json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201}),
    ))
}

/// The namespace of the path holds; a different one in the body is refused.
fn take_namespace_of_path(path: &ResolvedPath<'_>, object: &mut Value) -> Result<(), ApiError> {
    let Some(namespace) = path.namespace else {
        return Ok(());
    };
    if !object.is_object() {
        return Err(ApiError::bad_request("the body of the request is not a JSON object"));
    }
    if !object["metadata"].is_object() {
        object["metadata"] = json!({});
    }
    let given = object["metadata"]["namespace"].as_str().unwrap_or_default();
    if !given.is_empty() && given != namespace {
        return Err(ApiError::bad_request(format!(
            "the namespace of the provided object does not match the namespace sent on the request: \"{given}\" and \
             \"{namespace}\""
        )));
    }
    object["metadata"]["namespace"] = json!(namespace);
    Ok(())
}

fn check_name(name: &str, object: &mut Value) -> Result<(), ApiError> {
    let given = object["metadata"]["name"].as_str().unwrap_or_default();
    if given == name {
        return Ok(());
    }
    Err(ApiError::bad_request(format!(
        "the name of the object ({given}) does not match the name on the URL ({name})"
    )))
}
