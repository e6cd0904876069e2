//! The lab's process as a child of the launcher: its pipes, its report, its end.

use super::Lifetime;
use crate::lab_process::{LAB_SUBCOMMAND, LaunchReport};
use std::{
    io::{BufRead, BufReader, Read},
    os::unix::process::{CommandExt, ExitStatusExt},
    path::PathBuf,
    process::{Child, ChildStdin, Command, ExitStatus, Stdio},
};
use tokio::sync::{oneshot, watch};

/// The lab's process, as its launcher holds it.
pub(super) struct LabProcess {
    pub(super) pid: u32,
    pub(super) stdin: ChildStdin,
    pub(super) report: oneshot::Receiver<LaunchReport>,
    pub(super) stderr: watch::Receiver<String>,
}

/// Starts the process from a thread that lives until the process has ended: the death signal that the process asks for
/// is about the thread that started it.
pub(super) async fn spawn(
    executable: Option<PathBuf>,
    lifetime: Lifetime,
) -> std::io::Result<(LabProcess, watch::Receiver<Option<ExitStatus>>)> {
    let (started, starting) = oneshot::channel();
    let (ended, has_ended) = watch::channel(None);
    std::thread::Builder::new()
        .name("lab launcher".into())
        .spawn(move || match start(executable, lifetime) {
            Ok((mut child, process)) => {
                let _ = started.send(Ok(process));
                let status = child.wait().ok().unwrap_or_else(|| ExitStatus::from_raw(0));
                ended.send_replace(Some(status));
            }
            Err(error) => {
                let _ = started.send(Err(error));
            }
        })?;
    let process = starting.await.map_err(std::io::Error::other)??;
    Ok((process, has_ended))
}

fn start(executable: Option<PathBuf>, lifetime: Lifetime) -> std::io::Result<(Child, LabProcess)> {
    // The file itself, so that a process can be started although the file was replaced meanwhile.
    let executable = executable.unwrap_or_else(|| PathBuf::from("/proc/self/exe"));
    let mut command = Command::new(executable);
    command.arg0("meshproof").arg(LAB_SUBCOMMAND);
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    // What the terminal sends (Ctrl-C) is for the launcher, which then ends the lab in order.
    command.process_group(0).current_dir("/");
    command.stderr(match lifetime {
        Lifetime::Launcher => Stdio::piped(),
        Lifetime::Detached => Stdio::null(),
    });
    let mut child = command.spawn()?;
    let missing = || std::io::Error::other("a pipe is missing");
    let stdin = child.stdin.take().ok_or_else(missing)?;
    let stdout = child.stdout.take().ok_or_else(missing)?;
    let (report, reported) = oneshot::channel();
    std::thread::Builder::new().name("lab report".into()).spawn(move || {
        let mut line = String::new();
        if BufReader::new(stdout).read_line(&mut line).is_ok()
            && let Ok(read) = serde_json::from_str(&line)
        {
            let _ = report.send(read);
        }
    })?;
    let (output, stderr) = watch::channel(String::new());
    if let Some(mut from) = child.stderr.take() {
        std::thread::Builder::new().name("lab stderr".into()).spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(read @ 1..) = from.read(&mut buffer) {
                let text = String::from_utf8_lossy(&buffer[..read]).into_owned();
                tracing::debug!(target: "meshproof_lab::process", "{}", text.trim_end());
                output.send_modify(|output| {
                    output.push_str(&text);
                    let surplus = output.len().saturating_sub(8192);
                    let cut = (surplus..=output.len())
                        .find(|at| output.is_char_boundary(*at))
                        .unwrap_or_default();
                    output.drain(..cut);
                });
            }
        })?;
    }
    let process = LabProcess {
        pid: child.id(),
        stdin,
        report: reported,
        stderr,
    };
    Ok((child, process))
}
