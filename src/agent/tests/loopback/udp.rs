//! UDP and ICMP outcomes.

use crate::{
    agent::{Agent, DEADLINE, SHORT},
    far_side::{self, Fate, Way},
};
use meshproof_contract::{Action, Outcome, Probe, Target, port};
use std::net::{IpAddr, UdpSocket};

fn echo(port: u16, payload: u32) -> Action {
    Action::UdpEcho {
        to: Target::new("127.0.0.1", port),
        payload,
    }
}

#[test]
fn datagrams_of_every_size_come_back() {
    let agent = Agent::start();
    let sizes = [0, 16, 500, 1400, 9000, 65_507];
    let probes = sizes.map(|payload| {
        Probe::once(
            Action::UdpEcho {
                to: agent.udp(),
                payload,
            },
            DEADLINE,
        )
    });
    for (size, outcome) in sizes.iter().zip(agent.batch(probes.into())) {
        let Outcome::Answered {
            served_by: Some(id),
            source,
            bytes,
            timing,
            ..
        } = outcome
        else {
            panic!("expected an echo of {size} bytes, got {outcome:?}");
        };
        assert_eq!(id.pod, "server-a");
        assert_eq!(source, Some(IpAddr::from([127, 0, 0, 1])));
        assert_eq!(bytes, u64::from((*size).max(16)));
        assert_eq!(timing.connect, None);
    }
}

#[test]
fn a_port_without_socket_refuses() {
    let agent = Agent::start();
    let outcome = agent.probe(echo(far_side::closed_port(), 64));
    assert!(matches!(outcome, Outcome::Refused { .. }), "{outcome:?}");
}

#[test]
fn silence_is_a_timeout() {
    let agent = Agent::start();
    let silent = UdpSocket::bind("127.0.0.1:0").expect("binds");
    let outcome = agent.probe_within(echo(silent.local_addr().expect("bound").port(), 64), SHORT);
    assert!(matches!(outcome, Outcome::Timeout { .. }), "{outcome:?}");
}

#[test]
fn a_garbled_echo_is_corrupted() {
    let agent = Agent::start();
    let relay = far_side::relay(agent.port(port::UDP), |way, _| match way {
        Way::There => Fate::Garble,
        Way::Back => Fate::Pass,
    });
    let outcome = agent.probe(echo(relay, 1000));
    assert!(matches!(outcome, Outcome::Corrupted { .. }), "{outcome:?}");
}

#[test]
fn more_than_a_datagram_carries_is_a_local_error() {
    let agent = Agent::start();
    assert!(
        agent
            .probe(Action::UdpEcho {
                to: agent.udp(),
                payload: 65_508
            })
            .is_local_error()
    );
}

#[test]
fn a_ping_is_answered_or_the_reason_names_the_setting() {
    let agent = Agent::start();
    let outcome = agent.probe(Action::IcmpEcho {
        to: IpAddr::from([127, 0, 0, 9]),
        payload: 1000,
    });
    match &outcome {
        Outcome::Answered { bytes: 1000, .. } => {}
        Outcome::LocalError { reason } => assert!(reason.contains("ping_group_range"), "{reason}"),
        _ => panic!("{outcome:?}"),
    }
}
