//! Is what the agents have what the API says? About everything that runs, of this run and of others.

mod addresses;
mod backends;
mod controllers;
mod deviation;
mod endpoints;
mod look;
mod nodes;
mod object;
mod service;
mod services;
mod settings;

#[cfg(test)]
mod tests;

use meshproof_contract::{CheckContext, ClusterName, Suite, Verdict, facts::CiliumFacts};

#[cfg(test)]
pub(crate) use tests::shaped::world;

/// The suite.
pub const SUITE: Suite = Suite {
    name: "state",
    about: "What every Cilium agent has of services, pods, nodes and settings is what the APIs of all clusters say, by \
            name, in every namespace. It only reads. A difference counts when it is read again after the time that a \
            change may take, so objects that come and go meanwhile are left out. Policies are compared by \
            `policy::agents_agree`.",
    checks: &[
        &services::Services,
        &backends::Backends,
        &endpoints::Endpoints,
        &addresses::Addresses,
        &nodes::Nodes,
        &settings::Settings,
        &controllers::Controllers,
    ],
};

/// Cilium of a cluster, or why there is nothing to compare.
fn cilium<'a>(context: &CheckContext, facts: &'a meshproof_contract::Facts) -> Result<&'a CiliumFacts, Verdict> {
    let cluster: &ClusterName = context.instance.from();
    let cilium = facts.cluster(cluster).and_then(|found| found.cilium.as_ref());
    cilium.ok_or_else(|| {
        Verdict::skipped(format!(
            "{cluster} has no ConfigMap cilium-config, so no Cilium to look at"
        ))
    })
}
