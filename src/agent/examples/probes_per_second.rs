//! How many probes a second one agent does in a batch, to itself over loopback: client and server share one core.
//!
//! `cargo run --release -p meshproof-agent --example probes_per_second`

use meshproof_contract::{Action, Outcome, Probe, Target, port, probe::Connection};
use meshproof_wire::{Answer, Command, Hello, Request, Response, encode};
use std::{
    error::Error,
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    process::{ExitCode, Stdio},
    time::{Duration, Instant},
};

const OFFSET: u16 = 31_000;
const PROBES: usize = 2000;

fn main() -> ExitCode {
    if std::env::args().nth(1).as_deref() == Some("agent") {
        return meshproof_agent::run(std::iter::empty());
    }
    match measure() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn measure() -> Result<(), Box<dyn Error>> {
    let started = Instant::now();
    let mut agent = std::process::Command::new(std::env::current_exe()?)
        .arg("agent")
        .env("MESHPROOF_PORT_OFFSET", OFFSET.to_string())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut line = String::new();
    BufReader::new(agent.stdout.take().ok_or("no stdout")?).read_line(&mut line)?;
    println!("serving after {:.1} ms", started.elapsed().as_secs_f64() * 1000.0);
    let result = batches();
    let status = std::fs::read_to_string(format!("/proc/{}/status", agent.id()))?;
    for line in status
        .lines()
        .filter(|line| line.starts_with("VmRSS") || line.starts_with("VmHWM"))
    {
        println!("{line}");
    }
    agent.kill()?;
    agent.wait()?;
    result
}

fn batches() -> Result<(), Box<dyn Error>> {
    let mut stream = TcpStream::connect(("127.0.0.1", port::CONTROL + OFFSET))?;
    let _: Hello = read(&mut stream)?;
    let to = |base| Target::new("127.0.0.1", base + OFFSET);
    let http = Action::Http {
        to: to(port::HTTP),
        method: "GET".into(),
        path: "/".into(),
        headers: vec![],
        body: 0,
        connection: Connection::New,
    };
    for (name, action) in [
        ("TCP connect", Action::TcpConnect { to: to(port::TCP) }),
        (
            "TCP echo of 64 B",
            Action::TcpEcho {
                to: to(port::TCP),
                payload: 64,
            },
        ),
        (
            "UDP echo of 64 B",
            Action::UdpEcho {
                to: to(port::UDP),
                payload: 64,
            },
        ),
        ("HTTP, new connection", http),
    ] {
        let probes = vec![Probe::once(action, Duration::from_secs(5)); PROBES];
        let start = Instant::now();
        stream.write_all(&encode(&Request {
            id: 1,
            command: Command::Batch { probes },
        })?)?;
        let response: Response = read(&mut stream)?;
        let took = start.elapsed();
        let Answer::Outcomes { outcomes } = response.answer else {
            return Err("no outcomes".into());
        };
        let good = outcomes.iter().filter(|outcome| outcome.is_success()).count();
        println!(
            "{name}: {good} of {PROBES} in {took:.1?}, {:.0} probes a second",
            PROBES as f64 / took.as_secs_f64()
        );
        if let Some(bad) = outcomes.iter().find(|outcome| !outcome.is_success()) {
            println!("  first failure: {}", Outcome::to_string(bad));
        }
    }
    Ok(())
}

fn read<T: serde::de::DeserializeOwned>(stream: &mut TcpStream) -> Result<T, Box<dyn Error>> {
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let mut body = vec![0; u32::from_be_bytes(length) as usize];
    stream.read_exact(&mut body)?;
    Ok(serde_json::from_slice(&body)?)
}
