//! Ctrl-C, SIGTERM and SIGHUP end a run in order; a second signal ends it at once.

use crate::cli_error::CliError;
use anyhow::Context;
use meshproof_contract::Exit;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// A token that the first signal cancels.
pub fn cancelled_by_signals() -> Result<CancellationToken, CliError> {
    let listen = |kind| {
        signal(kind)
            .context("failed to watch for signals")
            .map_err(CliError::environment)
    };
    let (mut int, mut term, mut hup) = (
        listen(SignalKind::interrupt())?,
        listen(SignalKind::terminate())?,
        listen(SignalKind::hangup())?,
    );
    let token = CancellationToken::new();
    let cancel = token.clone();
    tokio::spawn(async move {
        let mut first = true;
        loop {
            tokio::select! {
                _ = int.recv() => {}
                _ = term.recv() => {}
                _ = hup.recv() => {}
            }
            if !first {
                eprintln!("meshproof: interrupted again; run `meshproof clean` to remove what is left");
                std::process::exit(Exit::Interrupted.code().into());
            }
            first = false;
            eprintln!("meshproof: interrupted; cleaning up (interrupt again to quit at once)");
            cancel.cancel();
        }
    });
    Ok(token)
}
