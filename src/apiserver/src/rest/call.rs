//! A request on its way through the handlers, and what all handlers share.

use super::{query::Query, render::Accept};
use crate::{
    audit::Audit,
    auth::{Tokens, User},
    pace::Pace,
    store::Store,
    streams::Streams,
};
use axum::extract::Request;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// What the handlers share.
pub(crate) struct Api {
    pub store: Store,
    pub streams: Arc<dyn Streams>,
    pub tokens: Tokens,
    pub audit: Audit,
    pub git_version: String,
    pub pace: Pace,
    pub stop: CancellationToken,
}

/// A request whose sender is known and may ask.
pub(crate) struct Call {
    pub api: Arc<Api>,
    pub user: User,
    pub query: Query,
    pub accept: Accept,
    pub request: Request,
}
