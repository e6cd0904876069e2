//! Enforcement of network policies: CiliumNetworkPolicies, CiliumClusterwideNetworkPolicies and NetworkPolicies are read,
//! put in force at every node, and asked about every new flow by the data path; proxies look into what they are handed.
//!
//! Written from Cilium's documentation; it knows nothing of what the harness expects of a policy.

mod board;
mod cilium;
mod condition;
mod decide;
pub(crate) mod fault;
mod kubernetes;
mod layer7;
mod names;
mod proxy;
mod realise;
mod rule;
mod schema;
mod selector;
mod service;

use std::sync::Arc;

use async_trait::async_trait;
use tokio_util::sync::CancellationToken;

pub use board::PolicyBoard;
pub(crate) use schema::schema;

use crate::fault::FaultSpec;
use crate::state::LabState;
use crate::system::SystemModule;

/// Policy enforcement in every cluster.
pub(crate) struct PolicyModule;

#[async_trait]
impl SystemModule for PolicyModule {
    fn name(&self) -> &'static str {
        "policy"
    }

    async fn run(&self, lab: Arc<LabState>, stop: CancellationToken) {
        proxy::start(&lab, &stop);
        realise::run(lab, stop).await;
    }

    fn faults(&self) -> Vec<FaultSpec> {
        fault::faults()
    }
}

#[cfg(test)]
mod tests;
