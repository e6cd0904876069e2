//! Opening a connection on a route, and why that failed.

use super::AgentLink;
use crate::{
    agent::{
        connection::{Closed, Connection},
        route::{self, Route},
    },
    api::{ApiError, Cause},
    kubelet_reachability::SLOW,
};
use meshproof_contract::EnvironmentError;
use std::time::Duration;
use tokio::time::Instant;

/// Pauses between tries to open a stream; as many tries and one more.
const BACKOFF: [Duration; 2] = [Duration::from_millis(250), Duration::from_millis(1000)];

/// Why no connection could be opened on a route.
pub(super) enum OpenError {
    Api(ApiError),
    Stream(String),
    /// Nobody between here and the kubelet answered before the deadline.
    Unanswered(String),
}

impl OpenError {
    pub(super) fn reason(&self) -> String {
        match self {
            OpenError::Api(error) => match &error.cause {
                Cause::Forbidden(reason) => format!("not allowed to {}: {reason}", error.operation),
                _ => error.reason(),
            },
            OpenError::Stream(reason) | OpenError::Unanswered(reason) => reason.clone(),
        }
    }
}

impl AgentLink {
    /// Opens a connection; transport errors are retried unless they took long.
    pub(super) async fn open(&self, route: Route) -> Result<Connection, OpenError> {
        let mut pauses = BACKOFF.iter();
        loop {
            let begun = Instant::now();
            let error = match route::open(&self.client, &self.pod, route).await {
                Ok(stream) => match Connection::start(stream).await {
                    Ok(connection) => return Ok(connection),
                    Err(Closed(reason)) => OpenError::Stream(reason),
                },
                Err(error) if error.cause.is_transient() && begun.elapsed() >= SLOW => {
                    return Err(OpenError::Unanswered(error.reason()));
                }
                Err(error) => OpenError::Api(error),
            };
            let lasting = matches!(&error, OpenError::Api(e) if !e.cause.is_transient());
            match pauses.next() {
                Some(pause) if !lasting && begun.elapsed() < SLOW => tokio::time::sleep(*pause).await,
                _ => return Err(error),
            }
        }
    }

    /// The error when neither route works.
    pub(super) fn unreachable(&self, first: (Route, OpenError), second: (Route, OpenError)) -> EnvironmentError {
        match (&first.1, &second.1) {
            (OpenError::Api(error), OpenError::Api(other)) if error.is_forbidden() && other.is_forbidden() => {
                error.clone().into()
            }
            _ => {
                let describe = |(route, error): &(Route, OpenError)| format!("{}: {}", route.name(), error.reason());
                self.gone(format!("{}; {}", describe(&first), describe(&second)))
            }
        }
    }
}
