//! `meshproof image`: the probe image as an archive.

use crate::{args::ImageArgs, cli_error::CliError};
use anyhow::anyhow;
use meshproof_contract::Exit;
use std::path::PathBuf;

/// The agent's executable, as it is built.
const AGENT: &str = "meshproof-agent";

/// Packs the agent.
pub fn image(args: &ImageArgs) -> Result<Exit, CliError> {
    let agent = match &args.agent {
        Some(agent) => agent.clone(),
        None => beside()?,
    };
    let summary = meshproof_image::write(&agent, &args.output, &args.reference).map_err(|error| match args.agent {
        Some(_) => CliError::usage(error),
        None => CliError::usage(anyhow!("{error}; ci/image.sh builds a static agent and packs it")),
    })?;
    println!(
        "{}  {}  {}  {:.2} MiB  {}",
        summary.reference,
        summary.digest,
        summary.architecture,
        summary.compressed_size as f64 / f64::from(1 << 20),
        args.output.display()
    );
    Ok(Exit::Passed)
}

/// The agent beside this command, where an installation has it.
fn beside() -> Result<PathBuf, CliError> {
    let own = std::env::current_exe().ok();
    let agent = own.and_then(|own| Some(own.parent()?.join(AGENT)));
    agent.filter(|agent| agent.is_file()).ok_or_else(|| {
        CliError::usage(anyhow!(
            "found no static {AGENT} beside this command: ci/image.sh builds it and packs the image, or name one with \
             --agent PATH"
        ))
    })
}
