//! Enforcement of network policies: CiliumNetworkPolicies, CiliumClusterwideNetworkPolicies and NetworkPolicies are
//! read, put in force at every node, and asked about every new flow by the data path; proxies look into what they are
//! handed.
//!
//! Written from Cilium's documentation; it knows nothing of what the harness expects of a policy.

mod cilium;
mod cluster_policies;
mod condition;
mod decide;
mod kubernetes;
mod layer7;
mod mutation;
mod names;
mod node_policy;
mod policy_state;
mod proxy;
mod regenerate;
mod rule;
mod selector;
mod to_services;

use async_trait::async_trait;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

pub use policy_state::PolicyState;

use crate::{state::LabState, system::Addon};

/// Policy enforcement in every cluster.
pub(crate) struct PolicyAddon;

#[async_trait]
impl Addon for PolicyAddon {
    fn name(&self) -> &'static str {
        "policy"
    }

    async fn run(&self, lab: Arc<LabState>, stop: CancellationToken) {
        proxy::start(&lab, &stop);
        cluster_policies::run(lab, stop).await;
    }
}

#[cfg(test)]
mod table;
#[cfg(test)]
mod tests;
