//! One agent's services against what they should be.

use super::{
    expected::{Expected, Mesh, Policy},
    listed::{Entry, Frontend, Listed, Map},
};
use crate::{
    kit::known_fault::{AFFINITY_NONE, KnownFault, TWO_PORTS_MERGED},
    state::{
        deviation::{Counts, Difference, Seen, Sight},
        service::{Affinity, Port, Service},
    },
};
use meshproof_contract::NodeName;
use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

const LIST: &str = "cilium-dbg service list";
const MAP: &str = "cilium-dbg bpf lb list";
/// The types of frontends that Services make; others are hostPorts and redirects.
const KINDS: [&str; 4] = ["ClusterIP", "NodePort", "LoadBalancer", "ExternalIPs"];

/// What one agent has.
pub struct Agent<'a> {
    /// Its node.
    pub node: &'a NodeName,
    /// What it lists.
    pub listed: Listed,
    /// What its data path has.
    pub map: Map,
}

/// A frontend that is compared.
struct Place<'a> {
    service: &'a Service,
    port: &'a Port,
    expected: Expected,
    version: String,
    known: Option<&'static KnownFault>,
    is_ours: bool,
}

impl Agent<'_> {
    /// Compares all of it.
    pub fn compare(&self, mesh: &Mesh<'_>, seen: &mut Seen) {
        for entry in &self.listed.0 {
            if !KINDS.contains(&entry.kind.as_str()) || entry.service.1.is_empty() {
                seen.leave_out("frontends that are no Service's: host ports, redirects");
                continue;
            }
            if entry.kind != "ClusterIP" && !mesh.replaces_kube_proxy {
                seen.leave_out("frontends that kube-proxy serves");
                continue;
            }
            match mesh.service(&entry.service) {
                Some(service) => self.frontend(mesh, service, entry, seen),
                None => self.kept(entry, "no such Service", seen),
            }
        }
        let has: BTreeSet<&Frontend> = self.listed.0.iter().map(|entry| &entry.frontend).collect();
        for service in mesh.services().filter(|service| !service.special) {
            for (address, port) in service
                .cluster_ips
                .iter()
                .flat_map(|ip| service.ports.iter().map(move |p| (ip, p)))
            {
                let frontend = Frontend {
                    address: SocketAddr::new(*address, port.number),
                    protocol: port.protocol.clone(),
                };
                // Without SCTP, or without one of the families, agents leave such frontends out.
                let is_served = has.iter().any(|one| {
                    one.protocol == frontend.protocol && one.address.is_ipv4() == frontend.address.is_ipv4()
                });
                if is_served && !has.contains(&frontend) {
                    let difference = Difference {
                        subject: subject(service, port),
                        expected: format!("frontend {}", written(&frontend)),
                        observed: "not in the agent's list of services".to_owned(),
                        version: mesh.version(&service.name),
                        counts: Counts::Twice,
                    };
                    seen.on(self.node, LIST, difference);
                }
            }
        }
    }

    /// A frontend that the agent has and no Service makes.
    fn kept(&self, entry: &Entry, why: &str, seen: &mut Seen) {
        let (namespace, name) = &entry.service;
        let difference = Difference {
            subject: format!("Service {namespace}/{name}"),
            expected: "no frontend that no Service has".to_owned(),
            observed: format!("{} is still there: {why}", written(&entry.frontend)),
            version: String::new(),
            counts: Counts::Thrice,
        };
        seen.on(self.node, LIST, difference);
    }

    fn frontend(&self, mesh: &Mesh<'_>, service: &Service, entry: &Entry, seen: &mut Seen) {
        let (number, protocol) = (entry.frontend.address.port(), &entry.frontend.protocol);
        let is_node_port = entry.kind == "NodePort";
        let port = service.ports.iter().find(|port| {
            let its = if is_node_port {
                port.node_port
            } else {
                Some(port.number)
            };
            its == Some(number) && port.protocol == *protocol
        });
        let Some(port) = port else {
            return self.kept(entry, "its Service has no such port", seen);
        };
        seen.compared += 1;
        let is_inside = entry.kind == "ClusterIP" || entry.is_internal;
        let is_local = if is_inside {
            service.internal_local
        } else {
            service.external_local
        };
        let policy = if is_local { Policy::Local } else { Policy::Cluster };
        let mut expected = mesh.expected(service, port, policy, self.node);
        let is_v4 = is_v4(&entry.frontend.address);
        for side in [&mut expected.required, &mut expected.remote, &mut expected.allowed] {
            side.retain(|backend| backend.is_ipv4() == is_v4);
        }
        let known = match service.affinity() {
            Affinity::WrittenNone => Some(&AFFINITY_NONE),
            _ if mesh.shares_target(service, port) => Some(&TWO_PORTS_MERGED),
            _ => None,
        };
        let place = Place {
            service,
            port,
            expected,
            version: mesh.version(&service.name),
            known,
            is_ours: mesh.is_ours(&service.name),
        };
        let active = |state: &str| state == "active";
        let listed: BTreeSet<SocketAddr> = entry.backends.keys().copied().collect();
        place.compare(self.node, LIST, &listed, seen);
        for (backend, state) in entry.backends.iter().filter(|(_, state)| !active(state)) {
            if place.expected.required.contains(backend) {
                let observed = format!("backend {backend} is {state}");
                let expected = format!("backend {backend} active, as its EndpointSlice has it ready");
                place.add(self.node, LIST, expected, observed, Counts::Twice, seen);
            }
        }
        if entry.is_internal {
            return;
        }
        let of_map = self
            .map
            .at(&entry.frontend)
            .map(|slots| (entry.frontend.address.ip(), slots));
        if of_map.is_none() {
            let expected = format!("frontend {}, as the agent lists it", written(&entry.frontend));
            place.add(
                self.node,
                MAP,
                expected,
                "not in the data path's map".to_owned(),
                Counts::Twice,
                seen,
            );
        }
        let elsewhere = self.map.on_addresses(&entry.frontend);
        let elsewhere = elsewhere.filter(|(ip, _)| is_node_port && self.is_own(*ip, &entry.frontend));
        let judged = of_map.into_iter().chain(elsewhere).filter(|(_, slots)| !slots.to_proxy);
        for (address, slots) in judged {
            place.compare(self.node, MAP, &slots.backends, seen);
            if !slots.is_there {
                let number = entry.frontend.address.port();
                let observed = format!(
                    "{} has no slot 0: no request is balanced",
                    SocketAddr::new(address, number)
                );
                let expected = "a frontend, and its backends in the slots after it".to_owned();
                place.add(self.node, MAP, expected, observed, Counts::Twice, seen);
            }
            if slots.broken > 0 {
                let observed = format!("{} of its slots lead nowhere", slots.broken);
                let expected = "a backend in every slot".to_owned();
                place.add(self.node, MAP, expected, observed, Counts::Twice, seen);
            }
        }
    }

    /// Whether an address with the number of a NodePort is the node's own, and not that of another frontend.
    fn is_own(&self, ip: IpAddr, node_port: &Frontend) -> bool {
        let is_other = |entry: &Entry| {
            entry.frontend.address == SocketAddr::new(ip, node_port.address.port())
                && entry.frontend.protocol == node_port.protocol
        };
        ip.is_ipv4() == node_port.address.is_ipv4() && !self.listed.0.iter().any(is_other)
    }
}

impl Place<'_> {
    fn compare(&self, node: &NodeName, command: &'static str, has: &BTreeSet<SocketAddr>, seen: &mut Seen) {
        for backend in self.expected.required.difference(has) {
            let known = self.known.filter(|_| self.expected.remote.contains(backend));
            if known.is_some() && self.is_ours {
                seen.leave_out("backends of Services of this run that a known fault takes, told by suite service");
                continue;
            }
            let whose = if self.expected.remote.contains(backend) {
                ", of another cluster"
            } else {
                ""
            };
            let expected = format!("backend {backend}{whose}, as its EndpointSlice has it ready");
            let sight = self.add(node, command, expected, "missing".to_owned(), Counts::Twice, seen);
            sight.known = known;
        }
        if self.expected.open {
            return;
        }
        for backend in has.difference(&self.expected.allowed) {
            // Envoy's stand-in of Ingress and Gateway.
            if backend.ip() == IpAddr::from([192, 192, 192, 192]) {
                continue;
            }
            let expected = "backends that an EndpointSlice has".to_owned();
            let observed = format!("keeps {backend}, which none has: requests to it are lost");
            self.add(node, command, expected, observed, Counts::Thrice, seen);
        }
    }

    /// Adds what is wrong at this port. What list and map both show is one difference, and the map's command shows it.
    fn add<'s>(
        &self,
        node: &NodeName,
        command: &'static str,
        expected: String,
        observed: String,
        counts: Counts,
        seen: &'s mut Seen,
    ) -> &'s mut Sight {
        let version = match counts {
            Counts::Twice => self.version.clone(),
            Counts::Thrice => String::new(),
        };
        let subject = subject(self.service, self.port);
        seen.on(
            node,
            command,
            Difference {
                subject,
                expected,
                observed,
                version,
                counts,
            },
        )
    }
}

fn subject(service: &Service, port: &Port) -> String {
    let (namespace, name) = &service.name;
    let label = if port.name.is_empty() {
        String::new()
    } else {
        format!(" ({})", port.name)
    };
    format!(
        "Service {namespace}/{name} port {}/{}{label}",
        port.number, port.protocol
    )
}

fn written(frontend: &Frontend) -> String {
    format!("{}/{}", frontend.address, frontend.protocol)
}

/// A NodePort's 0.0.0.0 is of its own family, too.
fn is_v4(address: &SocketAddr) -> bool {
    match address.ip() {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => true,
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => false,
        other => other.is_ipv4(),
    }
}
