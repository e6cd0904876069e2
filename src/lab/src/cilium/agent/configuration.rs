//! What an agent is configured with: read when it starts, as its init container `config` does it.

use crate::system::SystemContainer;
use meshproof_apiserver::{
    Resource,
    resource::names::{CONFIG_MAPS, NODES},
};
use serde_json::Value;
use std::collections::BTreeMap;

const NODE_CONFIGS: Resource = Resource::of("cilium.io", "ciliumnodeconfigs");

/// The keys of `cilium-config`, and over them those of the CiliumNodeConfigs that select the node, by name.
pub(super) fn read(container: &SystemContainer) -> BTreeMap<String, String> {
    let store = &container.cluster.store;
    let mut all = BTreeMap::new();
    let mut add = |data: &Value| {
        let texts = data.as_object().into_iter().flatten();
        all.extend(texts.filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned()))));
    };
    if let Some(config) = store.find(&CONFIG_MAPS, Some("kube-system"), "cilium-config") {
        add(&config["data"]);
    }
    let node = store.find(&NODES, None, container.node.name());
    for object in store.all(&NODE_CONFIGS, Some("kube-system")) {
        let wanted = object["spec"]["nodeSelector"]["matchLabels"].as_object();
        let is_meant = node.as_ref().is_some_and(|node| {
            let mut wanted = wanted.into_iter().flatten();
            wanted.all(|(key, value)| node.label(key) == value.as_str())
        });
        if is_meant {
            add(&object["spec"]["defaults"]);
        }
    }
    all
}
