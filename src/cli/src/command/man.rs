//! `meshproof man`: a man page of each command, from what `--help` says.

use crate::{args::Cli, cli_error::CliError};
use anyhow::Context;
use clap::CommandFactory;
use meshproof_contract::Exit;
use std::{fs, path::Path};

/// Writes the pages into a folder, which is made.
pub fn man(folder: &Path) -> Result<Exit, CliError> {
    fs::create_dir_all(folder)
        .and_then(|()| clap_mangen::generate_to(Cli::command(), folder))
        .with_context(|| format!("failed to write man pages to {}", folder.display()))
        .map_err(CliError::usage)?;
    println!("{}", folder.join("meshproof.1").display());
    Ok(Exit::Passed)
}
