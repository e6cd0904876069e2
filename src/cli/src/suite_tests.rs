//! The suites as tests on a lab: `cargo test` and `cargo nextest` list and run single trials.

use crate::{
    cli_error::CliError,
    runtime::runtime,
    session::{Session, consumer::Events, lab, lab_shape::LabShape, run_plan, target::Target},
};
use meshproof_contract::{Exit, Flow};
use meshproof_engine::{Plan, Printer, RunOptions, TestArguments, ignore_all, select};
use std::process::ExitCode;
use tokio_util::sync::CancellationToken;

/// Where this is set to 1, a machine on which no lab can run fails the tests instead of ignoring them.
const REQUIRE_LAB: &str = "MESHPROOF_REQUIRE_LAB";

/// The flows of a lab in its default profile.
fn lab_flows() -> Result<Vec<Flow>, CliError> {
    run_plan::lab_flows(Some(lab::encrypts(LabShape::default().profile)))
}

/// `main` of the test target: boots one lab and runs the selected trials on it.
pub fn main() -> ExitCode {
    if let Some(code) = lab::hidden_role() {
        return code;
    }
    let arguments = TestArguments::from_env();
    // A filter meant for another target selects nothing here, which must not fail `cargo test`.
    let flows = match lab_flows() {
        Ok(flows) => flows,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::FAILURE;
        }
    };
    let Ok(plan) = select(
        &run_plan::suites(),
        &run_plan::lab_clusters(),
        &flows,
        &arguments.filter(),
    ) else {
        return ExitCode::SUCCESS;
    };
    if let Some(listing) = arguments.listing(&plan) {
        print!("{listing}");
        return ExitCode::SUCCESS;
    }
    if arguments.only_ignored() {
        return ExitCode::SUCCESS;
    }
    match runtime().and_then(|runtime| runtime.block_on(run(&plan, &arguments))) {
        Ok(exit) => ExitCode::from(exit.code()),
        Err(error) if lab::is_forbidden(&error) && std::env::var(REQUIRE_LAB).as_deref() != Ok("1") => {
            println!("this machine cannot run a lab; tests that need one are ignored: {error}");
            ignore_all(&plan, &arguments, &error.to_string());
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(plan: &Plan, arguments: &TestArguments) -> Result<Exit, CliError> {
    let lab = lab::Lab::start(LabShape::default(), &[]).await?;
    let exit = run_on(&lab.target(), plan, arguments).await;
    lab.stop().await;
    exit
}

async fn run_on(lab: &Target, plan: &Plan, arguments: &TestArguments) -> Result<Exit, CliError> {
    let events = Events::warnings_on_stderr();
    let cancel = CancellationToken::new();
    let mut lab = lab.clone();
    lab.overrides.flows = lab_flows()?;
    let scenarios = run_plan::scenarios(plan, &lab.overrides.flows)?;
    let session = Session::open(&lab, run_plan::new_run_id(), &scenarios, &events, &cancel).await?;
    let defaults = run_plan::options(&session, cancel);
    let options = RunOptions {
        jobs: arguments.jobs().unwrap_or(defaults.jobs),
        printer: Printer::Stdout(arguments.clone()),
        ..defaults
    };
    let summary = run_plan::execute(&session, plan, options, &events).await;
    session.close().await;
    Ok(summary?.exit())
}
