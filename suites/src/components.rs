//! Are the parts of the platform there, whole, and of one version? What the API shows of them; nothing is probed.

mod api_server;
mod certificates;
mod clocks;
mod containers;
mod definitions;
mod extensions;
mod hubble_relay;
mod inventory;
mod kube_proxy;
mod leases;
mod looks;
mod namespaces;
mod nodes;
mod other_meshes;
mod removed_nodes;
mod restarts;
mod validity;
mod versions;
mod workloads;

#[cfg(test)]
mod tests;

use meshproof_contract::Suite;

#[cfg(test)]
pub(crate) use tests::world::world;

/// The suite.
pub const SUITE: Suite = Suite {
    name: "components",
    about: "Every component that the cluster has or should have (Cilium's agents and operator, Envoy, Hubble relay and \
            UI, clustermesh-apiserver, SPIRE, cluster DNS, Flux, cert-manager) runs whole and in one version, on nodes \
            that are fit for it, and nothing is left over that works against it. It reads the API, and asks one agent \
            in each cluster what Hubble relay says. What is wrong counts when it is read again 10 s later.",
    checks: &[
        &workloads::Workloads,
        &hubble_relay::HubbleRelay,
        &restarts::Restarts,
        &versions::Versions,
        &leases::Leases,
        &nodes::Nodes,
        &removed_nodes::RemovedNodes,
        &clocks::Clocks,
        &api_server::ApiServer,
        &kube_proxy::KubeProxy,
        &definitions::Definitions,
        &extensions::Extensions,
        &namespaces::Namespaces,
        &certificates::Certificates,
        &other_meshes::OtherMeshes,
        &containers::OwnContainers,
    ],
};
