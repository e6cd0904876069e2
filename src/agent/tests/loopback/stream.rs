//! Streams through good times and bad.

use crate::agent::{Agent, Control, Start};
use meshproof_contract::{
    Action, Outcome, StreamKind, StreamReport, StreamResult, StreamSpec, Target, probe::Connection,
};
use meshproof_wire::{Answer, Command};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use std::{
    thread::sleep,
    time::{Duration, Instant},
};

const INTERVAL: Duration = Duration::from_millis(5);

fn spec(kind: StreamKind) -> StreamSpec {
    StreamSpec {
        kind,
        interval: INTERVAL,
        deadline: Duration::from_millis(100),
        lifetime: Duration::from_secs(30),
    }
}

fn kinds(to: &Agent) -> Vec<StreamKind> {
    let http = |connection| Action::Http {
        to: to.http(),
        method: "GET".into(),
        path: "/".into(),
        headers: vec![],
        body: 0,
        connection,
    };
    vec![
        StreamKind::Each {
            action: Action::TcpEcho {
                to: to.tcp(),
                payload: 32,
            },
        },
        StreamKind::Each {
            action: Action::UdpEcho {
                to: to.udp(),
                payload: 32,
            },
        },
        StreamKind::Each {
            action: http(Connection::New),
        },
        StreamKind::Each {
            action: http(Connection::KeepAlive),
        },
        StreamKind::LongTcp {
            to: to.tcp(),
            payload: 32,
        },
    ]
}

/// A stream of the agent under test.
struct Stream<'a> {
    control: &'a mut Control,
    number: u64,
    seen: Vec<(u64, StreamResult)>,
    report: StreamReport,
}

impl<'a> Stream<'a> {
    fn start(control: &'a mut Control, number: u64, spec: StreamSpec) -> Self {
        assert_eq!(
            control.call(Command::StartStream { stream: number, spec }),
            Answer::Done
        );
        Self {
            control,
            number,
            seen: vec![],
            report: StreamReport::default(),
        }
    }
    fn take(&mut self, command: Command) {
        match self.control.call(command) {
            Answer::Stream { report } => {
                self.seen.extend(
                    report
                        .samples
                        .iter()
                        .map(|sample| (sample.number, sample.result.clone())),
                );
                self.report = report;
            }
            other => panic!("expected a report, got {other:?}"),
        }
    }
    /// Collects until the last samples are as wanted.
    fn wait(&mut self, what: &str, wanted: impl Fn(&StreamResult) -> bool) {
        let start = Instant::now();
        let mut checked = self.seen.len();
        loop {
            self.take(Command::CollectStream { stream: self.number });
            if self.seen[checked..].iter().any(|(_, result)| wanted(result)) {
                return;
            }
            checked = self.seen.len();
            assert!(
                start.elapsed() < Duration::from_secs(10),
                "{what} was not seen; last: {:?}",
                self.seen.last()
            );
            sleep(INTERVAL);
        }
    }
    /// Stops it: every probe has exactly one outcome.
    fn stop(mut self) -> (Vec<StreamResult>, StreamReport) {
        self.take(Command::StopStream { stream: self.number });
        assert!(self.report.ended);
        assert_eq!((self.report.under_way, self.report.overwritten), (0, 0));
        self.seen.sort_by_key(|(number, _)| *number);
        let numbers: Vec<u64> = self.seen.iter().map(|(number, _)| *number).collect();
        assert_eq!(
            numbers,
            (0..numbers.len() as u64).collect::<Vec<_>>(),
            "each number once"
        );
        (self.seen.into_iter().map(|(_, result)| result).collect(), self.report)
    }
}

fn is_good(result: &StreamResult) -> bool {
    matches!(result, StreamResult::Good { .. })
}

#[test]
fn every_kind_runs_open_loop_while_other_things_happen() {
    let server = Agent::start();
    let client = Agent::start();
    for (number, kind) in (0..).zip(kinds(&server)) {
        let mut control = client.control();
        let mut stream = Stream::start(&mut control, number, spec(kind.clone()));
        while stream.seen.len() < 60 {
            stream.wait("an answer", is_good);
        }
        let (results, report) = stream.stop();
        let good = results.iter().filter(|result| is_good(result)).count();
        assert!(
            good * 10 >= results.len() * 9,
            "{kind:?}: {good} of {} answered",
            results.len()
        );
        assert_eq!(report.servers.len(), 1, "{kind:?}");
        assert_eq!(report.interval, 5000);
        let shared = matches!(kind, StreamKind::LongTcp { .. })
            || matches!(
                kind,
                StreamKind::Each {
                    action: Action::Http {
                        connection: Connection::KeepAlive,
                        ..
                    }
                }
            );
        assert_eq!(report.connections > 0, shared, "{kind:?}");
    }
}

#[test]
fn a_frozen_server_costs_every_probe_and_the_long_connection_survives() {
    let server = Agent::start();
    let client = Agent::start();
    let mut control = client.control();
    let kind = StreamKind::LongTcp {
        to: server.tcp(),
        payload: 32,
    };
    let mut stream = Stream::start(&mut control, 1, spec(kind));
    stream.wait("an answer", is_good);
    let server_pid = Pid::from_raw(server.pid());
    kill(server_pid, Signal::SIGSTOP).expect("freezes");
    for _ in 0..5 {
        stream.wait("a stall", |result| {
            matches!(
                result,
                StreamResult::Bad {
                    outcome: Outcome::Stalled { .. }
                }
            )
        });
    }
    kill(server_pid, Signal::SIGCONT).expect("thaws");
    stream.wait("an answer again", is_good);
    let (results, report) = stream.stop();
    assert_eq!(report.connections, 1, "TCP mended it");
    let bad: Vec<_> = results.iter().filter(|result| !is_good(result)).collect();
    assert!(bad.len() >= 5, "an outage beyond the deadline, {} lost", bad.len());
    assert!(
        bad.iter().all(|result| matches!(
            result,
            StreamResult::Bad {
                outcome: Outcome::Stalled { .. }
            }
        )),
        "{bad:?}"
    );
}

#[test]
fn a_killed_server_is_refused_and_its_successor_found() {
    for kind in 0..5 {
        let mut server = Agent::start();
        let client = Agent::start();
        let mut control = client.control();
        let mut stream = Stream::start(&mut control, 1, spec(kinds(&server).remove(kind)));
        stream.wait("an answer", is_good);
        let offset = server.offset();
        server.child().kill().expect("kills");
        server.child().wait().expect("ends");
        stream.wait("a refusal", |result| {
            matches!(
                result,
                StreamResult::Bad {
                    outcome: Outcome::Refused { .. }
                }
            )
        });
        let _successor = Start::new().start_again(offset);
        stream.wait("the successor", is_good);
        let (_, report) = stream.stop();
        if kind >= 3 {
            assert!(
                report.connections >= 2,
                "kind {kind}: {} connections",
                report.connections
            );
        }
    }
}

#[test]
fn the_clock_of_the_report_is_the_agents() {
    let server = Agent::start();
    let mut control = server.control();
    let mut now = || match control.call(Command::Clock) {
        Answer::Clock { micros } => micros,
        other => panic!("{other:?}"),
    };
    let before = now();
    let mut other = server.control();
    let stream = Stream::start(&mut other, 1, spec(kinds(&server).remove(1)));
    let after = now();
    let (_, report) = stream.stop();
    assert!(
        (before..=after).contains(&report.start),
        "{before} <= {} <= {after}",
        report.start
    );
}

#[test]
fn a_stream_ends_by_itself_and_its_results_wait() {
    let agent = Agent::start();
    let mut control = agent.control();
    let short = StreamSpec {
        lifetime: Duration::from_millis(50),
        ..spec(kinds(&agent).remove(0))
    };
    assert_eq!(
        control.call(Command::StartStream { stream: 7, spec: short }),
        Answer::Done
    );
    drop(control);
    let mut control = agent.control();
    let mut stream = Stream {
        control: &mut control,
        number: 7,
        seen: vec![],
        report: StreamReport::default(),
    };
    let start = Instant::now();
    while !stream.report.ended {
        stream.take(Command::CollectStream { stream: 7 });
        assert!(start.elapsed() < Duration::from_secs(5));
    }
    assert_eq!(stream.stop().0.len(), 10);
}

#[test]
fn what_cannot_be_a_stream_is_refused_with_the_reason() {
    let agent = Agent::start();
    let mut control = agent.control();
    let good = spec(kinds(&agent).remove(0));
    let to = Target::new("127.0.0.1", 1);
    for bad in [
        StreamSpec {
            interval: Duration::ZERO,
            ..good.clone()
        },
        StreamSpec {
            deadline: Duration::ZERO,
            ..good.clone()
        },
        StreamSpec {
            lifetime: Duration::from_secs(90_000),
            ..good.clone()
        },
        StreamSpec {
            kind: StreamKind::Each {
                action: Action::PathMtu { to: to.clone() },
            },
            ..good.clone()
        },
        StreamSpec {
            kind: StreamKind::LongTcp { to, payload: 1 << 20 },
            ..good.clone()
        },
    ] {
        let answer = control.call(Command::StartStream {
            stream: 1,
            spec: bad.clone(),
        });
        assert!(matches!(answer, Answer::Error { .. }), "{bad:?}");
    }
    assert!(matches!(
        control.call(Command::StopStream { stream: 1 }),
        Answer::Error { .. }
    ));
    assert_eq!(
        control.call(Command::StartStream {
            stream: 1,
            spec: good.clone()
        }),
        Answer::Done
    );
    assert!(matches!(
        control.call(Command::StartStream { stream: 1, spec: good }),
        Answer::Error { .. }
    ));
}
