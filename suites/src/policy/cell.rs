//! One cell of a policy's matrix: source, destination and traffic, its probe, and whether the outcome is the expected
//! one.

use super::participant::Participant;
use meshproof_contract::{
    Action, DnsCode, Outcome, Probe, RecordType, Target, Transport, port,
    probe::{Connection, Search},
};
use meshproof_oracle::{Expected, Flow, HttpRequest, Protocol, Request};
use std::{fmt, sync::Arc, time::Duration};

/// What is sent to the destination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Traffic {
    /// An HTTP request to the agent's HTTP port.
    Http {
        /// The method.
        method: &'static str,
        /// The path.
        path: &'static str,
        /// A header besides `Host`.
        header: Option<(&'static str, &'static str)>,
    },
    /// Bytes to a Service, one of whose backends is the destination.
    Service(Behind),
    /// Bytes over the agent's TCP port.
    Tcp,
    /// A datagram to the agent's UDP port.
    Udp,
    /// An ICMP echo request.
    Ping,
    /// A TCP connection to an external name, which is resolved by cluster DNS first.
    ConnectByName {
        /// The name, absolute.
        name: String,
        /// The port.
        port: u16,
    },
    /// A DNS query over UDP to the pod's nameserver; the destination is a DNS replica.
    DnsQuery {
        /// The name, absolute.
        name: String,
        /// The port on which replicas really listen.
        port: u16,
    },
}

/// A port of a Service, and the pods behind it, which policies cannot tell apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Behind {
    /// Where it is asked.
    pub at: Target,
    /// Whether it leads to the pods' UDP port, and not to their TCP port.
    pub is_udp: bool,
    /// Who may answer.
    pub pods: Arc<[String]>,
}

/// A plain GET.
pub const GET: Traffic = Traffic::Http {
    method: "GET",
    path: "/",
    header: None,
};

/// One cell.
#[derive(Clone, Debug)]
pub struct Cell {
    /// The source.
    pub from: Arc<Participant>,
    /// The destination.
    pub to: Arc<Participant>,
    /// What is sent.
    pub traffic: Traffic,
}

/// How a cell's outcome compares with the expectation.
#[derive(Clone, Debug, PartialEq)]
pub enum CellResult {
    /// As expected, and for a refusal of the expected kind.
    Ok,
    /// Something else was seen.
    Mismatch(Outcome),
    /// Nothing was seen from which to conclude.
    Unknown(String),
}

impl Cell {
    /// The flow to be judged.
    pub fn flow(&self) -> Flow {
        let agent = &self.to.agent;
        let (protocol, port, request) = match &self.traffic {
            Traffic::Http { method, path, header } => {
                let request = HttpRequest {
                    method: (*method).to_owned(),
                    path: (*path).to_owned(),
                    host: Target::new(agent.address.to_string(), agent.port(port::HTTP)).to_string(),
                    headers: owned(*header),
                };
                (Protocol::Tcp, agent.port(port::HTTP), Request::Http(request))
            }
            // What counts is where load balancing sends it.
            Traffic::Service(Behind { is_udp: true, .. }) => (Protocol::Udp, agent.port(port::UDP), Request::Opaque),
            Traffic::Service(_) | Traffic::Tcp => (Protocol::Tcp, agent.port(port::TCP), Request::Opaque),
            Traffic::Udp => (Protocol::Udp, agent.port(port::UDP), Request::Opaque),
            Traffic::ConnectByName { port, .. } => (Protocol::Tcp, *port, Request::Opaque),
            // Type 8, echo request.
            Traffic::Ping => (Protocol::Icmp, 8, Request::Opaque),
            Traffic::DnsQuery { name, port } => {
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
        let action = match &self.traffic {
            Traffic::Http { method, path, header } => Action::Http {
                to: at(port::HTTP),
                method: (*method).to_owned(),
                path: (*path).to_owned(),
                headers: owned(*header),
                body: 0,
                connection: Connection::New,
            },
            Traffic::Service(behind) => match behind.is_udp {
                true => Action::UdpEcho {
                    to: behind.at.clone(),
                    payload: 64,
                },
                false => Action::TcpEcho {
                    to: behind.at.clone(),
                    payload: 64,
                },
            },
            Traffic::Tcp => Action::TcpEcho {
                to: at(port::TCP),
                payload: 64,
            },
            Traffic::Udp => Action::UdpEcho {
                to: at(port::UDP),
                payload: 64,
            },
            Traffic::Ping => Action::IcmpEcho {
                to: agent.address,
                payload: 56,
            },
            Traffic::ConnectByName { name, port } => Action::TcpConnect {
                to: Target::new(name.clone(), *port),
            },
            Traffic::DnsQuery { name, .. } => Action::Dns {
                name: name.clone(),
                record: RecordType::A,
                server: None,
                transport: Transport::Udp,
                search: Search::Absolute,
            },
        };
        Probe::once(action, deadline)
    }

    /// Compares an outcome with the expectation. The kind of refusal counts: a reset is not a policy's denial.
    pub fn compare(&self, expected: Expected, outcome: &Outcome) -> CellResult {
        if outcome.is_local_error() {
            return CellResult::Unknown(format!("{self}: {outcome}"));
        }
        if self.is_as_expected(expected, outcome) {
            CellResult::Ok
        } else {
            CellResult::Mismatch(outcome.clone())
        }
    }

    fn is_as_expected(&self, expected: Expected, outcome: &Outcome) -> bool {
        match (expected, outcome) {
            (Expected::Allowed | Expected::AllowedIfAuthenticated, Outcome::Answered { served_by, .. }) => {
                let is_destination = |pod: &String| match &self.traffic {
                    Traffic::Service(behind) => behind.pods.contains(pod),
                    _ => *pod == self.to.agent.id.pod,
                };
                let by_destination = served_by.as_ref().is_none_or(|by| is_destination(&by.pod));
                outcome.is_success() && by_destination
            }
            // NXDOMAIN for a name that does not exist is the server's answer, too.
            (Expected::Allowed, Outcome::Dns { code, .. }) => {
                matches!(code, DnsCode::NoError | DnsCode::NxDomain)
            }
            (Expected::Dropped, Outcome::Timeout { .. }) => true,
            (Expected::Unreachable, Outcome::Unreachable { .. }) => true,
            // No error comes to a ping socket that did not ask for errors.
            (Expected::Unreachable, Outcome::Timeout { .. }) => self.traffic == Traffic::Ping,
            (Expected::Forbidden, Outcome::Answered { status, .. }) => *status == Some(403),
            (Expected::DnsRefused, Outcome::Dns { code, .. }) => *code == DnsCode::Refused,
            (Expected::DnsNameError, Outcome::Dns { code, .. }) => *code == DnsCode::NxDomain,
            _ => false,
        }
    }
}

fn owned(header: Option<(&str, &str)>) -> Vec<(String, String)> {
    let headers = header.into_iter();
    headers
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

/// An expectation, for people.
pub fn describe(expected: Expected) -> &'static str {
    match expected {
        Expected::Allowed => "answered by the destination pod",
        Expected::AllowedIfAuthenticated => "answered after mutual authentication",
        Expected::Dropped => "silently dropped (timeout)",
        Expected::Forbidden => "403 from the L7 proxy",
        Expected::Unreachable => "dropped with an ICMP error (policy-deny-response)",
        Expected::DnsRefused => "REFUSED by the DNS proxy",
        Expected::DnsNameError => "NXDOMAIN from the DNS proxy (tofqdns-dns-reject-response-code)",
    }
}

impl fmt::Display for Traffic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Traffic::Http { method, path, header } => {
                write!(f, "{method} {path}")?;
                match header {
                    Some((name, value)) => write!(f, " with {name}: {value}"),
                    None => Ok(()),
                }
            }
            Traffic::Service(behind) => {
                let (protocol, port) = match behind.is_udp {
                    true => ("UDP", port::UDP),
                    false => ("TCP", port::TCP),
                };
                write!(f, "{protocol} {port} through the Service at {}", behind.at)
            }
            Traffic::Tcp => write!(f, "TCP {}", port::TCP),
            Traffic::Udp => write!(f, "UDP {}", port::UDP),
            Traffic::Ping => f.write_str("ping"),
            Traffic::ConnectByName { name, port } => write!(f, "TCP {port} of {name}"),
            Traffic::DnsQuery { name, .. } => write!(f, "DNS query for {name}"),
        }
    }
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} -> {}, {}", self.from, self.to, self.traffic)
    }
}
