//! Label selectors over security labels, with Cilium's label sources: `app` and `any:app` match a label of any source,
//! `k8s:app` and `reserved:host` only of theirs.

use crate::identity::SecurityLabels;
use serde_json::Value;
use std::collections::BTreeMap;

/// The label that holds a pod's namespace.
pub(crate) const NAMESPACE: &str = "io.kubernetes.pod.namespace";
/// What the labels of a pod's namespace begin with.
pub(crate) const NAMESPACE_LABELS: &str = "io.cilium.k8s.namespace.labels.";
/// The label that holds a pod's cluster.
pub(crate) const CLUSTER: &str = "io.cilium.k8s.policy.cluster";

/// All requirements must hold; an empty selector selects everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Selector(pub Vec<Requirement>);

/// What must hold for one label.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Requirement {
    /// The label's source; none for any.
    pub source: Option<String>,
    /// The label's name.
    pub key: String,
    /// What must hold.
    pub operator: Operator,
}

/// The operators of `matchExpressions`; `matchLabels` is `In` with one value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Operator {
    In(Vec<String>),
    NotIn(Vec<String>),
    Exists,
    DoesNotExist,
}

impl Selector {
    /// Reads a LabelSelector.
    ///
    /// # Errors
    /// In words, when it makes no sense.
    pub(crate) fn parse(value: &Value) -> Result<Self, String> {
        let mut found = Vec::new();
        for (key, value) in value["matchLabels"].as_object().into_iter().flatten() {
            let value = value
                .as_str()
                .ok_or_else(|| format!("label {key} has no text for a value"))?;
            found.push(Requirement::new(key, Operator::In(vec![value.to_owned()])));
        }
        for expression in value["matchExpressions"].as_array().into_iter().flatten() {
            let key = expression["key"].as_str().filter(|key| !key.is_empty());
            let key = key.ok_or("a match expression needs a key")?;
            let values: Vec<String> = expression["values"]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(|value| value.as_str().map(str::to_owned))
                .collect();
            let operator = match (expression["operator"].as_str().unwrap_or_default(), values.is_empty()) {
                ("In", false) => Operator::In(values),
                ("NotIn", false) => Operator::NotIn(values),
                ("Exists", true) => Operator::Exists,
                ("DoesNotExist", true) => Operator::DoesNotExist,
                ("In" | "NotIn", true) => {
                    return Err(format!(
                        "values of {key}: must be specified when `operator` is 'In' or 'NotIn'"
                    ));
                }
                ("Exists" | "DoesNotExist", false) => {
                    return Err(format!(
                        "values of {key}: may not be specified when `operator` is 'Exists' or 'DoesNotExist'"
                    ));
                }
                (other, _) => {
                    return Err(format!(
                        "operator of {key}: not a valid label selector operator: {other:?}"
                    ));
                }
            };
            found.push(Requirement::new(key, operator));
        }
        Ok(Self(found))
    }

    /// Whether labels meet every requirement.
    pub(crate) fn matches(&self, labels: &SecurityLabels) -> bool {
        self.0.iter().all(|requirement| requirement.holds(labels))
    }

    /// Whether some requirement speaks of this label, of any source or of Kubernetes'.
    pub(crate) fn mentions(&self, key: &str) -> bool {
        self.kubernetes().any(|requirement| requirement.key == key)
    }

    /// Whether some requirement speaks of a label that begins so.
    pub(crate) fn mentions_prefix(&self, prefix: &str) -> bool {
        self.kubernetes().any(|requirement| requirement.key.starts_with(prefix))
    }

    /// Whether some requirement speaks of reserved labels.
    pub(crate) fn mentions_reserved(&self) -> bool {
        self.0
            .iter()
            .any(|requirement| requirement.source.as_deref() == Some("reserved"))
    }

    /// With one more requirement on a label of Kubernetes.
    pub(crate) fn and(mut self, key: &str, operator: Operator) -> Self {
        self.0.push(Requirement::new(&format!("k8s:{key}"), operator));
        self
    }

    /// As `policy get` prints it.
    pub(crate) fn shown(&self) -> Value {
        let mut labels = BTreeMap::new();
        let mut expressions = Vec::new();
        for requirement in &self.0 {
            let key = format!("{}:{}", requirement.source.as_deref().unwrap_or("any"), requirement.key);
            match &requirement.operator {
                Operator::In(values) if values.len() == 1 => {
                    labels.insert(key, values[0].clone());
                }
                operator => expressions.push(operator.shown(&key)),
            }
        }
        let mut shown = serde_json::json!({});
        if !labels.is_empty() {
            shown["matchLabels"] = serde_json::json!(labels);
        }
        if !expressions.is_empty() {
            shown["matchExpressions"] = Value::Array(expressions);
        }
        shown
    }

    fn kubernetes(&self) -> impl Iterator<Item = &Requirement> {
        self.0
            .iter()
            .filter(|requirement| matches!(requirement.source.as_deref(), None | Some("k8s")))
    }
}

impl Operator {
    fn shown(&self, key: &str) -> Value {
        let (name, values) = match self {
            Operator::In(values) => ("In", Some(values)),
            Operator::NotIn(values) => ("NotIn", Some(values)),
            Operator::Exists => ("Exists", None),
            Operator::DoesNotExist => ("DoesNotExist", None),
        };
        match values {
            Some(values) => serde_json::json!({"key": key, "operator": name, "values": values}),
            None => serde_json::json!({"key": key, "operator": name}),
        }
    }
}

impl Requirement {
    fn new(key: &str, operator: Operator) -> Self {
        let (source, key) = match key.split_once(':') {
            Some(("any", key)) => (None, key),
            Some((source, key)) => (Some(source.to_owned()), key),
            None => (None, key),
        };
        Self {
            source,
            key: key.to_owned(),
            operator,
        }
    }

    /// Whether it asks for one value, as `matchLabels` does.
    pub(crate) fn has_one_value(&self) -> bool {
        matches!(&self.operator, Operator::In(values) if values.len() == 1)
    }

    fn holds(&self, labels: &SecurityLabels) -> bool {
        let value = match &self.source {
            Some(source) => labels.get(&format!("{source}:{}", self.key)),
            None => ["k8s", "reserved"]
                .iter()
                .find_map(|source| labels.get(&format!("{source}:{}", self.key))),
        };
        match &self.operator {
            Operator::In(values) => value.is_some_and(|value| values.contains(value)),
            // As Kubernetes has it: an absent label is in no set.
            Operator::NotIn(values) => value.is_none_or(|value| !values.contains(value)),
            Operator::Exists => value.is_some(),
            Operator::DoesNotExist => value.is_none(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn labels() -> SecurityLabels {
        [
            ("k8s:app", "echo"),
            ("k8s:tier", "back"),
            (&format!("k8s:{NAMESPACE}"), "demo"),
        ]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into()
    }

    #[test]
    fn requirements_hold_together_and_absent_labels_are_in_no_set() {
        let is = |selector: Value| Selector::parse(&selector).unwrap().matches(&labels());
        assert!(is(json!({})));
        assert!(is(
            json!({"matchLabels": {"app": "echo", "k8s:io.kubernetes.pod.namespace": "demo"}})
        ));
        assert!(!is(json!({"matchLabels": {"app": "echo", "tier": "front"}})));
        assert!(!is(json!({"matchLabels": {"reserved:host": ""}})));
        let expression = |key: &str, operator: &str, values: &[&str]| {
            is(json!({"matchExpressions": [{"key": key, "operator": operator, "values": values}]}))
        };
        assert!(expression("tier", "In", &["back", "front"]));
        assert!(!expression("tier", "NotIn", &["back"]));
        assert!(expression("zone", "NotIn", &["back"]));
        assert!(expression("zone", "DoesNotExist", &[]));
        assert!(!expression("zone", "Exists", &[]));
        let senseless = json!({"matchExpressions": [{"key": "tier", "operator": "In"}]});
        assert!(Selector::parse(&senseless).is_err());
    }
}
