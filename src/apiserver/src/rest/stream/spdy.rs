//! Port-forward inside SPDY/3.1 inside a WebSocket.

use axum::extract::ws::WebSocket;

use crate::object::Object;
use crate::rest::Api;

pub(super) async fn forward(_socket: WebSocket, _api: &Api, _pod: &Object) {}
