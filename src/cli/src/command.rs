//! One module a command, and the way from the command line to it.

mod explain;

use crate::args::{Cli, Command};
use crate::fatal::Fatal;
use meshproof_contract::Exit;
use clap::{CommandFactory, Parser};
use std::{io, process::ExitCode};
use tracing_subscriber::{EnvFilter, filter::LevelFilter};

/// Parses the command line and carries it out.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    start_logging(cli.verbose);
    match dispatch(cli.command) {
        Ok(exit) => ExitCode::from(exit.code()),
        Err(fatal) => {
            eprintln!("meshproof: {fatal}");
            ExitCode::from(fatal.exit.code())
        }
    }
}

fn dispatch(command: Command) -> Result<Exit, Fatal> {
    match command {
        Command::Explain { check } => explain::explain(meshproof_suites::ALL, check.as_deref(), &mut io::stdout()),
        Command::Completions { shell } => {
            clap_complete::generate(shell, &mut Cli::command(), "meshproof", &mut io::stdout());
            Ok(Exit::Passed)
        }
        _ => unimplemented!(),
    }
}

/// Logs go to stderr; RUST_LOG wins over `-v`.
fn start_logging(verbose: u8) {
    let level = match verbose {
        0 => LevelFilter::ERROR,
        1 => LevelFilter::INFO,
        _ => LevelFilter::DEBUG,
    };
    let filter = EnvFilter::builder().with_default_directive(level.into()).from_env_lossy();
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr).init();
}
