//! Services and the choice of a backend: algorithm, session affinity, backend states, and faults that change them.

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
    /// Who takes those from outside, where not all do.
    outside: Option<Vec<SocketAddrV4>>,
    maglev: Vec<u16>,
    overrides: Vec<ServiceOverride>,
}

/// At which nodes' addresses a NodePort is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NodePorts {
    /// This cluster's.
    Near,
    /// Other clusters', too.
    Anywhere,
}

/// Who opens a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asker {
    /// A process of this node, whose socket is balanced.
    Socket,
    /// A process of this node, by its packets.
    Inside,
    /// Somebody outside the cluster.
    Outside,
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
            let outside: Option<Vec<SocketAddrV4>> = service.outside.as_ref().map(|some| {
                let may = eligible.iter().filter(|backend| some.contains(backend));
                may.copied().collect()
            });
            let maglev = match service.algorithm {
                Algorithm::Maglev { table_size } => {
                    let before = self.entries.get(&service.frontend);
                    let hashed = outside.as_ref().unwrap_or(&eligible);
                    match before.filter(|entry| entry.taking(Asker::Outside) == hashed && !entry.maglev.is_empty()) {
                        // A table of thousands of entries is worth keeping.
                        Some(entry) => entry.maglev.clone(),
                        None => maglev::table(hashed, table_size),
                    }
                }
                Algorithm::Random => Vec::new(),
            };
            (
                service.frontend,
                Entry {
                    service,
                    eligible,
                    outside,
                    maglev,
                    overrides,
                },
            )
        };
        self.entries = self.wanted.iter().map(build).collect();
    }

    /// The service at this destination. `is_node`: whether the address is a node's where NodePorts are served, or, with
    /// a fault, any node's.
    pub(super) fn find(
        &self,
        protocol: Protocol,
        to: SocketAddrV4,
        is_node: impl FnOnce(NodePorts) -> bool,
    ) -> Option<&Service> {
        let by_address = Frontend::Address { address: to, protocol };
        let entry = self.entries.get(&by_address).or_else(|| {
            let by_port = self.entries.get(&Frontend::NodePort {
                port: to.port(),
                protocol,
            })?;
            let elsewhere = by_port.overrides.contains(&ServiceOverride::ServedElsewhere);
            is_node(if elsewhere {
                NodePorts::Anywhere
            } else {
                NodePorts::Near
            })
            .then_some(by_port)
        })?;
        Some(&entry.service)
    }

    /// Whether a fault of this kind is in force for the service.
    pub(super) fn is_overridden(&self, frontend: Frontend, by: &ServiceOverride) -> bool {
        let entry = self.entries.get(&frontend);
        entry.is_some_and(|entry| entry.overrides.contains(by))
    }

    /// Chooses a backend for a new flow. `None` if nobody can take it.
    pub(super) fn choose(
        &mut self,
        now: Instant,
        frontend: Frontend,
        flow: &Tuple,
        asker: Asker,
        rng: &mut SmallRng,
    ) -> Option<Binding> {
        let entry = self.entries.get(&frontend)?;
        let taking = entry.taking(asker);
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
                ServiceOverride::Weighted(backend, share) if taking.contains(&backend) => {
                    if rng.random::<f64>() < share {
                        return bind(backend);
                    }
                    let others: Vec<_> = taking.iter().copied().filter(|other| *other != backend).collect();
                    return bind(*others.get(rng.random_range(0..others.len().max(1))).unwrap_or(&backend));
                }
                ServiceOverride::Stale(address, share) if rng.random::<f64>() < share => return bind(address),
                ServiceOverride::AffinityIgnored => heeds_affinity = false,
                ServiceOverride::Weighted(..)
                | ServiceOverride::Stale(..)
                | ServiceOverride::HostDropped
                | ServiceOverride::HairpinDropped
                | ServiceOverride::ServedElsewhere
                | ServiceOverride::PolicySkipped
                | ServiceOverride::AffinityForgets(_)
                | ServiceOverride::SourceHidden
                | ServiceOverride::Ignored(_)
                | ServiceOverride::Frozen => {}
            }
        }
        if taking.is_empty() {
            return None;
        }
        let client = (frontend, *flow.source.ip());
        if let (Affinity::ClientIp { timeout }, true) = (entry.service.affinity, heeds_affinity) {
            let kept = self
                .affinity
                .get(&client)
                .filter(|(backend, last)| now < *last + timeout && taking.contains(backend))
                .filter(|(backend, _)| !entry.overrides.contains(&ServiceOverride::AffinityForgets(*backend)))
                .map(|(backend, _)| *backend);
            let backend = match kept {
                Some(backend) => backend,
                None => entry.pick(flow, asker, rng)?,
            };
            self.affinity.insert(client, (backend, now));
            return bind(backend);
        }
        bind(entry.pick(flow, asker, rng)?)
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
        let overridden = entry.overrides.iter().any(|change| {
            matches!(
                change,
                ServiceOverride::Pinned(to) | ServiceOverride::Weighted(to, _) | ServiceOverride::Stale(to, _)
                    if *to == binding.backend
            )
        });
        if known || overridden {
            Keep::Yes(self.revision)
        } else {
            Keep::BackendGone
        }
    }

    /// The frontends that nobody answers for.
    pub(super) fn unserved(&self) -> impl Iterator<Item = Frontend> {
        let entries = self.entries.iter().filter(|(_, entry)| entry.eligible.is_empty());
        entries.map(|(frontend, _)| *frontend)
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
    /// At the socket neither hashes nor weights count (semantics B3).
    fn pick(&self, flow: &Tuple, asker: Asker, rng: &mut SmallRng) -> Option<SocketAddrV4> {
        let taking = self.taking(asker);
        let is_hashed = match asker {
            Asker::Socket => false,
            // The table is made for clients outside.
            Asker::Inside => self.outside.is_none(),
            Asker::Outside => true,
        };
        let index = match self.service.algorithm {
            _ if taking.is_empty() => return None,
            Algorithm::Maglev { .. } if is_hashed => maglev::entry(&self.maglev, flow)?,
            Algorithm::Random | Algorithm::Maglev { .. } => rng.random_range(0..taking.len()),
        };
        taking.get(index).copied()
    }

    /// Who takes new flows of that origin.
    fn taking(&self, asker: Asker) -> &Vec<SocketAddrV4> {
        match (asker, &self.outside) {
            (Asker::Outside, Some(outside)) => outside,
            _ => &self.eligible,
        }
    }
}

#[cfg(test)]
mod tests;
