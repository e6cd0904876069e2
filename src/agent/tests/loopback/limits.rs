//! Many probes at once, few descriptors, little memory.

use crate::{
    agent::{Agent, DEADLINE, Start},
    far_side,
};
use meshproof_contract::{Action, Outcome, Probe, Target};
use std::time::{Duration, Instant};

#[test]
fn thousands_of_probes_in_one_batch() {
    let agent = Agent::start();
    let deaf = far_side::deaf();
    let denied = Duration::from_millis(500);
    let probes: Vec<Probe> = (0..4000)
        .map(|n| match n % 4 {
            0 => Probe::once(
                Action::TcpEcho {
                    to: agent.tcp(),
                    payload: 64,
                },
                DEADLINE,
            ),
            1 => Probe::once(
                Action::UdpEcho {
                    to: agent.udp(),
                    payload: 64,
                },
                DEADLINE,
            ),
            2 => Probe::once(Action::TcpConnect { to: agent.http() }, DEADLINE),
            _ => Probe::once(
                Action::TcpConnect {
                    to: Target::new("127.0.0.1", deaf.port),
                },
                denied,
            ),
        })
        .collect();
    let start = Instant::now();
    let outcomes = agent.batch(probes);
    for (n, outcome) in outcomes.iter().enumerate() {
        let as_expected = if n % 4 == 3 {
            matches!(outcome, Outcome::Timeout { .. })
        } else {
            outcome.is_success()
        };
        assert!(as_expected, "probe {n}: {outcome:?}");
    }
    assert!(
        start.elapsed() < Duration::from_secs(8),
        "denied probes run side by side: {:?}",
        start.elapsed()
    );
}

#[test]
fn few_descriptors_make_a_batch_slower_and_not_wrong() {
    let agent = Start::new().descriptors(400).start();
    let probes = vec![
        Probe::once(
            Action::TcpEcho {
                to: agent.tcp(),
                payload: 64
            },
            DEADLINE
        );
        1000
    ];
    for outcome in agent.batch(probes) {
        assert!(outcome.is_success(), "{outcome:?}");
    }
}

#[test]
fn an_agent_stays_under_eight_mebibytes() {
    let agent = Agent::start();
    let idle = agent.resident();
    let probes = vec![
        Probe::once(
            Action::TcpEcho {
                to: agent.tcp(),
                payload: 1 << 20
            },
            DEADLINE
        );
        8
    ];
    for outcome in agent.batch(probes) {
        assert!(outcome.is_success(), "{outcome:?}");
    }
    let after = agent.resident();
    println!("resident: {idle} KiB idle, {after} KiB after 8 echoes of 1 MiB at once");
    // The test's build is not the image's: unoptimised code alone is larger.
    let limit = if cfg!(debug_assertions) { 16 << 10 } else { 8 << 10 };
    assert!(after < limit, "{after} KiB");
}
