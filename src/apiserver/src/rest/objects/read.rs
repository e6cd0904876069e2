//! Reads over HTTP: one object, or a list, in the form that the client takes.

use crate::{
    error::ApiError,
    object::Object,
    rest::{
        call::Call,
        kubectl::table,
        path::ResolvedPath,
        query::VersionMatch,
        render::{self, Form},
        selectable,
    },
    store::ListOptions,
};
use axum::response::Response;

pub(super) fn get(call: &Call, path: &ResolvedPath<'_>) -> Result<Response, ApiError> {
    let object = call.api.store.get(&path.resource, path.namespace, path.name()?)?;
    one(call, path, 200, &object)
}

/// One object in the form that the client takes.
pub(super) fn one(call: &Call, path: &ResolvedPath<'_>, code: u16, object: &Object) -> Result<Response, ApiError> {
    let view = path.view(call.accept.form);
    if view.form == Form::Table {
        let metadata = serde_json::json!({"resourceVersion": object.resource_version().to_string()});
        let include = table::Include::parse(call.query.include_object.as_deref())?;
        return Ok(render::value(
            code,
            &table::table(&view, include, std::slice::from_ref(object), metadata),
        ));
    }
    Ok(render::json_response(code, view.json(object)))
}

pub(super) fn list(call: &Call, path: &ResolvedPath<'_>) -> Result<Response, ApiError> {
    let query = &call.query;
    selectable::check(path.def, &query.labels, &query.fields)?;
    let version = query.version()?;
    let exact = query.version_match == VersionMatch::Exact;
    if exact && version.unwrap_or_default() == 0 {
        return Err(ApiError::bad_request(
            "resourceVersionMatch=Exact needs a resourceVersion other than 0",
        ));
    }
    let options = ListOptions {
        labels: query.labels.clone(),
        fields: query.fields.clone(),
        limit: query.limit,
        continue_token: query.continue_token.clone(),
        // A newer state satisfies "not older than"; a version of the future is refused by the store either way.
        exactly_at: version.filter(|v| exact || *v > call.api.store.version()),
    };
    let found = call.api.store.list(&path.resource, path.namespace, &options)?;
    let mut metadata = serde_json::json!({"resourceVersion": found.version.to_string()});
    if let Some(token) = found.continue_token {
        metadata["continue"] = token.into();
    }
    if let Some(remaining) = found.remaining {
        metadata["remainingItemCount"] = remaining.into();
    }
    let view = path.view(call.accept.form);
    if view.form == Form::Table {
        let include = table::Include::parse(query.include_object.as_deref())?;
        return Ok(render::value(
            200,
            &table::table(&view, include, &found.items, metadata),
        ));
    }
    Ok(render::json_response(200, view.list(&found.items, &metadata)))
}
