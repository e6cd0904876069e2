//! The streams of containers over HTTP: which container is meant, and the WebSocket that carries the bytes.

use axum::extract::FromRequestParts;
use axum::extract::ws::{CloseFrame, Message, WebSocketUpgrade, close_code};
use serde_json::Value;

use super::Call;
use super::objects::Place;
use crate::error::{ApiError, Reason};
use crate::object::Object;
use crate::resource::names::PODS;

pub(crate) mod exec;
pub(crate) mod log;
pub(crate) mod port_forward;
mod spdy;
mod spdy_streams;

fn find_pod(call: &Call, place: &Place<'_>) -> Result<Object, ApiError> {
    call.api.store.get(&PODS, place.namespace, place.name()?)
}

/// The pod, if its containers can be reached: on a node and not ended.
fn running_pod(call: &Call, place: &Place<'_>) -> Result<Object, ApiError> {
    let pod = find_pod(call, place)?;
    if pod["spec"]["nodeName"].as_str().unwrap_or_default().is_empty() {
        return Err(ApiError::bad_request(format!(
            "pod {} does not have a host assigned",
            pod.name()
        )));
    }
    match pod["status"]["phase"].as_str() {
        Some(phase @ ("Succeeded" | "Failed")) => Err(ApiError::bad_request(format!(
            "cannot exec into a container in a completed pod; current phase is {phase}"
        ))),
        _ => Ok(pod),
    }
}

/// The container of the query, or the only one; 400 when that is not clear or does not exist.
fn container(call: &Call, pod: &Object) -> Result<String, ApiError> {
    let names = |field: &str| {
        let list = pod["spec"][field].as_array().into_iter().flatten();
        list.filter_map(|c| c["name"].as_str().map(str::to_owned))
            .collect::<Vec<_>>()
    };
    let usual = names("containers");
    match call.query.first("container").filter(|name| !name.is_empty()) {
        Some(wanted) => {
            let all = [usual, names("initContainers"), names("ephemeralContainers")].concat();
            if all.iter().any(|name| name == wanted) {
                return Ok(wanted.to_owned());
            }
            Err(ApiError::bad_request(format!(
                "container {wanted} is not valid for pod {}",
                pod.name()
            )))
        }
        None => match usual.as_slice() {
            [only] => Ok(only.clone()),
            several => Err(ApiError::bad_request(format!(
                "a container name must be specified for pod {}, choose one of: [{}]",
                pod.name(),
                several.join(" "),
            ))),
        },
    }
}

/// The upgrade that the request asks for; 400 for a plain request, 403 for one whose protocols are not known.
async fn upgrade(call: &mut Call, protocols: &[&'static str]) -> Result<WebSocketUpgrade, ApiError> {
    let request = std::mem::take(&mut call.request);
    let (mut parts, _) = request.into_parts();
    let upgrade = WebSocketUpgrade::from_request_parts(&mut parts, &())
        .await
        .map_err(|_| ApiError::bad_request("Upgrade request required"))?
        .protocols(protocols.iter().copied());
    if upgrade.selected_protocol().is_none() {
        let message = format!("unable to upgrade: none of the requested protocols is known, which are {protocols:?}");
        return Err(ApiError::new(Reason::Forbidden, message));
    }
    Ok(upgrade)
}

fn selected(upgrade: &WebSocketUpgrade) -> &str {
    upgrade
        .selected_protocol()
        .and_then(|protocol| protocol.to_str().ok())
        .unwrap_or_default()
}

/// What ends up in `Status` on an error channel.
fn failure(error: &ApiError) -> Value {
    error.to_status()
}

/// The end of a connection, as RFC 6455 wants it: gorilla's client takes one without a code for an error.
fn farewell() -> Message {
    Message::Close(Some(CloseFrame {
        code: close_code::NORMAL,
        reason: "".into(),
    }))
}
