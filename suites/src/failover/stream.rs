//! The kinds of stream, with the probes that they send.

use meshproof_contract::probe::{Connection, Search};
use meshproof_contract::{Action, RecordType, StreamKind, StreamSpec, Target, Transport, port};
use std::{fmt, net::IpAddr, time::Duration};

/// Payload of a ping.
const PING: u32 = 32;
/// Deadline of each probe: generous for a busy machine, well below the second after which TCP sends its SYN again.
const DEADLINE: Duration = Duration::from_millis(250);
/// A stream that nobody stops ends after so long, which is longer than a trial may take.
const LIFETIME: Duration = Duration::from_secs(480);

/// A kind of stream. Their figures are never merged: each is a different application.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stream {
    /// A new TCP connection for each probe.
    NewTcp,
    /// One TCP connection with pings on it.
    LongTcp,
    /// HTTP requests on one connection.
    KeepAlive,
    /// A datagram for each probe.
    Udp,
    /// A DNS query for the service's name for each probe.
    Dns,
    /// Control: a pod on the client's node.
    Neighbour,
    /// Control: a pod of another cluster.
    OtherCluster,
    /// Control of [`Stream::Dns`] alone: a DNS query for a name that the event does not affect.
    OtherName,
}

/// Those that are judged.
pub const TESTED: [Stream; 5] = [
    Stream::NewTcp,
    Stream::LongTcp,
    Stream::KeepAlive,
    Stream::Udp,
    Stream::Dns,
];

impl Stream {
    /// Whether it must go on whatever happens to others.
    pub fn is_control(self) -> bool {
        matches!(self, Stream::Neighbour | Stream::OtherCluster | Stream::OtherName)
    }

    /// Whether each probe is independent, so that it goes to a backend that the service has at that moment.
    pub fn is_fresh(self) -> bool {
        matches!(self, Stream::NewTcp | Stream::Udp)
    }

    /// Whether its probes follow one another on one connection.
    pub fn shares_connection(self) -> bool {
        matches!(self, Stream::LongTcp | Stream::KeepAlive)
    }

    /// Whether an agent answers it.
    pub fn reports_server(self) -> bool {
        !matches!(self, Stream::Dns | Stream::OtherName)
    }

    /// The probes to an address (DNS: for a name).
    pub fn spec(self, to: IpAddr, name: &str, interval: Duration) -> StreamSpec {
        let target = |number| Target::new(to.to_string(), number);
        let action = match self {
            Stream::LongTcp => {
                return spec(
                    StreamKind::LongTcp {
                        to: target(port::TCP),
                        payload: PING,
                    },
                    interval,
                );
            }
            Stream::NewTcp | Stream::Neighbour | Stream::OtherCluster => Action::TcpEcho {
                to: target(port::TCP),
                payload: PING,
            },
            Stream::KeepAlive => Action::Http {
                to: target(port::HTTP),
                method: "GET".to_owned(),
                path: "/".to_owned(),
                headers: Vec::new(),
                body: 0,
                connection: Connection::KeepAlive,
            },
            Stream::Udp => Action::UdpEcho {
                to: target(port::UDP),
                payload: PING,
            },
            Stream::Dns | Stream::OtherName => Action::Dns {
                name: name.to_owned(),
                record: RecordType::A,
                server: None,
                transport: Transport::Udp,
                search: Search::Absolute,
            },
        };
        spec(StreamKind::Each { action }, interval)
    }
}

fn spec(kind: StreamKind, interval: Duration) -> StreamSpec {
    StreamSpec {
        kind,
        interval,
        // A probe may be sent late by as much as the spacing; the network still has its time.
        deadline: DEADLINE + interval,
        lifetime: LIFETIME,
    }
}

impl fmt::Display for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Stream::NewTcp => "new TCP connections",
            Stream::LongTcp => "long-lived TCP",
            Stream::KeepAlive => "HTTP keep-alive",
            Stream::Udp => "UDP",
            Stream::Dns => "DNS",
            Stream::Neighbour => "control: same node",
            Stream::OtherCluster => "control: other cluster",
            Stream::OtherName => "control: other DNS name",
        })
    }
}
