//! `meshproof gate`: a run compared with earlier ones, and whether to go on.

use crate::{
    args::{GateArgs, GateFormat},
    cli_error::CliError,
};
use anyhow::anyhow;
use meshproof_contract::Exit;
use meshproof_report::{gate, read_run, read_runs};
use std::io::{self, Write};

/// Compares, prints, and ends with what the comparison means.
pub fn gate(args: &GateArgs, out: &mut impl Write) -> Result<Exit, CliError> {
    let current = read_run(&args.current).map_err(CliError::usage)?;
    let mut baseline = read_runs(&args.baseline).map_err(CliError::usage)?;
    // `--baseline reports --current reports/latest` names it twice.
    baseline.retain(|run| run.run != current.run);
    if baseline.is_empty() {
        return Err(CliError::usage(anyhow!(
            "{} holds no other run than the current one, {}; name an earlier run",
            args.baseline.display(),
            current.run
        )));
    }
    let report = gate::compare(&baseline, &current);
    let text = match args.format {
        GateFormat::Text => gate::text(&report),
        GateFormat::Markdown => gate::markdown(&report),
        GateFormat::Json => report.json(),
    };
    match out.write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(CliError::environment(error)),
        _ => Ok(report.decision.exit()),
    }
}
