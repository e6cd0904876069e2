//! The suites as tests on a lab: `cargo test` and `cargo nextest` list and run single trials.

use crate::{
    command::run::{JOBS, LIMITS, execute, lab_clusters, new_run_id, scenarios},
    command::{runtime, suites},
    fatal::Fatal,
    session::{Session, consumer::Events, lab},
};
use meshproof_contract::{Event, Exit};
use meshproof_engine::{Plan, Printer, RunOptions, TestArguments, ignore_all, select};
use std::process::ExitCode;
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

/// Where this is set to 1, a machine on which no lab can run fails the tests instead of ignoring them.
const REQUIRE_LAB: &str = "MESHPROOF_REQUIRE_LAB";

/// `main` of the test target: boots one lab and runs the selected trials on it.
pub fn main() -> ExitCode {
    if let Some(code) = lab::hidden_role() {
        return code;
    }
    let arguments = TestArguments::from_env();
    // A filter meant for another target selects nothing here, which is no failure under `cargo test`.
    let Ok(plan) = select(&suites(), &lab_clusters(), &arguments.filter()) else {
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
        Err(fatal) if lab::is_forbidden(&fatal) && std::env::var(REQUIRE_LAB).as_deref() != Ok("1") => {
            println!("no lab on this machine, its tests are ignored: {fatal}");
            ignore_all(&plan, &arguments, &fatal.to_string());
            ExitCode::SUCCESS
        }
        Err(fatal) => {
            eprintln!("{fatal}");
            ExitCode::FAILURE
        }
    }
}

async fn run(plan: &Plan, arguments: &TestArguments) -> Result<Exit, Fatal> {
    let (events, mut incoming) = Events::channel();
    tokio::spawn(async move {
        while let Some(event) = incoming.recv().await {
            if let Event::Warning { message } = event {
                eprintln!("{message}");
            }
        }
    });
    let cancel = CancellationToken::new();
    let lab = lab::Lab::start(lab::LabNodes::default(), &[]).await?;
    let opened = Session::open(&lab.place(), new_run_id(), &scenarios(plan)?, &events, &cancel).await;
    let summary = match opened {
        Ok(session) => {
            let options = RunOptions {
                shared: session.shared(),
                jobs: arguments.jobs().unwrap_or(JOBS.into()),
                limits: LIMITS,
                fail_fast: false,
                cancel,
                lost: session.lost(),
                handle: Handle::current(),
                printer: Printer::Stdout(arguments.clone()),
            };
            let summary = execute(&session, plan, options, &events).await;
            session.close().await;
            summary
        }
        Err(fatal) => Err(fatal),
    };
    lab.stop().await;
    Ok(summary?.exit())
}
