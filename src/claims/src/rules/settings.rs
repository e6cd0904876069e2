//! Rules about the values of one cluster that are data: `data/settings.yaml`.

use super::Context;
use crate::{
    condition::{Condition, all_hold},
    finding::{Findings, Severity},
    table::data,
    values::Values,
    yaml::Node,
};

const SETTINGS: &str = include_str!("../../data/settings.yaml");

/// One rule of the data file.
#[derive(Clone, Debug)]
pub struct Setting {
    /// Its name.
    pub id: String,
    /// How bad what it finds is.
    pub severity: Severity,
    /// The value whose line is named.
    pub at: String,
    /// Any of these is what it finds.
    pub when: Vec<Vec<Condition>>,
    /// What it says.
    pub what: String,
    /// Why.
    pub reason: String,
    /// Values that it is about.
    pub breaks: Node,
    /// Values that it is content with.
    pub holds: Node,
}

/// The rules of the data file.
///
/// # Panics
/// The data file is not of its format; tests read it.
pub fn settings() -> Vec<Setting> {
    let data = data(SETTINGS);
    let all = data.items().iter().map(|rule| {
        let text = |key: &str| {
            rule.get(key)
                .and_then(Node::scalar)
                .unwrap_or_else(|| panic!("{key} of a rule"))
        };
        let when = rule.get("when").expect("a condition");
        let when = match when.text() {
            Some(one) => vec![Condition::parse_all(one)],
            None => when
                .items()
                .iter()
                .filter_map(Node::text)
                .map(Condition::parse_all)
                .collect(),
        };
        Setting {
            id: text("id"),
            severity: if text("severity") == "error" {
                Severity::Error
            } else {
                Severity::Warning
            },
            at: text("at"),
            when,
            what: text("what"),
            reason: text("reason"),
            breaks: rule.get("breaks").expect("values that break it").clone(),
            holds: rule.get("holds").expect("values that hold it").clone(),
        }
    });
    all.collect()
}

pub(super) fn check(context: &Context<'_>, out: &mut Findings) {
    let settings = settings();
    for cluster in &context.layout.clusters {
        for set in cluster.sets.iter().filter(|set| set.is_complete) {
            let values = Values {
                chart: context.chart,
                given: &set.values,
            };
            for setting in &settings {
                let is_found = setting.when.iter().any(|when| all_hold(when, &values) == Some(true));
                if is_found {
                    let what = filled(&setting.what, &values);
                    out.push(&setting.id, setting.severity, values.place(&setting.at), what);
                }
            }
        }
    }
}

/// The text with `{path}` replaced by the value.
fn filled(text: &str, values: &Values<'_>) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('{') {
        let Some((path, after)) = after.split_once('}') else {
            break;
        };
        out.push_str(before);
        out.push_str(&values.text(path).unwrap_or_default());
        rest = after;
    }
    out.push_str(rest);
    out
}
