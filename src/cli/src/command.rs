//! One module a command, and the way from the command line to it.

mod bench;
mod clean;
mod explain;
mod image;
mod init;
#[cfg(target_os = "linux")]
mod lab;
mod prove;
mod rbac;
mod report;
pub mod run;

use crate::{
    args::{Cli, Command, again},
    fatal::Fatal,
};
use anyhow::Context;
use clap::{ArgMatches, CommandFactory, FromArgMatches};
use meshproof_cluster::Live;
use meshproof_contract::{Consent, Exit, Suite};
use meshproof_progress::{Progress, Screen};
use std::{
    io::{self, IsTerminal},
    process::ExitCode,
    sync::OnceLock,
};
use tokio::runtime::Runtime;
use tracing_subscriber::{EnvFilter, filter::LevelFilter};

/// Parses the command line and carries it out.
pub fn main() -> ExitCode {
    if let Some(code) = crate::session::lab::hidden_role() {
        return code;
    }
    let matches = Cli::command().get_matches();
    let cli = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    start_logging(cli.verbose);
    match dispatch(cli.command, &matches) {
        Ok(exit) => ExitCode::from(exit.code()),
        Err(fatal) => {
            eprintln!("meshproof: {fatal}");
            ExitCode::from(fatal.exit.code())
        }
    }
}

fn dispatch(command: Command, matches: &ArgMatches) -> Result<Exit, Fatal> {
    match command {
        Command::Run(args) => run::run(&args, again(matches)),
        #[cfg(target_os = "linux")]
        Command::Lab { command } => lab::lab(&command),
        #[cfg(not(target_os = "linux"))]
        Command::Lab { .. } => Err(Fatal::environment(crate::session::lab::NeedsLinux)),
        Command::Prove(args) => prove::prove(&args),
        Command::Explain { check } => explain::explain(meshproof_suites::ALL, check.as_deref(), &mut io::stdout()),
        Command::Clean { target, force } => clean::clean(&target, if force { Live::RemoveToo } else { Live::Spare }),
        Command::Report { run } => report::report(&run),
        Command::Bench(args) => bench::bench(&args),
        Command::Init(args) => init::init(&args),
        Command::Rbac { disruptive } => rbac::rbac(match disruptive {
            true => Consent::Given,
            false => Consent::Withheld,
        }),
        Command::Image(args) => image::image(&args),
        Command::Completions { shell } => {
            clap_complete::generate(shell, &mut Cli::command(), "meshproof", &mut io::stdout());
            Ok(Exit::Passed)
        }
    }
}

/// Every suite.
pub fn suites() -> Vec<Suite> {
    meshproof_suites::ALL.iter().map(|suite| **suite).collect()
}

/// The one runtime of a command, with the cryptography of TLS installed.
pub fn runtime() -> Result<Runtime, Fatal> {
    // Fails only when it was installed before, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("failed to start the runtime")
        .map_err(Fatal::environment)
}

/// The live view above which logs appear, once there is one.
static LOG_SCREEN: OnceLock<Screen> = OnceLock::new();

/// Lets logs appear above a live view instead of in it.
pub fn log_above(progress: &Progress) {
    // A second view in one process would be the end of the first: the first one's screen writes to plain stderr then.
    let _ = LOG_SCREEN.set(progress.screen());
}

fn log_screen() -> Screen {
    LOG_SCREEN.get().cloned().unwrap_or_default()
}

/// Logs go to stderr; RUST_LOG wins over `-v`.
fn start_logging(verbose: u8) {
    let level = match verbose {
        // What matters reaches users as events; libraries' own words would only stand between them.
        0 => LevelFilter::OFF,
        1 => LevelFilter::INFO,
        _ => LevelFilter::DEBUG,
    };
    let filter = EnvFilter::builder()
        .with_default_directive(level.into())
        .from_env_lossy();
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(log_screen)
        .with_ansi(io::stderr().is_terminal())
        .init();
}
