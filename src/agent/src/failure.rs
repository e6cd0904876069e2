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
    /// The node's data path refused `connect()` or `send()` itself.
    Denied(Errno),
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
    /// Why `connect()` or `send()` failed. There, and only there, EPERM is the data path's answer: a socket is already
    /// open, and programs on the pod's cgroup decide whether it may go on. Cilium's socket load balancer refuses so
    /// when a Service has no backends (`bpf/bpf_sock.c`; semantics B1), a node's own packet filter, too.
    pub(crate) fn of_call(error: io::Error) -> Self {
        match error.raw_os_error().map(Errno::from_raw) {
            Some(Errno::EPERM) => Failure::Denied(Errno::EPERM),
            _ => Failure::Io(error),
        }
    }

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
            Failure::Denied(errno) => Failure::Denied(*errno),
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
            // The DNS server is a Service, too: without backends it gives no answer.
            Failure::Denied(_) if stage == Stage::Resolving => Outcome::NameError { code: None, timing },
            Failure::Denied(errno) => Outcome::Denied {
                reason: errno.desc().to_owned(),
                timing,
            },
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
        // Sockets here are connected, so that no call lacks a destination: EDESTADDRREQ is a datagram socket that
        // Cilium closed under us since its backend is gone, as ECONNABORTED was at the call before (semantics B4).
        Errno::ECONNRESET | Errno::ECONNABORTED | Errno::EPIPE | Errno::EDESTADDRREQ => Outcome::Reset { timing },
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
            reason: format!("the pod's own kernel refused a socket: {error}"),
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
    fn a_refused_call_is_the_data_paths_answer_and_a_refused_socket_is_not() {
        let call = |errno: Errno, stage| Failure::of_call(errno.into()).outcome(stage, Timing::default());
        assert!(matches!(call(Errno::EPERM, Stage::Reaching), Outcome::Denied { .. }));
        assert!(matches!(
            call(Errno::EPERM, Stage::Resolving),
            Outcome::NameError { code: None, .. }
        ));
        // What 1.19 answers instead (semantics B1).
        assert!(matches!(
            call(Errno::EHOSTUNREACH, Stage::Reaching),
            Outcome::Unreachable { .. }
        ));
        assert!(call(Errno::EMFILE, Stage::Reaching).is_local_error());
        assert!(outcome(Errno::EPERM, Stage::Reaching).is_local_error());
        let again = Failure::of_call(Errno::EPERM.into()).again();
        assert!(matches!(again, Failure::Denied(Errno::EPERM)));
    }

    #[test]
    fn a_datagram_socket_that_was_closed_under_us_is_not_our_own_inability() {
        for errno in [Errno::ECONNABORTED, Errno::EDESTADDRREQ] {
            assert!(matches!(outcome(errno, Stage::Reaching), Outcome::Reset { .. }));
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
