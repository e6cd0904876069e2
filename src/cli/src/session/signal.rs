//! Ctrl-C, SIGTERM and SIGHUP end a run in order; a second one ends it at once.

use meshproof_contract::Exit;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// A token that the first signal cancels.
pub fn cancelled_by_signals() -> std::io::Result<CancellationToken> {
    let token = CancellationToken::new();
    let (mut int, mut term, mut hup) = (
        signal(SignalKind::interrupt())?,
        signal(SignalKind::terminate())?,
        signal(SignalKind::hangup())?,
    );
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
                eprintln!("meshproof: interrupted again; `meshproof clean` removes what is left");
                std::process::exit(Exit::Interrupted.code().into());
            }
            first = false;
            eprintln!("meshproof: interrupted; removing what was deployed (again: leave at once)");
            cancel.cancel();
        }
    });
    Ok(token)
}
