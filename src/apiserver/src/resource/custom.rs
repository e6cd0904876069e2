//! From a CustomResourceDefinition object to a [`ResourceDef`].

use super::{PrinterColumn, ResourceDef, ScalePaths, Scope, StrategicMerge, Subresource, Verbs};
use crate::object::text;
use serde_json::Value;
use std::borrow::Cow;

/// Reads a (validated) CustomResourceDefinition; none when it serves no version.
pub(crate) fn definition_of(crd: &Value) -> Option<ResourceDef> {
    let spec = &crd["spec"];
    let names = &spec["names"];
    let versions = spec["versions"].as_array()?;
    let stored = versions.iter().find(|v| v["storage"] == true).or(versions.first())?;
    let mut served: Vec<&Value> = versions.iter().filter(|v| v["served"] != false).collect();
    served.sort_by_key(|v| std::cmp::Reverse(priority(text(&v["name"]))));
    let shown = served.iter().find(|v| v["name"] == stored["name"]).or(served.first())?;

    let mut subresources = Vec::new();
    if shown["subresources"]["status"].is_object() {
        subresources.push(Subresource::Status);
    }
    let scale = shown["subresources"]["scale"].as_object().map(|s| ScalePaths {
        spec_replicas: pointer(s.get("specReplicasPath")),
        status_replicas: pointer(s.get("statusReplicasPath")),
        selector: s.get("labelSelectorPath").map(|p| pointer(Some(p))),
    });
    if scale.is_some() {
        subresources.push(Subresource::Scale);
    }
    Some(ResourceDef {
        group: owned(&spec["group"]),
        version: owned(&stored["name"]),
        served: served.iter().map(|v| owned(&v["name"])).collect(),
        kind: owned(&names["kind"]),
        plural: owned(&names["plural"]),
        singular: match text(&names["singular"]) {
            "" => Cow::Owned(text(&names["kind"]).to_lowercase()),
            singular => Cow::Owned(singular.to_owned()),
        },
        short_names: all(&names["shortNames"]),
        categories: all(&names["categories"]),
        scope: if spec["scope"] == "Cluster" {
            Scope::Cluster
        } else {
            Scope::Namespaced
        },
        verbs: Verbs::Stored,
        subresources,
        printer_columns: columns(&shown["additionalPrinterColumns"]),
        strategic_merge: StrategicMerge::Unsupported,
        generation: true,
        scale,
        schema: Some(std::sync::Arc::new(shown["schema"]["openAPIV3Schema"].clone())),
    })
}

/// Versions in the order of Kubernetes: v2 before v1 before v1beta1 before v1alpha1.
pub(crate) fn priority(version: &str) -> (u8, u32, u32) {
    let Some(rest) = version.strip_prefix('v') else {
        return (0, 0, 0);
    };
    let split = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    let Ok(major) = rest[..split].parse() else {
        return (0, 0, 0);
    };
    match &rest[split..] {
        "" => (3, major, 0),
        tail if tail.starts_with("beta") => (2, major, tail[4..].parse().unwrap_or_default()),
        tail if tail.starts_with("alpha") => (1, major, tail[5..].parse().unwrap_or_default()),
        _ => (0, 0, 0),
    }
}

fn columns(list: &Value) -> Vec<PrinterColumn> {
    let column = |c: &Value| PrinterColumn {
        name: text(&c["name"]).to_owned(),
        kind: text(&c["type"]).to_owned(),
        format: text(&c["format"]).to_owned(),
        description: text(&c["description"]).to_owned(),
        priority: c["priority"]
            .as_i64()
            .and_then(|p| i32::try_from(p).ok())
            .unwrap_or_default(),
        json_path: text(&c["jsonPath"]).to_owned(),
    };
    list.as_array().into_iter().flatten().map(column).collect()
}

fn pointer(path: Option<&Value>) -> String {
    path.and_then(Value::as_str).unwrap_or_default().replace('.', "/")
}

fn owned(value: &Value) -> Cow<'static, str> {
    Cow::Owned(text(value).to_owned())
}

fn all(list: &Value) -> Vec<Cow<'static, str>> {
    list.as_array().into_iter().flatten().map(owned).collect()
}

#[cfg(test)]
mod tests {
    use super::{definition_of, priority};
    use serde_json::json;

    #[test]
    fn versions_are_ordered_by_stability() {
        let mut versions = vec!["v1alpha1", "v1", "v2beta1", "v2", "v1beta2"];
        versions.sort_by_key(|v| std::cmp::Reverse(priority(v)));
        assert_eq!(versions, ["v2", "v1", "v2beta1", "v1beta2", "v1alpha1"]);
    }

    #[test]
    fn a_definition_serves_every_served_version() {
        let def = definition_of(&json!({"spec": {
            "group": "example.io", "scope": "Cluster",
            "names": {"kind": "Widget", "plural": "widgets", "shortNames": ["wd"]},
            "versions": [
                {"name": "v1alpha1", "served": true, "storage": false},
                {"name": "v1", "served": true, "storage": true, "subresources": {"status": {}},
                 "additionalPrinterColumns": [{"name": "Size", "type": "integer", "jsonPath": ".spec.size"}]},
                {"name": "v0", "served": false, "storage": false},
            ],
        }}))
        .expect("the definition serves a version");
        assert_eq!(def.served, ["v1", "v1alpha1"]);
        assert_eq!(def.version, "v1");
        assert!(!def.is_namespaced());
        assert_eq!(def.printer_columns[0].json_path, ".spec.size");
    }
}
