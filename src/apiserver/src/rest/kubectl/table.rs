//! Objects as rows for people (`meta.k8s.io/v1` Table), with the columns that `kubectl get` shows for each kind.

mod age;
mod cluster;
mod custom;
mod network;
mod pods;
mod workloads;

use crate::{
    error::ApiError,
    object::{Object, text},
    resource::ResourceDef,
    rest::render::View,
};
use jiff::Timestamp;
use serde_json::{Value, json};

/// How much of each object goes with its row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Include {
    None,
    Metadata,
    Object,
}

impl Include {
    pub fn parse(text: Option<&str>) -> Result<Self, ApiError> {
        match text {
            None | Some("Metadata") => Ok(Self::Metadata),
            Some("None") => Ok(Self::None),
            Some("Object") => Ok(Self::Object),
            Some(other) => Err(ApiError::bad_request(format!(
                "unrecognized includeObject value: {other}"
            ))),
        }
    }
}

/// A column with its heading.
pub(super) struct Column {
    name: String,
    kind: &'static str,
    format: &'static str,
    priority: i32,
}

impl Column {
    fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            kind: "string",
            format: "",
            priority: 0,
        }
    }

    /// The first column, by which `kubectl -o name` and the like know the object.
    fn name() -> Self {
        Self {
            format: "name",
            ..Self::new("Name")
        }
    }

    fn number(mut self) -> Self {
        self.kind = "integer";
        self
    }

    /// Shown with `-o wide` only.
    fn wide(mut self) -> Self {
        self.priority = 1;
        self
    }
}

/// Columns of ordinary text: those after `|` are wide.
fn columns(names: &str) -> Vec<Column> {
    let (usual, wide) = names.split_once('|').unwrap_or((names, ""));
    let usual = usual.split(',').map(|name| {
        if name == "Name" {
            Column::name()
        } else {
            Column::new(name)
        }
    });
    usual
        .chain(
            wide.split(',')
                .filter(|name| !name.is_empty())
                .map(|name| Column::new(name).wide()),
        )
        .collect()
}

/// How a kind is shown: its columns, and the cells of one object.
pub(super) struct Printer {
    columns: Vec<Column>,
    cells: Cells,
}

type Cells = Box<dyn Fn(&Object, Timestamp) -> Vec<Value>>;

impl Printer {
    fn new(columns: Vec<Column>, cells: impl Fn(&Object, Timestamp) -> Vec<Value> + 'static) -> Self {
        Self {
            columns,
            cells: Box::new(cells),
        }
    }
}

fn printer(def: &ResourceDef) -> Printer {
    if def.is_custom() {
        return custom::printer(def);
    }
    pods::printer(def)
        .or_else(|| workloads::printer(def))
        .or_else(|| network::printer(def))
        .or_else(|| cluster::printer(def))
        .unwrap_or_else(|| {
            let mut created = Column::new("Created At");
            created.kind = "date";
            Printer::new(vec![Column::name(), created], |object, _| {
                vec![json!(object.name()), object["metadata"]["creationTimestamp"].clone()]
            })
        })
}

/// The table of some objects.
pub(crate) fn table(view: &View<'_>, include: Include, objects: &[Object], metadata: Value) -> Value {
    let printer = printer(view.def);
    let now = Timestamp::now();
    let row = |object: &Object| {
        let shown = match include {
            Include::None => Value::Null,
            Include::Metadata => json!({
                "kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": object["metadata"],
            }),
            Include::Object => view.value(object),
        };
        json!({"cells": (printer.cells)(object, now), "object": shown})
    };
    let column = |column: &Column| {
        json!({
            "name": column.name, "type": column.kind, "format": column.format, "description": "",
            "priority": column.priority,
        })
    };
    json!({
        "kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": metadata,
        "columnDefinitions": printer.columns.iter().map(column).collect::<Vec<_>>(),
        "rows": objects.iter().map(row).collect::<Vec<_>>(),
    })
}

/// `<none>` where there is nothing to show.
fn or_none(text: &str) -> Value {
    json!(if text.is_empty() { "<none>" } else { text })
}

fn count(value: &Value) -> i64 {
    value.as_i64().unwrap_or_default()
}

fn items(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn created(object: &Object, now: Timestamp) -> Value {
    json!(age::since(&object["metadata"]["creationTimestamp"], now))
}

/// `a=1,b=2`, or `<none>`.
fn labels(map: &Value) -> Value {
    let pairs: Vec<String> = crate::object::strings(map)
        .iter()
        .map(|(k, v)| format!("{k}={v}"))
        .collect();
    or_none(&pairs.join(","))
}

/// A label selector as text, or `<none>`.
fn selector(selector: &Value) -> Value {
    let selector = crate::selector::LabelSelector::from_object(selector).map(|s| s.to_string());
    or_none(&selector.unwrap_or_default())
}
