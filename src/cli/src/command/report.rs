//! `meshproof report`: a run's reports again, from its event log alone.

use crate::fatal::Fatal;
use meshproof_contract::Exit;
use meshproof_report::{RunFolder, RunReport, read_log};
use std::path::Path;

/// Rebuilds every format in the run's folder.
pub fn report(run: &Path) -> Result<Exit, Fatal> {
    let folder = RunFolder::open(run).map_err(Fatal::usage)?;
    let events = read_log(&folder.file("events.ndjson")).map_err(Fatal::usage)?;
    folder
        .write_all(&RunReport::from_events(&events))
        .map_err(Fatal::usage)?;
    println!("{}", folder.path().display());
    Ok(Exit::Passed)
}
