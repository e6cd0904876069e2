//! How lists and maps of built-in types merge: by key, as sets, or not at all. The keys are those of the Kubernetes API
//! (`patchMergeKey`, `x-kubernetes-list-map-keys`); a list that is not named here is replaced as a whole.

use serde_json::Value;

/// How a list merges.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ListKind {
    /// Items are objects identified by these fields. Strategic merge uses the first only.
    ByKey(&'static [&'static str]),
    /// Items are plain values, each at most once.
    Set,
    /// The list is one value.
    Atomic,
}

/// How a map merges.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MapKind {
    /// Entry by entry.
    Granular,
    /// The map is one value.
    Atomic,
}

/// The type whose objects are merged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Schema<'a> {
    /// A built-in kind.
    Builtin(&'a str),
    /// A custom resource: only its metadata is known.
    Custom,
}

impl Schema<'_> {
    /// The kind of the list at a path of field names (without indices and keys).
    pub fn list(self, path: &[&str]) -> ListKind {
        let (Some(field), parent) = (path.last(), path.len().checked_sub(2).map_or("", |at| path[at])) else {
            return ListKind::Atomic;
        };
        match (parent, *field) {
            ("metadata", "ownerReferences") => return ListKind::ByKey(&["uid"]),
            ("metadata", "finalizers") => return ListKind::Set,
            _ => {}
        }
        let Self::Builtin(kind) = self else {
            return ListKind::Atomic;
        };
        match (parent, *field) {
            (_, "containers" | "initContainers" | "ephemeralContainers" | "volumes" | "env" | "schedulingGates") => {
                ListKind::ByKey(&["name"])
            }
            ("spec", "imagePullSecrets" | "resourceClaims") => ListKind::ByKey(&["name"]),
            ("", "secrets") if kind == "ServiceAccount" => ListKind::ByKey(&["name"]),
            (_, "hostAliases") => ListKind::ByKey(&["ip"]),
            (_, "topologySpreadConstraints") => ListKind::ByKey(&["topologyKey", "whenUnsatisfiable"]),
            (_, "volumeMounts") => ListKind::ByKey(&["mountPath"]),
            (_, "volumeDevices") => ListKind::ByKey(&["devicePath"]),
            ("containers" | "initContainers" | "ephemeralContainers", "ports") => {
                ListKind::ByKey(&["containerPort", "protocol"])
            }
            ("spec", "ports") if matches!(kind, "Service") => ListKind::ByKey(&["port", "protocol"]),
            ("status", "conditions") if kind != "Job" => ListKind::ByKey(&["type"]),
            ("status", "addresses") if kind == "Node" => ListKind::ByKey(&["type"]),
            ("status", "podIPs") => ListKind::ByKey(&["ip"]),
            ("spec", "podCIDRs") => ListKind::Set,
            _ => ListKind::Atomic,
        }
    }

    /// The kind of the map at a path of field names.
    pub fn map(self, path: &[&str]) -> MapKind {
        let Self::Builtin(_) = self else {
            return MapKind::Granular;
        };
        match path.last() {
            Some(
                &("selector" | "nodeSelector" | "labelSelector" | "podSelector" | "namespaceSelector"
                | "configMapKeyRef" | "secretKeyRef" | "fieldRef" | "resourceFieldRef" | "roleRef" | "claimRef"
                | "involvedObject"),
            ) => MapKind::Atomic,
            _ => MapKind::Granular,
        }
    }
}

/// The value of a key field of an item; `protocol` has a default, as the API gives it.
pub(crate) fn key_value(item: &Value, key: &str) -> Option<Value> {
    match (item.get(key), key) {
        (Some(value), _) if !value.is_null() => Some(value.clone()),
        (_, "protocol") => Some(Value::from("TCP")),
        (_, "whenUnsatisfiable") => Some(Value::from("DoNotSchedule")),
        _ => None,
    }
}

/// Puts merged items in order: those of `order` as there, the others behind their predecessors of before. Ids may
/// occur more than once (ports of the same number but other protocols): the items of one id keep their order.
pub(crate) fn reorder<T: Clone + PartialEq>(items: Vec<(T, Value)>, order: &[T]) -> Vec<Value> {
    let mut left: Vec<Option<(T, Value)>> = items.iter().cloned().map(Some).collect();
    let mut ordered: Vec<(usize, Value)> = Vec::with_capacity(items.len());
    for wanted in order {
        let found = left
            .iter()
            .position(|slot| slot.as_ref().is_some_and(|(id, _)| id == wanted));
        if let Some(at) = found
            && let Some((_, value)) = left[at].take()
        {
            ordered.push((at, value));
        }
    }
    for (index, slot) in left.into_iter().enumerate() {
        let Some((_, value)) = slot else { continue };
        let behind = index
            .checked_sub(1)
            .and_then(|before| ordered.iter().position(|(at, _)| *at == before));
        ordered.insert(behind.map_or(0, |at| at + 1), (index, value));
    }
    ordered.into_iter().map(|(_, value)| value).collect()
}

#[cfg(test)]
mod tests {
    use super::reorder;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    #[test]
    fn ids_may_repeat() {
        let items = vec![(53, json!("udp")), (53, json!("tcp")), (80, json!("web"))];
        assert_eq!(
            reorder(items, &[80, 53, 53]),
            [json!("web"), json!("udp"), json!("tcp")]
        );
    }

    proptest! {
        #[test]
        fn nothing_is_lost(
            ids in proptest::collection::vec(0..4u8, 0..8),
            order in proptest::collection::vec(0..5u8, 0..8),
        ) {
            let items: Vec<(u8, Value)> = ids.iter().enumerate().map(|(at, id)| (*id, json!(at))).collect();
            let mut kept: Vec<u64> = reorder(items, &order).iter().filter_map(Value::as_u64).collect();
            kept.sort_unstable();
            prop_assert_eq!(kept, (0..ids.len() as u64).collect::<Vec<_>>());
        }
    }
}
