//! Commands in running containers.

use meshproof_apiserver::{Exec, ExitStatus};
use tokio::io::AsyncWriteExt;

/// What a container without that executable answers: a message on stderr and exit code 127, as a shell would.
pub(crate) async fn not_found(exec: Exec) -> ExitStatus {
    let command = exec.argv.first().map_or("", String::as_str);
    let message = format!(
        "OCI runtime exec failed: exec failed: unable to start container process: exec: \"{command}\": executable \
         file not found in $PATH: unknown\n"
    );
    if let Some(mut stderr) = exec.stderr.or(exec.stdout) {
        // The client may have gone; the exit code is told all the same.
        let _ = stderr.write_all(message.as_bytes()).await;
        let _ = stderr.shutdown().await;
    }
    ExitStatus::Code(127)
}
