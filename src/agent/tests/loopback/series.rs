//! Series: schedules, latencies from the scheduled time, shared connections.

use crate::agent::{Agent, SHORT};
use crate::far_side;
use meshproof_contract::{Action, Outcome, Probe, Target, probe::Connection};
use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

fn http(to: Target, connection: Connection) -> Action {
    Action::Http {
        to,
        method: "GET".into(),
        path: "/".into(),
        headers: vec![],
        body: 0,
        connection,
    }
}

#[test]
fn an_open_loop_keeps_its_schedule_and_says_its_lag() {
    let agent = Agent::start();
    for action in [
        http(agent.http(), Connection::New),
        http(agent.http(), Connection::KeepAlive),
        Action::UdpEcho {
            to: agent.udp(),
            payload: 64,
        },
    ] {
        let start = Instant::now();
        let probe = Probe::series(action.clone(), Duration::from_secs(1), 200, Duration::from_millis(2));
        let outcome = agent.batch(vec![probe]).remove(0);
        let Outcome::Series {
            latencies,
            failures,
            served_by,
            lag,
            ..
        } = outcome
        else {
            panic!("{outcome:?}")
        };
        assert_eq!((latencies.len(), failures), (200, vec![]), "{action:?}");
        assert_eq!(served_by.len(), 1);
        assert_eq!(served_by[0].1, 200);
        assert!(
            start.elapsed() >= Duration::from_millis(398),
            "faster than its schedule: {:?}",
            start.elapsed()
        );
        assert!(lag < 1_000_000, "lag {lag}");
    }
}

#[test]
fn a_stall_costs_every_probe_that_it_covers() {
    let agent = Agent::start();
    let to = Target::new("127.0.0.1", far_side::silent());
    for connection in [Connection::New, Connection::KeepAlive] {
        let probe = Probe::series(http(to.clone(), connection), SHORT, 20, Duration::from_millis(10));
        let outcome = agent.batch(vec![probe]).remove(0);
        let Outcome::Series {
            latencies, failures, ..
        } = outcome
        else {
            panic!("{outcome:?}")
        };
        assert!(latencies.is_empty());
        assert_eq!(
            failures.iter().map(|(number, _)| *number).collect::<Vec<_>>(),
            (0..20).collect::<Vec<_>>()
        );
        assert!(
            failures
                .iter()
                .all(|(_, outcome)| matches!(outcome, Outcome::Stalled { .. } | Outcome::Timeout { .. }))
        );
    }
}

#[test]
fn keep_alive_connects_once_and_again_after_a_break() {
    let agent = Agent::start();
    let connections = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&connections);
    // Answers three requests on each connection and then closes it.
    let port = far_side::tcp(move |mut stream| {
        use std::io::{Read, Write};
        count.fetch_add(1, Ordering::Relaxed);
        let mut request = [0; 4096];
        for _ in 0..3 {
            if !matches!(stream.read(&mut request), Ok(1..)) {
                return;
            }
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
        }
    });
    let action = http(Target::new("127.0.0.1", port), Connection::KeepAlive);
    let outcome = agent
        .batch(vec![Probe::series(action, SHORT, 9, Duration::from_millis(20))])
        .remove(0);
    let Outcome::Series {
        latencies, failures, ..
    } = outcome
    else {
        panic!("{outcome:?}")
    };
    assert_eq!((latencies.len(), failures), (9, vec![]));
    assert_eq!(connections.load(Ordering::Relaxed), 3);
}

#[test]
fn back_to_back_waits_for_each_answer() {
    let agent = Agent::start();
    let probe = Probe::series(
        http(agent.http(), Connection::KeepAlive),
        Duration::from_secs(2),
        1000,
        Duration::ZERO,
    );
    let outcome = agent.batch(vec![probe]).remove(0);
    assert!(
        matches!(
            &outcome,
            Outcome::Series { latencies, failures, .. } if latencies.len() == 1000 && failures.is_empty()
        ),
        "{outcome}"
    );
}

#[test]
fn failures_keep_their_number() {
    let agent = Agent::start();
    let action = Action::TcpConnect {
        to: Target::new("127.0.0.1", far_side::closed_port()),
    };
    let outcome = agent
        .batch(vec![Probe::series(action, SHORT, 3, Duration::from_millis(1))])
        .remove(0);
    let Outcome::Series { failures, .. } = outcome else {
        panic!("{outcome:?}")
    };
    let numbers: Vec<u32> = failures.iter().map(|(number, _)| *number).collect();
    assert_eq!(numbers, [0, 1, 2]);
    assert!(
        failures
            .iter()
            .all(|(_, outcome)| matches!(outcome, Outcome::Refused { .. }))
    );
}

#[test]
fn a_series_of_none_is_a_local_error() {
    let agent = Agent::start();
    let action = Action::TcpConnect { to: agent.tcp() };
    assert!(agent.batch(vec![Probe::series(action, SHORT, 0, SHORT)])[0].is_local_error());
}
