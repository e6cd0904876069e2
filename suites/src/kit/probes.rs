//! The probes that several checks send, with their deadlines.

use crate::kit::paths::Path;
use meshproof_contract::{
    Action, Probe, RecordType, Target, Transport, port,
    probe::{Connection, Search},
};
use std::{net::SocketAddr, time::Duration};

/// Deadline of a connection or a datagram's echo. The slowest mesh that meets the service levels answers in half of it,
/// and it leaves time for one retransmission of anything but the first packet.
pub const DEADLINE: Duration = Duration::from_millis(1000);

/// Limit of a second look at what must answer: above TCP's first two retransmissions, 1 s and 3 s after the first
/// packet (RFC 6298, initial timeout of 1 s), so that two lost packets, or a machine that is busy for some seconds, are
/// not taken for a broken path. It costs time only where something gave no answer before.
pub const PATIENT: Duration = Duration::from_millis(3500);
/// Looks at what gave no answer before that counts, and the time between them: what passes within seconds is no fault.
pub const SECOND_LOOKS: u32 = 2;
/// See [`SECOND_LOOKS`].
pub const BETWEEN_LOOKS: Duration = Duration::from_secs(1);

/// The probe with the limit of a second look.
pub fn patient(probe: Probe) -> Probe {
    Probe {
        deadline: probe.deadline.max(PATIENT),
        ..probe
    }
}

/// Deadline of a DNS question: shorter than the five seconds after which resolvers ask again, longer than a slow server
/// needs.
const QUESTION: Duration = Duration::from_secs(2);
/// Deadline of a question that walks the search domains, each of which is a question.
const SEARCHED_QUESTION: Duration = Duration::from_secs(5);

/// The page of an agent that says who it is.
pub const IDENTITY_PAGE: &str = "/";
/// The page of an agent that sends back the body.
pub const ECHO_PAGE: &str = "/echo";

/// One GET that the agent answers with its identity.
pub fn http_get(path: &Path) -> Probe {
    http_get_from(path.target(port::HTTP))
}

/// One GET to an address or a name.
pub fn http_get_from(to: Target) -> Probe {
    Probe::once(
        Action::Http {
            to,
            method: "GET".to_owned(),
            path: IDENTITY_PAGE.to_owned(),
            headers: Vec::new(),
            body: 0,
            connection: Connection::New,
        },
        DEADLINE,
    )
}

/// One POST of `body` bytes that must come back.
pub fn http_echo(path: &Path, body: u32, deadline: Duration) -> Probe {
    Probe::once(
        Action::Http {
            to: path.target(port::HTTP),
            method: "POST".to_owned(),
            path: ECHO_PAGE.to_owned(),
            headers: Vec::new(),
            body,
            connection: Connection::New,
        },
        deadline,
    )
}

/// One TCP connection over which `payload` bytes must come back.
pub fn tcp_echo(path: &Path, payload: u32, deadline: Duration) -> Probe {
    Probe::once(
        Action::TcpEcho {
            to: path.target(port::TCP),
            payload,
        },
        deadline,
    )
}

/// One datagram that must come back.
pub fn udp_echo(path: &Path, payload: u32) -> Probe {
    Probe::once(
        Action::UdpEcho {
            to: path.target(port::UDP),
            payload,
        },
        DEADLINE,
    )
}

/// A series of datagrams of 64 B that must come back.
pub fn udp_series(path: &Path, count: u32, spacing: Duration) -> Probe {
    let to = path.target(port::UDP);
    Probe::series(Action::UdpEcho { to, payload: 64 }, DEADLINE, count, spacing)
}

/// A series of TCP connections over each of which 64 B must come back.
pub fn tcp_series(path: &Path, count: u32, spacing: Duration) -> Probe {
    let to = path.target(port::TCP);
    Probe::series(Action::TcpEcho { to, payload: 64 }, DEADLINE, count, spacing)
}

/// One DNS question for exactly this name.
pub fn dns(name: &str, record: RecordType, server: Option<SocketAddr>, transport: Transport) -> Probe {
    question(name, record, server, transport, Search::Absolute)
}

/// One DNS question as an application asks it: search domains and `ndots` of the pod apply.
pub fn dns_search(name: &str, record: RecordType, transport: Transport) -> Probe {
    question(name, record, None, transport, Search::ResolvConf)
}

fn question(name: &str, record: RecordType, server: Option<SocketAddr>, transport: Transport, search: Search) -> Probe {
    Probe::once(
        Action::Dns {
            name: name.to_owned(),
            record,
            server,
            transport,
            search,
        },
        match search {
            Search::Absolute => QUESTION,
            Search::ResolvConf => SEARCHED_QUESTION,
        },
    )
}
