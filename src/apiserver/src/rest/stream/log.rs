//! Logs of containers.

use super::{container, find_pod};
use crate::{
    error::ApiError,
    rest::{call::Call, path::ResolvedPath, render},
    streams::LogOptions,
};
use axum::{body::Body, response::Response};
use futures::StreamExt;
use jiff::Timestamp;
use std::sync::Arc;
use tokio::io::AsyncReadExt;
use tokio_util::io::ReaderStream;

pub(crate) async fn answer(call: Call, path: &ResolvedPath<'_>) -> Result<Response, ApiError> {
    let pod = find_pod(&call, path)?;
    let container = container(&call, &pod)?;
    if call.query.flag("previous") {
        let message = format!(
            "previous terminated container \"{container}\" in pod \"{}\" not found",
            pod.name()
        );
        return Err(ApiError::bad_request(message));
    }
    if pod["spec"]["nodeName"].as_str().unwrap_or_default().is_empty() {
        return Ok(render::typed_response(200, "text/plain", Body::empty()));
    }
    let number = |key: &str| match call.query.first(key).filter(|text| !text.is_empty()) {
        None => Ok(None),
        Some(text) => text.parse::<u64>().map(Some).map_err(|_| {
            ApiError::bad_request(format!(
                "invalid value \"{text}\" for parameter {key}: not a non-negative number"
            ))
        }),
    };
    let since_time = call
        .query
        .first("sinceTime")
        .and_then(|text| text.parse::<Timestamp>().ok());
    let since_time = since_time.map(|time| Timestamp::now().as_second().saturating_sub(time.as_second()));
    let options = LogOptions {
        follow: call.query.flag("follow"),
        tail_lines: number("tailLines")?,
        since_seconds: number("sinceSeconds")?.or(since_time.and_then(|seconds| u64::try_from(seconds).ok())),
        timestamps: call.query.flag("timestamps"),
        limit_bytes: number("limitBytes")?,
    };
    let api = Arc::clone(&call.api);
    let log = api.streams.logs(&pod, &container, options).await?;
    let limited = log.take(options.limit_bytes.unwrap_or(u64::MAX));
    let stop = api.stop.clone();
    let stream = ReaderStream::new(limited).take_until(async move { stop.cancelled().await });
    Ok(render::typed_response(200, "text/plain", Body::from_stream(stream)))
}
