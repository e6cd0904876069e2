//! The columns of custom resources, from their definitions' `additionalPrinterColumns` and JSON paths.

use super::{Column, Printer, age, created};
use crate::resource::ResourceDef;
use serde_json::{Value, json};

pub(super) fn printer(def: &ResourceDef) -> Printer {
    let mut columns = vec![Column::name()];
    let own = def.printer_columns.clone();
    for column in &own {
        let kind = match column.kind.as_str() {
            "integer" => "integer",
            "number" => "number",
            "boolean" => "boolean",
            "date" => "date",
            _ => "string",
        };
        let mut heading = Column::new(&column.name);
        heading.kind = kind;
        heading.priority = column.priority;
        columns.push(heading);
    }
    let ages = own.is_empty();
    if ages {
        columns.push(Column::new("Age"));
    }
    Printer::new(columns, move |object, now| {
        let mut cells = vec![json!(object.name())];
        for column in &own {
            let found = find(object, &column.json_path);
            cells.push(match (column.kind.as_str(), found.as_slice()) {
                (_, []) => Value::Null,
                ("date", [time, ..]) => json!(age::since(time, now)),
                ("string", [Value::String(text)]) => json!(text),
                ("string", [other]) => json!(other.to_string()),
                (_, [one]) => (*one).clone(),
                (_, several) => json!(several.iter().map(|v| plain(v)).collect::<Vec<_>>().join(" ")),
            });
        }
        if ages {
            cells.push(created(object, now));
        }
        cells
    })
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// What a JSON path finds: `.a.b`, `['a.b']`, `[0]`, `[*]` and `[?(@.type=="Ready")]`. Unknown syntax finds nothing.
fn find<'a>(object: &'a Value, path: &str) -> Vec<&'a Value> {
    let mut found = vec![object];
    let mut rest = path.trim().trim_start_matches('$');
    while !rest.is_empty() {
        let (step, after) = if let Some(inner) = rest.strip_prefix('[') {
            let Some(end) = closing(inner) else { return Vec::new() };
            (bracket(&inner[..end]), &inner[end + 1..])
        } else {
            let name = rest.strip_prefix('.').unwrap_or(rest);
            let (name, length) = unescaped_name(name);
            let skipped = rest.len() - rest.strip_prefix('.').unwrap_or(rest).len();
            if name.is_empty() && length == 0 && skipped == 0 {
                return Vec::new();
            }
            (
                if name == "*" { Step::All } else { Step::Key(name) },
                &rest[skipped + length..],
            )
        };
        rest = after;
        found = found.into_iter().flat_map(|value| step.apply(value)).collect();
    }
    found.retain(|value| !value.is_null());
    found
}

enum Step {
    Key(String),
    Index(i64),
    All,
    Filter { field: String, wanted: String },
    Unknown,
}

impl Step {
    fn apply<'a>(&self, value: &'a Value) -> Vec<&'a Value> {
        match self {
            Self::Key(key) if key.is_empty() => vec![value],
            Self::Key(key) => value.get(key).into_iter().collect(),
            Self::Index(index) => {
                let list = value.as_array().map(Vec::as_slice).unwrap_or_default();
                let at = if *index < 0 {
                    list.len().checked_sub(index.unsigned_abs() as usize)
                } else {
                    usize::try_from(*index).ok()
                };
                at.and_then(|at| list.get(at)).into_iter().collect()
            }
            Self::All => match value {
                Value::Array(list) => list.iter().collect(),
                Value::Object(map) => map.values().collect(),
                _ => Vec::new(),
            },
            Self::Filter { field, wanted } => {
                let list = value.as_array().into_iter().flatten();
                list.filter(|entry| find(entry, field).first().is_some_and(|v| plain(v) == *wanted))
                    .collect()
            }
            Self::Unknown => Vec::new(),
        }
    }
}

fn bracket(inner: &str) -> Step {
    let unquoted = |text: &str| {
        let text = text.trim();
        let quote = |q: char| text.strip_prefix(q).and_then(|t| t.strip_suffix(q)).map(str::to_owned);
        quote('\'').or_else(|| quote('"'))
    };
    let inner = inner.trim();
    if inner == "*" {
        return Step::All;
    }
    if let Ok(index) = inner.parse() {
        return Step::Index(index);
    }
    if let Some(key) = unquoted(inner) {
        return Step::Key(key);
    }
    let filter = inner
        .strip_prefix("?(")
        .and_then(|f| f.strip_suffix(')'))
        .and_then(|f| f.split_once("=="));
    match filter {
        Some((left, right)) => Step::Filter {
            field: left.trim().trim_start_matches('@').to_owned(),
            wanted: unquoted(right).unwrap_or_else(|| right.trim().to_owned()),
        },
        None => Step::Unknown,
    }
}

/// Where the bracket closes, quotes observed.
fn closing(inner: &str) -> Option<usize> {
    let mut quote = None;
    for (index, c) in inner.char_indices() {
        match (quote, c) {
            (None, ']') => return Some(index),
            (None, '\'' | '"') => quote = Some(c),
            (Some(q), c) if q == c => quote = None,
            _ => {}
        }
    }
    None
}

/// A name up to the next dot or bracket, backslashes taken out, with the length it had.
fn unescaped_name(text: &str) -> (String, usize) {
    let mut name = String::new();
    let mut chars = text.char_indices();
    while let Some((index, c)) = chars.next() {
        match c {
            '\\' => name.extend(chars.next().map(|(_, c)| c)),
            '.' | '[' => return (name, index),
            c => name.push(c),
        }
    }
    (name, text.len())
}

#[cfg(test)]
mod tests {
    use super::{find, plain};
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn paths_of_printer_columns() {
        let object = json!({
            "metadata": {"labels": {"a.b/c": "label"}},
            "status": {
                "id": 7, "addresses": [{"ip": "10.0.0.1"}, {"ip": "10.0.0.2"}],
                "conditions": [{"type": "Ready", "status": "True"}, {"type": "Other", "status": "False"}],
            },
        });
        let shown = |path: &str| find(&object, path).into_iter().map(plain).collect::<Vec<_>>().join(" ");
        assert_eq!(shown(".status.id"), "7");
        assert_eq!(shown(".status.addresses[1].ip"), "10.0.0.2");
        assert_eq!(shown(".status.addresses[-1].ip"), "10.0.0.2");
        assert_eq!(shown(".status.addresses[*].ip"), "10.0.0.1 10.0.0.2");
        assert_eq!(shown(".status.conditions[?(@.type==\"Ready\")].status"), "True");
        assert_eq!(shown(".status.conditions[?(@.type=='Other')].status"), "False");
        assert_eq!(shown(".metadata.labels['a.b/c']"), "label");
        assert_eq!(shown(".metadata.labels.a\\.b/c"), "label");
        assert_eq!(shown(".status.absent[0].x"), "");
    }

    proptest! {
        #[test]
        fn any_path_ends(path in "[.\\[\\]a-z'\"*?(@=)\\\\]{0,30}") {
            find(&json!({"a": [{"b": 1}]}), &path);
        }
    }
}
