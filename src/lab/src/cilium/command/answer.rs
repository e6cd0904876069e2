//! What a command writes, and how it ends.

use meshproof_apiserver::{Exec, ExitStatus};
use serde_json::Value;
use tokio::io::AsyncWriteExt;

/// Everything that a command writes, and its exit code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    pub(crate) code: i32,
}

impl Answer {
    pub(crate) fn text(stdout: String) -> Self {
        Self {
            stdout,
            stderr: String::new(),
            code: 0,
        }
    }

    pub(crate) fn json(value: &Value) -> Self {
        let text = serde_json::to_string_pretty(value).expect("JSON values can always be written");
        Self::text(text + "\n")
    }

    pub(crate) fn failed(message: &str) -> Self {
        Self {
            stdout: String::new(),
            stderr: message.to_owned(),
            code: 1,
        }
    }

    /// Writes it to the client. With a terminal there is no stderr of its own.
    pub(crate) async fn deliver(self, exec: Exec) -> ExitStatus {
        let Exec {
            mut stdout, mut stderr, ..
        } = exec;
        let errors = match &mut stderr {
            Some(stderr) => Some(stderr),
            None => None,
        };
        let mut written = Ok(());
        if let Some(stdout) = &mut stdout {
            written = stdout.write_all(self.stdout.as_bytes()).await;
            if errors.is_none() && written.is_ok() {
                written = stdout.write_all(self.stderr.as_bytes()).await;
            }
            // The client may have gone; the exit code is reported all the same.
            let _ = stdout.shutdown().await;
        }
        if let Some(stderr) = errors {
            let _ = stderr.write_all(self.stderr.as_bytes()).await;
            let _ = stderr.shutdown().await;
        }
        if let Err(error) = written {
            tracing::debug!(%error, "the client of an exec has gone");
        }
        ExitStatus::Code(self.code)
    }
}
