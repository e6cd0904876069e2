//! Setting up a flow: service translation, policy on both sides, source translation.

use super::{
    LOOPBACK, Refusal, Source, Switch, TRANSLATED_PORTS, Transit, Upstream,
    balance::Asker,
    conntrack::{Binding, Flow, FlowKey, Phase},
    topology::Way as Route,
};
use crate::{
    config::Dispatch,
    flow::{Direction, DropReason, FlowVerdict, Observation, ProxyPort},
    identity::Identity,
    packet::{Fragment, Tuple, tcp},
    policy::{FlowQuery, Verdict},
    service::{NoBackend, Protocol, ServiceOverride},
};
use std::net::{Ipv4Addr, SocketAddrV4};

/// Both ends of a flow as policy sees them.
struct Ends {
    tuple: Tuple,
    source: Identity,
    destination: Identity,
}

impl Switch {
    /// Sets up the flow that this packet opens. `None` if it opens none and may pass untracked.
    pub(super) fn set_up(&mut self, transit: &Transit) -> Result<Option<FlowKey>, Refusal> {
        let original = transit.tuple;
        let binding = self.bind_service(transit)?;
        let is_reset = transit.headers.tcp_flags() & tcp::RST != 0;
        if is_reset || transit.headers.fragment == Fragment::Later {
            // A reset of a forgotten flow: nobody waits for its answer.
            return match binding {
                Some(_) => Err(Refusal::Drop(DropReason::ServiceBackendNotFound)),
                None => Ok(None),
            };
        }
        let mut destination = binding.map_or(original.destination, |binding| binding.backend);
        let mut route = self.topology.way_to(*destination.ip());
        self.check_route(transit, route, binding.is_some())?;

        let upstream = match transit.from {
            Source::Host => self.upstreams.remove(&(original.protocol, original.source)),
            _ => None,
        };
        let hairpin = binding.is_some() && self.is_hairpin(transit.from, *destination.ip(), route);
        let is_dropped = |binding: Binding| {
            let services = &self.services;
            services.is_overridden(binding.frontend, &ServiceOverride::HairpinDropped)
        };
        if hairpin && binding.is_some_and(is_dropped) {
            return Err(Refusal::Drop(DropReason::NoEndpoint));
        }
        let ends = Ends {
            tuple: Tuple {
                destination,
                ..original
            },
            source: match upstream {
                Some(upstream) => self.topology.identity_of(*upstream.client.ip()),
                None => self.source_identity(transit),
            },
            destination: self.topology.identity_of(*destination.ip()),
        };
        // What comes out of a destination's own proxy has been decided on.
        let skips = |binding: Binding| {
            let services = &self.services;
            services.is_overridden(binding.frontend, &ServiceOverride::PolicySkipped)
        };
        let exempt = hairpin
            || binding.is_some_and(skips)
            || upstream.is_some_and(|upstream| upstream.after == Direction::Ingress);
        let redirect = if exempt {
            None
        } else {
            self.ask_policies(transit, &ends, route)?
        };
        if let Some(ProxyPort(port)) = redirect {
            destination = SocketAddrV4::new(self.topology.router, port);
            route = Route::Host;
        }
        if self.conntrack.is_full() {
            return Err(Refusal::Drop(DropReason::ConntrackFull));
        }
        let returns_directly = self.returns_directly(transit, binding, route);
        let source = match upstream {
            Some(upstream) => self.clients_source(transit, upstream, destination)?,
            None if returns_directly => original.source,
            None => self.translated_source(transit, binding, hairpin, route, destination)?,
        };
        let mut flow = Flow {
            original,
            reply: Tuple {
                protocol: original.protocol,
                source: destination,
                destination: source,
            },
            service: binding,
            answers_as: transit.answers_as,
            returns_directly,
            redirect,
            policy_revision: self.policy_revision,
            exempt,
            impersonates: upstream.is_some(),
            source_identity: ends.source,
            destination_identity: ends.destination,
            from_socket: is_socket(transit.from),
            phase: Phase::Opening,
            expires: transit.now,
        };
        flow.expires = transit.now + flow.lifetime();
        Ok(Some(self.conntrack.insert(flow)))
    }

    /// The backend for a packet that is addressed to a service.
    fn bind_service(&mut self, transit: &Transit) -> Result<Option<Binding>, Refusal> {
        let to = transit.tuple.destination;
        // A tunnel's packets are for backends, chosen where they come from, or for a NodePort of this node.
        if matches!(transit.from, Source::Tunnel(_)) && *to.ip() != self.topology.address {
            return Ok(None);
        }
        let topology = &self.topology;
        let by_socket = self.socket_balancing && is_socket(transit.from);
        let found = self.services.find(transit.tuple.protocol, to, |node_ports| {
            topology.is_node(*to.ip(), node_ports)
        });
        let Some(service) = found else { return Ok(None) };
        let (frontend, no_backend) = (service.frontend, service.no_backend);
        if transit.from == Source::Host && self.services.is_overridden(frontend, &ServiceOverride::HostDropped) {
            return Err(Refusal::Drop(DropReason::ServiceBackendNotFound));
        }
        let flags = transit.headers.tcp_flags();
        if by_socket && transit.tuple.protocol == Protocol::Tcp && flags & (tcp::SYN | tcp::ACK) != tcp::SYN {
            // The connection was with a backend that has gone: what is sent there meets nobody.
            return Err(Refusal::Drop(DropReason::NoEndpoint));
        }
        let asker = match by_socket {
            true => Asker::Socket,
            false if is_socket(transit.from) => Asker::Inside,
            false => Asker::Outside,
        };
        match self
            .services
            .choose(transit.now, frontend, &transit.tuple, asker, &mut self.rng)
        {
            Some(binding) => Ok(Some(binding)),
            None => Err(match no_backend {
                NoBackend::Reject => Refusal::Reject(DropReason::ServiceBackendNotFound),
                NoBackend::Drop => Refusal::Drop(DropReason::ServiceBackendNotFound),
            }),
        }
    }

    /// Whether the backend's node is to answer the client itself.
    fn returns_directly(&self, transit: &Transit, binding: Option<Binding>, route: Route) -> bool {
        let from_outside = matches!(transit.from, Source::Wire | Source::Tunnel(_));
        self.dispatch == Dispatch::Dsr && from_outside && binding.is_some() && matches!(route, Route::Peer(_))
    }

    fn check_route(&self, transit: &Transit, route: Route, is_service: bool) -> Result<(), Refusal> {
        match route {
            Route::Service => Err(Refusal::Drop(DropReason::ServiceBackendNotFound)),
            Route::NoEndpoint => Err(Refusal::Drop(DropReason::NoEndpoint)),
            // This node is nobody's router: what a peer sends here is for here.
            Route::Peer(_) | Route::Node(_) | Route::World | Route::NoPeer
                if matches!(transit.from, Source::Tunnel(_)) && !is_service =>
            {
                Err(Refusal::Drop(DropReason::NoEndpoint))
            }
            _ => Ok(()),
        }
    }

    /// Whether the flow comes back to where it started.
    fn is_hairpin(&self, from: Source, to: Ipv4Addr, route: Route) -> bool {
        match from {
            Source::Pod(address) => address == to,
            Source::Host => route == Route::Host,
            Source::Tunnel(_) | Source::Wire => false,
        }
    }

    fn source_identity(&self, transit: &Transit) -> Identity {
        match transit.from {
            Source::Tunnel(identity) if identity != Identity::UNKNOWN => identity,
            Source::Host => Identity::HOST,
            _ => self.topology.identity_of(*transit.tuple.source.ip()),
        }
    }

    /// Asks the source's policy, then the destination's; the first that does not allow decides.
    fn ask_policies(&mut self, transit: &Transit, ends: &Ends, route: Route) -> Result<Option<ProxyPort>, Refusal> {
        let mut redirect = None;
        if let Source::Pod(_) = transit.from {
            redirect = self.ask(transit, ends, Direction::Egress)?;
        }
        if route == Route::Pod && redirect.is_none() {
            redirect = self.ask(transit, ends, Direction::Ingress)?;
        }
        Ok(redirect)
    }

    fn ask(&mut self, transit: &Transit, ends: &Ends, direction: Direction) -> Result<Option<ProxyPort>, Refusal> {
        let source = (*ends.tuple.source.ip(), ends.source);
        let destination = (*ends.tuple.destination.ip(), ends.destination);
        let (endpoint, remote) = match direction {
            Direction::Egress => (source, destination),
            Direction::Ingress => (destination, source),
        };
        let icmp = transit.headers.icmp().filter(|_| ends.tuple.protocol == Protocol::Icmp);
        let query = FlowQuery {
            direction,
            endpoint: endpoint.0,
            endpoint_identity: endpoint.1,
            remote: remote.0,
            remote_identity: remote.1,
            protocol: ends.tuple.protocol,
            port: ends.tuple.destination.port(),
            icmp,
        };
        match self.policy.verdict(&query) {
            Verdict::Allow => Ok(None),
            Verdict::Redirect(port) => {
                let verdict = FlowVerdict::Redirected(port);
                self.record(transit, ends.tuple, false, Observation::PolicyVerdict, verdict);
                Ok(Some(port))
            }
            Verdict::Deny(reason) => Err(Refusal::Drop(self.note_denial(transit, ends, reason))),
            Verdict::Reject(reason) => Err(Refusal::Reject(self.note_denial(transit, ends, reason))),
        }
    }

    fn note_denial(&mut self, transit: &Transit, ends: &Ends, reason: DropReason) -> DropReason {
        let verdict = FlowVerdict::Dropped(reason);
        self.record(transit, ends.tuple, false, Observation::PolicyVerdict, verdict);
        reason
    }

    /// Asks about an established flow after the policy or an identity changed.
    pub(super) fn ask_again(&mut self, key: FlowKey, transit: &Transit) -> Result<(), Refusal> {
        let flow = self.conntrack.get(key).clone();
        let destination = flow
            .service
            .map_or(flow.original.destination, |binding| binding.backend);
        let ends = Ends {
            tuple: Tuple {
                destination,
                ..flow.original
            },
            source: if flow.impersonates {
                flow.source_identity
            } else {
                self.source_identity(transit)
            },
            destination: self.topology.identity_of(*destination.ip()),
        };
        let route = self.topology.way_to(*destination.ip());
        let redirect = if flow.exempt {
            None
        } else {
            self.ask_policies(transit, &ends, route)?
        };
        if redirect != flow.redirect {
            // The flow would have to change hands in mid-stream, which neither side would understand.
            self.conntrack.remove(key);
            return Err(Refusal::Drop(DropReason::PolicyDenied));
        }
        let flow = self.conntrack.get_mut(key);
        flow.policy_revision = self.policy_revision;
        (flow.source_identity, flow.destination_identity) = (ends.source, ends.destination);
        Ok(())
    }

    /// The client's address, with its port or, where its own connection to the proxy is in the way, another.
    fn clients_source(
        &self,
        transit: &Transit,
        upstream: Upstream,
        destination: SocketAddrV4,
    ) -> Result<SocketAddrV4, Refusal> {
        let (address, port) = (*upstream.client.ip(), upstream.client.port());
        let range = (&(1..=u16::MAX), [].as_slice());
        self.conntrack
            .free_source(transit.now, transit.tuple.protocol, address, port, range, destination)
            .ok_or(Refusal::Drop(DropReason::NoMappingLeft))
    }

    /// The source that the destination will see.
    fn translated_source(
        &mut self,
        transit: &Transit,
        service: Option<Binding>,
        hairpin: bool,
        route: Route,
        destination: SocketAddrV4,
    ) -> Result<SocketAddrV4, Refusal> {
        let is_service = service.is_some();
        let hides = |binding: Binding| {
            let services = &self.services;
            services.is_overridden(binding.frontend, &ServiceOverride::SourceHidden)
        };
        let own = transit.tuple.source;
        let from_pod = matches!(transit.from, Source::Pod(_));
        let (address, router, native) = (self.topology.address, self.topology.router, self.topology.native);
        let from_outside = transit.from == Source::Wire || matches!(transit.from, Source::Tunnel(_)) && is_service;
        let translated = match route {
            _ if hairpin => Some(LOOPBACK),
            // The host would answer the outside directly, past the translation.
            Route::Host if from_outside && destination != transit.tuple.destination => Some(LOOPBACK),
            // Only what leaves the clusters' networks is masqueraded; another node's own address is outside of them
            // as Cilium sees it in tunnel mode only (bpf/lib/nat.h, snat_v4_needs_masquerade).
            Route::World if from_pod => Some(address),
            Route::Node(_) if from_pod => (!native).then_some(address),
            Route::Node(_) | Route::World if is_service => Some(address),
            // A NodePort's answer must come back through this node. Native routing shows the backend the node's own
            // address, a tunnel the router's (bpf/lib/nodeport.h).
            Route::Peer(_) if from_outside => Some(if native { address } else { router }),
            Route::Peer(peer) if from_pod && self.faults.masquerade.get(peer.0) == Some(&true) => {
                Some(self.topology.router)
            }
            Route::Pod if from_pod && self.faults.masquerade_local => Some(self.topology.router),
            Route::Pod if from_outside && service.is_some_and(hides) => Some(address),
            _ => None,
        };
        let free = |address, preferred, range| {
            let range = (range, self.reserved_ports.as_slice());
            self.conntrack
                .free_source(
                    transit.now,
                    transit.tuple.protocol,
                    address,
                    preferred,
                    range,
                    destination,
                )
                .ok_or(Refusal::Drop(DropReason::NoMappingLeft))
        };
        if !has_ports(transit) {
            return Ok(translated.map_or(own, |address| SocketAddrV4::new(address, own.port())));
        }
        match translated {
            // The wish is spread over the range: neighbouring ports of pods must not meet.
            Some(address) => {
                let span = TRANSLATED_PORTS.end() - TRANSLATED_PORTS.start();
                let wish = TRANSLATED_PORTS.start() + own.port() % span;
                free(address, wish, &TRANSLATED_PORTS)
            }
            None => {
                let answer = Tuple {
                    protocol: transit.tuple.protocol,
                    source: destination,
                    destination: own,
                };
                if self.conntrack.is_taken(transit.now, &answer) {
                    return free(*own.ip(), own.port(), &(1024..=u16::MAX));
                }
                Ok(own)
            }
        }
    }
}

/// Whether a process of this node sent it.
fn is_socket(from: Source) -> bool {
    matches!(from, Source::Pod(_) | Source::Host)
}

/// Whether the source has a port, or an echo request's identifier, that can be exchanged for another.
fn has_ports(transit: &Transit) -> bool {
    match transit.tuple.protocol {
        Protocol::Tcp | Protocol::Udp => true,
        Protocol::Icmp => transit.headers.icmp().is_some_and(|(kind, _)| kind == 8),
        Protocol::Other(_) => false,
    }
}
