//! Faults of fail-over: which backends a cluster's agents keep or lack after backends came or went. They act in every
//! cluster, on applications' services only. Pure but for the clock that is handed in.

use crate::fault::{ActiveFaults, Fault};
use ipnet::Ipv4Net;
use meshproof_datapath::{Backend, BackendState, Frontend, Protocol, Service};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::{Ipv4Addr, SocketAddrV4},
    time::{Duration, Instant},
};

/// The faults that act here.
const FAULTS: [Fault; 7] = [
    Fault::EndpointRemovalLate,
    Fault::StaleBackendKept,
    Fault::UdpBackendStale,
    Fault::EndpointsNeverReturn,
    Fault::FailOverNever,
    Fault::FailBackNever,
    Fault::ClusterLossDropsBackends,
];

/// How often to check whether another cluster is down.
const LOOK: Duration = Duration::from_millis(100);

/// Whether some other cluster is down with every node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OtherClusters {
    Up,
    OneIsDown,
}

/// What agents remember of services, while a fault makes it matter.
#[derive(Debug, Default)]
pub(super) struct StaleBackends {
    /// Backends that were wanted, with since when they no longer are.
    seen: BTreeMap<String, BTreeMap<SocketAddrV4, (Backend, Option<Instant>)>>,
    /// Frontends that have had local backends since a fault came into force.
    had_local: BTreeSet<String>,
    /// Frontends that lost all backends since a fault came into force.
    emptied: BTreeSet<String>,
    /// Frontends that had only other clusters' backends after local ones, with those.
    away: BTreeMap<String, Vec<Backend>>,
}

impl StaleBackends {
    /// What agents do with what they should do; and when to look again.
    pub(super) fn apply(
        &mut self,
        mut services: Vec<Service>,
        own: Ipv4Net,
        faults: &ActiveFaults,
        others: OtherClusters,
        now: Instant,
    ) -> (Vec<Service>, Option<Instant>) {
        let active: BTreeSet<Fault> = faults
            .all()
            .into_iter()
            .filter(|fault| FAULTS.contains(fault))
            .collect();
        if active.is_empty() {
            *self = Self::default();
            return (services, None);
        }
        let is = |fault| active.contains(&fault);
        let drops = is(Fault::ClusterLossDropsBackends);
        let mut again = drops.then(|| now + LOOK);
        for service in services.iter_mut().filter(|service| is_application(service)) {
            let key = format!("{:?}", service.frontend);
            let is_local = |backend: &Backend| own.contains(backend.address.ip());
            if drops && others == OtherClusters::OneIsDown {
                service.backends.clear();
            }
            // One that terminates takes nothing new once the other cluster has ready ones.
            let takes_new = |backend: &Backend| backend.state == BackendState::Active;
            let local = service.backends.iter().any(|b| is_local(b) && takes_new(b));
            let never = is(Fault::StaleBackendKept) || is(Fault::UdpBackendStale) && is_udp(&service.frontend);
            if never || is(Fault::EndpointRemovalLate) {
                let due = self.keep_removed(
                    service,
                    &key,
                    (!never).then(|| faults.time(Fault::EndpointRemovalLate)),
                    now,
                );
                again = [again, due].into_iter().flatten().min();
            }
            if is(Fault::EndpointsNeverReturn) && service.backends.iter().all(is_local) {
                self.withhold_return(service, &key);
            }
            let failed_over = !local && !service.backends.is_empty() && self.had_local.contains(&key);
            if is(Fault::FailOverNever) && failed_over {
                service.backends.retain(is_local);
            }
            if is(Fault::FailBackNever) {
                if failed_over {
                    self.away.insert(key.clone(), service.backends.clone());
                } else if let Some(away) = self.away.get(&key) {
                    service.backends = away.clone();
                }
            }
            if local {
                self.had_local.insert(key);
            }
        }
        (services, again)
    }

    /// Keeps removed backends, for so long or for ever; returns when the next one is due to go.
    fn keep_removed(
        &mut self,
        service: &mut Service,
        key: &str,
        late: Option<Duration>,
        now: Instant,
    ) -> Option<Instant> {
        let seen = self.seen.entry(key.to_owned()).or_default();
        for backend in &service.backends {
            seen.insert(backend.address, (*backend, None));
        }
        let mut again: Option<Instant> = None;
        for (backend, gone) in seen.values_mut() {
            if service.backends.iter().any(|b| b.address == backend.address) {
                continue;
            }
            let gone = *gone.get_or_insert(now);
            let due = late.map(|late| gone + late);
            if due.is_none_or(|due| due > now) {
                service.backends.push(Backend {
                    state: BackendState::Active,
                    ..*backend
                });
                again = [again, due].into_iter().flatten().min();
            }
        }
        service.backends.sort_by_key(|backend| backend.address);
        again
    }

    /// A service that has lost all its backends never gets any again.
    fn withhold_return(&mut self, service: &mut Service, key: &str) {
        if service.backends.is_empty() && self.had_local.contains(key) {
            self.emptied.insert(key.to_owned());
        }
        if self.emptied.contains(key) {
            service.backends.clear();
        }
    }
}

fn is_application(service: &Service) -> bool {
    let name = service.name.as_str();
    !name.starts_with("kube-") && !name.starts_with("default/")
}

fn is_udp(frontend: &Frontend) -> bool {
    match frontend {
        Frontend::Address { protocol, .. } | Frontend::NodePort { protocol, .. } => *protocol == Protocol::Udp,
    }
}

/// Addresses of applications' backends that take new flows.
pub(super) fn backends(services: &[Service]) -> BTreeSet<Ipv4Addr> {
    let services = services.iter().filter(|service| is_application(service));
    services
        .flat_map(|service| service.backends.iter().map(|backend| *backend.address.ip()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fault::FaultState;

    fn service(backends: &[(u8, u8)]) -> Vec<Service> {
        let backends = backends
            .iter()
            .map(|(cluster, pod)| Backend::active(Ipv4Addr::new(10, *cluster, 1, *pod), 8081));
        let frontend = Frontend::tcp(Ipv4Addr::new(10, 96, 1, 1), 8081);
        vec![Service::new("meshproof/x", frontend, backends.collect())]
    }

    fn in_force(fault: Fault) -> ActiveFaults {
        let faults = ActiveFaults::default();
        faults.set(fault, FaultState::InForce);
        faults
    }

    fn own() -> Ipv4Net {
        "10.244.0.0/16".parse().unwrap()
    }

    #[test]
    fn a_late_removal_ends_and_says_when() {
        let (faults, mut stale, start) = (
            in_force(Fault::EndpointRemovalLate),
            StaleBackends::default(),
            Instant::now(),
        );
        stale.apply(service(&[(244, 1), (244, 2)]), own(), &faults, OtherClusters::Up, start);
        // However long nothing has changed before.
        let late = faults.time(Fault::EndpointRemovalLate);
        let gone = start + 10 * late;
        let (applied, again) = stale.apply(service(&[(244, 1)]), own(), &faults, OtherClusters::Up, gone);
        assert_eq!((applied[0].backends.len(), again), (2, Some(gone + late)));
        let soon = gone + Duration::from_secs(1);
        let (applied, again) = stale.apply(service(&[(244, 1)]), own(), &faults, OtherClusters::Up, soon);
        assert_eq!((applied[0].backends.len(), again), (2, Some(gone + late)));
        let (applied, again) = stale.apply(service(&[(244, 1)]), own(), &faults, OtherClusters::Up, gone + late);
        assert_eq!((applied[0].backends.len(), again), (1, None));
    }

    #[test]
    fn what_went_over_does_not_come_back() {
        let (faults, mut stale, now) = (in_force(Fault::FailBackNever), StaleBackends::default(), Instant::now());
        for wanted in [&[(244, 1)][..], &[(246, 1)]] {
            assert_eq!(
                stale.apply(service(wanted), own(), &faults, OtherClusters::Up, now).0,
                service(wanted)
            );
        }
        let (applied, _) = stale.apply(service(&[(244, 3)]), own(), &faults, OtherClusters::Up, now);
        assert_eq!(applied, service(&[(246, 1)]));
        let (healed, _) = stale.apply(
            service(&[(244, 3)]),
            own(),
            &ActiveFaults::default(),
            OtherClusters::Up,
            now,
        );
        assert_eq!(healed, service(&[(244, 3)]));
    }

    #[test]
    fn fail_over_and_return_can_be_denied() {
        let now = Instant::now();
        let (faults, mut stale) = (in_force(Fault::FailOverNever), StaleBackends::default());
        assert_eq!(
            stale
                .apply(service(&[(246, 1)]), own(), &faults, OtherClusters::Up, now)
                .0,
            service(&[(246, 1)])
        );
        stale.apply(service(&[(244, 1)]), own(), &faults, OtherClusters::Up, now);
        assert_eq!(
            stale
                .apply(service(&[(246, 1)]), own(), &faults, OtherClusters::Up, now)
                .0,
            service(&[])
        );
        let mut terminating = service(&[(244, 1), (246, 1)]);
        terminating[0].backends[0].state = BackendState::Terminating;
        let (denied, _) = stale.apply(terminating, own(), &faults, OtherClusters::Up, now);
        assert_eq!(denied[0].backends.len(), 1, "not while local ones terminate, either");
        let (faults, mut stale) = (in_force(Fault::EndpointsNeverReturn), StaleBackends::default());
        stale.apply(service(&[(244, 1)]), own(), &faults, OtherClusters::Up, now);
        stale.apply(service(&[]), own(), &faults, OtherClusters::Up, now);
        assert_eq!(
            stale
                .apply(service(&[(244, 2)]), own(), &faults, OtherClusters::Up, now)
                .0,
            service(&[])
        );
    }

    #[test]
    fn the_loss_of_another_cluster_can_take_everything_along() {
        let (faults, mut stale, now) = (
            in_force(Fault::ClusterLossDropsBackends),
            StaleBackends::default(),
            Instant::now(),
        );
        let wanted = service(&[(244, 1)]);
        let (whole, again) = stale.apply(wanted.clone(), own(), &faults, OtherClusters::Up, now);
        assert_eq!((whole, again), (wanted.clone(), Some(now + LOOK)));
        let (broken, _) = stale.apply(wanted, own(), &faults, OtherClusters::OneIsDown, now);
        assert!(broken[0].backends.is_empty());
    }
}
