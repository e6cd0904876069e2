//! `meshproof clean`: removes what a killed run left behind.

use crate::{args::TargetArgs, config::Config, fatal::Fatal, session::place::Place};
use anyhow::Context;
use meshproof_cluster::{CleanError, Contexts, Live, Progress, clean as clean_clusters};
use meshproof_contract::{Event, Exit};
use std::io::{self, IsTerminal};

/// Cleans the clusters named.
pub fn clean(target: &TargetArgs, live: Live) -> Result<Exit, Fatal> {
    let config = Config::read(target.config.as_deref()).map_err(Fatal::usage)?;
    let place = Place::of(target, &config, None, None)?;
    super::runtime()?.block_on(async {
        let shown = io::stderr().is_terminal();
        let progress = Progress::new(move |event| match event {
            Event::Waiting { what } if shown => eprintln!("waiting for {what}"),
            Event::Warning { message } => eprintln!("meshproof: {message}"),
            _ => {}
        });
        let connected = Contexts::connect(&place.roles, place.kubeconfig.clone(), &progress).await;
        let contexts = connected.map_err(|error| match error.is_configuration() {
            true => Fatal::usage(error),
            false => Fatal::environment(error),
        })?;
        let cleaned = tokio::select! {
            cleaned = clean_clusters(&contexts, live, &progress) => cleaned,
            interrupted = tokio::signal::ctrl_c() => {
                interrupted.context("failed to watch for Ctrl-C").map_err(Fatal::environment)?;
                return Ok(Exit::Interrupted);
            }
        };
        match cleaned {
            Ok(clusters) => {
                for cluster in clusters {
                    match cluster.removed.as_slice() {
                        [] => println!("{}: nothing was left", cluster.cluster),
                        removed => println!("{}: removed {}", cluster.cluster, removed.join(", ")),
                    }
                }
                Ok(Exit::Passed)
            }
            Err(error @ CleanError::Live(_)) => Err(Fatal::usage(error)),
            Err(error) => Err(Fatal::environment(error)),
        }
    })
}
