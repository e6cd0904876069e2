//! The served resources by group, as both forms of discovery show them.

use crate::resource::{ResourceDef, Subresource, api_version, priority};
use serde_json::{Value, json};
use std::{collections::BTreeMap, sync::Arc};

/// The versions and resources of a group.
#[derive(Default)]
pub(super) struct Group<'a> {
    /// Preferred first.
    pub versions: Vec<&'a str>,
    pub resources: Vec<&'a ResourceDef>,
}

impl Group<'_> {
    /// Its entry in an `APIGroupList`.
    pub fn value(&self, name: &str) -> Value {
        let version = |v: &&str| json!({"groupVersion": api_version(name, v), "version": v});
        let versions: Vec<Value> = self.versions.iter().map(version).collect();
        json!({"name": name, "versions": versions, "preferredVersion": versions.first()})
    }
}

/// Groups by name; the core group has the name "".
pub(super) fn groups(definitions: &[Arc<ResourceDef>]) -> BTreeMap<&str, Group<'_>> {
    let mut groups: BTreeMap<&str, Group<'_>> = BTreeMap::new();
    for def in definitions {
        let group = groups.entry(&def.group).or_default();
        group.resources.push(def);
        for version in &def.served {
            if !group.versions.contains(&&**version) {
                group.versions.push(version);
            }
        }
    }
    for group in groups.values_mut() {
        group
            .versions
            .sort_by_key(|version| std::cmp::Reverse(priority(version)));
    }
    groups.retain(|name, _| !name.is_empty());
    groups
}

/// What a subresource takes and gives.
pub(super) struct Shape<'a> {
    pub kind: &'a str,
    pub group_version: Option<(&'static str, &'static str)>,
    pub verbs: &'static [&'static str],
}

impl<'a> Shape<'a> {
    pub fn of(def: &'a ResourceDef, subresource: Subresource) -> Self {
        let (kind, group_version, verbs): (&str, _, &[&str]) = match subresource {
            Subresource::Status | Subresource::EphemeralContainers => (&def.kind, None, &["get", "patch", "update"]),
            Subresource::Finalize => (&def.kind, None, &["update"]),
            Subresource::Scale => ("Scale", Some(("autoscaling", "v1")), &["get", "patch", "update"]),
            Subresource::Binding => ("Binding", None, &["create"]),
            Subresource::Eviction => ("Eviction", Some(("policy", "v1")), &["create"]),
            Subresource::Log => ("Pod", None, &["get"]),
            Subresource::Exec => ("PodExecOptions", None, &["create", "get"]),
            Subresource::Attach => ("PodAttachOptions", None, &["create", "get"]),
            Subresource::PortForward => ("PodPortForwardOptions", None, &["create", "get"]),
            Subresource::Token => ("TokenRequest", Some(("authentication.k8s.io", "v1")), &["create"]),
        };
        Self {
            kind,
            group_version,
            verbs,
        }
    }
}
