//! HTTP outcomes.

use crate::{
    agent::{Agent, SHORT},
    far_side,
};
use meshproof_contract::{Action, Outcome, Target, probe::Connection};
use meshproof_wire::{Answer, Command};
use std::net::IpAddr;

fn request(to: Target, method: &str, path: &str, body: u32) -> Action {
    Action::Http {
        to,
        method: method.into(),
        path: path.into(),
        headers: vec![("X-Probe".into(), "1".into())],
        body,
        connection: Connection::New,
    }
}

fn get(port: u16) -> Action {
    request(Target::new("127.0.0.1", port), "GET", "/", 0)
}

#[test]
fn every_answer_carries_the_identity() {
    let agent = Agent::start();
    for (method, path, code) in [
        ("GET", "/", 200),
        ("DELETE", "/private/thing?x=1", 200),
        ("GET", "/status/404", 404),
        ("GET", "/status/503", 503),
        ("GET", "/status/99", 400),
        ("GET", "/echo", 405),
        ("GET", "/readyz", 200),
        ("HEAD", "/", 200),
    ] {
        let outcome = agent.probe(request(agent.http(), method, path, 0));
        let Outcome::Answered {
            served_by: Some(id),
            source,
            status,
            timing,
            ..
        } = outcome
        else {
            panic!("{method} {path}: {outcome:?}");
        };
        assert_eq!((id.namespace.as_str(), id.pod.as_str()), ("meshproof", "server-a"));
        assert_eq!(source, Some(IpAddr::from([127, 0, 0, 1])));
        assert_eq!(status, Some(code), "{method} {path}");
        assert!(timing.connect.is_some() && timing.first_byte.is_some());
    }
}

#[test]
fn bodies_come_back_byte_for_byte() {
    let agent = Agent::start();
    for body in [1, 1400, 65_536, 1 << 20] {
        let outcome = agent.probe(request(agent.http(), "POST", "/echo", body));
        assert!(
            matches!(outcome, Outcome::Answered { status: Some(200), bytes, .. } if bytes == u64::from(body)),
            "{body} bytes: {outcome:?}"
        );
    }
}

#[test]
fn readiness_is_what_the_harness_says() {
    let agent = Agent::start();
    let mut control = agent.control();
    for (ready, code) in [(false, 503), (true, 200)] {
        assert_eq!(control.call(Command::SetReady { ready }), Answer::Done);
        let outcome = agent.probe(request(agent.http(), "GET", "/readyz", 0));
        assert!(
            matches!(outcome, Outcome::Answered { status: Some(status), .. } if status == code),
            "{outcome:?}"
        );
    }
}

#[test]
fn a_proxys_refusal_is_an_answer_without_identity() {
    let agent = Agent::start();
    let proxy =
        far_side::says(b"HTTP/1.1 403 Forbidden\r\ncontent-length: 15\r\nserver: envoy\r\n\r\nAccess denied\r\n");
    let outcome = agent.probe(request(Target::new("127.0.0.1", proxy), "POST", "/echo", 100));
    assert!(
        matches!(
            outcome,
            Outcome::Answered {
                served_by: None,
                status: Some(403),
                bytes: 0,
                ..
            }
        ),
        "{outcome:?}"
    );
}

#[test]
fn failures_are_typed() {
    let agent = Agent::start();
    let outcome = agent.probe(get(far_side::closed_port()));
    assert!(matches!(outcome, Outcome::Refused { .. }), "{outcome:?}");
    let outcome = agent.probe(get(far_side::tcp(far_side::reset)));
    assert!(matches!(outcome, Outcome::Reset { .. }), "{outcome:?}");
    let outcome = agent.probe(get(far_side::says(b"")));
    assert!(matches!(outcome, Outcome::Closed { .. }), "{outcome:?}");
    let outcome = agent.probe(get(far_side::says(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc")));
    assert!(matches!(outcome, Outcome::Closed { received: 3, .. }), "{outcome:?}");
    let outcome = agent.probe(get(far_side::says(b"\x16\x03\x01 this is not HTTP\r\n\r\n")));
    assert!(matches!(outcome, Outcome::Corrupted { .. }), "{outcome:?}");
    let outcome = agent.probe_within(get(far_side::silent()), SHORT);
    assert!(matches!(outcome, Outcome::Stalled { received: 0, .. }), "{outcome:?}");
    let deaf = far_side::deaf();
    let outcome = agent.probe_within(get(deaf.port), SHORT);
    assert!(matches!(outcome, Outcome::Timeout { .. }), "{outcome:?}");
}

#[test]
fn a_request_that_is_none_is_a_local_error() {
    let agent = Agent::start();
    for (method, path) in [("GE T", "/"), ("GET", "no path\n")] {
        assert!(
            agent.probe(request(agent.http(), method, path, 0)).is_local_error(),
            "{method} {path}"
        );
    }
}
