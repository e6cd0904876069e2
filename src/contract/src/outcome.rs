//! What an agent saw, typed: never a string to match on.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{fmt, net::IpAddr};

/// Who answered: every server of an agent sends this with its answers, from the downward API.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub struct Identity {
    /// Role name of the cluster, as the harness deployed it.
    pub cluster: String,
    /// The node's name.
    pub node: String,
    /// The pod's namespace.
    pub namespace: String,
    /// The pod's name.
    pub pod: String,
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.cluster, self.node, self.pod)
    }
}

/// Times of one exchange in microseconds from its start (for a series: from the scheduled start).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Timing {
    /// Until the name was resolved; absent for addresses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dns: Option<u64>,
    /// Until the connection was established; absent for datagrams.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connect: Option<u64>,
    /// Until the first byte of the answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_byte: Option<u64>,
    /// Until the outcome was known.
    pub total: u64,
}

/// The outcome of one probe.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum Outcome {
    /// A connection was established, or a server answered.
    Answered {
        /// Who answered; none when the far side is not an agent or was not asked.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        served_by: Option<Identity>,
        /// The prober's address as the server saw it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        source: Option<IpAddr>,
        /// The address that the probe went to, after name resolution.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        address: Option<IpAddr>,
        /// HTTP status, for HTTP.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        status: Option<u16>,
        /// Payload bytes that came back and were equal to those sent.
        #[serde(default)]
        bytes: u64,
        /// When.
        timing: Timing,
    },
    /// A DNS server answered, whatever the code.
    Dns {
        /// The response code.
        code: DnsCode,
        /// The records of the asked type.
        answers: Vec<DnsAnswer>,
        /// The server that answered.
        server: IpAddr,
        /// When.
        timing: Timing,
    },
    /// The largest unfragmented IP packet that made it both ways.
    PathMtu {
        /// Bytes of the largest IP packet that came back; 0 if not even the smallest did.
        largest: u32,
        /// MTU of the route as the pod's kernel knows it, without what ICMP reported for this destination.
        route: u32,
        /// MTU of the pod's device.
        device: u32,
        /// A size between `largest` and `route` was lost without any ICMP message: a blackhole.
        blackhole: Option<u32>,
        /// MTU that an ICMP "fragmentation needed" reported, if one came.
        reported: Option<u32>,
    },
    /// A series of one action.
    Series {
        /// Latency of each success in microseconds, from its scheduled start.
        latencies: Vec<u32>,
        /// The failures with their number in the series.
        failures: Vec<(u32, Outcome)>,
        /// How often each server answered.
        served_by: Vec<(Identity, u32)>,
        /// Largest lag of the generator behind its schedule, in microseconds.
        lag: u64,
        /// Microseconds of the series during which some task of the agent's machine waited for a CPU (Linux pressure
        /// stall information, `/proc/pressure/cpu`, line `some`); none where the kernel does not tell.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        starved: Option<u64>,
    },
    /// A TCP RST (or ICMP port unreachable) in answer to the first packet: a host is there and nobody listens, or a
    /// device refused actively.
    Refused {
        /// When.
        timing: Timing,
    },
    /// The connection was established, then reset. For datagrams: the socket was closed under the prober, as Cilium
    /// does when the backend goes away that a connected socket is bound to (semantics B4).
    Reset {
        /// When.
        timing: Timing,
    },
    /// The other side closed before the answer was complete.
    Closed {
        /// Bytes received till then.
        received: u64,
        /// When.
        timing: Timing,
    },
    /// No answer to the connection attempt, or to the datagram, within the deadline.
    Timeout {
        /// When.
        timing: Timing,
    },
    /// The connection was established, then nothing came within the deadline.
    Stalled {
        /// Bytes received till then.
        received: u64,
        /// When.
        timing: Timing,
    },
    /// ICMP unreachable or no route.
    Unreachable {
        /// The kernel's error, for people.
        reason: String,
        /// When.
        timing: Timing,
    },
    /// The data path of the prober's own node refused the call itself, `connect()` or `send()`, before a packet was
    /// made (EPERM): Cilium's socket load balancer does so for a Service without backends (semantics B1).
    Denied {
        /// The kernel's error, for people.
        reason: String,
        /// When.
        timing: Timing,
    },
    /// The name in the target could not be resolved.
    NameError {
        /// The DNS code, or none if the resolver did not answer.
        code: Option<DnsCode>,
        /// When.
        timing: Timing,
    },
    /// An answer came and is not what was sent.
    Corrupted {
        /// What differs, for people.
        detail: String,
        /// When.
        timing: Timing,
    },
    /// The agent itself could not try (no socket, a malformed request): nothing is known of the network.
    LocalError {
        /// Why.
        reason: String,
    },
}

impl Outcome {
    /// Whether an answer came and, for HTTP, its status is a success.
    pub fn is_success(&self) -> bool {
        match self {
            Outcome::Answered { status, .. } => status.is_none_or(|s| (200..300).contains(&s)),
            Outcome::Dns { code, .. } => *code == DnsCode::NoError,
            Outcome::Series {
                failures, latencies, ..
            } => failures.is_empty() && !latencies.is_empty(),
            Outcome::PathMtu { largest, .. } => *largest > 0,
            _ => false,
        }
    }

    /// Whether nothing is known of the network because the agent could not try.
    pub fn is_local_error(&self) -> bool {
        match self {
            Outcome::LocalError { .. } => true,
            Outcome::Series { failures, .. } => failures.iter().any(|(_, o)| o.is_local_error()),
            _ => false,
        }
    }

    /// The server's identity, if one answered with it.
    pub fn served_by(&self) -> Option<&Identity> {
        match self {
            Outcome::Answered { served_by, .. } => served_by.as_ref(),
            _ => None,
        }
    }

    /// Time until the outcome was known, in microseconds; none for series and path MTU.
    pub fn total(&self) -> Option<u64> {
        match self {
            Outcome::Answered { timing, .. }
            | Outcome::Dns { timing, .. }
            | Outcome::Refused { timing }
            | Outcome::Reset { timing }
            | Outcome::Closed { timing, .. }
            | Outcome::Timeout { timing }
            | Outcome::Stalled { timing, .. }
            | Outcome::Unreachable { timing, .. }
            | Outcome::Denied { timing, .. }
            | Outcome::NameError { timing, .. }
            | Outcome::Corrupted { timing, .. } => Some(timing.total),
            Outcome::PathMtu { .. } | Outcome::Series { .. } | Outcome::LocalError { .. } => None,
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = |us: u64| us as f64 / 1000.0;
        match self {
            Outcome::Answered {
                served_by,
                status,
                timing,
                ..
            } => {
                match served_by {
                    Some(id) => write!(f, "answered by {id}")?,
                    None => write!(f, "connected")?,
                }
                if let Some(status) = status {
                    write!(f, " with {status}")?;
                }
                write!(f, " in {:.1} ms", ms(timing.total))
            }
            Outcome::Dns {
                code, answers, server, ..
            } => {
                let list: Vec<String> = answers.iter().map(ToString::to_string).collect();
                write!(f, "{code} from {server}: [{}]", list.join(", "))
            }
            Outcome::PathMtu {
                largest,
                blackhole: Some(size),
                ..
            } => {
                write!(
                    f,
                    "packets of {size} B are lost without an ICMP message (blackhole); the largest that passes has \
                     {largest} B"
                )
            }
            Outcome::PathMtu { largest, route, .. } => {
                write!(f, "largest unfragmented packet {largest} B, route MTU {route} B")
            }
            Outcome::Series {
                latencies, failures, ..
            } => {
                write!(
                    f,
                    "{} of {} answered",
                    latencies.len(),
                    latencies.len() + failures.len()
                )?;
                match failures.first() {
                    Some((at, first)) => write!(f, "; first failure at number {at}: {first}"),
                    None => Ok(()),
                }
            }
            Outcome::Refused { timing } => write!(f, "refused after {:.1} ms", ms(timing.total)),
            Outcome::Reset { timing } => write!(f, "reset after {:.1} ms", ms(timing.total)),
            Outcome::Closed { received, .. } => write!(f, "closed early after {received} B"),
            Outcome::Timeout { timing } => write!(f, "no answer within {:.0} ms", ms(timing.total)),
            Outcome::Stalled { received, timing } => {
                write!(
                    f,
                    "connected, then no data after {received} B until {:.0} ms",
                    ms(timing.total)
                )
            }
            Outcome::Unreachable { reason, .. } => write!(f, "unreachable: {reason}"),
            Outcome::Denied { reason, .. } => {
                write!(
                    f,
                    "refused by the data path of the client's own node, as for a Service without backends: {reason}"
                )
            }
            Outcome::NameError { code: Some(code), .. } => write!(f, "the name did not resolve: {code}"),
            Outcome::NameError { code: None, .. } => {
                write!(f, "the name did not resolve: no answer from the DNS server")
            }
            Outcome::Corrupted { detail, .. } => write!(f, "corrupted: {detail}"),
            Outcome::LocalError { reason } => write!(f, "the agent could not try: {reason}"),
        }
    }
}

/// A DNS response code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "SCREAMING-KEBAB-CASE")]
#[allow(missing_docs)]
pub enum DnsCode {
    NoError,
    NxDomain,
    ServFail,
    Refused,
    FormErr,
    NotImp,
    /// Any other, by number.
    Other(u16),
}

impl fmt::Display for DnsCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DnsCode::NoError => f.write_str("NOERROR"),
            DnsCode::NxDomain => f.write_str("NXDOMAIN"),
            DnsCode::ServFail => f.write_str("SERVFAIL"),
            DnsCode::Refused => f.write_str("REFUSED"),
            DnsCode::FormErr => f.write_str("FORMERR"),
            DnsCode::NotImp => f.write_str("NOTIMP"),
            DnsCode::Other(n) => write!(f, "RCODE{n}"),
        }
    }
}

/// One record of a DNS answer.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DnsAnswer {
    /// An A or AAAA record.
    Address(IpAddr),
    /// A PTR or CNAME record's name, absolute, lower case, with final dot.
    Name(String),
    /// An SRV record.
    Service {
        /// Where.
        target: String,
        /// On which port.
        port: u16,
    },
}

impl fmt::Display for DnsAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DnsAnswer::Address(a) => a.fmt(f),
            DnsAnswer::Name(n) => n.fmt(f),
            DnsAnswer::Service { target, port } => write!(f, "{target}:{port}"),
        }
    }
}
