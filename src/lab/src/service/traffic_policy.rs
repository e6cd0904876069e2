//! Traffic policies of Services: to whose requests a node gives which backends (`internalTrafficPolicy`,
//! `externalTrafficPolicy`; semantics B11). Backends of other clusters have no node, and all stay.

use crate::{
    fault::Fault,
    state::{ClusterState, LabState, NodeState},
};
use meshproof_apiserver::{
    Object,
    resource::names::{ENDPOINT_SLICES, SERVICES},
};
use meshproof_datapath::{Frontend, Service};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv4Addr,
};

/// Whose requests stay on their node.
#[derive(Clone, Copy, Debug, Default)]
struct Local {
    internal: bool,
    external: bool,
}

/// Keeps the services of a node to the backends that their policies leave it.
pub(super) fn apply(lab: &LabState, cluster: &ClusterState, node: &NodeState, services: &mut [Service]) {
    let heeds = |ignored| !lab.acts_in(ignored, cluster.name());
    let objects = cluster.store.all(&SERVICES, None);
    let local: BTreeMap<String, Local> = objects
        .iter()
        .map(|service| {
            let is = |policy: &str| service["spec"][policy] == "Local";
            let local = Local {
                internal: is("internalTrafficPolicy") && heeds(Fault::InternalTrafficPolicyIgnored),
                external: is("externalTrafficPolicy") && heeds(Fault::ExternalTrafficPolicyIgnored),
            };
            (name(service.namespace(), service.name()), local)
        })
        .filter(|(_, local)| local.internal || local.external)
        .collect();
    if local.is_empty() {
        return;
    }
    let slices = cluster.store.all(&ENDPOINT_SLICES, None);
    for service in services {
        let Some(local) = local.get(service.name.as_str()) else {
            continue;
        };
        let elsewhere = elsewhere(&slices, service.name.as_str(), node.name());
        let near = |address: &Ipv4Addr| !elsewhere.contains(address);
        let from_outside = service.backends.iter().map(|backend| backend.address);
        let from_outside: Vec<_> = from_outside.filter(|address| near(address.ip())).collect();
        let is_cluster_ip = matches!(service.frontend, Frontend::Address { address, .. } if objects.iter().any(|o| {
            o["spec"]["clusterIP"] == address.ip().to_string().as_str()
        }));
        // What is reached from outside by the same frontend would need all of them.
        if local.internal && (is_cluster_ip || local.external) {
            service.backends.retain(|backend| near(backend.address.ip()));
        } else if local.external && !is_cluster_ip {
            service.outside = Some(from_outside);
        }
    }
}

/// Addresses of the service's backends that are on another node.
fn elsewhere(slices: &[Object], service: &str, node: &str) -> BTreeSet<Ipv4Addr> {
    let of_service = slices.iter().filter(|slice| {
        let owner = slice.label("kubernetes.io/service-name").unwrap_or_default();
        name(slice.namespace(), owner) == service
    });
    let endpoints = of_service.flat_map(|slice| slice["endpoints"].as_array().into_iter().flatten());
    let others = endpoints.filter(|endpoint| endpoint["nodeName"].as_str().is_some_and(|its| its != node));
    others
        .flat_map(|endpoint| endpoint["addresses"].as_array().into_iter().flatten())
        .filter_map(|address| address.as_str()?.parse().ok())
        .collect()
}

fn name(namespace: Option<&str>, name: &str) -> String {
    format!("{}/{name}", namespace.unwrap_or_default())
}
