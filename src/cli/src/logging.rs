//! Logs on stderr, above a live view once there is one.

use meshproof_progress::{Progress, Screen};
use std::{
    io::{self, IsTerminal},
    sync::OnceLock,
};
use tracing_subscriber::{EnvFilter, filter::LevelFilter};

/// The live view above which logs appear.
static SCREEN: OnceLock<Screen> = OnceLock::new();

/// Starts logging; `verbose` counts `-v`, and RUST_LOG overrides it.
pub fn start(verbose: u8) {
    let level = match verbose {
        // What matters reaches users as events; logs of libraries would only distract from them.
        0 => LevelFilter::OFF,
        1 => LevelFilter::INFO,
        _ => LevelFilter::DEBUG,
    };
    let filter = EnvFilter::builder()
        .with_default_directive(level.into())
        .from_env_lossy();
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(screen)
        .with_ansi(io::stderr().is_terminal())
        .init();
}

/// Lets logs appear above a live view instead of in it.
pub fn above(progress: &Progress) {
    // A second view in one process would be the end of the first: the first one's screen writes to plain stderr then.
    let _ = SCREEN.set(progress.screen());
}

fn screen() -> Screen {
    SCREEN.get().cloned().unwrap_or_default()
}
