//! Starts a lab as a child process and holds on to it.

use crate::{
    control::{Control, ControlError, well_known_name},
    lab::LabConfig,
    lab_process::{LaunchOrder, LaunchReport},
};
use std::{
    io::Write,
    os::unix::process::ExitStatusExt,
    path::{Path, PathBuf},
    process::{ChildStdin, ExitStatus},
    time::Duration,
};
use tokio::sync::watch;

mod child;

/// How long a lab may take to report.
const BOOT_DEADLINE: Duration = Duration::from_secs(60);
/// How long a lab may take to end by itself before it is killed.
const SHUTDOWN_DEADLINE: Duration = Duration::from_secs(5);

/// What to start, and for how long.
#[derive(Clone, Debug, Default)]
pub struct LabOptions {
    /// The lab.
    pub lab: LabConfig,
    /// How it is set apart.
    pub isolation: LabIsolation,
    /// Who can find it.
    pub registration: Registration,
    /// When it ends.
    pub lifetime: Lifetime,
    /// The executable that answers to the hidden subcommands; none for this one.
    pub executable: Option<PathBuf>,
}

/// How a lab is set apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LabIsolation {
    /// In a user namespace unless the process may make network namespaces as it is.
    #[default]
    Auto,
    /// In a user namespace, even as root.
    UserNamespace,
}

/// Who can find a lab.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Registration {
    /// Only who started it: any number can run (`run --lab`).
    #[default]
    Private,
    /// `lab status` and `lab down` of the same user: one can run (`lab up`).
    WellKnown,
}

/// When a lab ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Lifetime {
    /// With the launcher, whatever ends it.
    #[default]
    Launcher,
    /// On request (`lab up --detach`).
    Detached,
}

/// Why a lab could not be started.
#[derive(Debug, thiserror::Error)]
pub enum LaunchError {
    /// This machine forbids namespaces. The text says what was refused and how to allow it.
    #[error("{0}")]
    Forbidden(String),
    /// A lab of this user runs already.
    #[error("a lab is already running; `meshproof lab status` shows it, `meshproof lab down` stops it")]
    AlreadyRunning,
    /// The lab's process could not be started.
    #[error("failed to start the lab's process")]
    Spawn(#[source] std::io::Error),
    /// The lab reported a failure.
    #[error("{0}")]
    Failed(String),
    /// The process ended without a report.
    #[error("the lab's process ended with {status} before the lab was ready{}", tail(.stderr))]
    Ended {
        /// How it ended.
        status: ExitStatus,
        /// The end of its stderr.
        stderr: String,
    },
    /// The lab did not report in time.
    #[error("the lab was not ready after {} s{}", BOOT_DEADLINE.as_secs(), tail(.stderr))]
    TooSlow {
        /// The end of its stderr.
        stderr: String,
    },
}

fn tail(stderr: &str) -> String {
    let line = stderr.trim().lines().last().unwrap_or_default();
    if line.is_empty() {
        String::new()
    } else {
        format!("; last line on stderr: {line}")
    }
}

/// A running lab. Dropping it ends a lab that lives with its launcher; [`RunningLab::shutdown`] waits for the end.
#[derive(Debug)]
pub struct RunningLab {
    pid: u32,
    kubeconfig: String,
    kubeconfig_path: PathBuf,
    control: Control,
    lifetime: Lifetime,
    /// Closing it asks the process to end.
    stdin: Option<ChildStdin>,
    ended: watch::Receiver<Option<ExitStatus>>,
    outer: u32,
}

/// Starts a lab and waits until it is ready.
///
/// # Errors
/// [`LaunchError::Forbidden`] where the kernel does not let this user have namespaces; the other variants say what else
/// went wrong.
pub async fn launch(options: LabOptions) -> Result<RunningLab, LaunchError> {
    let control = match options.registration {
        Registration::WellKnown => well_known_name(nix::unistd::getuid().as_raw()),
        Registration::Private => format!("meshproof-lab-{}", uuid::Uuid::new_v4().simple()),
    };
    let order = LaunchOrder {
        lab: options.lab,
        user_namespace: options.isolation == LabIsolation::UserNamespace,
        control: control.clone(),
        launcher: (options.lifetime == Lifetime::Launcher).then(std::process::id),
    };
    let (mut child, ended) = child::spawn(options.executable, options.lifetime)
        .await
        .map_err(LaunchError::Spawn)?;
    let outer = child.pid;
    let order = serde_json::to_string(&order).map_err(|error| LaunchError::Spawn(error.into()))?;
    writeln!(child.stdin, "{order}").map_err(LaunchError::Spawn)?;
    let report = tokio::time::timeout(BOOT_DEADLINE, child.report).await;
    let stdin = (options.lifetime == Lifetime::Launcher).then_some(child.stdin);
    let lab = |pid, kubeconfig, kubeconfig_path: String| RunningLab {
        pid,
        kubeconfig,
        kubeconfig_path: kubeconfig_path.into(),
        control: Control::named(control),
        lifetime: options.lifetime,
        stdin,
        ended: ended.clone(),
        outer,
    };
    match report {
        Ok(Ok(LaunchReport::Ready {
            pid,
            kubeconfig,
            kubeconfig_path,
        })) => Ok(lab(pid, kubeconfig, kubeconfig_path)),
        Ok(Ok(LaunchReport::Forbidden { why })) => Err(LaunchError::Forbidden(why)),
        Ok(Ok(LaunchReport::AlreadyRunning)) => Err(LaunchError::AlreadyRunning),
        Ok(Ok(LaunchReport::Failed { why })) => Err(LaunchError::Failed(why)),
        Ok(Err(_)) => {
            let mut ended = ended;
            let status = ended.wait_for(Option::is_some).await.ok().and_then(|status| *status);
            let status = status.unwrap_or_else(|| ExitStatus::from_raw(0));
            Err(LaunchError::Ended {
                status,
                stderr: child.stderr.borrow().clone(),
            })
        }
        Err(_) => {
            kill(outer);
            Err(LaunchError::TooSlow {
                stderr: child.stderr.borrow().clone(),
            })
        }
    }
}

impl RunningLab {
    /// Process id of the lab's process.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// A kubeconfig with a context per cluster; holds secrets.
    pub fn kubeconfig(&self) -> &str {
        &self.kubeconfig
    }

    /// Where other programs can read the kubeconfig for as long as the lab runs; no file on a disk.
    pub fn kubeconfig_path(&self) -> &Path {
        &self.kubeconfig_path
    }

    /// Its control interface: status, faults, flows.
    pub fn control(&self) -> &Control {
        &self.control
    }

    /// Waits until the process has ended, whatever ended it.
    pub async fn ended(&self) -> Option<ExitStatus> {
        let mut ended = self.ended.clone();
        ended.wait_for(Option::is_some).await.ok().and_then(|status| *status)
    }

    /// Ends the lab and waits until nothing of it is left.
    ///
    /// # Errors
    /// When the process could not be asked to end; it is killed then.
    pub async fn shutdown(mut self) -> Result<(), ControlError> {
        let asked = match self.stdin.take() {
            Some(stdin) => {
                drop(stdin);
                Ok(())
            }
            None => self.control.stop().await,
        };
        if tokio::time::timeout(SHUTDOWN_DEADLINE, self.ended()).await.is_err() {
            kill(self.outer);
            let _ = tokio::time::timeout(SHUTDOWN_DEADLINE, self.ended()).await;
        }
        match asked {
            Err(ControlError::NotRunning) | Ok(()) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// When it ends.
    pub fn lifetime(&self) -> Lifetime {
        self.lifetime
    }
}

fn kill(pid: u32) {
    if let Ok(pid) = i32::try_from(pid) {
        // It may have ended meanwhile.
        let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL);
    }
}

/// Whether this machine lets this user have a lab, found out in a child process.
///
/// # Errors
/// [`LaunchError::Forbidden`] with what was refused and how to allow it.
pub fn probe(isolation: LabIsolation) -> Result<(), LaunchError> {
    use meshproof_datapath::netns::{self, Isolation};
    let isolation = match isolation {
        LabIsolation::Auto => Isolation::Auto,
        LabIsolation::UserNamespace => Isolation::UserNamespace,
    };
    netns::probe(isolation).map_err(|error| LaunchError::Forbidden(error.to_string()))
}
