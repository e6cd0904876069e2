//! Whether a pod may run on a node: selectors, affinity, taints. Pure functions of both objects; the rules are those of
//! the scheduler's filters of the same names.

use meshproof_apiserver::{LabelSelector, Object};
use serde_json::Value;

/// Why a node is not fit for a pod, in the scheduler's words.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Refusal {
    /// `spec.nodeSelector` or required node affinity.
    Affinity,
    /// Cordoned.
    Unschedulable,
    /// A taint that the pod does not tolerate.
    Taint(String),
    /// Required pod anti-affinity.
    AntiAffinity,
    /// No more pods fit.
    TooManyPods,
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Affinity => f.write_str("node(s) didn't match Pod's node affinity/selector"),
            Self::Unschedulable => f.write_str("node(s) were unschedulable"),
            Self::Taint(taint) => write!(f, "node(s) had untolerated taint {{{taint}}}"),
            Self::AntiAffinity => f.write_str("node(s) didn't match pod anti-affinity rules"),
            Self::TooManyPods => f.write_str("Too many pods"),
        }
    }
}

/// Whether selector and affinity want this node.
pub(super) fn wants(spec: &Value, node: &Object) -> bool {
    let selector = spec["nodeSelector"].as_object();
    let selected =
        selector.is_none_or(|selector| selector.iter().all(|(key, value)| node.label(key) == value.as_str()));
    let terms =
        &spec["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"];
    selected
        && terms
            .as_array()
            .is_none_or(|terms| terms.iter().any(|term| term_matches(term, node)))
}

fn term_matches(term: &Value, node: &Object) -> bool {
    let expressions = term["matchExpressions"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    let fields = term["matchFields"].as_array().map(Vec::as_slice).unwrap_or_default();
    if expressions.is_empty() && fields.is_empty() {
        return false;
    }
    let key = |requirement: &Value| requirement["key"].as_str().unwrap_or_default().to_owned();
    expressions.iter().all(|r| requirement_matches(r, node.label(&key(r))))
        && fields
            .iter()
            .all(|r| requirement_matches(r, (key(r) == "metadata.name").then(|| node.name())))
}

fn requirement_matches(requirement: &Value, present: Option<&str>) -> bool {
    let values = requirement["values"].as_array().map(Vec::as_slice).unwrap_or_default();
    let listed = || values.iter().any(|value| value.as_str() == present);
    let number = |value: Option<&str>| value.and_then(|value| value.parse::<i64>().ok());
    let bound = || number(values.first().and_then(Value::as_str));
    match requirement["operator"].as_str() {
        Some("In") => present.is_some() && listed(),
        Some("NotIn") => present.is_none() || !listed(),
        Some("Exists") => present.is_some(),
        Some("DoesNotExist") => present.is_none(),
        Some("Gt") => number(present) > bound() && present.is_some(),
        Some("Lt") => number(present) < bound() && number(present).is_some(),
        _ => false,
    }
}

/// The first taint with one of these effects that no toleration covers.
pub(super) fn untolerated<'a>(tolerations: &[Value], node: &'a Value, effects: &[&str]) -> Option<&'a Value> {
    let taints = node["spec"]["taints"].as_array()?;
    let counts = |taint: &&Value| effects.iter().any(|effect| taint["effect"] == *effect);
    taints
        .iter()
        .filter(counts)
        .find(|taint| !tolerations.iter().any(|toleration| tolerates(toleration, taint)))
}

/// Whether a toleration covers a taint (`Toleration.ToleratesTaint`).
pub(super) fn tolerates(toleration: &Value, taint: &Value) -> bool {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let (effect, key) = (text(&toleration["effect"]), text(&toleration["key"]));
    if !effect.is_empty() && taint["effect"] != effect.as_str() {
        return false;
    }
    if !key.is_empty() && taint["key"] != key.as_str() {
        return false;
    }
    match toleration["operator"].as_str() {
        Some("Exists") => true,
        None | Some("" | "Equal") => !key.is_empty() && text(&toleration["value"]) == text(&taint["value"]),
        Some(_) => false,
    }
}

/// Whether a pod on `node` keeps this pod away (required anti-affinity by host; other topologies are by label value).
pub(super) fn anti_affine(pod: &Object, node: &Object, placed: &[(Object, Object)]) -> bool {
    let terms = &pod["spec"]["affinity"]["podAntiAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"];
    terms.as_array().into_iter().flatten().any(|term| {
        let Some(selector) = LabelSelector::from_object(&term["labelSelector"]) else {
            return false;
        };
        let topology = term["topologyKey"].as_str().unwrap_or("kubernetes.io/hostname");
        placed.iter().any(|(other, its_node)| {
            let same_place = its_node.label(topology).is_some() && its_node.label(topology) == node.label(topology);
            same_place && other.namespace() == pod.namespace() && selector.matches(other)
        })
    })
}

/// The tolerations of a pod specification.
pub(super) fn tolerations(spec: &Value) -> Vec<Value> {
    spec["tolerations"].as_array().cloned().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn tolerations_cover_what_kubernetes_says_they_cover() {
        let taint = json!({"key": "a", "value": "b", "effect": "NoSchedule"});
        for (toleration, covered) in [
            (json!({"operator": "Exists"}), true),
            (json!({"key": "a", "operator": "Exists"}), true),
            (json!({"key": "a", "value": "b"}), true),
            (json!({"key": "a", "value": "c"}), false),
            (json!({"key": "a", "operator": "Exists", "effect": "NoExecute"}), false),
            (json!({"key": "z", "operator": "Exists"}), false),
        ] {
            assert_eq!(tolerates(&toleration, &taint), covered, "{toleration}");
        }
    }

    #[test]
    fn requirements_follow_their_operator() {
        let requirement = |operator: &str, values: Value| json!({"key": "k", "operator": operator, "values": values});
        assert!(requirement_matches(&requirement("In", json!(["a", "b"])), Some("b")));
        assert!(!requirement_matches(&requirement("In", json!(["a"])), None));
        assert!(requirement_matches(&requirement("NotIn", json!(["a"])), None));
        assert!(requirement_matches(&requirement("Gt", json!(["3"])), Some("4")));
        assert!(!requirement_matches(&requirement("Lt", json!(["3"])), None));
        assert!(requirement_matches(&requirement("DoesNotExist", json!([])), None));
    }
}
