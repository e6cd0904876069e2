//! `meshproof run`: from the command line to the exit code.

mod gitops;
mod image_version;
mod publish;

use crate::{
    args::{Format, RunArgs},
    cli_error::CliError,
    config::{Config, Flows},
    logging, mesh_outage,
    runtime::runtime,
    session::{
        Session,
        consumer::{Consumer, Events},
        lab::{self, Lab},
        lab_shape::LabShape,
        recorder::record,
        run_plan::{self, JOBS, LIMITS},
        signal::cancelled_by_signals,
        target::Target,
    },
    watch::Watch,
};
use anyhow::Context;
use meshproof_cluster::RegistryCredentials;
use meshproof_contract::{
    ClusterName, Consent, Event, Exit, FaultName, Flow, Generation, RunId, Suite,
    event::{FaultChange, Phase, Shortfall},
    waiver::SpentWaiver,
};
use meshproof_engine::{Filter, Limits, Plan, RunOptions, Summary, select};
use meshproof_progress::{Progress, Surface};
use meshproof_report::RunFolder;
use meshproof_scenario::Scenario;
use meshproof_suites::WATCH;
use std::{
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
    time::Duration,
};
use tokio_util::sync::CancellationToken;

/// Where and what, decided before anything is touched.
struct Intent {
    /// None is the lab, which has yet to boot.
    target: Option<Target>,
    config: Config,
    clusters: Vec<ClusterName>,
    flows: Vec<Flow>,
    plan: Plan,
    scenarios: Vec<Scenario>,
    jobs: usize,
    limits: Limits,
    fail_fast: bool,
    generation: Generation,
    /// What the operators' files say of Cilium.
    git: gitops::Files,
    /// For how long a clustermesh-apiserver is also kept down.
    mesh_outage: Option<Duration>,
    /// What is watched, and for how long.
    watch: Option<Watch>,
    report_dir: PathBuf,
}

/// Carries out `meshproof run`; `again` is the command line that repeats it for one trial.
pub fn run(args: &RunArgs, again: Vec<String>) -> Result<Exit, CliError> {
    let config = Config::read(args.target.config.as_deref()).map_err(CliError::usage)?;
    let intent = intent(args, config, &run_plan::suites())?;
    if args.list {
        // A reader that stops early (`| head`) is not an error.
        let _ = io::stdout().write_all(intent.plan.list().as_bytes());
        for trial in intent.plan.trials() {
            if let Some(waiver) = &trial.waiver {
                let _ = writeln!(io::stderr(), "{}: waiver ({}) {waiver}", trial.name, waiver.source);
            }
        }
        return Ok(Exit::Passed);
    }
    runtime()?.block_on(run_and_report(args, intent, again))
}

/// Carries out `meshproof watch`: what meshproof.yaml requires of runs, and waives in them, is not about it.
pub fn watch(args: &RunArgs, watch: Watch, again: Vec<String>) -> Result<Exit, CliError> {
    let mut config = Config::read(args.target.config.as_deref()).map_err(CliError::usage)?;
    (config.required, config.waivers) = Default::default();
    let mut intent = intent(args, config, &[WATCH])?;
    // All of them at the same time.
    intent.jobs = intent.plan.trials().len();
    intent.limits = Limits {
        shared: watch.limit(),
        exclusive: watch.limit(),
    };
    intent.watch = Some(watch);
    runtime()?.block_on(run_and_report(args, intent, again))
}

fn intent(args: &RunArgs, config: Config, suites: &[Suite]) -> Result<Intent, CliError> {
    config.required.verify(suites).map_err(CliError::usage)?;
    let target = if args.lab { None } else { Some(target(args, &config)?) };
    let clusters = target.as_ref().map_or_else(run_plan::lab_clusters, Target::clusters);
    let others = config.contexts.keys().map(String::as_str);
    config.claims.verify(&clusters, others).map_err(CliError::usage)?;
    let flows = flows(args, &config, &clusters)?;
    let others = config.contexts.keys().map(String::as_str);
    let verified = config.waivers.verify(suites, (&clusters, &flows), others);
    verified.map_err(CliError::usage)?;
    let filter = Filter {
        patterns: args.filters.clone(),
        skip: args.skip.clone(),
        exact: args.exact,
        suites: args.suite.clone(),
    };
    let plan = select(suites, &clusters, &flows, &filter).map_err(|error| CliError {
        exit: error.exit(),
        error: error.into(),
    })?;
    let plan = plan.waived(&config.waivers.all());
    let default = Generation::default();
    Ok(Intent {
        target,
        scenarios: run_plan::scenarios(&plan, &flows)?,
        flows,
        plan,
        jobs: args.jobs.or(config.jobs).unwrap_or(JOBS).into(),
        limits: args.timeout.or(config.timeout).map_or(LIMITS, |limit| Limits {
            shared: limit,
            exclusive: limit,
        }),
        fail_fast: args.fail_fast,
        generation: Generation {
            count: args.generate.unwrap_or(default.count),
            seed: args.seed.unwrap_or_else(run_plan::today),
            sample_seed: args.sample_seed.unwrap_or_else(run_plan::today),
        },
        git: gitops::read(args, &config, &clusters)?,
        mesh_outage: args.mesh_outage,
        watch: None,
        report_dir: args
            .report_dir
            .clone()
            .or_else(|| config.report_dir.clone())
            .unwrap_or_else(|| "reports".into()),
        config,
        clusters,
    })
}

/// The flows of `meshproof.yaml` and of `--flows`; without any, the lab has its own.
fn flows(args: &RunArgs, config: &Config, clusters: &[ClusterName]) -> Result<Vec<Flow>, CliError> {
    let given = Flows::read(&args.flows).map_err(CliError::usage)?;
    let written = config.flows.clone().and(given);
    if args.lab && written.is_empty() {
        let installed_from_git = args.gitops.is_some() || !args.values.is_empty();
        return run_plan::lab_flows((!installed_from_git).then(|| lab::encrypts(args.lab_profile)));
    }
    let others = config.contexts.keys().map(String::as_str);
    written.resolve(clusters, others).map_err(CliError::usage)
}

fn target(args: &RunArgs, config: &Config) -> Result<Target, CliError> {
    let mut target = Target::of(&args.target, config, args.image.as_deref(), args.pull_policy)?;
    let secret = args.image_pull_secret.as_ref().or(config.image_pull_secret.as_ref());
    target.image.credentials = secret.map(|file| credentials(file)).transpose()?;
    if args.disruptive || config.disruptive {
        target.disruption.consent = Consent::Given;
    }
    Ok(target)
}

fn credentials(file: &Path) -> Result<RegistryCredentials, CliError> {
    let named = || format!("credentials for the probe image, {}", file.display());
    let text = fs::read_to_string(file).with_context(named).map_err(CliError::usage)?;
    let parsed = RegistryCredentials::parse(&text).with_context(named);
    parsed.map_err(CliError::usage)
}

async fn run_and_report(args: &RunArgs, intent: Intent, again: Vec<String>) -> Result<Exit, CliError> {
    let id = run_plan::new_run_id();
    let folder = RunFolder::create(&intent.report_dir, &id).map_err(CliError::usage)?;
    let log = folder.event_log().map_err(CliError::usage)?;
    // Whoever reads `latest` after a crash must not meet the run before.
    folder.point_latest().map_err(CliError::usage)?;
    let cancel = cancelled_by_signals()?;
    let progress = Progress::new(args.format.into(), Surface::detect());
    logging::above(&progress);
    let (events, consumer) = Consumer::start(progress, Some(log));
    events.send(run_plan::run_started(&id, again));

    let exit = match run_on_target(args, &intent, &id, &events, &cancel).await {
        Ok(outcome) => {
            let exit = outcome.exit();
            if !outcome.shortfalls.is_empty() {
                let shortfalls = outcome.shortfalls;
                events.send(Event::RequiredMissed { shortfalls });
            }
            if !outcome.spent_waivers.is_empty() {
                let waivers = outcome.spent_waivers;
                events.send(Event::WaiversSpent { waivers });
            }
            exit
        }
        Err(error) => {
            events.send(Event::Aborted {
                reason: error.to_string(),
                exit_code: error.exit.code(),
            });
            error.exit
        }
    };
    events.send(Event::RunFinished { exit_code: exit.code() });
    drop(events);
    consumer.end().await.finish(Some(&folder));
    publish::publish(args, intent.target.as_ref(), &folder).await;
    Ok(exit)
}

/// How a run ended.
struct Outcome {
    summary: Summary,
    shortfalls: Vec<Shortfall>,
    spent_waivers: Vec<SpentWaiver>,
}

impl Outcome {
    /// The worst of what the trials say, of what is missing and of waivers that must go.
    fn exit(&self) -> Exit {
        let parts = [
            (!self.shortfalls.is_empty(), Exit::TooLittle),
            (!self.spent_waivers.is_empty(), Exit::Failed),
        ];
        let parts = parts.into_iter().filter_map(|(holds, exit)| holds.then_some(exit));
        parts.fold(self.summary.exit(), Exit::max)
    }
}

async fn run_on_target(
    args: &RunArgs,
    intent: &Intent,
    id: &RunId,
    events: &Events,
    cancel: &CancellationToken,
) -> Result<Outcome, CliError> {
    if let Some(target) = &intent.target {
        return check(intent, target.clone(), id, events, cancel).await;
    }
    events.phase(Phase::Booting);
    let shape = LabShape {
        nodes: args.lab_nodes,
        profile: args.lab_profile,
        fault_seed: args.lab_fault_seed,
    };
    let installations = intent.git.installations.clone();
    let tell = |line| events.warning(line);
    let lab = Lab::start_installed(shape, installations, tell, &args.lab_fault).await?;
    for fault in &args.lab_fault {
        events.send(Event::Fault {
            fault: FaultName::from(fault.as_str()),
            change: FaultChange::Injected,
        });
    }
    let target = lab.target().with(&intent.config);
    let outcome = check(intent, target, id, events, cancel).await;
    lab.stop().await;
    outcome
}

async fn check(
    intent: &Intent,
    mut target: Target,
    id: &RunId,
    events: &Events,
    cancel: &CancellationToken,
) -> Result<Outcome, CliError> {
    target.overrides.generation = intent.generation;
    if let Some(warning) = image_version::warning(&target.image.reference) {
        events.warning(warning);
    }
    target.overrides.git.clone_from(&intent.git.facts);
    target.overrides.flows.clone_from(&intent.flows);
    if let Some(git) = &intent.git.facts {
        gitops::warn_of_missing(git, &intent.clusters, events);
    }
    let outage = intent.mesh_outage.map(mesh_outage::seconds);
    target.disruption.mesh_outage_seconds = outage.or(target.disruption.mesh_outage_seconds);
    let session = Session::open(&target, id.clone(), &intent.scenarios, events, cancel).await?;
    events.phase(Phase::Checking);
    // What ends a watch does not interrupt it.
    let interrupts = match &intent.watch {
        None => cancel.child_token(),
        Some(watch) => {
            events.warning(watch.announcement());
            watch.start(
                &session.shared(),
                session.environment(),
                &intent.clusters,
                cancel.clone(),
            );
            CancellationToken::new()
        }
    };
    let options = RunOptions {
        jobs: intent.jobs,
        limits: intent.limits,
        fail_fast: intent.fail_fast,
        ..run_plan::options(&session, interrupts)
    };
    let (recorded, ran) = record(events);
    let summary = run_plan::execute(&session, &intent.plan, options, &recorded).await;
    drop(recorded);
    session.close().await;
    let ran = ran
        .await
        .context("internal error: the record of the trials was lost")
        .map_err(CliError::environment)?;
    let (required, waivers) = (&intent.config.required, &intent.config.waivers);
    let suites = run_plan::suites();
    Ok(Outcome {
        summary: summary?,
        shortfalls: required.missing(&suites, (&intent.clusters, &intent.flows), &intent.plan, &ran),
        spent_waivers: waivers.spent(&suites, (&intent.clusters, &intent.flows), &ran),
    })
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
