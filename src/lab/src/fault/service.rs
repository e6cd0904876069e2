//! Faults of load balancing: how the nodes' data path bends the choice of a backend. They act on applications' services, whichever
//! there are.

use meshproof_datapath::{BackendState, Fault, Nodes, Service, ServiceOverride};

use super::place::{self, Missing};
use super::{Effect, FaultName, FaultSpec};
use crate::state::{ClusterState, LabState};

/// Of ten new connections nine.
const SKEWED: f64 = 0.9;

type Entry = (&'static str, &'static str, fn(&LabState) -> Result<Vec<Fault>, Missing>);

/// The catalogue's entries.
pub(super) fn faults() -> Vec<FaultSpec> {
    let entries: [Entry; 3] = [
        (
            "service-backend-missing-on-node",
            "one node does not know the first backend of any service",
            |lab| {
                let node = Nodes::one(place::first_node(lab)?.handle.name().clone());
                let services = place::first(lab)?.services.borrow().clone();
                Ok(bend(&services, &node, |service| {
                    first_active(service).map(ServiceOverride::Ignored)
                }))
            },
        ),
        (
            "global-spread-skewed",
            "in one cluster one backend of each global service gets nine of ten connections",
            |lab| {
                let last = place::last(lab)?;
                Ok(bend(&global(last), &place::nodes(last), skewed))
            },
        ),
        (
            "global-spread-skewed-on-node",
            "on one node one backend of each global service gets nine of ten connections",
            |lab| {
                let first = place::first(lab)?;
                let node = Nodes::one(place::first_node(lab)?.handle.name().clone());
                Ok(bend(&global(first), &node, skewed))
            },
        ),
    ];
    let spec = |(name, summary, injection)| FaultSpec {
        name: FaultName::new(name),
        summary,
        suites: &["service"],
        effect: Effect::Network(injection),
    };
    entries.into_iter().map(spec).collect()
}

fn skewed(service: &Service) -> Option<ServiceOverride> {
    first_active(service).map(|backend| ServiceOverride::Weighted(backend, SKEWED))
}

/// The first of several backends that take connections.
fn first_active(service: &Service) -> Option<std::net::SocketAddrV4> {
    let mut active = service.backends.iter().filter(|b| b.state == BackendState::Active);
    let first = active.next()?;
    active.next().map(|_| first.address)
}

fn bend(services: &[Service], nodes: &Nodes, change: impl Fn(&Service) -> Option<ServiceOverride>) -> Vec<Fault> {
    let applications = services.iter().filter(|service| {
        let name = service.name.as_str();
        !name.starts_with("kube-") && !name.starts_with("default/")
    });
    let faults = applications.filter_map(|service| {
        Some(Fault::Service {
            nodes: nodes.clone(),
            service: service.name.clone(),
            change: change(service)?,
        })
    });
    faults.collect()
}

/// Services with backends of other clusters.
fn global(cluster: &ClusterState) -> Vec<Service> {
    let own = cluster.spec.pod_cidr;
    let mut services = cluster.services.borrow().clone();
    services.retain(|service| service.backends.iter().any(|b| !own.contains(b.address.ip())));
    services
}
