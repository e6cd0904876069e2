//! The lab as a user meets it: launched as a child process, spoken to over its APIs, and killed in every way. Each test
//! has its own lab. `harness = false`, since this very executable is also the lab's process and the agents.

#![cfg(target_os = "linux")]

mod cilium;
mod client;
mod ends;
mod enforcement;
mod faults;
mod modes;
mod pods;
mod remains;

use client::Test;
use libtest_mimic::{Arguments, Trial};
use meshproof_lab::{AGENT_SUBCOMMAND, LAB_SUBCOMMAND, LabIsolation};
use std::process::ExitCode;

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    match arguments.next().as_deref().and_then(|word| word.to_str()) {
        Some(LAB_SUBCOMMAND) => return meshproof_lab::lab_main(arguments),
        Some(AGENT_SUBCOMMAND) => return meshproof_agent::run(arguments),
        Some(modes::UNPRIVILEGED) => return modes::as_nobody(),
        Some(modes::FORBIDDEN) => return modes::without_namespaces(),
        Some(modes::LAUNCHER) => return modes::launch_and_wait(),
        _ => {}
    }
    let mut arguments = Arguments::from_args();
    // Two cores, and each test boots two clusters.
    arguments.test_threads = Some(1);
    let possible = meshproof_lab::probe(LabIsolation::Auto);
    let required = std::env::var_os("MESHPROOF_REQUIRE_LAB").is_some_and(|value| value == "1");
    if let (Err(why), false) = (&possible, required) {
        eprintln!("the lab's tests are ignored: {why}");
    }
    let ignored = possible.is_err() && !required;
    let trial = |(name, test): &'static (&str, Test), ignored| {
        Trial::test(*name, move || test().map_err(Into::into)).with_ignored_flag(ignored)
    };
    let own = [pods::ALL, faults::ALL, ends::ALL, modes::ALL].into_iter().flatten();
    let trials = own
        .chain(cilium::all())
        .chain(enforcement::all())
        .map(|test| trial(test, ignored));
    // Minutes long: run them with `--ignored`.
    let slow = cilium::SLOW.iter().map(|test| trial(test, true));
    libtest_mimic::run(&arguments, trials.chain(slow).collect()).exit_code()
}
