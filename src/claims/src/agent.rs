//! Where a running agent shows what it took from `cilium-config`: in `cilium-dbg config --all` by the names of its
//! source, or in `cilium-dbg status` (Cilium 1.18; semantics E1). Data, in `data/agent-1.18.tsv`.

use serde_json::Value;
use std::sync::LazyLock;

const ROWS: &str = include_str!("../data/agent-1.18.tsv");

/// What an agent is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Question {
    /// `cilium-dbg config --all -o json`.
    Configuration,
    /// `cilium-dbg status -o json`.
    Status,
}

impl Question {
    /// The command that shows it.
    pub fn command(self) -> &'static str {
        match self {
            Question::Configuration => "cilium-dbg config --all",
            Question::Status => "cilium-dbg status",
        }
    }
}

/// One place where an agent shows a key.
#[derive(Debug)]
pub struct Shown {
    /// The key of `cilium-config`.
    pub key: &'static str,
    /// What it means that the key is absent.
    pub absent: &'static str,
    /// What to ask.
    pub question: Question,
    /// The field, with dots.
    pub field: &'static str,
    /// Words of the configuration with those that agents print for them, where they are not the same.
    words: Vec<(&'static str, Vec<&'static str>)>,
}

/// Every place.
pub fn table() -> &'static [Shown] {
    static TABLE: LazyLock<Vec<Shown>> = LazyLock::new(|| ROWS.lines().skip(1).filter_map(row).collect());
    &TABLE
}

/// The places that show a key.
pub fn of_key(key: &str) -> impl Iterator<Item = &'static Shown> + '_ {
    table().iter().filter(move |shown| shown.key == key)
}

fn row(line: &'static str) -> Option<Shown> {
    let mut cells = line.split('\t');
    let (key, absent) = (cells.next()?, cells.next()?);
    let (question, field) = cells.next()?.split_once(": ")?;
    let pairs = cells.next().unwrap_or_default().split(", ");
    Some(Shown {
        key,
        absent,
        question: match question {
            "status" => Question::Status,
            _ => Question::Configuration,
        },
        field,
        words: pairs
            .filter_map(|pair| pair.split_once('='))
            .map(|(word, printed)| (word, printed.split('|').collect()))
            .collect(),
    })
}

impl Shown {
    /// What an agent's answer has here; none where this agent does not show it.
    pub fn read(&self, answer: &Value) -> Option<String> {
        let found = self.field.split('.').try_fold(answer, |value, name| value.get(name))?;
        match found {
            Value::String(text) => Some(text.clone()),
            Value::Bool(_) | Value::Number(_) => Some(found.to_string()),
            _ => None,
        }
    }

    /// Whether that is what an agent prints that took this text from its configuration; none where it cannot be told.
    pub fn agrees(&self, configured: Option<&str>, printed: &str) -> Option<bool> {
        let configured = configured.unwrap_or(self.absent);
        if configured.is_empty() {
            return None;
        }
        let known = self.words.iter().find(|(word, _)| *word == configured);
        Some(match known {
            Some((_, words)) => words.iter().any(|word| word.eq_ignore_ascii_case(printed)),
            None => plain(configured).eq_ignore_ascii_case(plain(printed)),
        })
    }
}

/// `Enabled` as `true`.
fn plain(text: &str) -> &str {
    match text.to_ascii_lowercase().as_str() {
        "enabled" => "true",
        "disabled" => "false",
        _ => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn every_row_is_read_and_the_rows_are_sorted() {
        assert_eq!(table().len(), ROWS.lines().count() - 1);
        assert!(table().is_sorted_by_key(|shown| (shown.key, shown.field.contains('.'))));
    }

    #[test]
    fn words_agree_by_the_table_or_by_themselves() {
        let agrees = |key: &str, configured: Option<&str>, printed: &str| {
            of_key(key).last().expect("a row").agrees(configured, printed)
        };
        assert_eq!(agrees("bpf-lb-mode", None, "SNAT"), Some(true));
        assert_eq!(agrees("bpf-lb-mode", Some("dsr"), "SNAT"), Some(false));
        assert_eq!(agrees("bpf-lb-acceleration", Some("disabled"), "Disabled"), Some(true));
        assert_eq!(agrees("encrypt-node", Some("true"), "OptedOut"), Some(true));
        assert_eq!(agrees("encrypt-node", None, "Enabled"), Some(false));
        assert_eq!(agrees("enable-wireguard", Some("true"), "Wireguard"), Some(true));
        assert_eq!(agrees("policy-audit-mode", Some("true"), "Enabled"), Some(true));
        assert_eq!(agrees("ipv4-native-routing-cidr", None, "10.0.0.0/24"), None);
    }

    #[test]
    fn a_field_is_read_below_its_parents() {
        let status = json!({"encryption": {"mode": "Wireguard"}, "proxy": null});
        let read = |key: &str| of_key(key).last().expect("a row").read(&status);
        assert_eq!(read("enable-wireguard").as_deref(), Some("Wireguard"));
        assert_eq!(read("external-envoy-proxy"), None);
    }
}
