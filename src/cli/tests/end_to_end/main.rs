//! `meshproof` as its users meet it, against clusters that it knows by a kubeconfig alone: a lab started beside it, as
//! another terminal would. `harness = false`, since this very executable is also that lab's process and its agents.

mod access;
mod clusters;
mod command;
mod detour;
mod endings;
mod houses;
mod in_cluster;
mod lab_run;
mod reports;
mod user;
mod watching;

use clusters::Clusters;
use libtest_mimic::{Arguments, Trial};
use std::{
    process::ExitCode,
    sync::{Arc, OnceLock},
};

/// What a test says when it does not hold.
pub type Result<T> = std::result::Result<T, String>;

/// Any error as its text.
pub fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

fn main() -> ExitCode {
    if let Some(code) = meshproof_cli::hidden_role() {
        return code;
    }
    if let Some(mode) = std::env::args().nth(1)
        && let Some(test) = user::mode(&mode).or_else(|| in_cluster::mode(&mode))
    {
        return match test() {
            Ok(()) => ExitCode::SUCCESS,
            Err(why) => {
                eprintln!("{why}");
                ExitCode::FAILURE
            }
        };
    }
    let mut arguments = Arguments::from_args();
    // They share one pair of clusters, and a run wants them for itself.
    arguments.test_threads = Some(1);
    let possible = meshproof_lab::probe(meshproof_lab::LabIsolation::Auto);
    let required = std::env::var_os("MESHPROOF_REQUIRE_LAB").is_some_and(|value| value == "1");
    if let (Err(why), false) = (&possible, required) {
        eprintln!("tests that need a lab are ignored: {why}");
    }
    let ignored = possible.is_err() && !required;
    let lab: Arc<OnceLock<Result<Clusters>>> = Arc::default();
    let on_clusters = access::ALL
        .iter()
        .chain(endings::ALL)
        .chain(reports::ALL)
        .chain(houses::ALL)
        .chain(in_cluster::ALL)
        .chain(watching::ALL);
    let mut trials: Vec<_> = on_clusters
        .map(|(name, test)| {
            let lab = lab.clone();
            let run = move || match lab.get_or_init(Clusters::start) {
                Ok(clusters) => test(clusters).map_err(Into::into),
                Err(why) => Err(why.clone().into()),
            };
            Trial::test(*name, run).with_ignored_flag(ignored)
        })
        .collect();
    trials.extend(
        user::ALL
            .iter()
            .chain(lab_run::ALL)
            .map(|(name, test)| Trial::test(*name, || test().map_err(Into::into)).with_ignored_flag(ignored)),
    );
    let conclusion = libtest_mimic::run(&arguments, trials);
    // Ends the lab, which else would end with this process.
    drop(lab);
    conclusion.exit_code()
}
