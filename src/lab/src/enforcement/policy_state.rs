//! What one node's agent knows of policies, for those who show it: the revision it has taken in, the one in force, and
//! the rules.

use super::{decide::NodeRules, names::Names};
use crate::{
    state::NodeState,
    sync::{read, write},
};
use meshproof_datapath::{Direction, Identity};
use serde_json::Value;
use std::sync::{Arc, RwLock};

/// The revision of an agent without policies.
pub(crate) const FIRST_REVISION: u64 = 1;

/// What one node's agent knows of policies.
#[derive(Default)]
pub struct PolicyState {
    known: RwLock<Known>,
    pub(super) names: Arc<Names>,
}

#[derive(Clone, Default)]
struct Known {
    taken_in: u64,
    in_force: u64,
    shown: Vec<Value>,
    rules: Option<Arc<NodeRules>>,
}

impl PolicyState {
    /// That of this node.
    pub(crate) fn of(node: &NodeState) -> Arc<Self> {
        node.extension()
    }

    /// The revision that the agent has taken in.
    pub(crate) fn revision(&self) -> u64 {
        self.known().taken_in.max(FIRST_REVISION)
    }

    /// The revision that its endpoints enforce.
    pub(crate) fn realized(&self) -> u64 {
        self.known().in_force.max(FIRST_REVISION)
    }

    /// The rules, as `policy get` prints them.
    pub(crate) fn shown(&self) -> Vec<Value> {
        self.known().shown
    }

    /// Whether a direction of an endpoint with this identity is enforced.
    pub(crate) fn enforces(&self, identity: Identity, direction: Direction) -> bool {
        self.rules().is_some_and(|rules| rules.enforces(identity, direction))
    }

    /// Names that were looked up, with the addresses they resolved to.
    pub(crate) fn names(&self) -> &Names {
        &self.names
    }

    /// The rules in force; none before the first policy.
    pub(super) fn rules(&self) -> Option<Arc<NodeRules>> {
        self.known().rules
    }

    pub(super) fn take_in(&self, revision: u64, shown: Vec<Value>) {
        let mut known = write(&self.known);
        (known.taken_in, known.shown) = (revision, shown);
    }

    pub(super) fn put_in_force(&self, revision: u64) {
        write(&self.known).in_force = revision;
    }

    pub(super) fn set_rules(&self, rules: Option<Arc<NodeRules>>) {
        write(&self.known).rules = rules;
    }

    fn known(&self) -> Known {
        read(&self.known).clone()
    }
}
