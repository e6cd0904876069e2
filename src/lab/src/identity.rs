//! Security identities of pods: from labels to numbers, as Cilium allocates them. It does not know where identities are
//! used or shown.

use crate::sync::{read, write};
use meshproof_apiserver::Object;
use meshproof_datapath::Identity;
use serde_json::Value;
use std::{
    collections::BTreeMap,
    sync::{Arc, RwLock},
};

/// Labels of an identity, with their source: `k8s:app` to `client`.
pub type SecurityLabels = BTreeMap<String, String>;

/// Labels that Cilium's default filter leaves out (`pkg/labelsfilter`), by their beginning.
const IGNORED: [&str; 12] = [
    "io.kubernetes",
    "kubernetes.io",
    "beta.kubernetes.io",
    "k8s.io",
    "pod-template-generation",
    "pod-template-hash",
    "controller-revision-hash",
    "annotation.",
    "controller-uid",
    "batch.kubernetes.io",
    "apps.kubernetes.io",
    "statefulset.kubernetes.io",
];

/// The identities of one cluster. An identity, once given, is kept for as long as the lab runs.
#[derive(Debug)]
pub struct IdentityBook {
    base: u32,
    book: RwLock<BTreeMap<Arc<SecurityLabels>, Identity>>,
}

impl IdentityBook {
    pub(crate) fn new(cluster_id: u8) -> Self {
        Self {
            base: u32::from(cluster_id) << 16,
            book: RwLock::default(),
        }
    }

    /// The identity of these labels, given now if they are new. The upper bits are the cluster's id.
    pub fn of(&self, labels: SecurityLabels) -> Identity {
        if let Some(identity) = read(&self.book).get(&labels) {
            return *identity;
        }
        let mut book = write(&self.book);
        let taken: std::collections::BTreeSet<_> = book.values().copied().collect();
        // Scattered as Cilium's are, but the same in every run: FNV-1a over the labels.
        let mut hash = 0x811c_9dc5_u32;
        for byte in labels.iter().flat_map(|(key, value)| key.bytes().chain(value.bytes())) {
            hash = (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193);
        }
        let free = (0..).map(|n: u32| Identity(self.base + 256 + hash.wrapping_add(n) % (65_536 - 256)));
        let identity = free
            .into_iter()
            .find(|identity| !taken.contains(identity))
            .unwrap_or(Identity::UNKNOWN);
        *book.entry(Arc::new(labels)).or_insert(identity)
    }

    /// The labels of an identity.
    pub fn labels(&self, identity: Identity) -> Option<Arc<SecurityLabels>> {
        let book = read(&self.book);
        book.iter()
            .find(|(_, known)| **known == identity)
            .map(|(labels, _)| Arc::clone(labels))
    }
}

/// The labels that make a pod's identity: its own, its namespace's, its service account and its cluster.
pub fn security_labels(cluster: &str, pod: &Object, namespace: Option<&Object>) -> SecurityLabels {
    let mut found = SecurityLabels::new();
    let mut add = |key: &str, value: &str| {
        found.insert(format!("k8s:{key}"), value.to_owned());
    };
    for (key, value) in pod.labels() {
        if !IGNORED.iter().any(|ignored| key.starts_with(ignored)) {
            add(key, value);
        }
    }
    for (key, value) in namespace.map(|namespace| namespace.labels()).unwrap_or_default() {
        add(&format!("io.cilium.k8s.namespace.labels.{key}"), value);
    }
    let spec: &Value = &pod["spec"];
    add("io.cilium.k8s.policy.cluster", cluster);
    add(
        "io.cilium.k8s.policy.serviceaccount",
        spec["serviceAccountName"].as_str().unwrap_or("default"),
    );
    add("io.kubernetes.pod.namespace", pod.namespace().unwrap_or_default());
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(text: &str) -> SecurityLabels {
        SecurityLabels::from([("k8s:app".to_owned(), text.to_owned())])
    }

    #[test]
    fn equal_labels_have_one_identity_and_the_cluster_is_in_it() {
        let book = IdentityBook::new(2);
        let first = book.of(labels("client"));
        assert_eq!(first, book.of(labels("client")));
        assert_ne!(first, book.of(labels("server")));
        assert_eq!(first.0 >> 16, 2);
        assert_eq!(book.labels(first).as_deref(), Some(&labels("client")));
    }
}
