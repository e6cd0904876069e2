//! `meshproof init`: a commented `meshproof.yaml` from what the clusters show. Reads the clusters, changes nothing in
//! them.

mod file;

use crate::{
    args::InitArgs,
    cli_error::CliError,
    config::{Config, DEFAULT_FILE, schema},
    runtime::runtime,
    session::{connect_and_discover, consumer::warn_on_stderr, lab::Lab, lab_shape::LabShape, target::Target},
};
use anyhow::{Context, anyhow};
use meshproof_cluster::{Discovery, GlobalService, ProgressSink, global_services};
use meshproof_contract::Exit;
use std::{
    fs,
    io::{self, Write as _},
    path::Path,
};

/// Carries out `meshproof init`.
pub fn init(args: &InitArgs) -> Result<Exit, CliError> {
    if args.schema {
        let _ = io::stdout().write_all(schema::text().as_bytes());
        return Ok(Exit::Passed);
    }
    let path = args.output.as_deref().unwrap_or(Path::new(DEFAULT_FILE));
    // An error before the clusters are asked.
    if path.exists() && !args.force {
        return Err(CliError::usage(anyhow!(
            "{} already exists; use --force to overwrite it",
            path.display()
        )));
    }
    let (found, services) = runtime()?.block_on(find(args))?;
    let text = file::text(&found, &services);
    Config::parse(&text, path)
        .context("internal error: the generated configuration is invalid")
        .map_err(CliError::environment)?;
    let written = if args.force {
        fs::write(path, &text)
    } else {
        fs::File::create_new(path).and_then(|mut file| file.write_all(text.as_bytes()))
    };
    written
        .with_context(|| format!("failed to write {}", path.display()))
        .map_err(CliError::usage)?;
    println!("{}", path.display());
    Ok(Exit::Passed)
}

async fn find(args: &InitArgs) -> Result<(Discovery, Vec<GlobalService>), CliError> {
    if args.lab {
        let lab = Lab::start(LabShape::default(), &[]).await?;
        let found = discover(&lab.target()).await;
        lab.stop().await;
        return found;
    }
    // A file that is being replaced must not decide what it is replaced with.
    let config = match &args.target.config {
        Some(path) => Config::read(Some(path)).map_err(CliError::usage)?,
        None => Config::default(),
    };
    discover(&Target::of(&args.target, &config, None, None)?).await
}

/// What the clusters show, with the service levels that a run on this target would expect.
async fn discover(target: &Target) -> Result<(Discovery, Vec<GlobalService>), CliError> {
    let progress = ProgressSink::new(|event| warn_on_stderr(&event));
    let (contexts, mut discovery) = connect_and_discover(target, &progress).await?;
    discovery.thresholds = target.overrides.thresholds.clone();
    Ok((discovery, global_services(&contexts).await))
}
