//! `meshproof report`: a run's reports, rebuilt from its event log alone.

use crate::cli_error::CliError;
use meshproof_contract::Exit;
use meshproof_report::{RunFolder, RunReport, read_log};
use std::path::Path;

/// Rebuilds every format in the run's folder.
pub fn report(run: &Path) -> Result<Exit, CliError> {
    let folder = RunFolder::open(run).map_err(CliError::usage)?;
    let events = read_log(&folder.file("events.ndjson")).map_err(CliError::usage)?;
    folder
        .write_all(&RunReport::from_events(&events))
        .map_err(CliError::usage)?;
    println!("{}", folder.path().display());
    Ok(Exit::Passed)
}
