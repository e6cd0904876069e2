//! Why an exchange failed, and which outcome that is. The only place that reads error numbers.

use meshproof_contract::{DnsCode, Outcome, Timing};
use nix::errno::Errno;
use std::io;

/// How far an exchange came; decides what silence and errors mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// The name is being resolved.
    Resolving,
    /// The first packet is out and nothing came back.
    Reaching,
    /// The connection is established; so many bytes came.
    Connected { received: u64 },
}

/// Why an exchange failed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The operating system reported it.
    Io(io::Error),
    /// The other side closed before the answer was complete.
    Closed,
    /// Nothing came in time.
    Silence,
    /// An answer came and is not what was sent or agreed.
    Corrupted(String),
    /// The target's name did not resolve: with this code, or without an answer.
    Name(Option<DnsCode>),
    /// The agent could not try.
    Local(String),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Failure::Io(error)
    }
}

impl From<Errno> for Failure {
    fn from(errno: Errno) -> Self {
        Failure::Io(errno.into())
    }
}

impl Failure {
    /// The same failure for another exchange on the same connection.
    pub(crate) fn again(&self) -> Self {
        match self {
            Failure::Io(error) => Failure::Io(match error.raw_os_error() {
                Some(number) => io::Error::from_raw_os_error(number),
                None => io::Error::new(error.kind(), error.to_string()),
            }),
            Failure::Closed => Failure::Closed,
            Failure::Silence => Failure::Silence,
            Failure::Corrupted(detail) => Failure::Corrupted(detail.clone()),
            Failure::Name(code) => Failure::Name(*code),
            Failure::Local(reason) => Failure::Local(reason.clone()),
        }
    }

    /// The outcome of failing thus at that stage.
    pub(crate) fn outcome(self, stage: Stage, timing: Timing) -> Outcome {
        match self {
            Failure::Io(error) => io_outcome(&error, stage, timing),
            Failure::Closed => Outcome::Closed {
                received: received(stage),
                timing,
            },
            Failure::Silence => match stage {
                Stage::Resolving => Outcome::NameError { code: None, timing },
                Stage::Reaching => Outcome::Timeout { timing },
                Stage::Connected { received } => Outcome::Stalled { received, timing },
            },
            Failure::Corrupted(detail) => Outcome::Corrupted { detail, timing },
            Failure::Name(code) => Outcome::NameError { code, timing },
            Failure::Local(reason) => Outcome::LocalError { reason },
        }
    }
}

fn received(stage: Stage) -> u64 {
    match stage {
        Stage::Connected { received } => received,
        Stage::Resolving | Stage::Reaching => 0,
    }
}

/// Which ICMP codes arrive as which error: Linux `net/ipv4/icmp.c`, `icmp_err_convert`. What is not known to come from
/// the network is a local error: better no verdict than a wrong one.
fn io_outcome(error: &io::Error, stage: Stage, timing: Timing) -> Outcome {
    if error.kind() == io::ErrorKind::UnexpectedEof {
        return Failure::Closed.outcome(stage, timing);
    }
    let errno = error.raw_os_error().map_or(Errno::UnknownErrno, Errno::from_raw);
    match errno {
        Errno::ECONNREFUSED => Outcome::Refused { timing },
        Errno::ECONNRESET | Errno::ECONNABORTED | Errno::EPIPE => Outcome::Reset { timing },
        Errno::ETIMEDOUT => Failure::Silence.outcome(stage, timing),
        Errno::EHOSTUNREACH
        | Errno::ENETUNREACH
        | Errno::EHOSTDOWN
        | Errno::ENETDOWN
        | Errno::ENONET
        | Errno::ENOPROTOOPT
        | Errno::EOPNOTSUPP
        | Errno::EPROTO
        // ICMP "fragmentation needed" to a datagram; sizes that no socket takes are refused before they are sent.
        | Errno::EMSGSIZE => Outcome::Unreachable {
            reason: errno.desc().to_owned(),
            timing,
        },
        Errno::EMFILE | Errno::ENFILE => Outcome::LocalError {
            reason: format!("out of file descriptors: {error}"),
        },
        Errno::EADDRNOTAVAIL => Outcome::LocalError {
            reason: "no free local address or port for this connection (EADDRNOTAVAIL)".to_owned(),
        },
        Errno::EPERM | Errno::EACCES => Outcome::LocalError {
            reason: format!("the pod's own kernel refused it: {error}"),
        },
        _ => Outcome::LocalError {
            reason: error.to_string(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(errno: Errno, stage: Stage) -> Outcome {
        Failure::from(errno).outcome(stage, Timing::default())
    }

    #[test]
    fn errors_of_the_network_and_of_the_agent_are_never_mixed_up() {
        let reaching = Stage::Reaching;
        assert!(matches!(
            outcome(Errno::ECONNREFUSED, reaching),
            Outcome::Refused { .. }
        ));
        assert!(matches!(
            outcome(Errno::EHOSTUNREACH, reaching),
            Outcome::Unreachable { .. }
        ));
        assert!(matches!(
            outcome(Errno::ENETUNREACH, reaching),
            Outcome::Unreachable { .. }
        ));
        assert!(matches!(outcome(Errno::ETIMEDOUT, reaching), Outcome::Timeout { .. }));
        for local in [
            Errno::EMFILE,
            Errno::ENFILE,
            Errno::EPERM,
            Errno::EACCES,
            Errno::ENOBUFS,
            Errno::ENOMEM,
            Errno::EINVAL,
            Errno::EADDRNOTAVAIL,
        ] {
            assert!(
                outcome(local, reaching).is_local_error(),
                "{local} is not the network's"
            );
        }
    }

    #[test]
    fn an_established_connection_is_reset_or_stalls() {
        let connected = Stage::Connected { received: 3 };
        assert!(matches!(outcome(Errno::ECONNRESET, connected), Outcome::Reset { .. }));
        assert!(matches!(
            outcome(Errno::ETIMEDOUT, connected),
            Outcome::Stalled { received: 3, .. }
        ));
    }
}
