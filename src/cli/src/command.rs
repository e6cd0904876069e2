//! One module a command, and the way from the command line to it.

mod bench;
mod claims;
mod clean;
mod doctor;
mod explain;
mod gate;
mod image;
mod init;
#[cfg(all(feature = "lab", target_os = "linux"))]
mod lab;
mod man;
mod prove;
mod rbac;
mod report;
mod run;
mod watch;

use crate::{
    args::{Cli, Command, again},
    cli_error::CliError,
    config::Config,
    logging,
    session::lab::hidden_role,
};
use clap::{ArgMatches, CommandFactory, FromArgMatches};
use meshproof_cluster::Live;
use meshproof_contract::{Consent, Exit};
use std::{io, process::ExitCode};

/// Parses the command line and carries it out.
pub fn main() -> ExitCode {
    if let Some(code) = hidden_role() {
        return code;
    }
    let matches = Cli::command().get_matches();
    let cli = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    logging::start(cli.verbose);
    match dispatch(cli.command, &matches) {
        Ok(exit) => ExitCode::from(exit.code()),
        Err(error) => {
            eprintln!("meshproof: {error}");
            ExitCode::from(error.exit.code())
        }
    }
}

fn dispatch(command: Command, matches: &ArgMatches) -> Result<Exit, CliError> {
    match command {
        Command::Run(args) => run::run(&args, again(matches)),
        Command::Watch(args) => watch::watch(*args, again(matches)),
        #[cfg(all(feature = "lab", target_os = "linux"))]
        Command::Lab { command } => lab::lab(&command),
        #[cfg(not(all(feature = "lab", target_os = "linux")))]
        Command::Lab { .. } => Err(CliError::environment(crate::session::lab::LabUnsupported)),
        Command::Prove(args) => prove::prove(&args),
        Command::Claims { command } => claims::claims(&command, &mut io::stdout()),
        Command::Explain { check } => {
            // A file that cannot be read is for a run to complain about.
            let waivers = Config::read(None).map(|config| config.waivers.all());
            let waivers = waivers.unwrap_or_default();
            let suites = [meshproof_suites::ALL, &[&meshproof_suites::WATCH]].concat();
            explain::explain(&suites, check.as_deref(), &waivers, &mut io::stdout())
        }
        Command::Clean { target, force } => clean::clean(&target, if force { Live::RemoveToo } else { Live::Spare }),
        Command::Doctor(args) => doctor::doctor(&args, &mut io::stdout()),
        Command::Gate(args) => gate::gate(&args, &mut io::stdout()),
        Command::Report { run } => report::report(&run),
        Command::Bench(args) => bench::bench(&args),
        Command::Init(args) => init::init(&args),
        Command::Rbac {
            flows: Some(file),
            config,
            ..
        } => rbac::flows(&file.into_iter().collect::<Vec<_>>(), config.as_deref()),
        Command::Rbac { helm_release: true, .. } => rbac::helm_release(),
        Command::Rbac { disruptive, .. } => rbac::rbac(if disruptive { Consent::Given } else { Consent::Withheld }),
        Command::Image(args) => image::image(&args),
        Command::Man { folder } => man::man(&folder),
        Command::Completions { shell } => {
            clap_complete::generate(shell, &mut Cli::command(), "meshproof", &mut io::stdout());
            Ok(Exit::Passed)
        }
    }
}
