//! Relays: the harness's bytes on a connection from the pod.

use crate::{
    agent::{Agent, Control, read},
    far_side,
};
use meshproof_contract::{Outcome, Target};
use meshproof_wire::{Answer, Command, Hello, Request, Response, encode};
use std::io::{Read, Write};

fn relay(to: Target) -> Command {
    Command::Relay { to, deadline: 500_000 }
}

#[test]
fn bytes_go_both_ways_until_the_far_side_ends() {
    let agent = Agent::start();
    let port = far_side::tcp(|mut stream| {
        let mut request = [0; 4];
        stream.read_exact(&mut request).expect("reads");
        stream.write_all(&[b"got ", &request[..]].concat()).expect("writes");
    });
    let mut stream = agent.stream();
    read::<Hello>(&mut stream).expect("hello");
    let command = relay(Target::new("127.0.0.1", port));
    stream
        .write_all(&encode(&Request { id: 7, command }).expect("encodes"))
        .expect("sends");
    let response: Response = read(&mut stream).expect("a response");
    let Answer::Outcomes { outcomes } = response.answer else {
        panic!("expected an outcome, got {response:?}");
    };
    assert!(matches!(outcomes[..], [Outcome::Answered { .. }]), "{outcomes:?}");
    stream.write_all(b"ping").expect("sends");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("until the end");
    assert_eq!(answer, b"got ping");
}

#[test]
fn a_connection_that_is_not_made_is_an_outcome_and_the_end() {
    let agent = Agent::start();
    let mut control = Control::over(agent.stream());
    let refused = far_side::tcp(drop);
    let answer = control.call(relay(Target::new("127.0.0.9", refused)));
    let Answer::Outcomes { outcomes } = answer else {
        panic!("expected an outcome, got {answer:?}");
    };
    assert!(matches!(outcomes[..], [Outcome::Refused { .. }]), "{outcomes:?}");
}
