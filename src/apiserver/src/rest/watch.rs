//! Watches over HTTP: one JSON document a line, until the client goes, the time is over or the server stops.

use super::{
    call::Call,
    kubectl::table,
    path::ResolvedPath,
    query::VersionMatch,
    render::{self, Form, View},
    selectable,
};
use crate::{
    error::ApiError,
    object::Object,
    resource::ResourceDef,
    store::{Watch, WatchEvent, WatchOptions, WatchStart},
};
use axum::{body::Body, response::Response};
use bytes::Bytes;
use futures::{Stream, StreamExt};
use serde_json::{Value, json};
use std::time::Duration;

/// The longest that a watch lasts when the client does not say. Kubernetes: a random time between 30 and 60 minutes.
const LONGEST: u64 = 3600;

pub(crate) fn answer(call: &Call, path: &ResolvedPath<'_>) -> Result<Response, ApiError> {
    let query = &call.query;
    selectable::check(path.def, &query.labels, &query.fields)?;
    let version = query.version()?.unwrap_or_default();
    let start = match (query.send_initial_events, version) {
        (Some(true), _) if query.version_match != VersionMatch::NotOlderThan => {
            return Err(ApiError::bad_request(
                "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan",
            ));
        }
        (Some(true), _) if query.bookmarks => WatchStart::PresentThenBookmark,
        (Some(true), _) | (None, 0) => WatchStart::Present,
        (Some(false), 0) => WatchStart::After(call.api.store.version()),
        (_, version) => WatchStart::After(version),
    };
    let options = WatchOptions {
        labels: query.labels.clone(),
        fields: query.fields.clone(),
        start,
        bookmarks: query.bookmarks,
    };
    let form = call.accept.form;
    let include = table::Include::parse(query.include_object.as_deref())?;
    let def = call.api.store.definition(&path.resource)?;
    let lines = match call.api.store.watch(&path.resource, path.namespace, options) {
        Ok(watch) => Lines {
            watch: Some(watch),
            error: None,
        },
        // An expired version is an event of the stream, as in Kubernetes: informers look for it there.
        Err(error) if error.code() == 410 => Lines {
            watch: None,
            error: Some(error),
        },
        Err(error) => return Err(error),
    };
    let mut writer = Writer {
        def,
        version: path.version.to_owned(),
        form,
        include,
        headed: false,
    };
    let over = tokio::time::sleep(Duration::from_secs(
        query.timeout_seconds.unwrap_or(LONGEST).min(LONGEST),
    ));
    let stop = call.api.stop.clone();
    let lines = lines
        .events()
        .map(move |event| Ok::<_, std::convert::Infallible>(writer.line(&event)))
        .take_until(async move {
            tokio::select! {
                () = over => {}
                () = stop.cancelled() => {}
            }
        });
    Ok(render::json_response(200, Body::from_stream(lines)))
}

struct Lines {
    watch: Option<Watch>,
    error: Option<ApiError>,
}

impl Lines {
    fn events(self) -> impl Stream<Item = WatchEvent> {
        let error = futures::stream::iter(self.error.map(WatchEvent::Error));
        error.chain(futures::stream::iter(self.watch).flatten())
    }
}

struct Writer {
    def: std::sync::Arc<ResourceDef>,
    version: String,
    form: Form,
    include: table::Include,
    /// Only the first table of a watch has columns.
    headed: bool,
}

impl Writer {
    fn line(&mut self, event: &WatchEvent) -> Bytes {
        let object = match event {
            WatchEvent::Added(object) | WatchEvent::Modified(object) | WatchEvent::Deleted(object) => {
                self.object(object)
            }
            WatchEvent::Bookmark {
                version,
                initial_events_end,
            } => self.bookmark(*version, *initial_events_end),
            WatchEvent::Error(error) => Bytes::from(error.to_status().to_string()),
        };
        let head = format!("{{\"type\":\"{}\",\"object\":", event.kind());
        Bytes::from([head.as_bytes(), &object, b"}\n"].concat())
    }

    fn view(&self) -> View<'_> {
        View {
            def: &self.def,
            version: &self.version,
            form: self.form,
        }
    }

    fn object(&mut self, object: &Object) -> Bytes {
        if self.form != Form::Table {
            return self.view().json(object);
        }
        let metadata = json!({"resourceVersion": object.resource_version().to_string()});
        let mut table = table::table(&self.view(), self.include, std::slice::from_ref(object), metadata);
        self.behead(&mut table);
        Bytes::from(table.to_string())
    }

    fn bookmark(&mut self, version: u64, initial_events_end: bool) -> Bytes {
        let (view, def) = (self.view(), &self.def);
        let mut object = WatchEvent::bookmark(def, &view.api_version(), version, initial_events_end);
        match self.form {
            Form::Plain => {}
            Form::Metadata => {
                object["kind"] = json!("PartialObjectMetadata");
                object["apiVersion"] = json!("meta.k8s.io/v1");
            }
            Form::Table => {
                object = table::table(&view, self.include, &[], object["metadata"].clone());
                self.behead(&mut object);
            }
        }
        Bytes::from(object.to_string())
    }

    fn behead(&mut self, table: &mut Value) {
        if std::mem::replace(&mut self.headed, true) {
            table["columnDefinitions"] = Value::Null;
        }
    }
}
