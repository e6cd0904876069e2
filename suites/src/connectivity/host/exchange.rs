//! What is exchanged on a path of which one end is a node: with the agent there, with its kernel, and with the ports on
//! which Cilium serves on every node.

use crate::kit::{
    matrix::{self, Attempt, Cell, Path, Quantity},
    probes::{self, DEADLINE},
};
use meshproof_contract::{Action, ClusterFacts, Outcome, Probe, Target};

const ANSWER: &str = "an answer from exactly the agent asked within 1000 ms, or on retry within 3500 ms";
const ECHO: &str = "an ICMP echo reply from the address asked within 1000 ms, or on retry within 3500 ms";
/// The chart's default of `cluster-health-port`.
const HEALTH: u16 = 4240;

/// One kind of exchange.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Exchange {
    /// A GET that the agent answers with its identity.
    Get,
    /// A datagram that the agent echoes.
    Datagram,
    /// An ICMP echo, which the kernel answers.
    Ping,
    /// A connection to a TCP port of Cilium.
    Port(CiliumPort),
}

/// A TCP port on which Cilium serves on every node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct CiliumPort {
    number: u16,
    /// Who serves, and for whom.
    what: &'static str,
}

impl CiliumPort {
    /// Those that a cluster's configuration claims (`daemon/cmd/health.go`, `pkg/hubble/cell` of Cilium).
    pub(super) fn of(cluster: Option<&ClusterFacts>) -> Vec<CiliumPort> {
        let Some(cilium) = cluster.and_then(|cluster| cluster.cilium.as_ref()) else {
            return Vec::new();
        };
        let number = |text: &str| text.rsplit(':').next()?.parse().ok();
        let health = (cilium.flag("enable-health-checking") != Some(false)).then(|| CiliumPort {
            number: cilium.setting("cluster-health-port").and_then(number).unwrap_or(HEALTH),
            what: "cilium-health, by which agents and operators see whether nodes reach each other",
        });
        let address = cilium.setting("hubble-listen-address");
        let hubble = address
            .and_then(number)
            .filter(|_| cilium.flag("enable-hubble") == Some(true));
        let hubble = hubble.map(|number| CiliumPort {
            number,
            what: "Hubble, from which relay reads the flows of the node",
        });
        health.into_iter().chain(hubble).collect()
    }

    fn expected(&self) -> String {
        let Self { number, what } = self;
        format!(
            "TCP port {number} of the node ({what}) accepts a connection within 1000 ms, or on retry within 3500 ms"
        )
    }
}

impl Exchange {
    /// How often it is tried: several datagrams, since one may be lost.
    pub(super) fn tries(&self, attempt: Attempt) -> usize {
        match self {
            Exchange::Get | Exchange::Port(_) => attempt.by(1, 5),
            Exchange::Datagram | Exchange::Ping => attempt.by(3, 5),
        }
    }

    /// One try.
    pub(super) fn probe(&self, path: &Path) -> Probe {
        let to = path.to.address;
        match self {
            Exchange::Get => probes::http_get(path),
            Exchange::Datagram => probes::udp_echo(path, 64),
            Exchange::Ping => Probe::once(Action::IcmpEcho { to, payload: 56 }, DEADLINE),
            Exchange::Port(port) => {
                let to = Target::new(to.to_string(), port.number);
                Probe::once(Action::TcpConnect { to }, DEADLINE)
            }
        }
    }

    /// Judges one outcome.
    pub(super) fn judge(&self, path: &Path, outcome: &Outcome) -> Cell {
        match (self, outcome) {
            (Exchange::Get | Exchange::Datagram, _) => matrix::answered_by(path, outcome, ANSWER),
            (_, Outcome::Answered { timing, .. }) => Cell::Ok(Some(Quantity::micros(timing.total))),
            (Exchange::Ping, other) => named(matrix::no_answer(other, ECHO), "ICMP echo"),
            (Exchange::Port(port), other) => {
                let what = format!("TCP port {}", port.number);
                named(matrix::no_answer(other, &port.expected()), &what)
            }
        }
    }

    /// Whether the agent may not do this at all, which says nothing of the network: most container runtimes let a pod
    /// ping, and some nodes' own kernels do not.
    pub(super) fn is_forbidden(&self, outcomes: &[Outcome]) -> bool {
        *self == Exchange::Ping && outcomes.iter().all(Outcome::is_local_error)
    }
}

/// The cell with what was exchanged in its figures.
fn named(cell: Cell, what: &str) -> Cell {
    match cell {
        Cell::NoAnswer(mut deviation) => {
            deviation.detail = deviation.detail.map(|detail| format!("{what}: {detail}"));
            Cell::NoAnswer(deviation)
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Fake;

    #[test]
    fn the_configuration_says_on_which_ports_cilium_serves() {
        let ports = |config: &[(&str, &str)]| -> Vec<u16> {
            let mut facts = Fake::healthy().facts;
            let cilium = facts.clusters[0].cilium.as_mut().expect("Cilium");
            cilium.config = config.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
            CiliumPort::of(facts.clusters.first())
                .iter()
                .map(|port| port.number)
                .collect()
        };
        assert_eq!(ports(&[]), [4240]);
        assert!(ports(&[("enable-health-checking", "false")]).is_empty());
        assert_eq!(ports(&[("hubble-listen-address", ":4244")]), [4240], "Hubble is off");
        let hubble = [
            ("enable-hubble", "true"),
            ("hubble-listen-address", ":4245"),
            ("cluster-health-port", "4241"),
        ];
        assert_eq!(ports(&hubble), [4241, 4245]);
        assert_eq!(CiliumPort::of(None), []);
    }
}
