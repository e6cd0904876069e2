//! Faults of load balancing: how the nodes' data path distorts the choice of a backend. They act on applications'
//! services, whichever there are.

use super::{
    Effect, targets,
    targets::{Missing, Site},
};
use crate::{fault::Fault, state::ClusterState};
use meshproof_datapath::{BackendState, Fault as DatapathFault, Nodes, Service, ServiceOverride};
use std::{
    collections::BTreeSet,
    net::{Ipv4Addr, SocketAddrV4},
};

/// Of ten new connections nine.
const SKEWED: f64 = 0.9;

/// What a fault of this layer does.
pub(super) fn effect(fault: Fault) -> Option<Effect> {
    Some(match fault {
        Fault::HostServiceDropped => |lab, _| {
            let node = targets::one(targets::first_node(lab)?);
            let services = targets::first(lab)?.services.borrow().clone();
            Ok(distort(&services, &node, |_| Some(ServiceOverride::HostDropped)))
        },
        Fault::HairpinDropped => |lab, _| {
            let cluster = targets::last(lab)?;
            let services = cluster.services.borrow().clone();
            Ok(distort(&services, &targets::nodes(cluster), |_| {
                Some(ServiceOverride::HairpinDropped)
            }))
        },
        Fault::ServiceBackendUnusedOnNode => |lab, _| {
            let node = targets::one(targets::first_node(lab)?);
            Ok(distort(&local(targets::first(lab)?), &node, |service| {
                first_active(service).map(ServiceOverride::Ignored)
            }))
        },
        Fault::ServiceStaleBackendOnNode => |lab, _| {
            let node = targets::one(targets::first_node(lab)?);
            let cluster = targets::first(lab)?;
            let nobody = cluster.spec.pod_cidr.hosts().last().unwrap_or(Ipv4Addr::UNSPECIFIED);
            let mut services = cluster.services.borrow().clone();
            // One entry a port, and an override acts on all ports of its Service.
            let mut seen = BTreeSet::new();
            services.retain(|service| seen.insert(service.name.as_str().to_owned()));
            Ok(distort(&services, &node, |service| {
                let port = service.backends.first()?.address.port();
                Some(ServiceOverride::Stale(SocketAddrV4::new(nobody, port), lab.share()))
            }))
        },
        Fault::NodePortOfOtherCluster => |lab, _| everywhere(lab, &ServiceOverride::ServedElsewhere),
        Fault::NodePortSourceHidden => |lab, _| everywhere(lab, &ServiceOverride::SourceHidden),
        Fault::PolicySkippedForServices => |lab, _| {
            let node = targets::drawn_node(lab)?;
            let services = targets::drawn(lab)?.services.borrow().clone();
            Ok(distort(&services, &targets::one(node), |_| {
                Some(ServiceOverride::PolicySkipped)
            }))
        },
        Fault::SessionAffinityLocalOnly => |lab, _| {
            let cluster = targets::drawn(lab)?;
            let nodes = targets::nodes(cluster);
            let forgets = |service: Service| {
                let remote = service.backends.iter().map(|backend| backend.address);
                let remote: Vec<_> = remote.filter(|at| !cluster.spec.pod_cidr.contains(at.ip())).collect();
                let nodes = nodes.clone();
                remote.into_iter().map(move |backend| DatapathFault::Service {
                    nodes: nodes.clone(),
                    service: service.name.clone(),
                    change: ServiceOverride::AffinityForgets(backend),
                })
            };
            Ok(global(cluster).into_iter().flat_map(forgets).collect())
        },
        Fault::GlobalSpreadSkewed => |lab, _| {
            let last = targets::last(lab)?;
            Ok(distort(&global(last), &targets::nodes(last), skewed))
        },
        Fault::GlobalSpreadSkewedOnNode => |lab, _| {
            let node = targets::one(targets::first_node(lab)?);
            Ok(distort(&global(targets::first(lab)?), &node, skewed))
        },
        _ => return None,
    })
}

/// On every node of the cluster that was drawn.
fn everywhere(lab: &Site<'_>, change: &ServiceOverride) -> Result<Vec<DatapathFault>, Missing> {
    let cluster = targets::drawn(lab)?;
    let services = cluster.services.borrow().clone();
    Ok(distort(&services, &targets::nodes(cluster), |_| Some(change.clone())))
}

fn skewed(service: &Service) -> Option<ServiceOverride> {
    first_active(service).map(|backend| ServiceOverride::Weighted(backend, SKEWED))
}

/// The first of several backends that take connections.
fn first_active(service: &Service) -> Option<SocketAddrV4> {
    let mut active = service.backends.iter().filter(|b| b.state == BackendState::Active);
    let first = active.next()?;
    active.next().map(|_| first.address)
}

fn distort(
    services: &[Service],
    nodes: &Nodes,
    change: impl Fn(&Service) -> Option<ServiceOverride>,
) -> Vec<DatapathFault> {
    let applications = services.iter().filter(|service| {
        let name = service.name.as_str();
        !name.starts_with("kube-") && !name.starts_with("default/")
    });
    let faults = applications.filter_map(|service| {
        Some(DatapathFault::Service {
            nodes: nodes.clone(),
            service: service.name.clone(),
            change: change(service)?,
        })
    });
    faults.collect()
}

/// Services with backends of other clusters.
fn global(cluster: &ClusterState) -> Vec<Service> {
    let mut services = cluster.services.borrow().clone();
    services.retain(|service| !is_local(cluster, service));
    services
}

/// Services whose backends are all in the cluster.
fn local(cluster: &ClusterState) -> Vec<Service> {
    let mut services = cluster.services.borrow().clone();
    services.retain(|service| is_local(cluster, service));
    services
}

fn is_local(cluster: &ClusterState, service: &Service) -> bool {
    let own = cluster.spec.pod_cidr;
    service.backends.iter().all(|b| own.contains(b.address.ip()))
}
