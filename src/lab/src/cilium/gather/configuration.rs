//! What an agent was configured with.

use super::Gatherer;
use crate::fault::Fault;
use std::collections::BTreeMap;

impl Gatherer<'_> {
    /// What it was started with, and what somebody changed since.
    pub(super) fn configuration(&self) -> BTreeMap<String, String> {
        let mut all = self.agent.configuration.clone();
        if self.acts(Fault::AgentSettingsDiffer) {
            all.insert("enable-policy".to_owned(), "never".to_owned());
        }
        if self.acts(Fault::AgentOptionChanged) {
            all.insert("bpf-events-drop-enabled".to_owned(), "false".to_owned());
        }
        all
    }
}
