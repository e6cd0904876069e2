//! `meshproof claims check`: what a repository claims, and what in it cannot be meant.

use crate::{
    args::{ClaimsCheckArgs, ClaimsCommand, ClaimsFormat},
    cli_error::CliError,
    config::Config,
};
use meshproof_claims::{Request, check, render};
use meshproof_contract::Exit;
use std::io::{self, Write};

/// Carries out a command about claims.
pub fn claims(command: &ClaimsCommand, out: &mut impl Write) -> Result<Exit, CliError> {
    match command {
        ClaimsCommand::Check(args) => check_repository(args, out),
    }
}

fn check_repository(args: &ClaimsCheckArgs, out: &mut impl Write) -> Result<Exit, CliError> {
    let config = Config::read(args.config.as_deref()).map_err(CliError::usage)?;
    let mut values = args.values.clone();
    for (role, file) in config.claims.files_of_values() {
        // The command line replaces what the file says of a cluster.
        if !args.values.iter().any(|(named, _)| *named == role) {
            values.push((role, file));
        }
    }
    let request = Request {
        root: args.gitops.clone(),
        values,
    };
    let report = check(&request).map_err(CliError::usage)?;
    let text = match args.format {
        ClaimsFormat::Text => render::text(&report),
        ClaimsFormat::Json => render::json(&report),
        ClaimsFormat::Sarif => render::sarif(&report),
        ClaimsFormat::Github => render::github(&report),
    };
    match out.write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(CliError::environment(error)),
        _ => Ok(report.exit()),
    }
}
