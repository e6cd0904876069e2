//! What one node's data path has of its cluster's services: the same as all others, unless a fault acts on this node.
//! The agent's lists show it.

use super::{host_ports, is_system, traffic_policy};
use crate::{
    fault::Fault,
    others,
    state::{ClusterState, LabState, NodeState},
};
use meshproof_datapath::{Backend, BackendState, Frontend, Service};
use std::collections::BTreeSet;

/// The services of a cluster as one node has them.
pub(crate) fn on_node(
    lab: &LabState,
    cluster: &ClusterState,
    node: &NodeState,
    mut services: Vec<Service>,
) -> Vec<Service> {
    let acts = |fault| lab.acts_on(fault, cluster, node.name());
    traffic_policy::apply(lab, cluster, node, &mut services);
    if acts(Fault::NodePortMissingOnNode) {
        services.retain(|service| !is_application(service) || !matches!(service.frontend, Frontend::NodePort { .. }));
    }
    if acts(Fault::LoadBalancerAddressMissingOnNode) {
        let cidr = cluster.spec.service_cidr;
        services.retain(|service| {
            let Frontend::Address { address, .. } = service.frontend else {
                return true;
            };
            !is_application(service) || cidr.contains(address.ip())
        });
    }
    if acts(Fault::ServiceBackendMissingOnNode) {
        services.iter_mut().for_each(drop_first);
    }
    if acts(Fault::ServiceBackendDeadOnNode) {
        let served = services
            .iter()
            .filter(|service| namespace(service) == others::NAMESPACE && !service.backends.is_empty());
        let names: BTreeSet<String> = served.map(|service| service.name.as_str().to_owned()).collect();
        let names: Vec<String> = names.into_iter().collect();
        let victim = lab.drawn.victim(Fault::ServiceBackendDeadOnNode, &names);
        let of_victim = services
            .iter_mut()
            .filter(|service| Some(service.name.as_str()) == victim.as_deref());
        let mut homes = cluster.nodes().iter().map(AsRef::as_ref);
        let home = homes.find(|home| home.name() != node.name()).unwrap_or(node);
        of_victim.for_each(|service| keep_dead(service, home));
    }
    services.extend(host_ports::of_node(lab, cluster, node));
    services
}

fn namespace(service: &Service) -> &str {
    let parts = service.name.as_str().split_once('/');
    parts.map_or("", |(namespace, _)| namespace)
}

fn is_application(service: &Service) -> bool {
    !is_system(namespace(service))
}

/// Takes away the first of several backends that take connections.
fn drop_first(service: &mut Service) {
    let is_active = |backend: &Backend| backend.state == BackendState::Active;
    if is_application(service) && service.backends.iter().filter(|b| is_active(b)).count() > 1 {
        let first = service.backends.iter().position(is_active);
        first.map(|at| service.backends.remove(at));
    }
}

/// Adds a backend that was on that node, and that nobody has any more. A connection that chose it stays with it.
fn keep_dead(service: &mut Service, home: &NodeState) {
    if let Some(port) = service.backends.first().map(|backend| backend.address.port()) {
        service.backends.push(Backend::active(home.spec.unused_address(), port));
        service.backends.sort_by_key(|backend| backend.address);
    }
}
