//! Path MTU through relays that lose what is too large.

use crate::{
    agent::Agent,
    far_side::{self, Fate, Way},
};
use meshproof_contract::{Action, Outcome, Target, port};
use std::time::Duration;

fn measure(agent: &Agent, port: u16, deadline: Duration) -> Outcome {
    agent.probe_within(
        Action::PathMtu {
            to: Target::new("127.0.0.1", port),
        },
        deadline,
    )
}

#[test]
fn a_healthy_path_carries_the_largest_packet() {
    let agent = Agent::start();
    let outcome = measure(&agent, agent.port(port::UDP), Duration::from_secs(3));
    let expected = Outcome::PathMtu {
        largest: 65_535,
        route: 65_535,
        device: 65_536,
        blackhole: None,
        reported: None,
    };
    assert_eq!(outcome, expected);
}

#[test]
fn a_silent_limit_is_a_blackhole_in_either_direction() {
    let agent = Agent::start();
    for lossy in [Way::There, Way::Back] {
        let relay = far_side::relay(agent.port(port::UDP), move |way, payload| {
            if way == lossy && payload + 28 > 1380 {
                Fate::Drop
            } else {
                Fate::Pass
            }
        });
        let outcome = measure(&agent, relay, Duration::from_secs(8));
        let Outcome::PathMtu {
            largest,
            blackhole,
            reported,
            ..
        } = outcome
        else {
            panic!("{outcome:?}")
        };
        assert_eq!((largest, blackhole, reported), (1380, Some(1381), None));
    }
}

#[test]
fn five_per_cent_of_loss_is_no_blackhole() {
    let agent = Agent::start();
    let mut count = 0u32;
    let relay = far_side::relay(agent.port(port::UDP), move |_, _| {
        count += 1;
        if count % 20 == 3 { Fate::Drop } else { Fate::Pass }
    });
    for _ in 0..10 {
        let outcome = measure(&agent, relay, Duration::from_secs(5));
        assert!(
            matches!(
                outcome,
                Outcome::PathMtu {
                    largest: 65_535,
                    blackhole: None,
                    ..
                }
            ),
            "{outcome:?}"
        );
    }
}

#[test]
fn a_dead_path_is_a_timeout_and_a_closed_port_refuses() {
    let agent = Agent::start();
    let relay = far_side::relay(agent.port(port::UDP), |_, _| Fate::Drop);
    let outcome = measure(&agent, relay, Duration::from_millis(400));
    assert!(matches!(outcome, Outcome::Timeout { .. }), "{outcome:?}");
    let outcome = measure(&agent, far_side::closed_port(), Duration::from_secs(1));
    assert!(matches!(outcome, Outcome::Refused { .. }), "{outcome:?}");
}

#[test]
fn a_limit_that_a_router_tells_is_no_blackhole() {
    let agent = Agent::start();
    let Some(router) = far_side::telling_router(agent.port(port::UDP), 1380) else {
        eprintln!("not run: this user may not send ICMP");
        return;
    };
    let to = Target::new(router.ip().to_string(), router.port());
    let outcome = agent.probe_within(Action::PathMtu { to }, Duration::from_secs(5));
    let Outcome::PathMtu {
        largest,
        blackhole,
        reported,
        ..
    } = outcome
    else {
        panic!("{outcome:?}")
    };
    assert_eq!((largest, blackhole, reported), (1380, None, Some(1380)));
}
