//! `meshproof run`: from the command line to the exit code.

use crate::{
    args::{Format, RunArgs},
    config::{Config, Required},
    fatal::Fatal,
    session::{
        Session,
        consumer::{Consumer, Events},
        lab::{Lab, LabNodes},
        place::Place,
        signal::cancelled_by_signals,
        tap::tap,
    },
};
use anyhow::Context;
use meshproof_contract::{
    ClusterName, Consent, Event, Exit, FaultName, Generation, RunId,
    event::{FaultChange, LOG_VERSION, Phase, Shortfall},
};
use meshproof_engine::{Filter, Limits, Plan, Printer, RunOptions, Summary, select};
use meshproof_progress::{Progress, Surface};
use meshproof_report::RunFolder;
use meshproof_scenario::Scenario;
use std::{
    io::{self, Write},
    path::PathBuf,
    time::Duration,
};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

/// Longest times of one trial, unless told otherwise: waiting for a change to cross the mesh is the longest of those that run
/// beside others, waiting for what was lost to come back the longest of those that run alone.
pub const LIMITS: Limits = Limits {
    shared: Duration::from_secs(180),
    exclusive: Duration::from_secs(420),
};
/// Trials at once, unless told otherwise: enough to hide waiting, few enough not to disturb each other's latencies.
pub const JOBS: u16 = 6;

/// Where and what, decided before anything is touched.
struct Intent {
    generation: Generation,
    place: Option<Place>,
    config: Config,
    clusters: Vec<ClusterName>,
    plan: Plan,
    scenarios: Vec<Scenario>,
    jobs: usize,
    limits: Limits,
    fail_fast: bool,
    report_dir: PathBuf,
}

/// Carries out `meshproof run`.
pub fn run(args: &RunArgs, again: Vec<String>) -> Result<Exit, Fatal> {
    let config = Config::read(args.target.config.as_deref()).map_err(Fatal::usage)?;
    let intent = intent(args, config)?;
    if args.list {
        // A reader that has seen enough (`| head`) is no failure.
        let _ = io::stdout().write_all(intent.plan.list().as_bytes());
        return Ok(Exit::Passed);
    }
    super::runtime()?.block_on(conduct(args, intent, again))
}

fn intent(args: &RunArgs, config: Config) -> Result<Intent, Fatal> {
    let suites = super::suites();
    config.required.verify(&suites).map_err(Fatal::usage)?;
    let place = match args.lab {
        true => None,
        false => {
            let mut place = Place::of(&args.target, &config, args.image.as_deref(), args.pull_policy)?;
            if args.disruptive || config.disruptive {
                place.disruptive.consent = Consent::Given;
            }
            Some(place)
        }
    };
    let clusters = place.as_ref().map_or_else(lab_clusters, Place::clusters);
    let others = config.contexts.keys().map(String::as_str);
    config.claims.verify(&clusters, others).map_err(Fatal::usage)?;
    let filter = Filter {
        patterns: args.filters.clone(),
        skip: args.skip.clone(),
        exact: args.exact,
        suites: args.suite.clone(),
    };
    let plan = select(&suites, &clusters, &filter).map_err(|error| Fatal {
        exit: error.exit(),
        error: error.into(),
    })?;
    let usual = Generation::default();
    Ok(Intent {
        generation: Generation {
            count: args.generate.unwrap_or(usual.count),
            seed: args.seed.unwrap_or(usual.seed),
        },
        place,
        scenarios: scenarios(&plan)?,
        plan,
        jobs: args.jobs.or(config.jobs).unwrap_or(JOBS).into(),
        limits: args.timeout.or(config.timeout).map_or(LIMITS, |limit| Limits {
            shared: limit,
            exclusive: limit,
        }),
        fail_fast: args.fail_fast,
        report_dir: args
            .report_dir
            .clone()
            .or_else(|| config.report_dir.clone())
            .unwrap_or_else(|| "reports".into()),
        config,
        clusters,
    })
}

/// The lab's clusters have the roles of the mission.
pub fn lab_clusters() -> Vec<ClusterName> {
    ["infra", "apps"].map(ClusterName::from).into()
}

/// The scenarios that a plan uses.
pub fn scenarios(plan: &Plan) -> Result<Vec<Scenario>, Fatal> {
    plan.scenarios()
        .into_iter()
        .map(|name| meshproof_scenario::builtin(name).map_err(Fatal::usage))
        .collect()
}

/// A new run's id: sorts by time, and two runs of the same second differ.
pub fn new_run_id() -> RunId {
    use std::hash::{BuildHasher, Hasher, RandomState};
    let now = jiff::Timestamp::now().strftime("%Y%m%d-%H%M%S");
    let random = RandomState::new().build_hasher().finish() & 0xffff;
    RunId::new(format!("{now}-{random:04x}"))
}

async fn conduct(args: &RunArgs, intent: Intent, again: Vec<String>) -> Result<Exit, Fatal> {
    let id = new_run_id();
    let folder = RunFolder::create(&intent.report_dir, &id).map_err(Fatal::usage)?;
    let log = folder.event_log().map_err(Fatal::usage)?;
    // Whoever reads `latest` after a crash must not meet the run before.
    folder.point_latest().map_err(Fatal::usage)?;
    let cancel = cancelled_by_signals()
        .context("failed to watch for signals")
        .map_err(Fatal::environment)?;
    let progress = Progress::new(args.format.into(), Surface::detect());
    super::log_above(&progress);
    let (events, consumer) = Consumer::start(progress, Some(log));
    events.send(started(&id, again));

    let outcome = observe(args, &intent, &id, &events, &cancel).await;
    let exit = match outcome {
        Ok(outcome) => {
            let exit = outcome.exit();
            if !outcome.shortfalls.is_empty() {
                let shortfalls = outcome.shortfalls;
                events.send(Event::RequiredMissed { shortfalls });
            }
            exit
        }
        Err(fatal) => {
            events.send(Event::Aborted {
                reason: fatal.to_string(),
                exit_code: fatal.exit.code(),
            });
            fatal.exit
        }
    };
    events.send(Event::RunFinished { exit_code: exit.code() });
    drop(events);
    consumer.end().await.finish(Some(&folder));
    Ok(exit)
}

/// The first event of a run.
pub fn started(id: &RunId, again: Vec<String>) -> Event {
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

/// What a run came to.
struct Outcome {
    summary: Summary,
    shortfalls: Vec<Shortfall>,
}

impl Outcome {
    /// The worst of what the trials came to and of what is missing.
    fn exit(&self) -> Exit {
        match self.shortfalls.is_empty() {
            true => self.summary.exit(),
            false => self.summary.exit().max(Exit::TooLittle),
        }
    }
}

async fn observe(
    args: &RunArgs,
    intent: &Intent,
    id: &RunId,
    events: &Events,
    cancel: &CancellationToken,
) -> Result<Outcome, Fatal> {
    let Some(place) = &intent.place else {
        events.phase(Phase::Booting);
        let lab = Lab::start(LabNodes(args.lab_nodes), &args.lab_fault).await?;
        for fault in &args.lab_fault {
            events.send(Event::Fault {
                fault: FaultName::from(fault.as_str()),
                change: FaultChange::Injected,
            });
        }
        let outcome = check(intent, &lab.place().with(&intent.config), id, events, cancel).await;
        lab.stop().await;
        return outcome;
    };
    check(intent, place, id, events, cancel).await
}

async fn check(
    intent: &Intent,
    place: &Place,
    id: &RunId,
    events: &Events,
    cancel: &CancellationToken,
) -> Result<Outcome, Fatal> {
    let mut place = place.clone();
    place.stated.generation = intent.generation;
    let session = Session::open(&place, id.clone(), &intent.scenarios, events, cancel).await?;
    events.phase(Phase::Checking);
    let options = RunOptions {
        shared: session.shared(),
        jobs: intent.jobs,
        limits: intent.limits,
        fail_fast: intent.fail_fast,
        cancel: cancel.child_token(),
        lost: session.lost(),
        handle: Handle::current(),
        printer: Printer::Silent,
    };
    let (tapped, ran) = tap(events);
    let summary = execute(&session, &intent.plan, options, &tapped).await;
    drop(tapped);
    session.close().await;
    let ran = ran
        .await
        .context("the note of the trials was lost")
        .map_err(Fatal::environment)?;
    let required: &Required = &intent.config.required;
    Ok(Outcome {
        summary: summary?,
        shortfalls: required.missing(&super::suites(), &intent.clusters, &intent.plan, &ran),
    })
}

/// Runs the plan on a session.
pub async fn execute(session: &Session, plan: &Plan, options: RunOptions, events: &Events) -> Result<Summary, Fatal> {
    let (environment, sender, plan) = (session.environment(), events.sender(), plan.clone());
    let running = tokio::task::spawn_blocking(move || meshproof_engine::run(&plan, environment, sender, options));
    running
        .await
        .context("the engine came to a bad end")
        .map_err(Fatal::environment)
}

impl From<Format> for meshproof_progress::Format {
    fn from(format: Format) -> Self {
        match format {
            Format::Human => Self::Human,
            Format::Json => Self::Json,
            Format::Quiet => Self::Quiet,
        }
    }
}
