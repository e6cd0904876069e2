//! Whatever strangers send, an agent keeps serving and does not grow.

use crate::agent::{Agent, Control, DEADLINE};
use meshproof_contract::{Action, Probe, port};
use meshproof_wire::{Answer, Command, Response};
use proptest::{collection::vec, prelude::*, test_runner::TestRunner};
use std::{
    io::{Read, Write},
    net::{Shutdown, TcpStream, UdpSocket},
};

fn assert_serves(agent: &Agent) {
    let probes = vec![
        Probe::once(
            Action::TcpEcho {
                to: agent.tcp(),
                payload: 1000,
            },
            DEADLINE,
        ),
        Probe::once(
            Action::UdpEcho {
                to: agent.udp(),
                payload: 1000,
            },
            DEADLINE,
        ),
    ];
    for outcome in agent.batch(probes) {
        assert!(outcome.is_success(), "{outcome:?}");
    }
}

#[test]
fn garbage_on_every_port_does_no_harm() {
    let agent = Agent::start();
    assert_serves(&agent);
    let udp = UdpSocket::bind("127.0.0.1:0").expect("binds");
    let words = prop_oneof![
        vec(any::<u8>(), 0..300),
        (
            prop::sample::select(vec!["MPT1", "MPQ1", "GET / HTTP/1.1\r\n", "\0\0\0\u{10}"]),
            vec(any::<u8>(), 0..300)
        )
            .prop_map(|(head, rest)| [head.as_bytes(), &rest].concat()),
    ];
    TestRunner::new(ProptestConfig::with_cases(200))
        .run(&words, |bytes| {
            for base in [port::CONTROL, port::HTTP, port::TCP] {
                let mut stream = TcpStream::connect(("127.0.0.1", agent.port(base))).expect("connects");
                let _ = stream.write_all(&bytes);
                let _ = stream.shutdown(Shutdown::Write);
            }
            udp.send_to(&bytes, ("127.0.0.1", agent.port(port::UDP)))
                .expect("sends");
            Ok(())
        })
        .expect("no case fails");
    assert_serves(&agent);
}

#[test]
fn a_frame_that_is_too_large_is_answered_and_the_stream_closed() {
    let agent = Agent::start();
    let mut stream = agent.stream();
    let hello: meshproof_wire::Hello = crate::agent::read(&mut stream).expect("hello");
    assert_eq!(hello.protocol, meshproof_wire::PROTOCOL);
    stream.write_all(&[0xff; 8]).expect("sends");
    let response: Response = crate::agent::read(&mut stream).expect("a response");
    assert!(matches!(response.answer, Answer::Error { .. }), "{response:?}");
    let mut rest = Vec::new();
    let _ = stream.read_to_end(&mut rest);
    assert!(rest.is_empty(), "the stream ends");
    assert_serves(&agent);
}

#[test]
fn a_frame_that_is_not_understood_leaves_the_stream_usable() {
    let agent = Agent::start();
    let mut stream = agent.stream();
    let body = br#"{"id":41,"command":{"command":"from_the_future"}}"#;
    let mut frame = (body.len() as u32).to_be_bytes().to_vec();
    frame.extend(body);
    stream.write_all(&frame).expect("sends");
    let mut control = Control::over(stream);
    let response = control.receive();
    assert_eq!(response.id, 41);
    assert!(matches!(response.answer, Answer::Error { .. }), "{response:?}");
    assert_eq!(control.call(Command::Ping), Answer::Done);
}

#[test]
fn half_open_streams_hold_nobody_up_and_cost_little() {
    let agent = Agent::start();
    assert_serves(&agent);
    let before = agent.resident();
    let mut open = Vec::new();
    for _ in 0..200 {
        for base in [port::HTTP, port::TCP] {
            let mut stream = TcpStream::connect(("127.0.0.1", agent.port(base))).expect("connects");
            let _ = stream.write_all(b"G");
            open.push(stream);
        }
    }
    // A frame that promises 16 MiB and never comes.
    let mut half = agent.stream();
    half.write_all(&[0, 0xff, 0xff, 0xff, 1]).expect("sends");
    assert_serves(&agent);
    let grown = agent.resident().saturating_sub(before);
    assert!(grown < 8192, "400 half-open connections cost {grown} KiB");
}
