//! The agent as a process: signals, arguments, several harnesses, the bridge.

use crate::agent::{Agent, Control, DEADLINE, read};
use meshproof_contract::{Action, Outcome, Probe};
use meshproof_wire::{Answer, Command, Hello, Request, Response, encode};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use std::{
    io::Write,
    process::Stdio,
    time::{Duration, Instant},
};

#[test]
fn sigterm_ends_it_at_once_even_in_the_middle_of_a_batch() {
    let mut agent = Agent::start();
    let mut control = agent.control();
    let silent = crate::far_side::silent();
    let action = Action::TcpEcho {
        to: meshproof_contract::Target::new("127.0.0.1", silent),
        payload: 1,
    };
    control.send(Command::Batch {
        probes: vec![Probe::once(action, Duration::from_secs(60))],
    });
    assert_eq!(control.call_later(Command::Ping), Answer::Done);
    let start = Instant::now();
    kill(Pid::from_raw(agent.pid()), Signal::SIGTERM).expect("signals");
    let status = agent.child().wait().expect("ends");
    assert_eq!(status.code(), Some(0));
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
}

impl Control {
    /// A call while another is under way.
    fn call_later(&mut self, command: Command) -> Answer {
        let id = self.send(command);
        let response = self.receive();
        assert_eq!(response.id, id);
        response.answer
    }
}

#[test]
fn several_harnesses_are_served_at_once() {
    let agent = Agent::start();
    let mut controls: Vec<Control> = (0..5).map(|_| agent.control()).collect();
    for control in &mut controls {
        assert_eq!(control.hello.identity.pod, "server-a");
        control.send(Command::Ping);
    }
    for control in &mut controls {
        assert_eq!(control.receive().answer, Answer::Done);
    }
}

#[test]
fn a_quick_request_overtakes_a_slow_one() {
    let agent = Agent::start();
    let mut control = agent.control();
    let silent = meshproof_contract::Target::new("127.0.0.1", crate::far_side::silent());
    let slow = Probe::once(Action::TcpEcho { to: silent, payload: 1 }, Duration::from_millis(500));
    let first = control.send(Command::Batch { probes: vec![slow] });
    let second = control.send(Command::Ping);
    assert_eq!(control.receive().id, second);
    assert_eq!(control.receive().id, first);
}

#[test]
fn the_bridge_answers_after_stdin_has_ended() {
    let agent = Agent::start();
    let mut bridge = std::process::Command::new(env!("CARGO_BIN_EXE_meshproof-agent"))
        .arg("control")
        .env("MESHPROOF_PORT_OFFSET", agent.offset().to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("starts");
    let probes = vec![Probe::once(
        Action::TcpEcho {
            to: agent.tcp(),
            payload: 1 << 20,
        },
        DEADLINE,
    )];
    let request = Request {
        id: 3,
        command: Command::Batch { probes },
    };
    let mut stdin = bridge.stdin.take().expect("piped");
    stdin.write_all(&encode(&request).expect("encodes")).expect("sends");
    drop(stdin);
    let mut stdout = bridge.stdout.take().expect("piped");
    let hello: Hello = read(&mut stdout).expect("hello");
    assert_eq!(hello.identity.node, "infra-1");
    let response: Response = read(&mut stdout).expect("a response");
    assert!(
        matches!(&response.answer, Answer::Outcomes { outcomes } if matches!(outcomes[0], Outcome::Answered { .. })),
        "{response:?}"
    );
    assert!(read::<Response>(&mut stdout).is_none(), "then it ends");
    assert_eq!(bridge.wait().expect("ends").code(), Some(0));
}

#[test]
fn wrong_use_is_told_with_its_own_exit_code() {
    let run = |args: &[&str], offset: &str| {
        std::process::Command::new(env!("CARGO_BIN_EXE_meshproof-agent"))
            .args(args)
            .env("MESHPROOF_PORT_OFFSET", offset)
            .output()
            .expect("runs")
    };
    assert_eq!(run(&["serve", "me"], "0").status.code(), Some(2));
    assert_eq!(run(&["--version"], "0").status.code(), Some(0));
    let output = run(&[], "70000");
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("MESHPROOF_PORT_OFFSET"));
    // Nobody serves there.
    assert_eq!(run(&["control"], "50000").status.code(), Some(1));
}

#[test]
fn a_taken_port_is_named() {
    let agent = Agent::start();
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_meshproof-agent"))
        .env("MESHPROOF_PORT_OFFSET", agent.offset().to_string())
        .output()
        .expect("runs");
    assert_eq!(output.status.code(), Some(1));
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(message.contains("failed to listen on 127.0.0.1:"), "{message}");
}
