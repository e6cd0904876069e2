//! What a process meets whose sockets the node balances: this binary starts itself again as such a process.

use crate::{
    fixture::{INFRA_1, INFRA_2, Lab, Shape, wait},
    probe,
};
use meshproof_datapath::{Backend, Frontend, RefusedCall, Service};
use std::{
    io::{self, BufRead, Write},
    net::{Ipv4Addr, SocketAddrV4, TcpStream, UdpSocket},
    process::{ExitCode, Stdio},
};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};

pub const CASES: &[(&str, fn())] = &[
    ("sockets::calls_to_nobody_fail_at_once", calls_to_nobody),
    ("sockets::a_connected_socket_ends_with_its_backend", connected_socket),
];

const REQUEST: &str = "MESHPROOF_DATAPATH_CALL";
const VIP: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(10, 96, 0, 10), 80);

/// What this process is to do in a pod, if it was started for that.
pub fn requested() -> Option<String> {
    std::env::var(REQUEST).ok()
}

/// Does it, and prints how it went.
pub fn call(what: String) -> ExitCode {
    let said = |outcome: io::Result<()>| match outcome {
        Ok(()) => println!("done"),
        Err(error) => println!("{}", error.raw_os_error().unwrap_or_default()),
    };
    let socket = UdpSocket::bind("0.0.0.0:0").expect("bound");
    match what.as_str() {
        "connect" => said(TcpStream::connect(VIP).map(drop)),
        "send to" => said(socket.send_to(b"hello", VIP).map(drop)),
        _ => {
            let connected = socket.connect(VIP).and_then(|()| socket.send(b"hello")).map(drop);
            said(connected);
            io::stdout().flush().expect("flushed");
            let mut line = String::new();
            io::stdin().lock().read_line(&mut line).expect("told to go on");
            said(socket.send(b"hello again").map(drop));
        }
    }
    ExitCode::SUCCESS
}

fn command(what: &str) -> tokio::process::Command {
    let mut command = tokio::process::Command::new("/proc/self/exe");
    command.env(REQUEST, what).stdin(Stdio::piped()).stdout(Stdio::piped());
    command
}

fn lab(refusal: RefusedCall) -> Lab {
    Lab::shaped(Shape {
        socket_balancing: Some(refusal),
        ..Shape::default()
    })
}

fn set(lab: &Lab, backends: &[Backend]) {
    for node in &lab.nodes {
        let frontends = [
            Frontend::tcp(*VIP.ip(), VIP.port()),
            Frontend::udp(*VIP.ip(), VIP.port()),
        ];
        let services = frontends.map(|frontend| Service::new("demo/echo", frontend, backends.to_vec()));
        node.handle.set_services(services.into());
        wait(node.handle.counters());
    }
}

/// What a process in a pod of the first node says of a call.
fn outcome(lab: &Lab, what: &str) -> String {
    let balancer = lab.node(INFRA_1).socket_balancer().expect("it balances sockets");
    let output = wait(async {
        let child = balancer.spawn_tokio(lab.pod(INFRA_1, 0).namespace(), command(what));
        child.expect("started").wait_with_output().await.expect("ended")
    });
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

fn calls_to_nobody() {
    for (refusal, errno) in [
        (RefusedCall::NotPermitted, nix::libc::EPERM),
        (RefusedCall::HostUnreachable, nix::libc::EHOSTUNREACH),
    ] {
        let lab = lab(refusal);
        set(&lab, &[]);
        for what in ["connect", "send to"] {
            assert_eq!(outcome(&lab, what), errno.to_string(), "{what}");
        }
        set(
            &lab,
            &[Backend::active(lab.pod(INFRA_2, 0).address(), crate::fixture::PORT)],
        );
        for what in ["connect", "send to"] {
            assert_eq!(outcome(&lab, what), "done", "{what}");
        }
        let answered = probe::ask_tcp(lab.pod(INFRA_1, 1).namespace(), VIP);
        answered.expect("other processes are not held up");
    }
}

fn connected_socket() {
    let lab = lab(RefusedCall::NotPermitted);
    set(
        &lab,
        &[Backend::active(lab.pod(INFRA_2, 0).address(), crate::fixture::PORT)],
    );
    let balancer = lab.node(INFRA_1).socket_balancer().expect("it balances sockets");
    let spawned = wait(async { balancer.spawn_tokio(lab.pod(INFRA_1, 0).namespace(), command("connected")) });
    let mut child = spawned.expect("started");
    let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
    let mut next = || wait(async { lines.next_line().await.expect("read").unwrap_or_default() });
    assert_eq!(next(), "done");
    set(&lab, &[]);
    std::thread::sleep(std::time::Duration::from_millis(300));
    wait(async { child.stdin.take().expect("piped").write_all(b"go on\n").await }).expect("told");
    let aborted = [nix::libc::ECONNABORTED, nix::libc::EDESTADDRREQ].map(|errno| errno.to_string());
    assert!(aborted.contains(&next()), "the socket was ended");
}
