//! Objects over HTTP: finds the resource, dispatches to reading, writing, subresources and reviews.

mod read;
mod write;

use super::{
    call::Call,
    path::{Operation, ResolvedPath, ResourcePath, method_not_allowed},
    render, reviews, stream, token, watch,
};
use crate::{
    error::ApiError,
    resource::{Resource, Subresource, Verbs},
};
use axum::response::Response;

pub(crate) async fn answer(call: Call, target: ResourcePath) -> Result<Response, ApiError> {
    let resource = Resource::new(target.group.as_str(), target.resource.as_str());
    let def = call.api.store.definition(&resource)?;
    let path = target.resolve(&def)?;
    if def.verbs == Verbs::Review {
        return match (target.operation, &target.name) {
            (Operation::Create, None) => reviews::answer(call, &path).await,
            _ => Err(method_not_allowed()),
        };
    }
    let Some(subresource) = target.subresource.as_deref() else {
        return match target.operation {
            Operation::Get => read::get(&call, &path),
            Operation::List => read::list(&call, &path),
            Operation::Watch => watch::answer(&call, &path),
            Operation::Create if path.name.is_some() => Err(method_not_allowed()),
            Operation::Create => write::create(call, &path).await,
            Operation::Update => write::update(call, &path, None).await,
            Operation::Patch => write::patch(call, &path, None).await,
            Operation::Delete => write::delete(call, &path).await,
            Operation::DeleteCollection => write::delete_collection(call, &path).await,
        };
    };
    let known = Subresource::ALL
        .into_iter()
        .find(|s| s.as_str() == subresource)
        .filter(|s| def.has(*s));
    let subresource = known.ok_or_else(ApiError::no_such_path)?;
    below(call, &path, subresource, target.operation).await
}

async fn below(
    call: Call,
    path: &ResolvedPath<'_>,
    subresource: Subresource,
    operation: Operation,
) -> Result<Response, ApiError> {
    match (subresource, operation) {
        (Subresource::Status | Subresource::Finalize | Subresource::EphemeralContainers, Operation::Get) => {
            read::get(&call, path)
        }
        (Subresource::Status | Subresource::Finalize | Subresource::EphemeralContainers, Operation::Update) => {
            write::update(call, path, Some(subresource)).await
        }
        (Subresource::Status | Subresource::EphemeralContainers, Operation::Patch) => {
            write::patch(call, path, Some(subresource)).await
        }
        (Subresource::Scale, Operation::Get) => {
            let scale = call.api.store.scale(&path.resource, path.namespace, path.name()?)?;
            Ok(render::value(200, &scale))
        }
        (Subresource::Scale, Operation::Update) => write::update_scale(call, path).await,
        (Subresource::Scale, Operation::Patch) => write::patch_scale(call, path).await,
        (Subresource::Binding, Operation::Create) => write::bind(call, path).await,
        (Subresource::Eviction, Operation::Create) => write::evict(call, path).await,
        (Subresource::Token, Operation::Create) => token::answer(call, path).await,
        (Subresource::Log, Operation::Get) => stream::log::answer(call, path).await,
        (Subresource::Exec, Operation::Get | Operation::Create) => stream::exec::answer(call, path).await,
        (Subresource::PortForward, Operation::Get | Operation::Create) => {
            stream::port_forward::answer(call, path).await
        }
        _ => Err(method_not_allowed()),
    }
}
