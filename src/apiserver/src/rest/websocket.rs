//! The WebSocket that carries the streams of containers.

use super::call::Call;
use crate::error::{ApiError, Reason};
use axum::extract::{
    FromRequestParts,
    ws::{CloseFrame, Message, WebSocketUpgrade, close_code},
};

/// The upgrade that the request asks for; 400 for a plain request, 403 for one whose protocols are not known.
pub(super) async fn upgrade(call: &mut Call, protocols: &[&'static str]) -> Result<WebSocketUpgrade, ApiError> {
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

/// The protocol that was agreed on.
pub(super) fn selected(upgrade: &WebSocketUpgrade) -> &str {
    upgrade
        .selected_protocol()
        .and_then(|protocol| protocol.to_str().ok())
        .unwrap_or_default()
}

/// The end of a connection, as RFC 6455 wants it: gorilla's client takes one without a code for an error.
pub(super) fn farewell() -> Message {
    Message::Close(Some(CloseFrame {
        code: close_code::NORMAL,
        reason: "".into(),
    }))
}
