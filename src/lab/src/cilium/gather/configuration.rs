//! What an agent was configured with.

use super::Gatherer;
use crate::fault::Fault;
use meshproof_apiserver::resource::names::CONFIG_MAPS;
use std::collections::BTreeMap;

impl Gatherer<'_> {
    /// The keys of `cilium-config`, and what this node has instead.
    pub(super) fn configuration(&self) -> BTreeMap<String, String> {
        let store = &self.container.cluster.store;
        let config = store.find(&CONFIG_MAPS, Some("kube-system"), "cilium-config");
        let data = config.as_ref().and_then(|config| config["data"].as_object());
        let text = data.into_iter().flatten();
        let mut all: BTreeMap<String, String> = text
            .filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())))
            .collect();
        if self.acts(Fault::AgentSettingsDiffer) {
            all.insert("enable-policy".to_owned(), "never".to_owned());
        }
        all
    }
}
