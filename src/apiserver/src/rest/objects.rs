//! Objects over HTTP: finds the resource, dispatches to reading, writing, subresources and reviews.

use axum::response::Response;

use super::path::{Operation, ResourcePath, method_not_allowed};
use super::query::VersionMatch;
use super::render::{Form, View};
use super::{Call, render, reviews, stream, table, token, watch};
use crate::error::ApiError;
use crate::resource::{Resource, ResourceDef, Subresource, Verbs};
use crate::store::{ListOptions, WriteOptions};

mod fields;
mod write;

/// A call to a resource that is served, at a version that is served.
pub(crate) struct Place<'a> {
    pub def: &'a ResourceDef,
    pub resource: Resource,
    pub version: &'a str,
    pub namespace: Option<&'a str>,
    pub name: Option<&'a str>,
}

impl Place<'_> {
    pub fn name(&self) -> Result<&str, ApiError> {
        self.name.ok_or_else(method_not_allowed)
    }

    pub fn view(&self, form: Form) -> View<'_> {
        View {
            def: self.def,
            version: self.version,
            form,
        }
    }
}

pub(crate) async fn answer(call: Call, target: ResourcePath) -> Result<Response, ApiError> {
    let resource = Resource::new(target.group.as_str(), target.resource.as_str());
    let def = call.api.store.definition(&resource)?;
    if !def.served.iter().any(|version| *version == target.version) {
        return Err(ApiError::no_such_path());
    }
    let is_namespace = def.kind == "Namespace" && def.group.is_empty();
    let namespace = match (def.is_namespaced(), target.namespace.as_deref()) {
        (true, None) if target.name.is_some() => return Err(ApiError::no_such_path()),
        (true, None) if target.operation == Operation::Create && def.verbs == Verbs::Stored => {
            return Err(method_not_allowed());
        }
        (false, Some(_)) if !is_namespace => return Err(ApiError::no_such_path()),
        (namespaced, namespace) => namespace.filter(|_| namespaced),
    };
    let place = Place {
        def: &def,
        resource,
        version: &target.version,
        namespace,
        name: target.name.as_deref(),
    };
    if def.verbs == Verbs::Review {
        return match (target.operation, &target.name) {
            (Operation::Create, None) => reviews::answer(call, &place).await,
            _ => Err(method_not_allowed()),
        };
    }
    let Some(subresource) = target.subresource.as_deref() else {
        return match target.operation {
            Operation::Get => get(&call, &place),
            Operation::List => list(&call, &place),
            Operation::Watch => watch::answer(&call, &place),
            Operation::Create if place.name.is_some() => Err(method_not_allowed()),
            Operation::Create => write::create(call, &place).await,
            Operation::Update => write::update(call, &place, None).await,
            Operation::Patch => write::patch(call, &place, None).await,
            Operation::Delete => write::delete(call, &place).await,
            Operation::DeleteCollection => write::delete_collection(call, &place).await,
        };
    };
    let known = Subresource::ALL
        .into_iter()
        .find(|s| s.as_str() == subresource)
        .filter(|s| def.has(*s));
    let subresource = known.ok_or_else(ApiError::no_such_path)?;
    below(call, &place, subresource, target.operation).await
}

async fn below(
    call: Call,
    place: &Place<'_>,
    subresource: Subresource,
    operation: Operation,
) -> Result<Response, ApiError> {
    match (subresource, operation) {
        (Subresource::Status | Subresource::Finalize | Subresource::EphemeralContainers, Operation::Get) => {
            get(&call, place)
        }
        (Subresource::Status | Subresource::Finalize | Subresource::EphemeralContainers, Operation::Update) => {
            write::update(call, place, Some(subresource)).await
        }
        (Subresource::Status | Subresource::EphemeralContainers, Operation::Patch) => {
            write::patch(call, place, Some(subresource)).await
        }
        (Subresource::Scale, Operation::Get) => {
            let scale = call.api.store.scale(&place.resource, place.namespace, place.name()?)?;
            Ok(render::value(200, &scale))
        }
        (Subresource::Scale, Operation::Update) => write::update_scale(call, place).await,
        (Subresource::Scale, Operation::Patch) => write::patch_scale(call, place).await,
        (Subresource::Binding, Operation::Create) => write::bind(call, place).await,
        (Subresource::Eviction, Operation::Create) => write::evict(call, place).await,
        (Subresource::Token, Operation::Create) => token::answer(call, place).await,
        (Subresource::Log, Operation::Get) => stream::log::answer(call, place).await,
        (Subresource::Exec, Operation::Get | Operation::Create) => stream::exec::answer(call, place).await,
        (Subresource::PortForward, Operation::Get | Operation::Create) => {
            stream::port_forward::answer(call, place).await
        }
        _ => Err(method_not_allowed()),
    }
}

fn get(call: &Call, place: &Place<'_>) -> Result<Response, ApiError> {
    let object = call.api.store.get(&place.resource, place.namespace, place.name()?)?;
    one(call, place, 200, &object)
}

/// One object in the form that the client takes.
fn one(call: &Call, place: &Place<'_>, code: u16, object: &crate::Object) -> Result<Response, ApiError> {
    let view = place.view(call.accept.form);
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

fn list(call: &Call, place: &Place<'_>) -> Result<Response, ApiError> {
    let query = &call.query;
    fields::check(place.def, &query.labels, &query.fields)?;
    let version = query.resource_version.as_deref().map(parse_version).transpose()?;
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
    let found = call.api.store.list(&place.resource, place.namespace, &options)?;
    let mut metadata = serde_json::json!({"resourceVersion": found.version.to_string()});
    if let Some(token) = found.continue_token {
        metadata["continue"] = token.into();
    }
    if let Some(remaining) = found.remaining {
        metadata["remainingItemCount"] = remaining.into();
    }
    let view = place.view(call.accept.form);
    if view.form == Form::Table {
        let include = table::Include::parse(query.include_object.as_deref())?;
        return Ok(render::value(
            200,
            &table::table(&view, include, &found.items, metadata),
        ));
    }
    Ok(render::json_response(200, view.list(&found.items, &metadata)))
}

pub(crate) fn check_fields(call: &Call, place: &Place<'_>) -> Result<(), ApiError> {
    fields::check(place.def, &call.query.labels, &call.query.fields)
}

pub(crate) fn parse_version(text: &str) -> Result<u64, ApiError> {
    text.parse()
        .map_err(|_| ApiError::bad_request(format!("invalid resource version \"{text}\"")))
}

/// The options of a write, from query and user agent.
fn write_options(call: &Call, subresource: Option<Subresource>) -> WriteOptions {
    let agent = || {
        let header = call
            .request
            .headers()
            .get(axum::http::header::USER_AGENT)?
            .to_str()
            .ok()?;
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
