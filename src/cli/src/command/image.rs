//! `meshproof image`: an image as an archive, or in a registry.

use crate::{args::ImageArgs, cli_error::CliError, runtime::runtime};
use anyhow::anyhow;
use meshproof_contract::Exit;
use meshproof_image::{Credentials, Image, ImageReference, ImageSummary, Program, Transport};
use std::path::PathBuf;

/// The agent's executable, as it is built.
const AGENT: &str = "meshproof-agent";

/// Packs the agent or the command, and pushes the image where that is asked for.
pub fn image(args: &ImageArgs) -> Result<Exit, CliError> {
    let (program, binaries) = match (args.runner.is_empty(), args.agent.is_empty()) {
        (false, _) => (Program::Command, args.runner.clone()),
        (true, false) => (Program::Agent, args.agent.clone()),
        (true, true) => (Program::Agent, vec![beside()?]),
    };
    let named = args.push.as_ref().or(args.reference.as_ref());
    let reference = named.cloned().unwrap_or_else(|| program.default_reference());
    let image = Image::build(program, &binaries, &reference).map_err(|error| {
        if args.runner.is_empty() && args.agent.is_empty() {
            CliError::usage(anyhow!("{error}; ci/image.sh builds a static agent and packs it"))
        } else {
            CliError::usage(error)
        }
    })?;
    if let Some(output) = &args.output {
        image.write(output).map_err(CliError::usage)?;
        println!("{}  {}", line(&image.summary()), output.display());
    }
    if let Some(reference) = &args.push {
        push(&image, reference, args)?;
    }
    Ok(Exit::Passed)
}

fn push(image: &Image, reference: &str, args: &ImageArgs) -> Result<(), CliError> {
    let reference: ImageReference = reference.parse().map_err(CliError::usage)?;
    let transport = if args.plain_http {
        Transport::Http
    } else {
        Transport::Https
    };
    let credentials = Credentials::find(reference.registry(), None).map_err(CliError::usage)?;
    let pushed = runtime()?.block_on(image.push(&credentials, transport));
    println!("{}  pushed", line(&pushed.map_err(CliError::environment)?));
    Ok(())
}

fn line(image: &ImageSummary) -> String {
    let architectures: Vec<String> = image.architectures.iter().map(ToString::to_string).collect();
    format!(
        "{}  {}  {}  {:.2} MiB",
        image.reference,
        image.digest,
        architectures.join(","),
        image.compressed_size as f64 / f64::from(1 << 20),
    )
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
