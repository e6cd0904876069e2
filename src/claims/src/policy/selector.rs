//! A selector of pods, and whether labels match it.

use crate::{
    place::Place,
    yaml::{Entry, Node},
};

/// The label that holds a pod's namespace.
const NAMESPACE: &str = "io.kubernetes.pod.namespace";
/// The label that holds a pod's cluster.
const CLUSTER: &str = "io.cilium.k8s.policy.cluster";

/// A selector.
#[derive(Clone, Debug)]
pub struct Selector<'a> {
    /// Where it stands.
    pub place: Place,
    /// The labels that it asks for, without those of namespace and cluster, by name without a source.
    pub labels: Vec<(&'a str, &'a Entry)>,
    /// The namespace in which it selects; nothing for several.
    pub namespace: Option<&'a str>,
    /// The cluster that it names.
    pub cluster: Option<&'a str>,
    /// Whether it asks for anything besides labels with values: expressions, labels of namespaces, reserved labels.
    pub has_more: bool,
}

impl<'a> Selector<'a> {
    /// A selector of Cilium, in a policy of a namespace.
    pub fn of(node: &'a Node, policy_namespace: Option<&'a str>) -> Self {
        let mut selector = Self {
            place: node.place,
            labels: Vec::new(),
            namespace: policy_namespace,
            cluster: None,
            has_more: false,
        };
        for entry in node.dig(&["matchLabels"]).map_or(&[][..], Node::entries) {
            let name = entry
                .key
                .strip_prefix("k8s:")
                .or_else(|| entry.key.strip_prefix("any:"));
            let name = name.unwrap_or(&entry.key);
            match name {
                NAMESPACE => selector.namespace = entry.node.text(),
                CLUSTER => selector.cluster = entry.node.text(),
                _ if name.starts_with("io.cilium.k8s.namespace.labels") => {
                    (selector.namespace, selector.has_more) = (None, true);
                }
                _ if name.starts_with("io.cilium.") || name.starts_with("reserved:") => selector.has_more = true,
                _ => selector.labels.push((name, entry)),
            }
        }
        for expression in node.items_at(&["matchExpressions"]) {
            selector.has_more = true;
            let key = expression.text_at(&["key"]).unwrap_or_default();
            if key.ends_with(NAMESPACE) || key.contains("io.cilium.k8s.namespace.labels") {
                selector.namespace = None;
            }
        }
        selector
    }

    /// A peer of a NetworkPolicy; nothing for an `ipBlock`.
    pub fn of_kubernetes(peer: &'a Node, policy_namespace: Option<&'a str>) -> Option<Self> {
        let (pods, namespaces) = (peer.get("podSelector"), peer.get("namespaceSelector"));
        let mut selector = Self::of(pods.or(namespaces)?, policy_namespace);
        if pods.is_none() {
            selector.labels.clear();
        }
        if let Some(namespaces) = namespaces {
            let labels = namespaces.dig(&["matchLabels"]).map_or(&[][..], Node::entries);
            let name = labels.iter().find(|entry| entry.key == "kubernetes.io/metadata.name");
            selector.namespace = name.and_then(|entry| entry.node.text());
            selector.has_more |= name.is_none() && !namespaces.entries().is_empty();
        }
        Some(selector)
    }

    /// Whether it selects every pod of its namespaces.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty() && !self.has_more
    }

    /// Whether a pod with these labels in a namespace can be selected; what is not known counts as selected.
    pub fn can_select(&self, namespace: &str, labels: &[(&str, &str)]) -> bool {
        let in_namespace = self.namespace.is_none_or(|own| own == namespace);
        in_namespace
            && self.labels.iter().all(|(name, entry)| {
                let wanted = entry.node.scalar().unwrap_or_default();
                entry.node.is_opaque() || labels.iter().any(|(key, value)| key == name && *value == wanted)
            })
    }

    /// Whether everything that `other` selects is selected by this one, too, as far as labels tell.
    pub fn covers(&self, other: &Self) -> bool {
        let namespace = self.namespace.is_none() || self.namespace == other.namespace;
        let has = |(name, entry): &(&str, &Entry)| {
            other
                .labels
                .iter()
                .any(|(key, known)| key == name && known.node.value == entry.node.value)
        };
        namespace && !self.has_more && self.labels.iter().all(has)
    }
}
