//! Request bodies: read whole, with a limit, and parsed by their media type.

use super::kubectl::protobuf;
use crate::error::ApiError;
use axum::{extract::Request, http::header};
use bytes::Bytes;
use serde_json::Value;

/// The media type of Kubernetes' protobuf.
const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";

/// The largest body taken. Kubernetes: 3 MiB.
const LIMIT: usize = 3 * 1024 * 1024;

/// The media type of a body, without parameters; JSON when the header is missing.
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
        _ => Err(ApiError::unsupported_media_type(&[
            "application/json",
            "application/yaml",
        ])),
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
