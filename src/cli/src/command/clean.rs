//! `meshproof clean`: removes what a killed run left behind.

use crate::{
    args::TargetArgs,
    cli_error::CliError,
    config::Config,
    runtime::runtime,
    session::{consumer::warn_on_stderr, target::Target},
};
use anyhow::Context;
use meshproof_cluster::{CleanError, Cleaned, Contexts, Live, ProgressSink, clean as clean_clusters};
use meshproof_contract::{Event, Exit};
use std::io::{self, IsTerminal};

/// Cleans the clusters named.
pub fn clean(args: &TargetArgs, live: Live) -> Result<Exit, CliError> {
    let config = Config::read(args.config.as_deref()).map_err(CliError::usage)?;
    let target = Target::of(args, &config, None, None)?;
    runtime()?.block_on(async {
        tokio::select! {
            cleaned = remove(&target, live) => cleaned.map(|clusters| {
                for cluster in clusters {
                    println!("{cluster}");
                }
                Exit::Passed
            }),
            interrupted = tokio::signal::ctrl_c() => interrupted
                .context("failed to watch for Ctrl-C")
                .map_err(CliError::environment)
                .map(|()| Exit::Interrupted),
        }
    })
}

async fn remove(target: &Target, live: Live) -> Result<Vec<Cleaned>, CliError> {
    let shown = io::stderr().is_terminal();
    let progress = ProgressSink::new(move |event| match event {
        Event::Waiting { what } if shown => eprintln!("waiting for {what}"),
        event => warn_on_stderr(&event),
    });
    let contexts = Contexts::connect(&target.roles, target.kubeconfig.clone(), &progress).await?;
    let cleaned = clean_clusters(&contexts, live, target.disruption.power.as_deref(), &progress).await;
    cleaned.map_err(|error| match error {
        CleanError::Live(_) => CliError::usage(error),
        error => CliError::environment(error),
    })
}
