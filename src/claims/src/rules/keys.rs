//! Values that the chart does not know, or that are of another type than it expects.

use super::Context;
use crate::{
    chart::{CHART_VERSION, Known, Shape},
    finding::{Findings, Rule, Severity},
    layout::{Layout, Pin},
    values::{Leaf, leaves},
    yaml::{Node, Value},
};

/// A file that is not YAML.
pub const MALFORMED: Rule = Rule {
    id: "malformed",
    severity: Severity::Error,
    finds: "A file is not YAML.",
    reason: "Nothing in it reaches a cluster. The other files are checked all the same.",
};

/// A key twice.
pub const DUPLICATE_KEY: Rule = Rule {
    id: "duplicate-key",
    severity: Severity::Warning,
    finds: "A mapping has the same key twice.",
    reason: "Helm takes the last one and says nothing; Kustomize refuses the file.",
};

/// A value that the chart does not know.
pub const UNKNOWN_KEY: Rule = Rule {
    id: "unknown-key",
    severity: Severity::Warning,
    finds: "A value is no key of Cilium's chart.",
    reason: "The chart's schema forbids no unknown keys: a misspelt or removed value renders silently (E3).",
};

/// A value of another type.
pub const WRONG_TYPE: Rule = Rule {
    id: "wrong-type",
    severity: Severity::Error,
    finds: "A value is of another type than the chart expects.",
    reason: "Helm refuses it by the chart's schema, or takes any text for true, \"false\" included.",
};

/// Keys that are no values: SOPS' own, and those of YAML anchors.
const NOT_VALUES: &[&str] = &["sops"];

pub(super) fn check(context: &Context<'_>, out: &mut Findings) {
    for malformed in &context.sources.malformed {
        let what = format!("column {}: not YAML: {}", malformed.place.column, malformed.reason);
        out.add(&MALFORMED, malformed.place, what);
    }
    for duplicate in &context.sources.duplicates {
        let what = format!(
            "{} stands here a second time: the first one has no effect",
            duplicate.key
        );
        out.add(&DUPLICATE_KEY, duplicate.place, what);
    }
    for cluster in &context.layout.clusters {
        let is_known_chart = has_known_chart(&context.layout.pins, &cluster.role);
        for set in &cluster.sets {
            for leaf in leaves(&set.values) {
                if leaf
                    .keys
                    .first()
                    .is_some_and(|key| NOT_VALUES.contains(key) || key.starts_with("x-"))
                {
                    continue;
                }
                match context.chart.know(&leaf.keys) {
                    Known::Unknown if is_known_chart => unknown(context, &leaf, out),
                    Known::Value(shape) => typed(&leaf, shape, out),
                    Known::Branch => branch(&leaf, out),
                    Known::Below | Known::Unknown => {}
                }
            }
        }
    }
}

/// Whether the tables of keys are those of a chart that the cluster's pins allow.
pub(crate) fn has_known_chart(pins: &[Pin], role: &str) -> bool {
    let mut ranges = pins
        .iter()
        .filter(|pin| Layout::concerns(&pin.roles, role))
        .filter_map(|pin| pin.range.as_ref())
        .peekable();
    ranges.peek().is_none() || ranges.any(|range| range.allows_minor(1, 18))
}

fn unknown(context: &Context<'_>, leaf: &Leaf<'_>, out: &mut Findings) {
    // The shortest part of the path that the chart does not know is what is wrong.
    let wrong = (1..=leaf.keys.len()).find(|length| context.chart.know(&leaf.keys[..*length]) == Known::Unknown);
    let path = leaf.keys[..wrong.unwrap_or(leaf.keys.len())].join(".");
    let meant = context
        .chart
        .suggestion(&path)
        .map(|meant| format!("; did you mean {meant}?"))
        .unwrap_or_default();
    let what = format!("{path} is no key of chart {CHART_VERSION}: Helm ignores it{meant}");
    out.add(&UNKNOWN_KEY, leaf.place, what);
}

fn typed(leaf: &Leaf<'_>, shape: Shape, out: &mut Findings) {
    let node = leaf.node;
    if node.is_opaque() || node.is_null() {
        return;
    }
    let expected = match (shape, &node.value) {
        (Shape::Bool, Value::Bool(_))
        | (Shape::Number, Value::Int(_) | Value::Float(_))
        | (Shape::List, Value::List(_))
        | (Shape::Open, Value::Map(_))
        | (Shape::Any, _) => return,
        (Shape::Text, Value::Bool(_) | Value::Int(_) | Value::Float(_) | Value::Text(_)) => return,
        (Shape::Bool, _) => "a boolean",
        (Shape::Number, _) => "a number",
        (Shape::List, _) => "a list",
        (Shape::Open, _) => "a map",
        (Shape::Text, _) => "text",
    };
    let quoted = match (&node.value, shape) {
        (Value::Text(text), Shape::Bool) if !text.is_empty() => ", and Helm takes any text for true",
        _ => "",
    };
    out.add(
        &WRONG_TYPE,
        leaf.place,
        format!(
            "{} is {}; the chart expects {expected}{quoted}",
            leaf.path(),
            node.kind()
        ),
    );
}

/// A scalar or list where the chart has keys of its own.
fn branch(leaf: &Leaf<'_>, out: &mut Findings) {
    let is_map = matches!(leaf.node.value, Value::Map(_));
    if !is_map && !leaf.node.is_null() && !Node::is_opaque(leaf.node) {
        let what = format!(
            "{} is {}; the chart expects a map with keys",
            leaf.path(),
            leaf.node.kind()
        );
        out.add(&WRONG_TYPE, leaf.place, what);
    }
}
