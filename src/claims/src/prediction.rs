//! What the chart makes of values in ConfigMap `cilium-config`, key by key (chart 1.18.3). The table's rows of one key
//! are tried in order; the first whose conditions hold decides.

use crate::{
    condition::{Condition, all_hold},
    values::Values,
};

const ROWS: &str = include_str!("../data/config-1.18.3.tsv");

/// What is predicted of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Predicted {
    /// The key is there with this text.
    Is(String),
    /// The key is not there.
    Absent,
    /// The values do not say (encrypted, rendered elsewhere, or a structure that the table does not print).
    Unknown,
}

#[derive(Debug)]
struct Row {
    key: &'static str,
    template: &'static str,
    when: Vec<Condition>,
}

/// The table.
#[derive(Debug)]
pub struct Prediction {
    rows: Vec<Row>,
}

impl Prediction {
    /// Reads the table.
    pub fn new() -> Self {
        let rows = ROWS.lines().skip(1).map(|line| {
            let mut cells = line.split('\t');
            let mut cell = || cells.next().unwrap_or_default();
            Row {
                key: cell(),
                template: cell(),
                when: Condition::parse_all(cell()),
            }
        });
        Self { rows: rows.collect() }
    }

    /// Every key of the table, each once.
    pub fn keys(&self) -> impl Iterator<Item = &'static str> + '_ {
        let mut last = "";
        self.rows
            .iter()
            .map(|row| row.key)
            .filter(move |key| std::mem::replace(&mut last, key) != *key)
    }

    /// A key with its text, none where it is left out, as far as that is predicted.
    pub fn entry(&self, key: &str, values: &Values<'_>) -> Option<(String, Option<String>)> {
        let text = match self.predict(key, values) {
            Predicted::Is(text) => Some(text),
            Predicted::Absent => None,
            Predicted::Unknown => return None,
        };
        Some((key.to_owned(), text))
    }

    /// What the values make of a key; [`Predicted::Unknown`] too for a key that the table does not have.
    pub fn predict(&self, key: &str, values: &Values<'_>) -> Predicted {
        let mut rows = self.rows.iter().filter(|row| row.key == key).peekable();
        if rows.peek().is_none() {
            return Predicted::Unknown;
        }
        for row in rows {
            match all_hold(&row.when, values) {
                Some(true) => return fill(row.template, values).map_or(Predicted::Unknown, Predicted::Is),
                None => return Predicted::Unknown,
                Some(false) => {}
            }
        }
        Predicted::Absent
    }

    /// The keys that a value decides.
    pub fn keys_of(&self, path: &str) -> Vec<&'static str> {
        let hole = format!("{{{path}}}");
        let rows = self.rows.iter();
        let mut keys: Vec<_> = rows
            .filter(|row| row.template.contains(&hole) || row.when.iter().any(|when| when.path() == path))
            .map(|row| row.key)
            .collect();
        keys.dedup();
        keys
    }
}

impl Default for Prediction {
    fn default() -> Self {
        Self::new()
    }
}

/// The template with its `{path}`s filled in.
fn fill(template: &str, values: &Values<'_>) -> Option<String> {
    if template == "?" {
        return None;
    }
    let mut out = String::new();
    let mut rest = template;
    while let Some((before, after)) = rest.split_once('{') {
        let (path, after) = after.split_once('}')?;
        out.push_str(before);
        out.push_str(&values.text(path)?);
        rest = after;
    }
    out.push_str(rest);
    Some(out)
}
