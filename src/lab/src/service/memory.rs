//! Faults of fail-over: what a cluster's agents go on believing about backends that came or went. They concern every cluster, and
//! applications' services only. Pure but for the clock that is handed in.

use std::collections::BTreeMap;
use std::net::SocketAddrV4;
use std::time::{Duration, Instant};

use ipnet::Ipv4Net;
use meshproof_datapath::{Backend, BackendState, Frontend, Protocol, Service};

use crate::fault::{ActiveFaults, Effect, FaultName, FaultSpec};

/// How late removed backends go.
const LATE: Duration = Duration::from_secs(3);

const REMOVAL_LATE: FaultName = FaultName::new("endpoint-removal-late");
const STALE_KEPT: FaultName = FaultName::new("stale-backend-kept");
const UDP_STALE: FaultName = FaultName::new("udp-backend-stale");
const NEVER_RETURN: FaultName = FaultName::new("endpoints-never-return");
const FAIL_OVER_NEVER: FaultName = FaultName::new("fail-over-never");
const FAIL_BACK_NEVER: FaultName = FaultName::new("fail-back-never");
const LOSS_DROPS: FaultName = FaultName::new("cluster-loss-drops-backends");
/// How often is looked whether another cluster is away.
const LOOK: Duration = Duration::from_millis(100);
/// Established connections to backends are reset when backends change.
pub(super) const RESET_ON_CHANGE: FaultName = FaultName::new("connections-reset-on-change");

/// The catalogue's entries of this module.
pub(crate) fn faults() -> Vec<FaultSpec> {
    let entries = [
        (REMOVAL_LATE, "backends that go are known to every node 3 s longer"),
        (STALE_KEPT, "backends that go are known to every node for ever"),
        (UDP_STALE, "UDP datagrams go on being sent to backends that have gone"),
        (
            NEVER_RETURN,
            "a service that has lost all its backends never has any again",
        ),
        (
            FAIL_OVER_NEVER,
            "a global service that had local backends never uses the other cluster's",
        ),
        (
            FAIL_BACK_NEVER,
            "a global service that has gone over to the other cluster never comes back",
        ),
        (
            LOSS_DROPS,
            "while every node of another cluster is away, services have no backends",
        ),
        (
            RESET_ON_CHANGE,
            "connections to backends that stay are reset when others come or go",
        ),
    ];
    let spec = |(name, summary)| FaultSpec {
        name,
        summary,
        suites: &["failover"],
        effect: Effect::Flag,
    };
    entries.into_iter().map(spec).collect()
}

/// Whether some other cluster is away with every node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mesh {
    Whole,
    Broken,
}

/// What agents remember of services, while a fault makes it matter.
#[derive(Debug, Default)]
pub(super) struct Memory {
    /// Backends that were wanted, with since when they no longer are.
    seen: BTreeMap<String, BTreeMap<SocketAddrV4, (Backend, Option<Instant>)>>,
    /// Frontends that have had local backends since a fault came into force.
    had_local: BTreeMap<String, ()>,
    /// Frontends that lost all backends since a fault came into force.
    emptied: BTreeMap<String, ()>,
    /// Frontends that had only other clusters' backends after local ones, with those.
    away: BTreeMap<String, Vec<Backend>>,
}

impl Memory {
    /// What agents do with what they should do; and when to look again.
    pub(super) fn bend(
        &mut self,
        mut services: Vec<Service>,
        own: Ipv4Net,
        faults: &ActiveFaults,
        mesh: Mesh,
        now: Instant,
    ) -> (Vec<Service>, Option<Instant>) {
        let is = |name| faults.is_active(name);
        let (late, kept, udp) = (is(REMOVAL_LATE), is(STALE_KEPT), is(UDP_STALE));
        let (no_return, no_over, no_back) = (is(NEVER_RETURN), is(FAIL_OVER_NEVER), is(FAIL_BACK_NEVER));
        let drops = is(LOSS_DROPS);
        if !(late || kept || udp || no_return || no_over || no_back || drops) {
            *self = Self::default();
            return (services, None);
        }
        let mut again = drops.then(|| now + LOOK);
        for service in services.iter_mut().filter(|service| is_application(service)) {
            let key = format!("{:?}", service.frontend);
            let is_local = |backend: &Backend| own.contains(backend.address.ip());
            if drops && mesh == Mesh::Broken {
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
    use std::net::Ipv4Addr;

    use super::*;
    use crate::fault::FaultState;

    fn service(backends: &[(u8, u8)]) -> Vec<Service> {
        let backends = backends
            .iter()
            .map(|(cluster, pod)| Backend::active(Ipv4Addr::new(10, *cluster, 1, *pod), 8081));
        let frontend = Frontend::tcp(Ipv4Addr::new(10, 96, 1, 1), 8081);
        vec![Service::new("meshproof/x", frontend, backends.collect())]
    }

    fn in_force(name: FaultName) -> ActiveFaults {
        let faults = ActiveFaults::default();
        faults.set(name, FaultState::InForce);
        faults
    }

    fn own() -> Ipv4Net {
        "10.244.0.0/16".parse().unwrap()
    }

    #[test]
    fn a_late_removal_ends_and_says_when() {
        let (faults, mut memory, start) = (in_force(REMOVAL_LATE), Memory::default(), Instant::now());
        memory.bend(service(&[(244, 1), (244, 2)]), own(), &faults, Mesh::Whole, start);
        // However long nothing has changed before.
        let gone = start + 10 * LATE;
        let (bent, again) = memory.bend(service(&[(244, 1)]), own(), &faults, Mesh::Whole, gone);
        assert_eq!((bent[0].backends.len(), again), (2, Some(gone + LATE)));
        let soon = gone + Duration::from_secs(1);
        let (bent, again) = memory.bend(service(&[(244, 1)]), own(), &faults, Mesh::Whole, soon);
        assert_eq!((bent[0].backends.len(), again), (2, Some(gone + LATE)));
        let (bent, again) = memory.bend(service(&[(244, 1)]), own(), &faults, Mesh::Whole, gone + LATE);
        assert_eq!((bent[0].backends.len(), again), (1, None));
    }

    #[test]
    fn what_went_over_does_not_come_back() {
        let (faults, mut memory, now) = (in_force(FAIL_BACK_NEVER), Memory::default(), Instant::now());
        for wanted in [&[(244, 1)][..], &[(246, 1)]] {
            assert_eq!(
                memory.bend(service(wanted), own(), &faults, Mesh::Whole, now).0,
                service(wanted)
            );
        }
        let (bent, _) = memory.bend(service(&[(244, 3)]), own(), &faults, Mesh::Whole, now);
        assert_eq!(bent, service(&[(246, 1)]));
        let (healed, _) = memory.bend(service(&[(244, 3)]), own(), &ActiveFaults::default(), Mesh::Whole, now);
        assert_eq!(healed, service(&[(244, 3)]));
    }

    #[test]
    fn fail_over_and_return_can_be_denied() {
        let now = Instant::now();
        let (faults, mut memory) = (in_force(FAIL_OVER_NEVER), Memory::default());
        assert_eq!(
            memory.bend(service(&[(246, 1)]), own(), &faults, Mesh::Whole, now).0,
            service(&[(246, 1)])
        );
        memory.bend(service(&[(244, 1)]), own(), &faults, Mesh::Whole, now);
        assert_eq!(
            memory.bend(service(&[(246, 1)]), own(), &faults, Mesh::Whole, now).0,
            service(&[])
        );
        let (faults, mut memory) = (in_force(NEVER_RETURN), Memory::default());
        memory.bend(service(&[(244, 1)]), own(), &faults, Mesh::Whole, now);
        memory.bend(service(&[]), own(), &faults, Mesh::Whole, now);
        assert_eq!(
            memory.bend(service(&[(244, 2)]), own(), &faults, Mesh::Whole, now).0,
            service(&[])
        );
    }

    #[test]
    fn the_loss_of_another_cluster_can_take_everything_along() {
        let (faults, mut memory, now) = (in_force(LOSS_DROPS), Memory::default(), Instant::now());
        let wanted = service(&[(244, 1)]);
        let (whole, again) = memory.bend(wanted.clone(), own(), &faults, Mesh::Whole, now);
        assert_eq!((whole, again), (wanted.clone(), Some(now + LOOK)));
        let (broken, _) = memory.bend(wanted, own(), &faults, Mesh::Broken, now);
        assert!(broken[0].backends.is_empty());
    }
}
