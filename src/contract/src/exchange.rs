//! One exchange in a protocol of applications: the agent connects from its pod, and the bytes are the harness's. What
//! came back is data; nobody here judges it.

use crate::{Outcome, Target};
use std::{collections::BTreeMap, time::Duration};

/// What to say, to whom, and how long it may take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exchange {
    /// Where the agent connects to.
    pub to: Target,
    /// What is spoken there.
    pub speech: Speech,
    /// Time for the connection, and once more for what is said on it.
    pub deadline: Duration,
}

/// The protocols that can be spoken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Speech {
    /// A TLS handshake.
    Tls(TlsClient),
    /// One HTTP/1.1 request.
    Http {
        /// Over TLS, if given.
        tls: Option<TlsClient>,
        /// The method, upper case.
        method: String,
        /// Path and query.
        path: String,
        /// The header `Host`.
        host: String,
        /// Further headers.
        headers: BTreeMap<String, String>,
    },
    /// PostgreSQL: SSLRequest, a handshake where it is accepted, and a startup message.
    Postgres(TlsClient),
    /// Redis: PING.
    Redis,
}

/// The client's side of TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsClient {
    /// The name to ask for and to verify.
    pub server_name: String,
    /// Authorities in PEM; none: those that this machine trusts.
    pub roots: Option<String>,
}

/// What came of an exchange.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heard {
    /// The agent's connection.
    pub connection: Outcome,
    /// TLS, if a handshake was made.
    pub tls: Option<TlsHeard>,
    /// The answer, if one came that belongs to the protocol.
    pub answer: Option<Answer>,
    /// Why there is no answer, or no complete one, although the connection was made: a sentence without full stop.
    pub failure: Option<String>,
}

impl Heard {
    /// An exchange whose connection was not made.
    pub fn unconnected(connection: Outcome) -> Self {
        Self {
            connection,
            tls: None,
            answer: None,
            failure: None,
        }
    }
}

/// What a TLS handshake showed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsHeard {
    /// Why the certificate is not trusted for the name; none: it is.
    pub distrust: Option<String>,
    /// End of its validity, in seconds since 1970; none where it cannot be read.
    pub not_after: Option<i64>,
    /// Its subject, for people.
    pub subject: String,
    /// The version of TLS, for people.
    pub version: String,
}

/// An answer in one of the protocols.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Of an HTTP server.
    Http {
        /// The status.
        status: u16,
        /// The headers, lower-case names.
        headers: Vec<(String, String)>,
        /// The first 16 KiB of the body.
        body: String,
    },
    /// Of a PostgreSQL server.
    Postgres {
        /// Whether it accepts TLS.
        tls: bool,
        /// Its answer to the startup message: `asks for SCRAM-SHA-256`, or its error.
        startup: String,
    },
    /// Of a Redis server.
    Redis {
        /// The first line of its answer.
        line: String,
        /// Whether it demands a password.
        demands_password: bool,
    },
}
