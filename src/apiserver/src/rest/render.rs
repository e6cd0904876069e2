//! The form of answers: which media type the client takes, objects and lists as bytes, errors as `Status`.

use crate::{
    error::ApiError,
    object::Object,
    resource::{ResourceDef, api_version},
};
use axum::{
    body::Body,
    http::{HeaderMap, StatusCode, header},
    response::Response,
};
use bytes::{BufMut, Bytes, BytesMut};
use serde_json::{Value, json};

/// What the client wants objects to look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// The objects.
    Plain,
    /// Rows for people.
    Table,
    /// Only their metadata.
    Metadata,
}

/// The first media type of the `Accept` header that this server makes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Accept {
    pub form: Form,
    /// The version of aggregated discovery, when the client takes it.
    pub aggregated: Option<&'static str>,
    /// The client takes the gnostic protobuf of `/openapi/v2` only or first.
    pub protobuf_first: bool,
}

impl Accept {
    pub fn parse(headers: &HeaderMap) -> Self {
        let text = headers
            .get(header::ACCEPT)
            .and_then(|h| h.to_str().ok())
            .unwrap_or_default();
        let mut accept = Self {
            form: Form::Plain,
            aggregated: None,
            protobuf_first: false,
        };
        for (index, offer) in text.split(',').map(str::trim).enumerate() {
            let mut parts = offer.split(';').map(str::trim);
            let media = parts.next().unwrap_or_default();
            let parameter = |key: &str| {
                offer
                    .split(';')
                    .find_map(|part| part.trim().strip_prefix(key)?.strip_prefix('='))
                    .unwrap_or_default()
            };
            // Protobuf is asked for first by kubectl and client-go, with JSON to follow; here JSON it is.
            if media.contains("protobuf") {
                accept.protobuf_first |= index == 0;
                continue;
            }
            match (parameter("g"), parameter("as"), parameter("v")) {
                ("meta.k8s.io", "Table", "v1") => accept.form = Form::Table,
                ("meta.k8s.io", "PartialObjectMetadata" | "PartialObjectMetadataList", "v1") => {
                    accept.form = Form::Metadata;
                }
                ("apidiscovery.k8s.io", "APIGroupDiscoveryList", "v2") => accept.aggregated = Some("v2"),
                ("apidiscovery.k8s.io", "APIGroupDiscoveryList", "v2beta1") => accept.aggregated = Some("v2beta1"),
                ("", "", _) => {}
                // A form that this server does not make: the next offer may be one that it does.
                _ => continue,
            }
            break;
        }
        accept
    }
}

/// `{"kind":"Status",…}` with its code.
pub(crate) fn error(error: &ApiError) -> Response {
    let mut response = json_response(error.code(), Bytes::from(error.to_status().to_string()));
    if let Some(seconds) = error.details.as_ref().map(|d| d.retry_after_seconds).filter(|s| *s > 0) {
        response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
    }
    response
}

/// A body of JSON text.
pub(crate) fn json_response(code: u16, body: impl Into<Body>) -> Response {
    typed_response(code, "application/json", body)
}

/// A body of a media type.
pub(crate) fn typed_response(code: u16, media: &'static str, body: impl Into<Body>) -> Response {
    let mut response = Response::new(body.into());
    *response.status_mut() = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, header::HeaderValue::from_static(media));
    headers.insert(
        header::CACHE_CONTROL,
        header::HeaderValue::from_static("no-cache, private"),
    );
    response
}

/// A value as an answer.
pub(crate) fn value(code: u16, value: &Value) -> Response {
    json_response(code, Bytes::from(value.to_string()))
}

/// How objects of one resource are shown to one client.
#[derive(Clone, Copy)]
pub(crate) struct View<'a> {
    pub def: &'a ResourceDef,
    /// The version asked for in the path.
    pub version: &'a str,
    pub form: Form,
}

impl View<'_> {
    /// `apiVersion` of what is shown.
    pub fn api_version(&self) -> String {
        api_version(&self.def.group, self.version)
    }

    /// One object as JSON, in the asked version; the stored text where that is the same.
    pub fn json(&self, object: &Object) -> Bytes {
        if self.form == Form::Metadata {
            let partial = json!({
                "kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": object["metadata"],
            });
            return Bytes::from(partial.to_string());
        }
        if self.version == self.def.version {
            return object.json();
        }
        Bytes::from(self.value(object).to_string())
    }

    /// One object in the asked version.
    pub fn value(&self, object: &Object) -> Value {
        let mut value = object.to_value();
        value["apiVersion"] = json!(self.api_version());
        value
    }

    /// A list of objects as JSON, put together from the texts of its items.
    pub fn list(&self, items: &[Object], metadata: &Value) -> Bytes {
        let (kind, version) = match self.form {
            Form::Metadata => ("PartialObjectMetadataList".to_owned(), "meta.k8s.io/v1".to_owned()),
            Form::Plain | Form::Table => (format!("{}List", self.def.kind), self.api_version()),
        };
        let mut text = BytesMut::new();
        text.put_slice(
            format!(
                "{{\"kind\":{},\"apiVersion\":{},\"metadata\":{metadata},\"items\":[",
                json!(kind),
                json!(version)
            )
            .as_bytes(),
        );
        for (index, object) in items.iter().enumerate() {
            if index > 0 {
                text.put_u8(b',');
            }
            text.put_slice(&self.json(object));
        }
        text.put_slice(b"]}");
        text.freeze()
    }
}

#[cfg(test)]
mod tests {
    use super::{Accept, Form};
    use axum::http::{HeaderMap, header};

    fn accept(text: &'static str) -> Accept {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT, header::HeaderValue::from_static(text));
        Accept::parse(&headers)
    }

    #[test]
    fn the_first_possible_form_wins() {
        let table = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,\
                     application/json";
        assert_eq!(accept(table).form, Form::Table);
        assert_eq!(
            accept("application/vnd.kubernetes.protobuf,application/json").form,
            Form::Plain
        );
        assert_eq!(
            accept("application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1").form,
            Form::Metadata
        );
        let discovery = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json;\
                         g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList,application/json";
        assert_eq!(accept(discovery).aggregated, Some("v2"));
        assert!(accept("application/com.github.proto-openapi.spec.v2@v1.0+protobuf").protobuf_first);
    }
}
