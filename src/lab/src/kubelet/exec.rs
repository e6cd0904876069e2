//! Commands in running containers.

use super::process::{ProcessSpec, Streams};
use crate::system::not_found;
use meshproof_apiserver::{Exec, ExitStatus};
use tokio::io::AsyncWriteExt;

/// Names of the one executable in the agent's image.
pub(super) fn is_agent(program: &str) -> bool {
    matches!(program, "meshproof-agent" | "/meshproof-agent")
}

/// Runs a command beside an agent. Dropping the future kills the command.
pub(super) async fn in_agent(process: &ProcessSpec, exec: Exec) -> ExitStatus {
    if !exec.argv.first().is_some_and(|program| is_agent(program)) {
        return not_found(exec).await;
    }
    let mut child = match process.start(&exec.argv[1..], Streams::Exec) {
        Ok(child) => child,
        Err(error) => return ExitStatus::Failed(format!("failed to start the command: {error}")),
    };
    let (mut stdin, mut stdout, mut stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let (from, out, err) = (exec.stdin, exec.stdout, exec.stderr);
    let input = tokio::spawn(async move {
        match (from, &mut stdin) {
            (Some(mut from), Some(stdin)) => {
                let _ = tokio::io::copy(&mut from, stdin).await;
                let _ = stdin.shutdown().await;
            }
            // Nothing to read: the command sees the end of its input at once.
            _ => drop(stdin),
        }
    });
    let output = async {
        if let (Some(stdout), Some(mut out)) = (&mut stdout, out) {
            let _ = tokio::io::copy(stdout, &mut out).await;
            let _ = out.shutdown().await;
        }
    };
    let errors = async {
        if let (Some(stderr), Some(mut err)) = (&mut stderr, err) {
            let _ = tokio::io::copy(stderr, &mut err).await;
            let _ = err.shutdown().await;
        }
    };
    let (_, _, status) = tokio::join!(output, errors, child.wait());
    input.abort();
    match status {
        Ok(status) => {
            use std::os::unix::process::ExitStatusExt;
            ExitStatus::Code(
                status
                    .code()
                    .unwrap_or_else(|| 128 + status.signal().unwrap_or_default()),
            )
        }
        Err(error) => ExitStatus::Failed(format!("failed to wait for the command: {error}")),
    }
}
