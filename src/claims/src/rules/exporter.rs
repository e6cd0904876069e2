//! Files that Hubble writes flows to.

use super::Context;
use crate::{
    finding::{Findings, Rule, Severity},
    values::Values,
    yaml::Node,
};

/// A list that Hubble refuses.
pub const EXPORTER_REFUSED: Rule = Rule {
    id: "hubble-exporter",
    severity: Severity::Error,
    finds: "An entry of hubble.export.dynamic.config.content is not one that Hubble knows.",
    reason: "Unknown fields are ignored; an entry without name or filePath makes Hubble refuse the whole list, and \
             nothing is exported. Exporters write files: there is no other type (E5).",
};

/// A ConfigMap of the operators that does not exist.
pub const EXPORTER_CONFIG_MAP: Rule = Rule {
    id: "hubble-exporter-config-map",
    severity: Severity::Warning,
    finds: "hubble.export.dynamic.config.configMapName names a ConfigMap that the repository does not have.",
    reason: "The chart makes a ConfigMap of this name from `content`, unless createConfigMap is off: then agents wait \
             for it and do not start.",
};

/// Fields of an entry (`pkg/hubble/exporter/config.go`).
const FIELDS: &[&str] = &[
    "name",
    "filePath",
    "fieldMask",
    "includeFilters",
    "excludeFilters",
    "fileMaxSizeMb",
    "fileMaxBackups",
    "fileCompress",
    "end",
];
const CONTENT: &str = "hubble.export.dynamic.config.content";
const CONFIG_MAP: &str = "hubble.export.dynamic.config.configMapName";

pub(super) fn check(context: &Context<'_>, out: &mut Findings) {
    for cluster in &context.layout.clusters {
        for set in &cluster.sets {
            let values = Values {
                chart: context.chart,
                given: &set.values,
            };
            if values.is_on("hubble.export.dynamic.enabled") {
                content(&values, out);
                config_map(context, &values, out);
            }
        }
    }
}

fn content(values: &Values<'_>, out: &mut Findings) {
    let mut seen: Vec<(&str, String)> = Vec::new();
    for (number, item) in values.get(CONTENT).map_or(&[][..], Node::items).iter().enumerate() {
        if item.is_opaque() {
            continue;
        }
        let mut wrong = Vec::new();
        for entry in item
            .entries()
            .iter()
            .filter(|entry| !FIELDS.contains(&entry.key.as_str()))
        {
            wrong.push(format!("{} is no field", entry.key));
        }
        for field in ["name", "filePath"] {
            match item.get(field).and_then(Node::scalar) {
                None => wrong.push(format!("{field} is missing")),
                Some(value) if seen.contains(&(field, value.clone())) => {
                    wrong.push(format!("{field} is that of another entry"));
                }
                Some(value) => seen.push((field, value)),
            }
        }
        let is_refused = wrong
            .iter()
            .any(|wrong| wrong.contains("missing") || wrong.contains("another"));
        let effect = if is_refused {
            "Hubble refuses the list and exports nothing"
        } else {
            "Hubble ignores it"
        };
        if !wrong.is_empty() {
            let what = format!("{CONTENT}[{number}]: {}: {effect}", wrong.join(", "));
            out.add(&EXPORTER_REFUSED, item.place, what);
        }
    }
}

fn config_map(context: &Context<'_>, values: &Values<'_>, out: &mut Findings) {
    let Some(name) = values.get(CONFIG_MAP).and_then(Node::text) else {
        return;
    };
    let is_default = context.chart.default_of(CONFIG_MAP).and_then(Node::text) == Some(name);
    let mut made = context.of_kind("Kustomization").flat_map(|kustomization| {
        let generators = kustomization.node.items_at(&["configMapGenerator"]).iter();
        generators.filter_map(|generator| generator.text_at(&["name"]))
    });
    let exists = made.any(|made| made == name) || context.of_kind("ConfigMap").any(|map| map.name == name);
    if is_default || exists || name.contains("{{") {
        return;
    }
    let is_created = values.is_on("hubble.export.dynamic.config.createConfigMap");
    let effect = if is_created {
        "the chart makes one from hubble.export.dynamic.config.content"
    } else {
        "agents wait for it and do not start"
    };
    let what = format!("no ConfigMap {name} is in the repository: {effect}");
    out.add(&EXPORTER_CONFIG_MAP, values.place(CONFIG_MAP), what);
}
