//! One cell of a policy's matrix: who asks whom for what, how that is probed, and whether the outcome is the expected one.

use super::actor::Actor;
use meshproof_contract::probe::{Connection, Search};
use meshproof_contract::{Action, DnsCode, Outcome, Probe, RecordType, Target, Transport, port};
use meshproof_oracle::{Expected, Flow, HttpRequest, Party, Protocol, Request};
use std::{fmt, sync::Arc, time::Duration};

/// What is asked of the other side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ask {
    /// An HTTP request to the agent's HTTP port.
    Http {
        /// The method.
        method: &'static str,
        /// The path.
        path: &'static str,
        /// A header besides `Host`.
        header: Option<(&'static str, &'static str)>,
    },
    /// Bytes over the agent's TCP port.
    Tcp,
    /// A datagram to the agent's UDP port.
    Udp,
    /// An ICMP echo.
    Ping,
    /// A connection to a name outside, which is asked of the nameserver first.
    Reach {
        /// The name, absolute.
        name: String,
        /// The port.
        port: u16,
    },
    /// A question over UDP to the pod's nameserver; the other side is a DNS replica.
    Lookup {
        /// The name, absolute.
        name: String,
        /// The port on which replicas really listen.
        port: u16,
    },
}

/// A plain GET.
pub const GET: Ask = Ask::Http {
    method: "GET",
    path: "/",
    header: None,
};

/// One cell.
#[derive(Clone, Debug)]
pub struct Cell {
    /// Who asks.
    pub from: Arc<Actor>,
    /// Who is asked.
    pub to: Arc<Actor>,
    /// For what.
    pub ask: Ask,
}

/// How a cell's outcome compares with what is expected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Compared {
    /// As expected, and for a refusal of the expected kind.
    Right,
    /// Something else was seen.
    Wrong(String),
    /// Nothing was seen that says anything.
    Unknown(String),
}

impl Cell {
    /// The flow to be judged.
    pub fn flow(&self) -> Flow {
        let agent = &self.to.agent;
        let (protocol, port, request) = match &self.ask {
            Ask::Http { method, path, header } => {
                let request = HttpRequest {
                    method: (*method).to_owned(),
                    path: (*path).to_owned(),
                    host: Target::new(agent.address.to_string(), agent.port(port::HTTP)).to_string(),
                    headers: header
                        .iter()
                        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                        .collect(),
                };
                (Protocol::Tcp, agent.port(port::HTTP), Request::Http(request))
            }
            Ask::Tcp => (Protocol::Tcp, agent.port(port::TCP), Request::Opaque),
            Ask::Udp => (Protocol::Udp, agent.port(port::UDP), Request::Opaque),
            Ask::Reach { port, .. } => (Protocol::Tcp, *port, Request::Opaque),
            // Type 8, echo request.
            Ask::Ping => (Protocol::Icmp, 8, Request::Opaque),
            Ask::Lookup { name, port } => {
                let name = name.trim_end_matches('.').to_ascii_lowercase();
                (Protocol::Udp, *port, Request::Dns(name))
            }
        };
        Flow {
            from: self.from.party.clone(),
            to: self.to.party.clone(),
            protocol,
            port,
            request,
        }
    }

    /// The probe.
    pub fn probe(&self, deadline: Duration) -> Probe {
        let agent = &self.to.agent;
        let at = |base: u16| Target::new(agent.address.to_string(), agent.port(base));
        let action = match &self.ask {
            Ask::Http { method, path, header } => Action::Http {
                to: at(port::HTTP),
                method: (*method).to_owned(),
                path: (*path).to_owned(),
                headers: header
                    .iter()
                    .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                    .collect(),
                body: 0,
                connection: Connection::New,
            },
            Ask::Tcp => Action::TcpEcho {
                to: at(port::TCP),
                payload: 64,
            },
            Ask::Udp => Action::UdpEcho {
                to: at(port::UDP),
                payload: 64,
            },
            Ask::Ping => Action::IcmpEcho {
                to: agent.address,
                payload: 56,
            },
            Ask::Reach { name, port } => Action::TcpConnect {
                to: Target::new(name.clone(), *port),
            },
            Ask::Lookup { name, .. } => Action::Dns {
                name: name.clone(),
                record: RecordType::A,
                server: None,
                transport: Transport::Udp,
                search: Search::Absolute,
            },
        };
        Probe::once(action, deadline)
    }

    /// Compares an outcome with the expectation. The kind of refusal counts: refused or reset is no policy denial.
    pub fn compare(&self, expected: Expected, outcome: &Outcome) -> Compared {
        if outcome.is_local_error() {
            return Compared::Unknown(format!("{self}: {outcome}"));
        }
        let wrong = || Compared::Wrong(outcome.to_string());
        match (expected, outcome) {
            (Expected::Allowed | Expected::AllowedIfAuthenticated, Outcome::Answered { served_by, .. }) => {
                let asked = served_by.as_ref().is_none_or(|by| by.pod == self.to.agent.id.pod);
                if outcome.is_success() && asked {
                    Compared::Right
                } else {
                    wrong()
                }
            }
            // A name that is not there was answered by the server all the same.
            (
                Expected::Allowed,
                Outcome::Dns {
                    code: DnsCode::NoError | DnsCode::NxDomain,
                    ..
                },
            ) => Compared::Right,
            (Expected::Dropped, Outcome::Timeout { .. }) => Compared::Right,
            (Expected::Unreachable, Outcome::Unreachable { .. }) => Compared::Right,
            // No error comes to a ping socket that did not ask for errors.
            (Expected::Unreachable, Outcome::Timeout { .. }) if self.ask == Ask::Ping => Compared::Right,
            (Expected::Forbidden, Outcome::Answered { status: Some(403), .. }) => Compared::Right,
            (
                Expected::DnsRefused,
                Outcome::Dns {
                    code: DnsCode::Refused, ..
                },
            )
            | (
                Expected::DnsNameError,
                Outcome::Dns {
                    code: DnsCode::NxDomain,
                    ..
                },
            ) => Compared::Right,
            _ => wrong(),
        }
    }
}

/// What people call an expectation.
pub fn wording(expected: Expected) -> &'static str {
    match expected {
        Expected::Allowed => "answered by the pod asked",
        Expected::AllowedIfAuthenticated => "answered, since both sides can authenticate",
        Expected::Dropped => "dropped without a word (a timeout)",
        Expected::Forbidden => "403 from the proxy",
        Expected::Unreachable => "dropped, and answered by an ICMP error (policy-deny-response)",
        Expected::DnsRefused => "REFUSED by the DNS proxy",
        Expected::DnsNameError => "NXDOMAIN by the DNS proxy (tofqdns-dns-reject-response-code)",
    }
}

impl fmt::Display for Ask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Ask::Http { method, path, header } => {
                write!(f, "{method} {path}")?;
                match header {
                    Some((name, value)) => write!(f, " with {name}: {value}"),
                    None => Ok(()),
                }
            }
            Ask::Tcp => f.write_str("TCP 8081"),
            Ask::Udp => f.write_str("UDP 8082"),
            Ask::Ping => f.write_str("ping"),
            Ask::Reach { name, port } => write!(f, "TCP {port} of {name}"),
            Ask::Lookup { name, .. } => write!(f, "question for {name}"),
        }
    }
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = |actor: &Actor| match &actor.party {
            Party::Endpoint(endpoint) => format!(
                "{} in {} on {}",
                actor.agent.workload, endpoint.namespace, endpoint.node
            ),
            Party::Node { name, .. } => format!("node {name}"),
            Party::World { address, .. } => address.to_string(),
        };
        write!(f, "{} -> {}, {}", place(&self.from), place(&self.to), self.ask)
    }
}
