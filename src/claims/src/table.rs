//! The claim table: what Helm values claim, and what shows whether it is true. Data, in `data/claims.yaml`.

use crate::{
    chart::Chart,
    condition::Condition,
    place::FileId,
    prediction::Prediction,
    yaml::{Node, read},
};

const CLAIMS: &str = include_str!("../data/claims.yaml");

/// What the table says of one value.
#[derive(Clone, Debug)]
pub struct Row {
    /// The value's path.
    pub value: String,
    /// What it claims, as a sentence without its end.
    pub about: String,
    /// Where a running agent shows it.
    pub agent: Option<String>,
    /// Objects that must be ready.
    pub objects: Vec<String>,
    /// What it needs beside it to have an effect.
    pub needs: Vec<Condition>,
    /// Ids of the checks that verify it.
    pub checks: Vec<String>,
    /// The key of `claims` in meshproof.yaml that stands for it.
    pub short: Option<String>,
    /// Keys of ConfigMap `cilium-config` that it decides.
    pub config_keys: Vec<&'static str>,
    /// The chart's default, as JSON would print it.
    pub default: String,
}

/// The table.
#[derive(Clone, Debug)]
pub struct Table {
    rows: Vec<Row>,
}

impl Table {
    /// Reads the table.
    ///
    /// # Panics
    /// The data file is not of its format; tests read it.
    pub fn new(chart: &Chart, prediction: &Prediction) -> Self {
        let data = data(CLAIMS);
        let rows = data.items().iter().map(|row| {
            let text = |key: &str| row.get(key).and_then(Node::scalar);
            let texts = |key: &str| row.items_at(&[key]).iter().filter_map(Node::scalar).collect();
            let value = text("value").expect("a row names its value");
            Row {
                about: text("about").expect("a row says what is claimed"),
                agent: text("agent"),
                objects: texts("objects"),
                needs: Condition::parse_all(&text("needs").unwrap_or_default()),
                checks: texts("checks"),
                short: text("short"),
                config_keys: prediction.keys_of(&value),
                default: chart.default_of(&value).map_or_else(|| "unset".to_owned(), shown),
                value,
            }
        });
        Self { rows: rows.collect() }
    }

    /// All rows, in the order of the file.
    pub fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// The row of a value.
    pub fn row(&self, path: &str) -> Option<&Row> {
        self.rows.iter().find(|row| row.value == path)
    }

    /// The rows whose value, or whose short name, contains a text; one that is equal comes alone.
    pub fn matching(&self, wanted: &str) -> Vec<&Row> {
        let exact = self.rows.iter().filter(|row| row.value == wanted);
        let exact: Vec<_> = exact.collect();
        if !exact.is_empty() {
            return exact;
        }
        let matches = |row: &&Row| row.value.contains(wanted) || row.short.as_deref() == Some(wanted);
        self.rows.iter().filter(matches).collect()
    }
}

/// A data file of this crate.
pub(crate) fn data(text: &str) -> Node {
    let read = read(text, FileId::default(), 1, &mut Vec::new());
    read.expect("the data files are YAML")
        .expect("the data files are not empty")
}

/// A value that may be shown: a scalar, or a list of scalars. Of anything else only its size is.
pub fn shown(node: &Node) -> String {
    if node.is_opaque() {
        return "(not known before it is rendered or decrypted)".to_owned();
    }
    if let Some(text) = node.scalar() {
        return if text.is_empty() { "\"\"".to_owned() } else { text };
    }
    let items = node.items();
    if node.is_null() {
        "null".to_owned()
    } else if !node.entries().is_empty() {
        "{...}".to_owned()
    } else if items.iter().all(|item| item.scalar().is_some() && !item.is_opaque()) {
        let items: Vec<_> = items.iter().filter_map(Node::scalar).collect();
        format!("[{}]", items.join(", "))
    } else {
        format!("({} items)", items.len())
    }
}
