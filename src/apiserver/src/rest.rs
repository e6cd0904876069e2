//! The API over HTTP: authenticate, understand the path, authorize, answer. What an answer says about objects is the
//! store's; here it gets its form.

mod body;
mod call;
mod discovery;
mod groups;
mod kubectl;
mod objects;
mod path;
mod query;
mod render;
mod reviews;
mod selectable;
mod stream;
mod token;
mod watch;
mod websocket;

pub(crate) use call::Api;
pub use kubectl::spdy_frame;

use crate::{
    audit::AuditEntry,
    auth::{
        User,
        rbac::{self, Attributes, Target},
    },
    error::ApiError,
    resource::names::SERVICE_ACCOUNTS,
};
use axum::{
    Router,
    extract::{Request, State},
    response::Response,
};
use call::Call;
use path::{Operation, Route};
use query::Query;
use render::Accept;
use std::sync::Arc;

/// Everything, as one service.
pub(crate) fn router(api: Api) -> Router {
    Router::new().fallback(handle).with_state(Arc::new(api))
}

async fn handle(State(api): State<Arc<Api>>, request: Request) -> Response {
    let started = std::time::Instant::now();
    let (method, uri) = (request.method().clone(), request.uri().clone());
    api.pace.keep().await;
    let response = respond(&api, request)
        .await
        .unwrap_or_else(|error| render::error(&error));
    tracing::trace!(%method, %uri, status = response.status().as_u16(), elapsed = ?started.elapsed(), "answered");
    response
}

async fn respond(api: &Arc<Api>, request: Request) -> Result<Response, ApiError> {
    let user = authenticate(api, &request)?;
    let query = Query::parse(request.uri().query().unwrap_or_default())?;
    let route = Route::parse(request.method(), request.uri().path(), &query)?;
    authorize(api, &user, &route, &query)?;
    let accept = Accept::parse(request.headers());
    let call = Call {
        api: Arc::clone(api),
        user,
        query,
        accept,
        request,
    };
    match route {
        Route::Path(path) => discovery::answer(&call, &path),
        Route::Resource(target) => objects::answer(call, target).await,
    }
}

fn authenticate(api: &Api, request: &Request) -> Result<User, ApiError> {
    let headers = request.headers();
    let header = headers
        .get(axum::http::header::AUTHORIZATION)
        .and_then(|h| h.to_str().ok());
    let token = match header {
        Some(header) => header
            .split_once(' ')
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer")),
        None => return Ok(User::anonymous()),
    };
    let token = token
        .map(|(_, token)| token.trim())
        .ok_or_else(ApiError::unauthorized)?;
    let user = api.tokens.user(token).ok_or_else(ApiError::unauthorized)?;
    // A deleted service account takes its tokens with it; one of the same name later is another account.
    if let Some((namespace, name)) = user.as_service_account().filter(|_| !user.uid.is_empty()) {
        let account = api.store.find(&SERVICE_ACCOUNTS, Some(namespace), name);
        if account.is_none_or(|account| account.uid() != user.uid) {
            return Err(ApiError::unauthorized());
        }
    }
    Ok(user)
}

fn authorize(api: &Api, user: &User, route: &Route, query: &Query) -> Result<(), ApiError> {
    let wanted = match route {
        Route::Path(path) => Attributes {
            verb: path.verb.clone(),
            target: Target::Path(path.path.clone()),
        },
        Route::Resource(target) => Attributes {
            verb: target.operation.verb().to_owned(),
            target: Target::Resource {
                group: target.group.clone(),
                resource: target.resource.clone(),
                subresource: target.subresource.clone().unwrap_or_default(),
                namespace: target.namespace.clone().unwrap_or_default(),
                name: match target.operation {
                    Operation::List | Operation::Watch | Operation::DeleteCollection => {
                        query.fields.name().unwrap_or_default().to_owned()
                    }
                    _ => target.name.clone().unwrap_or_default(),
                },
            },
        },
    };
    let allowed = rbac::allows(&api.store, user, &wanted);
    api.audit.record(entry(user, &wanted, allowed));
    if allowed {
        Ok(())
    } else {
        Err(rbac::refusal(user, &wanted))
    }
}

fn entry(user: &User, wanted: &Attributes, allowed: bool) -> AuditEntry {
    let (user, verb) = (user.name.clone(), wanted.verb.clone());
    match &wanted.target {
        Target::Path(path) => AuditEntry {
            user,
            verb,
            group: String::new(),
            resource: path.clone(),
            subresource: String::new(),
            namespace: String::new(),
            allowed,
        },
        Target::Resource {
            group,
            resource,
            subresource,
            namespace,
            ..
        } => AuditEntry {
            user,
            verb,
            group: group.clone(),
            resource: resource.clone(),
            subresource: subresource.clone(),
            namespace: namespace.clone(),
            allowed,
        },
    }
}
