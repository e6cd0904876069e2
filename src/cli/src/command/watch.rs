//! `meshproof watch`: a run of streams that lasts as long as somebody else works on the clusters.

use super::run;
use crate::{
    args::WatchArgs,
    cli_error::CliError,
    watch::{LONGEST, Watch},
};
use meshproof_contract::{Exit, watching::Watching};

/// Carries out `meshproof watch`; `again` is the command line that repeats it for one trial.
pub fn watch(args: WatchArgs, again: Vec<String>) -> Result<Exit, CliError> {
    let watch = Watch {
        time: args.time.unwrap_or(LONGEST),
        rollout: args.until_rollout.clone(),
        spacing: args.spacing.unwrap_or(Watching::SPACING),
    };
    run::watch(&args.into(), watch, again)
}
