//! Label selectors over identity labels.

use crate::{
    endpoint::{CLUSTER, Endpoint, NAMESPACE, NAMESPACE_LABELS},
    parse::ParseError,
};
use serde_json::Value;

/// A conjunction of requirements; empty selects every endpoint.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selector {
    requirements: Vec<Requirement>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Requirement {
    key: String,
    test: Test,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Test {
    In(Vec<String>),
    NotIn(Vec<String>),
    Exists,
    DoesNotExist,
}

impl Selector {
    /// Reads `matchLabels` and `matchExpressions`. Any other key is an error: a mistyped selector selects too much.
    pub fn parse(value: &Value, place: &str) -> Result<Self, ParseError> {
        let object = value
            .as_object()
            .ok_or_else(|| ParseError::kind(place, "a selector", value))?;
        let mut requirements = Vec::new();
        for (key, content) in object {
            match key.as_str() {
                "matchLabels" => {
                    let labels = content
                        .as_object()
                        .ok_or_else(|| ParseError::kind(place, "labels", content))?;
                    for (label, wanted) in labels {
                        let wanted = wanted
                            .as_str()
                            .ok_or_else(|| ParseError::kind(place, "a string", wanted))?;
                        requirements.push(Requirement {
                            key: plain(label),
                            test: Test::In(vec![wanted.to_owned()]),
                        });
                    }
                }
                "matchExpressions" => {
                    let list = content
                        .as_array()
                        .ok_or_else(|| ParseError::kind(place, "a list", content))?;
                    for expression in list {
                        requirements.push(requirement(expression, place)?);
                    }
                }
                _ => {
                    return Err(ParseError::UnknownKey {
                        place: place.to_owned(),
                        key: key.clone(),
                    });
                }
            }
        }
        Ok(Self { requirements })
    }

    /// Whether the endpoint has the labels.
    pub fn matches(&self, endpoint: &Endpoint) -> bool {
        self.requirements.iter().all(|requirement| {
            let value = endpoint.label(&requirement.key);
            match &requirement.test {
                Test::In(wanted) => value.is_some_and(|v| wanted.iter().any(|w| w == v)),
                // A label that is absent is not in the list (Kubernetes, "Set-based requirement").
                Test::NotIn(unwanted) => value.is_none_or(|v| unwanted.iter().all(|u| u != v)),
                Test::Exists => value.is_some(),
                Test::DoesNotExist => value.is_none(),
            }
        })
    }

    /// Whether it has a requirement on the namespace, by name or by the namespace's labels.
    pub(crate) fn names_namespace(&self) -> bool {
        self.requirements
            .iter()
            .any(|r| r.key == NAMESPACE || r.key.starts_with(NAMESPACE_LABELS))
    }

    /// Whether it has a requirement on the cluster.
    pub(crate) fn names_cluster(&self) -> bool {
        self.requirements.iter().any(|r| r.key == CLUSTER)
    }

    /// The same without what it says of the namespace's name.
    pub(crate) fn of_no_namespace(mut self) -> Self {
        self.requirements.retain(|requirement| requirement.key != NAMESPACE);
        self
    }

    /// The same, within a namespace.
    pub(crate) fn in_namespace(self, namespace: &str) -> Self {
        self.with(NAMESPACE, Test::In(vec![namespace.to_owned()]))
    }

    /// The same, limited to pods, which have a namespace.
    pub(crate) fn in_any_namespace(self) -> Self {
        self.with(NAMESPACE, Test::Exists)
    }

    /// The same, with these requirements on the labels of the pod's namespace.
    pub(crate) fn in_namespaces(mut self, namespaces: Selector) -> Self {
        self.requirements
            .extend(namespaces.requirements.into_iter().map(|r| Requirement {
                key: format!("{NAMESPACE_LABELS}{}", r.key),
                test: r.test,
            }));
        self
    }

    fn with(mut self, key: &str, test: Test) -> Self {
        self.requirements.push(Requirement {
            key: key.to_owned(),
            test,
        });
        self
    }
}

fn requirement(expression: &Value, place: &str) -> Result<Requirement, ParseError> {
    let text = |key: &str| {
        expression[key]
            .as_str()
            .ok_or_else(|| ParseError::kind(place, key, &expression[key]))
    };
    let values = || -> Result<Vec<String>, ParseError> {
        let list = expression["values"].as_array().filter(|list| !list.is_empty());
        let list = list.ok_or_else(|| ParseError::kind(place, "values", &expression["values"]))?;
        list.iter()
            .map(|v| {
                v.as_str()
                    .map(str::to_owned)
                    .ok_or_else(|| ParseError::kind(place, "a string", v))
            })
            .collect()
    };
    let test = match text("operator")? {
        "In" => Test::In(values()?),
        "NotIn" => Test::NotIn(values()?),
        "Exists" => Test::Exists,
        "DoesNotExist" => Test::DoesNotExist,
        _ => return Err(ParseError::kind(place, "an operator", &expression["operator"])),
    };
    Ok(Requirement {
        key: plain(text("key")?),
        test,
    })
}

/// A key without the source prefix (`k8s:app` and `any:app` mean the pod label `app`).
fn plain(key: &str) -> String {
    key.strip_prefix("k8s:")
        .or_else(|| key.strip_prefix("any:"))
        .unwrap_or(key)
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::collections::BTreeMap;

    fn pod() -> Endpoint {
        Endpoint {
            cluster: "infra".into(),
            namespace: "demo".into(),
            namespace_labels: BTreeMap::from([("team".into(), "blue".into())]),
            service_account: "default".into(),
            labels: BTreeMap::from([("app".into(), "echo".into())]),
            node: "infra-1".into(),
            named_ports: BTreeMap::new(),
        }
    }

    #[track_caller]
    fn selects(selector: Value) -> bool {
        Selector::parse(&selector, "test")
            .expect("a valid selector")
            .matches(&pod())
    }

    #[test]
    fn every_operator_means_what_kubernetes_says() {
        assert!(selects(json!({})));
        assert!(selects(
            json!({"matchLabels": {"k8s:app": "echo", "io.kubernetes.pod.namespace": "demo"}})
        ));
        assert!(!selects(json!({"matchLabels": {"app": "other"}})));
        assert!(selects(
            json!({"matchExpressions": [{"key": "app", "operator": "In", "values": ["x", "echo"]}]})
        ));
        assert!(selects(
            json!({"matchExpressions": [{"key": "absent", "operator": "NotIn", "values": ["x"]}]})
        ));
        assert!(selects(
            json!({"matchExpressions": [{"key": "app", "operator": "Exists"}]})
        ));
        assert!(!selects(
            json!({"matchExpressions": [{"key": "app", "operator": "DoesNotExist"}]})
        ));
        assert!(selects(
            json!({"matchLabels": {"k8s:io.cilium.k8s.namespace.labels.team": "blue"}})
        ));
        assert!(selects(
            json!({"matchLabels": {"io.cilium.k8s.policy.cluster": "infra"}})
        ));
    }

    #[test]
    fn a_mistyped_key_is_an_error_and_not_an_empty_selector() {
        assert!(Selector::parse(&json!({"matchLabel": {"app": "echo"}}), "test").is_err());
    }
}
