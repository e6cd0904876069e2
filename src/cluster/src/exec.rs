//! Runs a command in a container and reads its output. An exec that "succeeds" without output counts as failed.

use crate::{
    api::{ApiError, Operation, STREAM_VERBS, chain, is_transient_text, one_line},
    client::ClusterClient,
    kubelet_reachability::SLOW,
};
use k8s_openapi::{api::core::v1::Pod, apimachinery::pkg::apis::meta::v1::Status};
use kube::api::AttachParams;
use std::time::Duration;
use tokio::{io::AsyncReadExt, time::Instant};

/// Pauses between tries after a transport error.
const BACKOFF: [Duration; 2] = [Duration::from_millis(300), Duration::from_secs(1)];

/// Which container to run in.
#[derive(Clone, Debug)]
pub(crate) struct Container<'a> {
    pub(crate) namespace: &'a str,
    pub(crate) pod: &'a str,
    pub(crate) name: &'a str,
}

/// Why a command gave no output.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum ExecError {
    #[error(transparent)]
    Api(ApiError),
    /// The container has no such command.
    #[error("{0}")]
    NoSuchCommand(String),
    #[error("exit code {code}: {stderr}")]
    Exit {
        code: i32,
        stderr: String,
        /// What it printed nevertheless.
        stdout: Vec<u8>,
    },
    #[error("the command ended without output")]
    Empty,
    #[error("no output within {0} s")]
    Deadline(u64),
    #[error("{0}")]
    Transport(String),
}

/// Runs a command; transport errors, which say nothing about it, are retried unless they took long.
pub(crate) async fn run(
    client: &ClusterClient,
    container: &Container<'_>,
    command: &[&str],
    deadline: Duration,
) -> Result<Vec<u8>, ExecError> {
    let mut pauses = BACKOFF.iter();
    loop {
        let begun = Instant::now();
        let error = match tokio::time::timeout(deadline, once(client, container, command)).await {
            Ok(Ok(output)) => return Ok(output),
            Ok(Err(error)) => error,
            Err(_) => return Err(ExecError::Deadline(deadline.as_secs())),
        };
        let again = match &error {
            ExecError::Api(error) => error.cause.is_transient(),
            ExecError::Transport(_) | ExecError::Empty => true,
            _ => false,
        };
        match pauses.next() {
            Some(pause) if again && begun.elapsed() < SLOW => tokio::time::sleep(*pause).await,
            _ => return Err(error),
        }
    }
}

async fn once(client: &ClusterClient, container: &Container<'_>, command: &[&str]) -> Result<Vec<u8>, ExecError> {
    let pods = client.within::<Pod>(container.namespace);
    let operation = Operation::on(STREAM_VERBS, "pods/exec")
        .within(container.namespace)
        .named(container.pod);
    let params = AttachParams::default()
        .container(container.name)
        .stdin(false)
        .stdout(true)
        .stderr(true)
        .max_stdout_buf_size(256 << 10);
    let call = pods.exec(container.pod, command.iter().copied(), &params);
    let mut process = client.call(operation, call).await.map_err(ExecError::Api)?;
    let mut stdout = process.stdout().expect("stdout was asked for");
    let mut stderr = process.stderr().expect("stderr was asked for");
    let status = process.take_status().expect("taken once");
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let (read, _, status) = tokio::join!(stdout.read_to_end(&mut out), stderr.read_to_end(&mut err), status);
    let ended = process.join().await;
    if let Err(error) = read {
        return Err(ExecError::Transport(format!("the stream broke: {error}")));
    }
    match status {
        Some(status) => conclude(&status, out, &String::from_utf8_lossy(&err)),
        None => Err(ExecError::Transport(match ended {
            Err(error) => chain(&error),
            Ok(()) => "the stream ended without a status".to_owned(),
        })),
    }
}

/// The result in the status that the API server sends at the end (`v4.channel.k8s.io`: reason `NonZeroExitCode`, cause
/// `ExitCode`).
fn conclude(status: &Status, out: Vec<u8>, stderr: &str) -> Result<Vec<u8>, ExecError> {
    if status.status.as_deref() == Some("Success") {
        let is_empty = out.iter().all(u8::is_ascii_whitespace);
        return if is_empty { Err(ExecError::Empty) } else { Ok(out) };
    }
    let message = one_line(status.message.as_deref().unwrap_or_default());
    let missing = ["executable file not found", "no such file or directory"];
    if missing.iter().any(|text| message.contains(text)) {
        return Err(ExecError::NoSuchCommand(message));
    }
    let causes = status.details.as_ref().and_then(|d| d.causes.as_ref());
    let code = causes
        .into_iter()
        .flatten()
        .find(|c| c.reason.as_deref() == Some("ExitCode"))
        .and_then(|c| c.message.as_deref()?.parse().ok());
    match code {
        // What shells and runtimes answer for a command that does not exist.
        Some(126 | 127) => Err(ExecError::NoSuchCommand(message)),
        Some(code) => Err(ExecError::Exit {
            code,
            stdout: out,
            stderr: one_line(if stderr.trim().is_empty() { &message } else { stderr }),
        }),
        None if is_transient_text(&message) => Err(ExecError::Transport(message)),
        None => Err(ExecError::Exit {
            stdout: out,
            code: -1,
            stderr: message,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn status(value: serde_json::Value) -> Status {
        serde_json::from_value(value).expect("a status")
    }

    #[test]
    fn success_without_output_is_no_success() {
        let success = status(json!({"status": "Success"}));
        assert!(matches!(conclude(&success, b"\n".to_vec(), ""), Err(ExecError::Empty)));
        assert_eq!(conclude(&success, b"{}".to_vec(), "").expect("output"), b"{}");
    }

    #[test]
    fn the_exit_code_comes_with_what_the_command_said() {
        let failure = status(json!({
            "status": "Failure", "reason": "NonZeroExitCode", "message": "command terminated with exit code 1",
            "details": {"causes": [{"reason": "ExitCode", "message": "1"}]},
        }));
        match conclude(&failure, Vec::new(), "Error: Cannot get status\n") {
            Err(ExecError::Exit { code: 1, stderr, .. }) => assert_eq!(stderr, "Error: Cannot get status"),
            other => panic!("expected exit code 1, got {other:?}"),
        }
    }

    #[test]
    fn a_command_that_is_not_there_is_told_apart() {
        let failure = status(json!({
            "status": "Failure", "reason": "InternalError", "code": 500,
            "message": "Internal error occurred: exec: \"cilium-dbg\": executable file not found in $PATH: unknown",
        }));
        assert!(matches!(
            conclude(&failure, Vec::new(), ""),
            Err(ExecError::NoSuchCommand(_))
        ));
    }
}
