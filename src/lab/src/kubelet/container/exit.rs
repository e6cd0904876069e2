//! The end of a container's run: by itself, because a probe failed, or because the pod must end.

use super::Container;
use crate::{
    container_log::LogWriter,
    event::EventType,
    system::{SystemContainer, SystemImage},
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use std::{os::unix::process::ExitStatusExt, process::ExitStatus, sync::Arc, time::Duration};
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, BufReader},
    process::Child,
    sync::Notify,
};
use tokio_util::sync::CancellationToken;

/// How a container came to its end.
pub(super) struct Exit {
    pub(super) code: i32,
    pub(super) signal: Option<i32>,
    pub(super) message: String,
}

impl Container {
    pub(super) async fn follow_process(&mut self, mut child: Child, log: &LogWriter, unhealthy: &Notify) -> Exit {
        let readers = [
            child
                .stdout
                .take()
                .map(|out| tokio::spawn(copy_lines(out, log.clone()))),
            child
                .stderr
                .take()
                .map(|err| tokio::spawn(copy_lines(err, log.clone()))),
        ];
        let pid = child.id().and_then(|pid| i32::try_from(pid).ok()).map(Pid::from_raw);
        let mut status = tokio::select! {
            status = child.wait() => Some(status),
            () = unhealthy.notified() => None,
            () = self.stopped() => None,
        };
        if status.is_none() {
            let deadline = self.kill_deadline();
            self.event(
                EventType::Normal,
                "Killing",
                &format!("Stopping container {}", self.name),
            );
            if let Some(pid) = pid {
                // It may have ended meanwhile; it is not reaped before the wait below, so the pid is still its own.
                let _ = kill(pid, Signal::SIGTERM);
            }
            status = tokio::select! {
                status = child.wait() => Some(status),
                () = self.past(deadline) => None,
            };
        }
        let status = match status {
            Some(status) => status,
            None => {
                let _ = child.start_kill();
                child.wait().await
            }
        };
        for reader in readers.into_iter().flatten() {
            let _ = tokio::time::timeout(Duration::from_millis(200), reader).await;
        }
        match status {
            Ok(status) => exit_of(status),
            Err(error) => Exit {
                code: 128,
                signal: None,
                message: error.to_string(),
            },
        }
    }

    pub(super) async fn follow_system(
        &mut self,
        image: Arc<dyn SystemImage>,
        container: SystemContainer,
        stop: &CancellationToken,
        unhealthy: &Notify,
    ) -> Exit {
        let mut task = tokio::spawn(async move { image.run(container).await });
        let mut result = tokio::select! {
            result = &mut task => Some(result),
            () = unhealthy.notified() => None,
            () = self.stopped() => None,
        };
        if result.is_none() {
            let deadline = self.kill_deadline();
            stop.cancel();
            result = tokio::select! {
                result = &mut task => Some(result),
                () = self.past(deadline) => None,
            };
        }
        match result {
            Some(Ok(code)) => Exit {
                code,
                signal: None,
                message: String::new(),
            },
            Some(Err(error)) => Exit {
                code: 2,
                signal: None,
                message: error.to_string(),
            },
            None => {
                task.abort();
                Exit {
                    code: 137,
                    signal: Some(9),
                    message: String::new(),
                }
            }
        }
    }
}

fn exit_of(status: ExitStatus) -> Exit {
    match (status.code(), status.signal()) {
        (Some(code), _) => Exit {
            code,
            signal: None,
            message: String::new(),
        },
        (None, signal) => Exit {
            code: 128 + signal.unwrap_or_default(),
            signal,
            message: String::new(),
        },
    }
}

async fn copy_lines(from: impl AsyncRead + Unpin, log: LogWriter) {
    let mut lines = BufReader::new(from).split(b'\n');
    while let Ok(Some(line)) = lines.next_segment().await {
        log.line(String::from_utf8_lossy(&line));
    }
}
