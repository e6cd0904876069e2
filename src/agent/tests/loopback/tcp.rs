//! TCP outcomes.

use crate::{
    agent::{Agent, SHORT},
    far_side,
};
use meshproof_contract::{Action, Outcome, Target};
use std::net::IpAddr;

fn connect(port: u16) -> Action {
    Action::TcpConnect {
        to: Target::new("127.0.0.1", port),
    }
}

fn echo(port: u16, payload: u32) -> Action {
    Action::TcpEcho {
        to: Target::new("127.0.0.1", port),
        payload,
    }
}

#[test]
fn an_echo_names_the_server_and_the_address_that_it_saw() {
    let agent = Agent::start();
    for payload in [0, 1, 1400, 65_536, 1 << 20] {
        let outcome = agent.probe(Action::TcpEcho {
            to: agent.tcp(),
            payload,
        });
        let Outcome::Answered {
            served_by,
            source,
            address,
            status,
            bytes,
            timing,
        } = outcome
        else {
            panic!("expected an answer to {payload} bytes, got {outcome}");
        };
        let id = served_by.expect("an identity");
        assert_eq!(
            (id.cluster.as_str(), id.node.as_str(), id.pod.as_str()),
            ("infra", "infra-1", "server-a")
        );
        assert_eq!(source, Some(IpAddr::from([127, 0, 0, 1])));
        assert_eq!(address, Some(IpAddr::from([127, 0, 0, 7])));
        assert_eq!((status, bytes), (None, u64::from(payload)));
        assert_eq!(timing.dns, None);
        let connect = timing.connect.expect("connected");
        let first = timing.first_byte.expect("a first byte");
        assert!(connect <= first && first <= timing.total, "{timing:?}");
    }
}

#[test]
fn connecting_says_nothing_about_who_listens() {
    let agent = Agent::start();
    let outcome = agent.probe(connect(far_side::silent()));
    assert!(
        matches!(
            outcome,
            Outcome::Answered {
                served_by: None,
                bytes: 0,
                ..
            }
        ),
        "{outcome:?}"
    );
}

#[test]
fn a_port_without_listener_refuses() {
    let agent = Agent::start();
    let port = far_side::closed_port();
    for action in [connect(port), echo(port, 10)] {
        let outcome = agent.probe(action);
        assert!(matches!(outcome, Outcome::Refused { .. }), "{outcome:?}");
    }
}

#[test]
fn silence_to_the_first_packet_is_a_timeout_at_the_deadline() {
    let agent = Agent::start();
    let deaf = far_side::deaf();
    let outcome = agent.probe_within(connect(deaf.port), SHORT);
    let Outcome::Timeout { timing } = outcome else {
        panic!("expected a timeout, got {outcome:?}")
    };
    assert_eq!(timing.connect, None);
    let deadline = SHORT.as_micros() as u64;
    assert!((deadline..deadline + 1_000_000).contains(&timing.total), "{timing:?}");
}

#[test]
fn silence_on_a_connection_is_a_stall() {
    let agent = Agent::start();
    let outcome = agent.probe_within(echo(far_side::silent(), 10), SHORT);
    assert!(matches!(outcome, Outcome::Stalled { received: 0, .. }), "{outcome:?}");
}

#[test]
fn a_reset_is_told_from_an_orderly_end() {
    let agent = Agent::start();
    let outcome = agent.probe(echo(far_side::tcp(far_side::reset), 1000));
    assert!(matches!(outcome, Outcome::Reset { .. }), "{outcome:?}");
    let outcome = agent.probe(echo(far_side::says(b""), 10));
    assert!(matches!(outcome, Outcome::Closed { received: 0, .. }), "{outcome:?}");
    let outcome = agent.probe(echo(far_side::says(b"MPA"), 10));
    assert!(matches!(outcome, Outcome::Closed { received: 3, .. }), "{outcome:?}");
}

#[test]
fn another_servers_answer_is_corrupted() {
    let agent = Agent::start();
    let outcome = agent.probe(echo(far_side::says(b"220 mail.example.org ESMTP ready\r\n"), 10));
    assert!(matches!(outcome, Outcome::Corrupted { .. }), "{outcome:?}");
}

#[test]
fn a_changed_byte_is_corrupted() {
    let agent = Agent::start();
    let card = br#"{"identity":{"cluster":"c","node":"n","namespace":"s","pod":"p"},"source":"127.0.0.1"}"#;
    let mut answer = b"MPA1".to_vec();
    answer.extend((card.len() as u32).to_be_bytes());
    answer.extend(card);
    answer.extend([0; 64]);
    let outcome = agent.probe(echo(far_side::says(answer.leak()), 64));
    assert!(matches!(outcome, Outcome::Corrupted { .. }), "{outcome:?}");
}

#[test]
fn an_address_without_route_is_unreachable() {
    let agent = Agent::start();
    // The kernel has no route for TCP to a multicast address, whatever the machine's network.
    let to = Target::new("224.0.0.1", 1);
    let outcome = agent.probe_within(Action::TcpConnect { to }, SHORT);
    assert!(matches!(outcome, Outcome::Unreachable { .. }), "{outcome:?}");
}

#[test]
fn what_cannot_be_tried_is_a_local_error() {
    let agent = Agent::start();
    let outcome = agent.probe(Action::TcpEcho {
        to: agent.tcp(),
        payload: (1 << 20) + 1,
    });
    assert!(outcome.is_local_error(), "{outcome:?}");
    let outcome = agent.probe(Action::TcpConnect {
        to: Target::new("not a name", 80),
    });
    assert!(
        outcome.is_local_error() || matches!(outcome, Outcome::NameError { .. }),
        "{outcome:?}"
    );
}
