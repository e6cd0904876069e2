//! What commands run on a session: which suites and scenarios, on which clusters, within which limits.

use super::{Session, consumer::Events, lab};
use crate::{cli_error::CliError, config::Flows};
use anyhow::Context;
use meshproof_contract::{ClusterName, Event, Flow, Instance, RunId, Suite, event::LOG_VERSION, flow::NODE_SCENARIO};
use meshproof_engine::{Limits, Plan, Printer, RunOptions, Summary};
use meshproof_scenario::Scenario;
use std::{
    hash::{BuildHasher, Hasher, RandomState},
    path::Path,
    time::Duration,
};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

/// Default time limits of one trial: a change that crosses the mesh takes longest among trials that run beside others,
/// the recovery of what was lost among trials that run alone.
pub const LIMITS: Limits = Limits {
    shared: Duration::from_secs(180),
    exclusive: Duration::from_secs(420),
};
/// Default number of concurrent trials: enough to hide waiting, few enough not to disturb each other's latencies.
pub const JOBS: u16 = 12;

/// Every suite.
pub fn suites() -> Vec<Suite> {
    meshproof_suites::ALL.iter().map(|suite| **suite).collect()
}

/// The lab's clusters have the roles of the mission.
pub fn lab_clusters() -> Vec<ClusterName> {
    ["infra", "apps"].map(ClusterName::from).into()
}

/// The flows that the operators of the lab's clusters have written down, and whether they are encrypted if that is
/// known.
pub fn lab_flows(encrypted: Option<bool>) -> Result<Vec<Flow>, CliError> {
    let flows = Flows::parse(&lab::flows(encrypted), Path::new("lab-flows.yaml"));
    let flows = flows.and_then(|flows| flows.resolve(&lab_clusters(), std::iter::empty()));
    flows.map_err(CliError::usage)
}

/// The scenarios that a plan uses, with the clients of its flows.
pub fn scenarios(plan: &Plan, flows: &[Flow]) -> Result<Vec<Scenario>, CliError> {
    let mut names = plan.scenarios();
    let is_planned = |flow: &Flow| {
        plan.trials()
            .iter()
            .any(|trial| trial.instance == Instance::of_flow(flow))
    };
    let from_nodes = flows.iter().any(|flow| flow.from.host && is_planned(flow));
    if from_nodes && !names.contains(&NODE_SCENARIO) {
        names.push(NODE_SCENARIO);
    }
    let named = names
        .into_iter()
        .map(|name| meshproof_scenario::builtin(name).map_err(CliError::usage));
    named
        .chain(meshproof_scenario::flows(flows, is_planned).map(Ok))
        .collect()
}

/// A new run's id: sorts by time, and two runs of the same second differ.
pub fn new_run_id() -> RunId {
    let now = jiff::Timestamp::now().strftime("%Y%m%d-%H%M%S");
    let random = RandomState::new().build_hasher().finish() & 0xffff;
    RunId::new(format!("{now}-{random:04x}"))
}

/// The first event of a run; `again` is the command line that repeats it for one trial.
pub fn run_started(id: &RunId, again: Vec<String>) -> Event {
    Event::RunStarted {
        log_version: LOG_VERSION,
        run: id.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        command: std::iter::once("meshproof".to_owned())
            .chain(std::env::args().skip(1))
            .collect(),
        again,
    }
}

/// The default options of a run on this session; must be called on its runtime.
pub fn options(session: &Session, cancel: CancellationToken) -> RunOptions {
    RunOptions {
        shared: session.shared(),
        jobs: JOBS.into(),
        limits: LIMITS,
        fail_fast: false,
        cancel,
        lost: session.lost(),
        handle: Handle::current(),
        printer: Printer::Silent,
    }
}

/// Runs the plan on a session.
pub async fn execute(
    session: &Session,
    plan: &Plan,
    options: RunOptions,
    events: &Events,
) -> Result<Summary, CliError> {
    let (environment, sender, plan) = (session.environment(), events.sender(), plan.clone());
    let running = tokio::task::spawn_blocking(move || meshproof_engine::run(&plan, environment, sender, options));
    running
        .await
        .context("internal error: the test engine panicked")
        .map_err(CliError::environment)
}

/// The day of the run, in days since 1970, as seed of what may differ from night to night.
pub fn today() -> u64 {
    let seconds = jiff::Timestamp::now().as_second();
    u64::try_from(seconds / 86_400).unwrap_or_default()
}
