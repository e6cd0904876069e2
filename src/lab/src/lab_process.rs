//! The process that holds a lab. It enters its namespaces while it has one thread, starts the lab, reports on stdout,
//! and ends on request, when its launcher ends, or with any process of its own.

use crate::{
    control::server::{self, Surroundings},
    lab::{Lab, LabConfig},
};
use meshproof_datapath::netns::{self, Isolation};
use nix::sys::{
    memfd::{MFdFlags, memfd_create},
    prctl,
    signal::Signal,
};
use serde::{Deserialize, Serialize};
use std::{
    ffi::OsString,
    fs::File,
    io::{BufRead, Read, Write},
    os::fd::{AsRawFd, OwnedFd},
    process::ExitCode,
    sync::Arc,
};
use tokio_util::sync::CancellationToken;

/// The hidden subcommand under which the embedding executable must call [`lab_main`], before it starts any thread.
pub const LAB_SUBCOMMAND: &str = "lab-process";
/// The hidden subcommand under which the embedding executable must run the agent: pods are started with it.
pub const AGENT_SUBCOMMAND: &str = "agent";

/// What the launcher asks for: one line on stdin.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct LaunchOrder {
    pub(crate) lab: LabConfig,
    /// In a user namespace even where the process could do without.
    pub(crate) user_namespace: bool,
    /// Abstract name of the control socket.
    pub(crate) control: String,
    /// The launcher's process id: if the launcher ends before the lab has begun, the lab does not begin.
    pub(crate) launcher: Option<u32>,
}

/// What the process reports to its launcher: one line on stdout.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum LaunchReport {
    /// It runs.
    Ready {
        pid: u32,
        kubeconfig: String,
        kubeconfig_path: String,
    },
    /// This machine forbids namespaces.
    Forbidden { why: String },
    /// A lab has that control socket already.
    AlreadyRunning,
    /// Something else went wrong.
    Failed { why: String },
}

/// Runs the lab to its end. Call it first thing in `main`, when the process has no thread but the first.
///
/// Ends with 0 after an orderly shutdown and 3 when the lab could not be started.
pub fn lab_main(_arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    match prepare() {
        Ok(order) => run(order),
        Err(report) => {
            write_report(&report);
            ExitCode::from(3)
        }
    }
}

fn prepare() -> Result<LaunchOrder, LaunchReport> {
    let mut line = String::new();
    let failed = |why: String| LaunchReport::Failed { why };
    std::io::stdin()
        .lock()
        .read_line(&mut line)
        .map_err(|error| failed(format!("failed to read the order: {error}")))?;
    let order: LaunchOrder =
        serde_json::from_str(&line).map_err(|error| failed(format!("failed to parse the order: {error}")))?;
    if let Some(launcher) = order.launcher {
        // For a launcher that is killed; the pipe on stdin is the orderly way.
        let asked = prctl::set_pdeathsig(Signal::SIGKILL);
        if asked.is_err() || nix::unistd::getppid().as_raw() as u32 != launcher {
            return Err(failed("the launcher has ended".to_owned()));
        }
    }
    let isolation = if order.user_namespace {
        Isolation::UserNamespace
    } else {
        Isolation::Auto
    };
    netns::enter(isolation).map_err(|error| LaunchReport::Forbidden { why: error.to_string() })?;
    Ok(order)
}

fn run(order: LaunchOrder) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            write_report(&LaunchReport::Failed {
                why: format!("failed to start a runtime: {error}"),
            });
            return ExitCode::from(3);
        }
    };
    let code = runtime.block_on(serve(order));
    runtime.shutdown_background();
    code
}

async fn serve(order: LaunchOrder) -> ExitCode {
    let refuse = |report: LaunchReport| {
        write_report(&report);
        ExitCode::from(3)
    };
    // Taken before anything is built: a second lab of the same name ends here.
    let listener = match server::bind(&order.control) {
        Ok(listener) => listener,
        Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => return refuse(LaunchReport::AlreadyRunning),
        Err(error) => {
            return refuse(LaunchReport::Failed {
                why: format!("failed to open the control socket: {error}"),
            });
        }
    };
    let stop = CancellationToken::new();
    stop_on_signals(&stop);
    if order.launcher.is_some() {
        stop_with_stdin(&stop);
    }
    let started = tokio::select! {
        started = Lab::start(order.lab) => started,
        () = stop.cancelled() => return ExitCode::SUCCESS,
    };
    let lab = match started {
        Ok(lab) => Arc::new(lab),
        Err(error) => {
            return refuse(LaunchReport::Failed {
                why: with_causes(&error),
            });
        }
    };
    let kubeconfig = match offer(lab.kubeconfig()) {
        Ok(offered) => offered,
        Err(error) => {
            return refuse(LaunchReport::Failed {
                why: format!("failed to offer the kubeconfig: {error}"),
            });
        }
    };
    let pid = own_pid();
    let path = format!("/proc/{pid}/fd/{}", kubeconfig.as_raw_fd());
    let around = Surroundings {
        pid,
        kubeconfig_path: path.clone(),
        stop: stop.clone(),
    };
    let control = tokio::spawn(server::serve(listener, Arc::clone(&lab), Arc::new(around)));
    write_report(&LaunchReport::Ready {
        pid,
        kubeconfig: lab.kubeconfig().to_owned(),
        kubeconfig_path: path,
    });
    stop.cancelled().await;
    control.abort();
    lab.shutdown().await;
    ExitCode::SUCCESS
}

fn stop_on_signals(stop: &CancellationToken) {
    use tokio::signal::unix::{SignalKind, signal};
    for kind in [SignalKind::terminate(), SignalKind::interrupt(), SignalKind::hangup()] {
        match signal(kind) {
            Ok(mut received) => {
                let stop = stop.clone();
                tokio::spawn(async move {
                    received.recv().await;
                    stop.cancel();
                });
            }
            Err(error) => tracing::warn!(%error, "failed to listen for a signal"),
        }
    }
}

/// The launcher holds the other end of stdin for as long as it wants the lab.
fn stop_with_stdin(stop: &CancellationToken) {
    let stop = stop.clone();
    let watched = std::thread::Builder::new().name("launcher".into()).spawn(move || {
        let mut rest = [0; 64];
        while std::io::stdin().read(&mut rest).is_ok_and(|read| read > 0) {}
        stop.cancel();
    });
    if let Err(error) = watched {
        tracing::warn!(%error, "failed to watch the launcher");
    }
}

/// A file that exists only in this process's memory: `/proc/<pid>/fd/<n>` leads to it for as long as the process lives.
fn offer(text: &str) -> std::io::Result<OwnedFd> {
    let file = memfd_create(c"kubeconfig", MFdFlags::MFD_CLOEXEC)?;
    let mut file = File::from(file);
    file.write_all(text.as_bytes())?;
    Ok(file.into())
}

/// This process's id as `/proc` shows it: that of the namespace in which `/proc` was mounted, not the process's own
/// namespace.
fn own_pid() -> u32 {
    let shown = std::fs::read_link("/proc/self").ok();
    shown
        .and_then(|path| path.to_str()?.parse().ok())
        .unwrap_or_else(std::process::id)
}

fn write_report(report: &LaunchReport) {
    let mut line = serde_json::to_vec(report).unwrap_or_default();
    line.push(b'\n');
    let mut out = std::io::stdout().lock();
    // A launcher that no longer listens needs no report.
    let _ = out.write_all(&line).and_then(|()| out.flush());
}

fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
