//! What an agent can be asked to try from inside its pod.

use serde::{Deserialize, Serialize};
use std::{fmt, net::IpAddr, net::SocketAddr, time::Duration};

/// One thing to try, and how long it may take.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probe {
    /// What to do.
    pub action: Action,
    /// Time from start to the final outcome; past it the outcome is the timeout of the stage reached.
    #[serde(with = "micros")]
    pub deadline: Duration,
    /// How often, one after another; more than one gives [`Outcome::Series`](crate::Outcome::Series).
    #[serde(default = "once", skip_serializing_if = "is_once")]
    pub count: u32,
    /// Spacing between the scheduled starts of a series (open loop); zero means back to back.
    #[serde(default, with = "micros")]
    pub interval: Duration,
}

fn once() -> u32 {
    1
}
fn is_once(count: &u32) -> bool {
    *count == 1
}

impl Probe {
    /// The action once, within `deadline`.
    pub fn once(action: Action, deadline: Duration) -> Self {
        Self {
            action,
            deadline,
            count: 1,
            interval: Duration::ZERO,
        }
    }
    /// The action `count` times, `interval` apart, each within `deadline`.
    pub fn series(action: Action, deadline: Duration, count: u32, interval: Duration) -> Self {
        Self {
            action,
            deadline,
            count,
            interval,
        }
    }
}

/// Where a probe goes: an address or a name, and a port.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Target {
    /// An IP address or a DNS name (resolved by the pod's own resolver configuration).
    pub host: String,
    /// The port.
    pub port: u16,
}

impl Target {
    /// An address and a port, or a name and a port.
    pub fn new(host: impl Into<String>, port: u16) -> Self {
        Self {
            host: host.into(),
            port,
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// The actions. The servers of other agents answer all but DNS and ICMP with their identity.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Action {
    /// Open a TCP connection and close it again; who listens is not known.
    TcpConnect {
        /// Where to.
        to: Target,
    },
    /// Send `payload` random bytes to an agent's TCP port and compare what comes back.
    TcpEcho {
        /// Where to.
        to: Target,
        /// Bytes sent and expected back, up to [`MAX_PAYLOAD`].
        payload: u32,
    },
    /// One HTTP/1.1 exchange.
    Http {
        /// Where to.
        to: Target,
        /// The method, upper case.
        method: String,
        /// Path and query.
        path: String,
        /// Headers besides `Host`.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        headers: Vec<(String, String)>,
        /// Random bytes sent as the body, up to [`MAX_PAYLOAD`]; the agent's `/echo` sends them back and they are
        /// compared.
        #[serde(default)]
        body: u32,
        /// Whether a series shares one connection.
        #[serde(default)]
        connection: Connection,
    },
    /// One datagram to an agent's UDP port and its echo.
    UdpEcho {
        /// Where to.
        to: Target,
        /// Bytes of the datagram's payload, at least the header that carries the sequence number.
        payload: u32,
    },
    /// An echo like [`Action::TcpEcho`] or [`Action::UdpEcho`] whose payload is a marker over and over, for a capture
    /// to look for.
    MarkedEcho {
        /// An agent's TCP or UDP port.
        to: Target,
        /// Which of them.
        transport: Transport,
        /// The marker.
        marker: crate::Marker,
        /// Bytes; 512 or more, so that the marker is also in every packet of the answer.
        payload: u32,
    },
    /// The largest IP packet that goes there and comes back unfragmented (UDP with the don't-fragment bit).
    PathMtu {
        /// An agent's UDP port.
        to: Target,
    },
    /// One ICMP echo, through an unprivileged ping socket.
    IcmpEcho {
        /// The address.
        to: IpAddr,
        /// Payload bytes.
        payload: u32,
    },
    /// One DNS question.
    Dns {
        /// The name as asked: with a final dot it is absolute; otherwise see `search`.
        name: String,
        /// The type.
        record: RecordType,
        /// Whom to ask; none means the pod's first configured nameserver.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        server: Option<SocketAddr>,
        /// Over UDP or TCP.
        transport: Transport,
        /// Whether the pod's search domains and `ndots` apply, as for an application.
        #[serde(default)]
        search: Search,
    },
}

/// The largest payload that an agent sends or echoes, 1 MiB.
pub const MAX_PAYLOAD: u32 = 1 << 20;

/// Whether an HTTP series shares one connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Connection {
    /// A new connection for each request.
    #[default]
    New,
    /// One connection for the whole series, opened again when it breaks.
    KeepAlive,
}

/// Whether a DNS name is completed from the pod's resolver configuration.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Search {
    /// The name is asked as it stands.
    #[default]
    Absolute,
    /// Search domains and `ndots` of the pod's `resolv.conf` apply; the outcome is the final one.
    ResolvConf,
}

/// The DNS record types that checks ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
#[allow(missing_docs)]
pub enum RecordType {
    A,
    Aaaa,
    Ptr,
    Srv,
    Cname,
}

/// What carries a DNS question.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum Transport {
    Udp,
    Tcp,
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Transport::Udp => "UDP",
            Transport::Tcp => "TCP",
        })
    }
}

pub(crate) mod micros {
    //! Durations as whole microseconds.
    use serde::{Deserialize, Deserializer, Serializer};
    use std::time::Duration;

    pub fn serialize<S: Serializer>(d: &Duration, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_u64(u64::try_from(d.as_micros()).unwrap_or(u64::MAX))
    }
    pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Duration, D::Error> {
        Ok(Duration::from_micros(u64::deserialize(d)?))
    }
}
