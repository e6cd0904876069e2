//! Label selectors of policies against the labels that Cilium gives a pod. Pure.

use serde_json::Value;
use std::collections::BTreeMap;

/// Labels without their source (`k8s:`, `any:`).
pub(crate) type Labels = BTreeMap<String, String>;

/// Label of a pod's namespace in Cilium's identities.
pub(crate) const NAMESPACE: &str = "io.kubernetes.pod.namespace";
/// Prefix of the labels of a pod's namespace in Cilium's identities.
pub(crate) const NAMESPACE_LABELS: &str = "io.cilium.k8s.namespace.labels.";

/// Whether a selector, empty or absent for everything, matches.
pub(super) fn matches(selector: &Value, labels: &Labels) -> bool {
    let pairs = selector["matchLabels"].as_object().into_iter().flatten();
    let expressions = selector["matchExpressions"].as_array().into_iter().flatten();
    let value = |key: &str| labels.get(bare(key)).map(String::as_str);
    pairs.into_iter().all(|(key, wanted)| value(key) == wanted.as_str())
        && expressions.into_iter().all(|expression| {
            let found = value(expression["key"].as_str().unwrap_or_default());
            let values = expression["values"].as_array().into_iter().flatten();
            let listed = values
                .into_iter()
                .any(|wanted| found.is_some() && wanted.as_str() == found);
            match expression["operator"].as_str().unwrap_or_default() {
                "In" => listed,
                "NotIn" => !listed,
                "Exists" => found.is_some(),
                "DoesNotExist" => found.is_none(),
                _ => false,
            }
        })
}

/// The key without its source; `reserved:` is kept, which no pod has.
fn bare(key: &str) -> &str {
    key.strip_prefix("k8s:")
        .or_else(|| key.strip_prefix("any:"))
        .unwrap_or(key)
}
