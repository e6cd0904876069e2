//! An agent process and a harness's end of its control port.

use meshproof_contract::{Action, Outcome, Probe, Target, port};
use meshproof_wire::{Answer, Command, Hello, Request, Response, encode};
use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream, UdpSocket},
    path::PathBuf,
    process::{Child, Stdio},
    sync::atomic::{AtomicU16, Ordering},
    time::Duration,
};

/// Generous: what has to happen does, what must not is not waited for.
pub const DEADLINE: Duration = Duration::from_secs(5);
/// For probes that are meant to meet silence.
pub const SHORT: Duration = Duration::from_millis(250);

/// A running agent; killed when dropped.
pub struct Agent {
    child: Child,
    offset: u16,
}

/// How an agent is started.
pub struct Start {
    command: std::process::Command,
}

impl Start {
    pub fn new() -> Self {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_meshproof-agent"));
        for (name, value) in [
            ("CLUSTER", "infra"),
            ("NODE", "infra-1"),
            ("NAMESPACE", "meshproof"),
            ("POD", "server-a"),
        ] {
            command.env(format!("MESHPROOF_{name}"), value);
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        Self { command }
    }
    pub fn env(mut self, name: &str, value: impl Into<PathBuf>) -> Self {
        self.command.env(name, value.into());
        self
    }
    pub fn descriptors(mut self, limit: u64) -> Self {
        use std::os::unix::process::CommandExt;
        #[allow(unsafe_code)]
        // SAFETY: setrlimit is async-signal-safe.
        unsafe {
            self.command.pre_exec(move || {
                nix::sys::resource::setrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE, limit, limit)
                    .map_err(std::io::Error::from)
            });
        }
        self
    }
    /// Starts it and returns once it serves.
    pub fn start(self) -> Agent {
        self.start_at(free_offset)
    }
    /// Starts it where another one was.
    pub fn start_again(self, offset: u16) -> Agent {
        self.start_at(|| offset)
    }
    fn start_at(mut self, offsets: impl Fn() -> u16) -> Agent {
        for _ in 0..20 {
            let offset = offsets();
            self.command.env("MESHPROOF_PORT_OFFSET", offset.to_string());
            let mut child = self.command.spawn().expect("the agent starts");
            let mut line = String::new();
            let stdout = child.stdout.take().expect("piped");
            BufReader::new(stdout).read_line(&mut line).expect("a line");
            if line.contains("serves as infra/infra-1/server-a") {
                return Agent { child, offset };
            }
            // Somebody else took a port meanwhile.
            child.wait().expect("it ends");
        }
        panic!("no agent could be started");
    }
}

fn free_offset() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    for _ in 0..1000 {
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let offset = 100 + (std::process::id() as u16 % 1900) * 10 + (n % 500) * 10;
        let free = (port::CONTROL..=port::UDP).all(|base| {
            TcpListener::bind(("0.0.0.0", base + offset)).is_ok() && UdpSocket::bind(("0.0.0.0", base + offset)).is_ok()
        });
        if free {
            return offset;
        }
    }
    panic!("no free ports");
}

impl Agent {
    pub fn start() -> Self {
        Start::new().start()
    }
    pub fn port(&self, base: u16) -> u16 {
        base + self.offset
    }
    pub fn tcp(&self) -> Target {
        Target::new("127.0.0.7", self.port(port::TCP))
    }
    pub fn udp(&self) -> Target {
        Target::new("127.0.0.7", self.port(port::UDP))
    }
    pub fn http(&self) -> Target {
        Target::new("127.0.0.7", self.port(port::HTTP))
    }
    pub fn pid(&self) -> i32 {
        self.child.id() as i32
    }
    pub fn child(&mut self) -> &mut Child {
        &mut self.child
    }
    pub fn offset(&self) -> u16 {
        self.offset
    }
    pub fn stream(&self) -> TcpStream {
        let stream = TcpStream::connect(("127.0.0.1", self.port(port::CONTROL))).expect("control port");
        stream.set_read_timeout(Some(Duration::from_secs(60))).expect("timeout");
        stream
    }
    pub fn control(&self) -> Control {
        Control::over(self.stream())
    }
    /// One batch over a stream of its own.
    pub fn batch(&self, probes: Vec<Probe>) -> Vec<Outcome> {
        self.control().batch(probes)
    }
    pub fn probe(&self, action: Action) -> Outcome {
        self.probe_within(action, DEADLINE)
    }
    pub fn probe_within(&self, action: Action, deadline: Duration) -> Outcome {
        self.batch(vec![Probe::once(action, deadline)]).remove(0)
    }
    /// Resident memory in KiB.
    pub fn resident(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("status");
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("VmRSS");
        line.split_whitespace()
            .nth(1)
            .expect("a number")
            .parse()
            .expect("a number")
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A harness's end of a control stream.
pub struct Control {
    stream: TcpStream,
    pub hello: Hello,
    next: u64,
}

impl Control {
    pub fn over(mut stream: TcpStream) -> Self {
        let hello = read(&mut stream).expect("hello");
        Self { stream, hello, next: 1 }
    }
    pub fn send(&mut self, command: Command) -> u64 {
        let id = self.next;
        self.next += 1;
        self.stream
            .write_all(&encode(&Request { id, command }).expect("encodes"))
            .expect("sends");
        id
    }
    pub fn receive(&mut self) -> Response {
        read(&mut self.stream).expect("a response")
    }
    pub fn call(&mut self, command: Command) -> Answer {
        let id = self.send(command);
        let response = self.receive();
        assert_eq!(response.id, id, "{response:?}");
        response.answer
    }
    pub fn batch(&mut self, probes: Vec<Probe>) -> Vec<Outcome> {
        let count = probes.len();
        match self.call(Command::Batch { probes }) {
            Answer::Outcomes { outcomes } => {
                assert_eq!(outcomes.len(), count);
                outcomes
            }
            other => panic!("expected outcomes, got {other:?}"),
        }
    }
}

/// Reads a frame; none at the end of the stream.
pub fn read<T: serde::de::DeserializeOwned>(stream: &mut impl Read) -> Option<T> {
    let mut length = [0; 4];
    stream.read_exact(&mut length).ok()?;
    let mut body = vec![0; u32::from_be_bytes(length) as usize];
    stream.read_exact(&mut body).ok()?;
    Some(serde_json::from_slice(&body).expect("a message"))
}
