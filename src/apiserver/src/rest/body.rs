//! Request bodies: read whole, with a limit, and parsed by their media type.

use axum::extract::Request;
use axum::http::header;
use bytes::Bytes;
use serde_json::Value;

use crate::error::{ApiError, Reason};

mod custom;
mod protobuf;
pub(crate) mod typed;
mod types;

/// The media type of Kubernetes' protobuf.
const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";

/// The largest body taken. Kubernetes: 3 MiB.
const LIMIT: usize = 3 * 1024 * 1024;

/// The media type of a body, without parameters; JSON when nothing is said.
pub(crate) fn media_type(request: &Request) -> String {
    let header = request
        .headers()
        .get(header::CONTENT_TYPE)
        .and_then(|h| h.to_str().ok())
        .unwrap_or_default();
    let media = header.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    if media.is_empty() {
        "application/json".to_owned()
    } else {
        media
    }
}

/// The bytes of the body.
pub(crate) async fn read(request: Request) -> Result<Bytes, ApiError> {
    axum::body::to_bytes(request.into_body(), LIMIT)
        .await
        .map_err(|error| ApiError::bad_request(format!("failed to read the body, at most {LIMIT} bytes: {error}")))
}

/// The object in the body: JSON, YAML or protobuf; 415 for anything else.
pub(crate) async fn object(request: Request) -> Result<Value, ApiError> {
    let media = media_type(&request);
    parse(&media, &read(request).await?)
}

/// Parses a body of a media type.
pub(crate) fn parse(media: &str, bytes: &[u8]) -> Result<Value, ApiError> {
    match media {
        "application/json" => json(bytes),
        "application/yaml" | "text/yaml" | "application/x-yaml" => yaml(bytes),
        PROTOBUF => protobuf::decode(bytes),
        _ => Err(unsupported(&["application/json", "application/yaml"])),
    }
}

/// Parses JSON.
pub(crate) fn json(bytes: &[u8]) -> Result<Value, ApiError> {
    serde_json::from_slice(bytes)
        .map_err(|error| ApiError::bad_request(format!("the object provided is unrecognized: {error}")))
}

/// Parses YAML (and so JSON).
pub(crate) fn yaml(bytes: &[u8]) -> Result<Value, ApiError> {
    let text = std::str::from_utf8(bytes).map_err(|_| ApiError::bad_request("the body is not UTF-8"))?;
    serde_saphyr::from_str(text).map_err(|error| ApiError::bad_request(format!("error decoding YAML: {error}")))
}

/// 415, worded as Kubernetes does.
pub(crate) fn unsupported(accepted: &[&str]) -> ApiError {
    let message = format!(
        "the body of the request was in an unknown format - accepted media types include: {}",
        accepted.join(", ")
    );
    ApiError::new(Reason::UnsupportedMediaType, message)
}
