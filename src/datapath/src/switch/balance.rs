//! Services and the choice of a backend: algorithm, session affinity, backend states, and faults that bend them.

use super::{conntrack::Binding, maglev};
use crate::{
    name::ServiceName,
    packet::Tuple,
    service::{Affinity, Algorithm, Backend, BackendState, Frontend, Protocol, Service, ServiceOverride},
};
use rand::{Rng, rngs::SmallRng};
use std::{
    collections::HashMap,
    net::{Ipv4Addr, SocketAddrV4},
    time::Instant,
};

/// A service with what is derived from it.
#[derive(Debug)]
struct Entry {
    service: Service,
    /// Who takes new flows.
    eligible: Vec<SocketAddrV4>,
    maglev: Vec<u16>,
    overrides: Vec<ServiceOverride>,
}

/// All services of a node.
#[derive(Debug, Default)]
pub(super) struct ServiceTable {
    wanted: Vec<Service>,
    overrides: Vec<(ServiceName, ServiceOverride)>,
    /// Backends as they were when a fault froze their service.
    frozen: HashMap<Frontend, Vec<Backend>>,
    entries: HashMap<Frontend, Entry>,
    affinity: HashMap<(Frontend, Ipv4Addr), (SocketAddrV4, Instant)>,
    revision: u64,
}

impl ServiceTable {
    pub(super) fn set_services(&mut self, services: Vec<Service>) {
        self.wanted = services;
        self.rebuild();
    }

    pub(super) fn set_overrides(&mut self, overrides: Vec<(ServiceName, ServiceOverride)>) {
        let freezes = |name: &ServiceName| {
            overrides
                .iter()
                .any(|(service, change)| service == name && *change == ServiceOverride::Frozen)
        };
        self.frozen.retain(|frontend, _| {
            self.entries
                .get(frontend)
                .is_some_and(|entry| freezes(&entry.service.name))
        });
        for entry in self.entries.values().filter(|entry| freezes(&entry.service.name)) {
            self.frozen
                .entry(entry.service.frontend)
                .or_insert_with(|| entry.service.backends.clone());
        }
        self.overrides = overrides;
        self.rebuild();
    }

    fn rebuild(&mut self) {
        self.revision += 1;
        let build = |service: &Service| {
            let mut service = service.clone();
            if let Some(backends) = self.frozen.get(&service.frontend) {
                service.backends = backends.clone();
            }
            let overrides: Vec<ServiceOverride> = self
                .overrides
                .iter()
                .filter(|(name, _)| *name == service.name)
                .map(|(_, change)| change.clone())
                .collect();
            service
                .backends
                .retain(|backend| !overrides.contains(&ServiceOverride::Ignored(backend.address)));
            let in_state = |state| -> Vec<SocketAddrV4> {
                service
                    .backends
                    .iter()
                    .filter(|b| b.state == state)
                    .map(|b| b.address)
                    .collect()
            };
            let mut eligible = in_state(BackendState::Active);
            if eligible.is_empty() {
                // KEP-1669: without an active backend, terminating ones serve.
                eligible = in_state(BackendState::Terminating);
            }
            let maglev = match service.algorithm {
                Algorithm::Maglev { table_size } => maglev::table(&eligible, table_size),
                Algorithm::Random => Vec::new(),
            };
            (
                service.frontend,
                Entry {
                    service,
                    eligible,
                    maglev,
                    overrides,
                },
            )
        };
        self.entries = self.wanted.iter().map(build).collect();
    }

    /// The service at this destination. `is_node` tells whether the address is a node's, where NodePorts are served.
    pub(super) fn find(
        &self,
        protocol: Protocol,
        to: SocketAddrV4,
        is_node: impl FnOnce() -> bool,
    ) -> Option<&Service> {
        let by_address = Frontend::Address { address: to, protocol };
        let entry = self.entries.get(&by_address).or_else(|| {
            let by_port = self.entries.get(&Frontend::NodePort {
                port: to.port(),
                protocol,
            })?;
            is_node().then_some(by_port)
        })?;
        Some(&entry.service)
    }

    /// Chooses a backend for a new flow. `None` if nobody can take it.
    pub(super) fn choose(
        &mut self,
        now: Instant,
        frontend: Frontend,
        flow: &Tuple,
        rng: &mut SmallRng,
    ) -> Option<Binding> {
        let entry = self.entries.get(&frontend)?;
        let bind = |backend| {
            Some(Binding {
                frontend,
                backend,
                revision: self.revision,
            })
        };
        let mut heeds_affinity = true;
        for change in &entry.overrides {
            match *change {
                ServiceOverride::Pinned(backend) => return bind(backend),
                ServiceOverride::Weighted(backend, share) if entry.eligible.contains(&backend) => {
                    if rng.random::<f64>() < share {
                        return bind(backend);
                    }
                    let others: Vec<_> = entry
                        .eligible
                        .iter()
                        .copied()
                        .filter(|other| *other != backend)
                        .collect();
                    return bind(*others.get(rng.random_range(0..others.len().max(1))).unwrap_or(&backend));
                }
                ServiceOverride::AffinityIgnored => heeds_affinity = false,
                ServiceOverride::Weighted(..) | ServiceOverride::Ignored(_) | ServiceOverride::Frozen => {}
            }
        }
        if entry.eligible.is_empty() {
            return None;
        }
        let client = (frontend, *flow.source.ip());
        if let (Affinity::ClientIp { timeout }, true) = (entry.service.affinity, heeds_affinity) {
            let kept = self
                .affinity
                .get(&client)
                .filter(|(backend, last)| now < *last + timeout && entry.eligible.contains(backend))
                .map(|(backend, _)| *backend);
            let backend = match kept {
                Some(backend) => backend,
                None => entry.pick(flow, rng)?,
            };
            self.affinity.insert(client, (backend, now));
            return bind(backend);
        }
        bind(entry.pick(flow, rng)?)
    }

    /// Whether an established flow may stay with its backend: it is still one of the service's, in whatever state.
    pub(super) fn keeps(&self, binding: &Binding) -> Keep {
        if binding.revision == self.revision {
            return Keep::Yes(self.revision);
        }
        let Some(entry) = self.entries.get(&binding.frontend) else {
            return Keep::ServiceGone;
        };
        let known = entry
            .service
            .backends
            .iter()
            .any(|backend| backend.address == binding.backend);
        let bent = entry.overrides.iter().any(|change| {
            matches!(change, ServiceOverride::Pinned(to) | ServiceOverride::Weighted(to, _) if *to == binding.backend)
        });
        if known || bent {
            Keep::Yes(self.revision)
        } else {
            Keep::BackendGone
        }
    }

    /// Forgets clients that have been away for longer than their service remembers.
    pub(super) fn expire(&mut self, now: Instant) {
        let entries = &self.entries;
        self.affinity.retain(|(frontend, _), (_, last)| {
            entries.get(frontend).is_some_and(|entry| match entry.service.affinity {
                Affinity::ClientIp { timeout } => now < *last + timeout,
                Affinity::None => false,
            })
        });
    }
}

/// What becomes of an established flow after its service changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Keep {
    /// It stays; the revision that was checked.
    Yes(u64),
    /// It needs another backend.
    BackendGone,
    /// It has nowhere to go.
    ServiceGone,
}

impl Entry {
    fn pick(&self, flow: &Tuple, rng: &mut SmallRng) -> Option<SocketAddrV4> {
        let index = match self.service.algorithm {
            Algorithm::Random if self.eligible.is_empty() => return None,
            Algorithm::Random => rng.random_range(0..self.eligible.len()),
            Algorithm::Maglev { .. } => maglev::entry(&self.maglev, flow)?,
        };
        self.eligible.get(index).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use std::time::Duration;

    const VIP: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 10);

    fn backend(n: u8) -> Backend {
        Backend::active(Ipv4Addr::new(10, 244, 1, n), 8080)
    }

    fn service(backends: Vec<Backend>) -> Service {
        Service::new("demo/echo", Frontend::tcp(VIP, 80), backends)
    }

    fn table(service: Service) -> ServiceTable {
        let mut table = ServiceTable::default();
        table.set_services(vec![service]);
        table
    }

    fn flow(port: u16) -> Tuple {
        Tuple {
            protocol: Protocol::Tcp,
            source: SocketAddrV4::new(Ipv4Addr::new(10, 244, 1, 99), port),
            destination: SocketAddrV4::new(VIP, 80),
        }
    }

    fn spread(table: &mut ServiceTable, now: Instant) -> HashMap<SocketAddrV4, usize> {
        let mut rng = SmallRng::seed_from_u64(1);
        let mut counts = HashMap::new();
        for port in 1..=3000 {
            let chosen = table
                .choose(now, Frontend::tcp(VIP, 80), &flow(port), &mut rng)
                .expect("a backend");
            *counts.entry(chosen.backend).or_default() += 1;
        }
        counts
    }

    #[test]
    fn random_and_maglev_spread_evenly() {
        for algorithm in [Algorithm::Random, Algorithm::Maglev { table_size: 251 }] {
            let mut service = service(vec![backend(1), backend(2), backend(3)]);
            service.algorithm = algorithm;
            let counts = spread(&mut table(service), Instant::now());
            assert_eq!(counts.len(), 3);
            assert!(
                counts.values().all(|count| (850..1150).contains(count)),
                "{algorithm:?}: {counts:?}"
            );
        }
    }

    #[test]
    fn terminating_backends_serve_only_when_no_other_does() {
        let now = Instant::now();
        let leaving = Backend {
            state: BackendState::Terminating,
            ..backend(1)
        };
        let counts = spread(&mut table(service(vec![leaving, backend(2)])), now);
        assert_eq!(counts.keys().collect::<Vec<_>>(), [&backend(2).address]);
        let counts = spread(&mut table(service(vec![leaving])), now);
        assert_eq!(counts.keys().collect::<Vec<_>>(), [&leaving.address]);
        let parked = Backend {
            state: BackendState::Quarantined,
            ..backend(1)
        };
        let mut rng = SmallRng::seed_from_u64(1);
        assert_eq!(
            table(service(vec![parked])).choose(now, Frontend::tcp(VIP, 80), &flow(1), &mut rng),
            None
        );
    }

    #[test]
    fn affinity_holds_until_the_client_was_idle_too_long_or_the_backend_left() {
        let mut sticky = service((1..=8).map(backend).collect());
        sticky.affinity = Affinity::ClientIp {
            timeout: Duration::from_secs(10),
        };
        let mut table = table(sticky.clone());
        let start = Instant::now();
        let mut rng = SmallRng::seed_from_u64(3);
        let mut choose = |table: &mut ServiceTable, at: u64, port| {
            let now = start + Duration::from_secs(at);
            table
                .choose(now, Frontend::tcp(VIP, 80), &flow(port), &mut rng)
                .expect("a backend")
                .backend
        };
        let first = choose(&mut table, 0, 1);
        for port in 2..50 {
            assert_eq!(choose(&mut table, 9, port), first, "port {port}");
        }
        let later: Vec<_> = (0..20).map(|round| choose(&mut table, 19 + 11 * round, 1)).collect();
        assert!(
            later.iter().any(|backend| *backend != first),
            "eleven idle seconds forget the client"
        );
        let last = *later.last().expect("twenty choices");
        sticky.backends.retain(|backend| backend.address != last);
        table.set_services(vec![sticky]);
        assert_ne!(choose(&mut table, 19 + 11 * 19, 1), last);
    }

    #[test]
    fn faults_bend_the_choice_and_heal() {
        let now = Instant::now();
        let mut table = table(service(vec![backend(1), backend(2)]));
        let name = ServiceName::from("demo/echo");
        let one = backend(1).address;
        table.set_overrides(vec![(name.clone(), ServiceOverride::Pinned(one))]);
        assert_eq!(spread(&mut table, now).len(), 1);
        table.set_overrides(vec![(name.clone(), ServiceOverride::Ignored(one))]);
        assert!(!spread(&mut table, now).contains_key(&one));
        table.set_overrides(vec![(name.clone(), ServiceOverride::Weighted(one, 0.9))]);
        assert!((2600..2800).contains(&spread(&mut table, now)[&one]));
        table.set_overrides(vec![(name, ServiceOverride::Frozen)]);
        table.set_services(vec![service(vec![backend(3)])]);
        assert!(
            !spread(&mut table, now).contains_key(&backend(3).address),
            "frozen: the change is not seen"
        );
        table.set_overrides(Vec::new());
        assert_eq!(
            spread(&mut table, now).keys().collect::<Vec<_>>(),
            [&backend(3).address]
        );
    }
}
