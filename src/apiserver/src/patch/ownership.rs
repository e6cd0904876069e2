//! `metadata.managedFields`: which manager owns which fields, and how that changes with a write that is not an apply.

use super::{fieldset::FieldSet, schema::Schema};
use crate::resource::{ResourceDef, Subresource};
use serde_json::{Value, json};

/// How a manager wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Method {
    Apply,
    Update,
}

/// One entry of `managedFields`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub manager: String,
    pub method: Method,
    pub subresource: String,
    pub api_version: String,
    pub time: String,
    pub fields: FieldSet,
}

impl Entry {
    /// An entry without fields, written now.
    pub fn new(def: &ResourceDef, manager: &str, method: Method, subresource: Option<Subresource>) -> Self {
        Self {
            manager: manager.to_owned(),
            method,
            subresource: subresource.map(Subresource::as_str).unwrap_or_default().to_owned(),
            api_version: def.api_version(),
            time: crate::time::now(),
            fields: FieldSet::default(),
        }
    }

    /// Whether both are entries of the same manager, written in the same way.
    pub fn is_of(&self, other: &Self) -> bool {
        self.manager == other.manager && self.method == other.method && self.subresource == other.subresource
    }

    fn parse(entry: &Value) -> Self {
        let text = |field: &str| entry[field].as_str().unwrap_or_default().to_owned();
        Self {
            manager: text("manager"),
            method: if entry["operation"] == "Apply" {
                Method::Apply
            } else {
                Method::Update
            },
            subresource: text("subresource"),
            api_version: text("apiVersion"),
            time: text("time"),
            fields: FieldSet::parse(&entry["fieldsV1"]),
        }
    }

    fn render(&self) -> Value {
        let operation = match self.method {
            Method::Apply => "Apply",
            Method::Update => "Update",
        };
        let mut entry = json!({
            "manager": self.manager, "operation": operation, "apiVersion": self.api_version, "time": self.time,
            "fieldsType": "FieldsV1", "fieldsV1": self.fields.render(),
        });
        if !self.subresource.is_empty() {
            entry["subresource"] = json!(self.subresource);
        }
        entry
    }
}

/// The entries of an object.
pub(crate) fn entries(object: &Value) -> Vec<Entry> {
    object["metadata"]["managedFields"]
        .as_array()
        .into_iter()
        .flatten()
        .map(Entry::parse)
        .collect()
}

/// Entries as the value of `managedFields`; those without fields are left out.
pub(crate) fn render(entries: &[Entry]) -> Value {
    Value::Array(
        entries
            .iter()
            .filter(|entry| !entry.fields.is_empty())
            .map(Entry::render)
            .collect(),
    )
}

/// How the fields of a resource merge.
pub(crate) fn schema_of(def: &ResourceDef) -> Schema<'_> {
    if def.is_custom() {
        Schema::Custom
    } else {
        Schema::Builtin(&def.kind)
    }
}

/// The fields of an object that a write to the subresource (or to the object itself) can own.
pub(crate) fn writable(def: &ResourceDef, set: FieldSet, subresource: Option<Subresource>) -> FieldSet {
    match subresource {
        Some(Subresource::Status) => set.restricted("status", true),
        _ if def.has(Subresource::Status) => set.restricted("status", false),
        _ => set,
    }
}

/// Gives the manager what it changed, and takes from the others what is changed or gone.
pub(crate) fn after_update(
    def: &ResourceDef,
    old: Option<&Value>,
    new: &mut Value,
    manager: &str,
    subresource: Option<Subresource>,
) {
    let schema = schema_of(def);
    let all = FieldSet::of(schema, new);
    let nothing = Value::Null;
    let changed = writable(def, all.changed(schema, old.unwrap_or(&nothing), new), subresource);
    let mut entries = old.map(entries).unwrap_or_default();
    let before: Vec<FieldSet> = entries.iter().map(|entry| entry.fields.clone()).collect();

    let mine = Entry::new(def, manager, Method::Update, subresource);
    for entry in entries.iter_mut().filter(|entry| !entry.is_of(&mine)) {
        entry.fields = entry.fields.minus(&changed).intersect(&all);
    }
    match entries.iter_mut().position(|entry| entry.is_of(&mine)) {
        Some(at) => {
            let fields = entries[at].fields.clone().union(&changed).intersect(&all);
            if fields != before[at] || !changed.is_empty() {
                entries[at] = Entry { fields, ..mine };
            }
        }
        None if !changed.is_empty() => entries.push(Entry {
            fields: changed,
            ..mine
        }),
        None => {}
    }
    set(new, &entries);
}

fn set(object: &mut Value, entries: &[Entry]) {
    match render(entries) {
        Value::Array(list) if list.is_empty() => {
            object["metadata"]
                .as_object_mut()
                .map(|metadata| metadata.remove("managedFields"));
        }
        list => object["metadata"]["managedFields"] = list,
    }
}

/// True when the objects are the same but for the times of their managers: such a write is none.
pub(crate) fn only_times_differ(old: &Value, new: &Value) -> bool {
    let bare = |object: &Value| {
        let mut object = object.clone();
        let list = object["metadata"]["managedFields"].as_array_mut();
        for entry in list.into_iter().flatten() {
            entry["time"] = Value::Null;
        }
        object
    };
    old["spec"] == new["spec"] && old["status"] == new["status"] && bare(old) == bare(new)
}
