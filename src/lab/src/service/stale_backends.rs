//! Faults of fail-over: what a cluster's agents go on believing about backends that came or went. They concern every
//! cluster, and applications' services only. Pure but for the clock that is handed in.

use crate::fault::{ActiveFaults, Fault};
use ipnet::Ipv4Net;
use meshproof_datapath::{Backend, BackendState, Frontend, Protocol, Service};
use std::{
    collections::BTreeMap,
    net::SocketAddrV4,
    time::{Duration, Instant},
};

/// How late removed backends go.
const LATE: Duration = Duration::from_secs(3);

/// How often is looked whether another cluster is away.
const LOOK: Duration = Duration::from_millis(100);

/// Whether some other cluster is away with every node.
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
    had_local: BTreeMap<String, ()>,
    /// Frontends that lost all backends since a fault came into force.
    emptied: BTreeMap<String, ()>,
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
        let is = |fault| faults.is_active(fault);
        let (late, kept, udp) = (
            is(Fault::EndpointRemovalLate),
            is(Fault::StaleBackendKept),
            is(Fault::UdpBackendStale),
        );
        let (no_return, no_over, no_back) = (
            is(Fault::EndpointsNeverReturn),
            is(Fault::FailOverNever),
            is(Fault::FailBackNever),
        );
        let drops = is(Fault::ClusterLossDropsBackends);
        if !(late || kept || udp || no_return || no_over || no_back || drops) {
            *self = Self::default();
            return (services, None);
        }
        let mut again = drops.then(|| now + LOOK);
        for service in services.iter_mut().filter(|service| is_application(service)) {
            let key = format!("{:?}", service.frontend);
            let is_local = |backend: &Backend| own.contains(backend.address.ip());
            if drops && others == OtherClusters::OneIsDown {
                service.backends.clear();
            }
            let local = service.backends.iter().any(is_local);
            let never = kept || udp && is_udp(&service.frontend);
            if late || never {
                let seen = self.seen.entry(key.clone()).or_default();
                for backend in &service.backends {
                    seen.insert(backend.address, (*backend, None));
                }
                for (backend, gone) in seen.values_mut() {
                    if service.backends.iter().any(|b| b.address == backend.address) {
                        continue;
                    }
                    let due = *gone.get_or_insert(now) + LATE;
                    if never || due > now {
                        service.backends.push(Backend {
                            state: BackendState::Active,
                            ..*backend
                        });
                        if !never {
                            again = Some(again.map_or(due, |again: Instant| again.min(due)));
                        }
                    }
                }
                service.backends.sort_by_key(|backend| backend.address);
            }
            if no_return && local_only_or_empty(service, &is_local) {
                if service.backends.is_empty() && self.had_local.contains_key(&key) {
                    self.emptied.insert(key.clone(), ());
                }
                if self.emptied.contains_key(&key) {
                    service.backends.clear();
                }
            }
            let remote_only = !local && !service.backends.is_empty();
            if no_over && remote_only && self.had_local.contains_key(&key) {
                service.backends.clear();
            }
            if no_back {
                if remote_only && self.had_local.contains_key(&key) {
                    self.away.insert(key.clone(), service.backends.clone());
                } else if let Some(away) = self.away.get(&key) {
                    service.backends = away.clone();
                }
            }
            if local {
                self.had_local.insert(key, ());
            }
        }
        (services, again)
    }
}

fn local_only_or_empty(service: &Service, is_local: &impl Fn(&Backend) -> bool) -> bool {
    service.backends.iter().all(is_local)
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
pub(super) fn backends(services: &[Service]) -> std::collections::BTreeSet<std::net::Ipv4Addr> {
    let services = services.iter().filter(|service| is_application(service));
    services
        .flat_map(|service| service.backends.iter().map(|backend| *backend.address.ip()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fault::FaultState;
    use std::net::Ipv4Addr;

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
        let (faults, mut memory, start) = (
            in_force(Fault::EndpointRemovalLate),
            StaleBackends::default(),
            Instant::now(),
        );
        memory.apply(service(&[(244, 1), (244, 2)]), own(), &faults, OtherClusters::Up, start);
        // However long nothing has changed before.
        let gone = start + 10 * LATE;
        let (bent, again) = memory.apply(service(&[(244, 1)]), own(), &faults, OtherClusters::Up, gone);
        assert_eq!((bent[0].backends.len(), again), (2, Some(gone + LATE)));
        let soon = gone + Duration::from_secs(1);
        let (bent, again) = memory.apply(service(&[(244, 1)]), own(), &faults, OtherClusters::Up, soon);
        assert_eq!((bent[0].backends.len(), again), (2, Some(gone + LATE)));
        let (bent, again) = memory.apply(service(&[(244, 1)]), own(), &faults, OtherClusters::Up, gone + LATE);
        assert_eq!((bent[0].backends.len(), again), (1, None));
    }

    #[test]
    fn what_went_over_does_not_come_back() {
        let (faults, mut memory, now) = (in_force(Fault::FailBackNever), StaleBackends::default(), Instant::now());
        for wanted in [&[(244, 1)][..], &[(246, 1)]] {
            assert_eq!(
                memory.apply(service(wanted), own(), &faults, OtherClusters::Up, now).0,
                service(wanted)
            );
        }
        let (bent, _) = memory.apply(service(&[(244, 3)]), own(), &faults, OtherClusters::Up, now);
        assert_eq!(bent, service(&[(246, 1)]));
        let (healed, _) = memory.apply(
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
        let (faults, mut memory) = (in_force(Fault::FailOverNever), StaleBackends::default());
        assert_eq!(
            memory
                .apply(service(&[(246, 1)]), own(), &faults, OtherClusters::Up, now)
                .0,
            service(&[(246, 1)])
        );
        memory.apply(service(&[(244, 1)]), own(), &faults, OtherClusters::Up, now);
        assert_eq!(
            memory
                .apply(service(&[(246, 1)]), own(), &faults, OtherClusters::Up, now)
                .0,
            service(&[])
        );
        let (faults, mut memory) = (in_force(Fault::EndpointsNeverReturn), StaleBackends::default());
        memory.apply(service(&[(244, 1)]), own(), &faults, OtherClusters::Up, now);
        memory.apply(service(&[]), own(), &faults, OtherClusters::Up, now);
        assert_eq!(
            memory
                .apply(service(&[(244, 2)]), own(), &faults, OtherClusters::Up, now)
                .0,
            service(&[])
        );
    }

    #[test]
    fn the_loss_of_another_cluster_can_take_everything_along() {
        let (faults, mut memory, now) = (
            in_force(Fault::ClusterLossDropsBackends),
            StaleBackends::default(),
            Instant::now(),
        );
        let wanted = service(&[(244, 1)]);
        let (whole, again) = memory.apply(wanted.clone(), own(), &faults, OtherClusters::Up, now);
        assert_eq!((whole, again), (wanted.clone(), Some(now + LOOK)));
        let (broken, _) = memory.apply(wanted, own(), &faults, OtherClusters::OneIsDown, now);
        assert!(broken[0].backends.is_empty());
    }
}
