//! However the lab's process ends, nothing of it stays: this binary starts itself again as a lab and does away with it.

use crate::fixture::{INFRA_1, Lab, eventually};
use meshproof_datapath::netns::{self, Isolation};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use std::{
    io::{BufRead, BufReader},
    os::unix::process::ExitStatusExt,
    process::{Child, Command, ExitCode, ExitStatus, Stdio},
};

pub const CASES: &[(&str, fn())] = &[
    ("ending::killed_from_outside_nothing_stays", killed_from_outside),
    (
        "ending::a_killed_lab_process_takes_everything_along",
        killed_lab_process,
    ),
    ("ending::signals_reach_the_lab_process", signals_reach_the_lab_process),
    ("ending::the_exit_status_is_the_lab_process_s", exit_status),
];

const REQUEST: &str = "MESHPROOF_DATAPATH_VICTIM";

/// How the victim ends, once it is up.
#[derive(Clone, Copy)]
pub enum End {
    /// It waits to be ended.
    Wait,
    /// The lab's process kills itself.
    Kill,
    /// The lab's process exits with status 7.
    Exit,
}

/// Whether this process is to be one.
pub fn requested() -> Option<End> {
    match std::env::var(REQUEST).ok()?.split(' ').next()? {
        "kill" => Some(End::Kill),
        "exit" => Some(End::Exit),
        _ => Some(End::Wait),
    }
}

/// Is one: a lab with a process in a pod.
pub fn run(end: End) -> ExitCode {
    netns::enter(Isolation::Auto).expect("the test itself could");
    let lab = Lab::new();
    let mut command = Command::new("sleep");
    command.arg("1000");
    let mut sleeper = lab.pod(INFRA_1, 0).namespace().spawn(command).expect("started");
    println!("up");
    match end {
        End::Wait => drop(sleeper.wait()),
        End::Kill => kill(Pid::this(), Signal::SIGKILL).expect("killed"),
        End::Exit => return ExitCode::from(7),
    }
    ExitCode::SUCCESS
}

struct Victim {
    process: Child,
    marker: String,
}

impl Victim {
    fn start(end: &str) -> Self {
        let marker = format!("{end} {}", std::process::id() as u64 * 1000 + end.len() as u64);
        let mut command = Command::new(std::env::current_exe().expect("this test"));
        command.env(REQUEST, &marker).stdout(Stdio::piped());
        let mut process = command.spawn().expect("started");
        let mut line = String::new();
        let stdout = process.stdout.take().expect("piped");
        BufReader::new(stdout).read_line(&mut line).expect("read");
        assert_eq!(line, "up\n", "the victim is not up");
        Self { process, marker }
    }

    /// Processes with the victim's environment, wherever they are.
    fn processes(&self) -> usize {
        let entry = format!("{REQUEST}={}", self.marker);
        let all = std::fs::read_dir("/proc").expect("/proc");
        let environments = all.filter_map(|entry| std::fs::read(entry.ok()?.path().join("environ")).ok());
        environments
            .filter(|environment| environment.split(|byte| *byte == 0).any(|e| e == entry.as_bytes()))
            .count()
    }

    fn expect_gone(mut self) -> ExitStatus {
        let status = self.process.wait().expect("it ends");
        let gone = eventually(|| self.processes() == 0);
        assert!(gone, "{} processes are left", self.processes());
        status
    }
}

fn killed_from_outside() {
    let mut victim = Victim::start("wait");
    assert_eq!(
        victim.processes(),
        4,
        "outer, init, the lab's process and the pod's process"
    );
    victim.process.kill().expect("killed");
    assert_eq!(victim.expect_gone().signal(), Some(9));
}

fn killed_lab_process() {
    assert_eq!(Victim::start("kill").expect_gone().code(), Some(137));
}

fn signals_reach_the_lab_process() {
    let victim = Victim::start("wait for a signal");
    kill(Pid::from_raw(victim.process.id() as i32), Signal::SIGTERM).expect("sent");
    assert_eq!(victim.expect_gone().code(), Some(143));
}

fn exit_status() {
    assert_eq!(Victim::start("exit").expect_gone().code(), Some(7));
}
