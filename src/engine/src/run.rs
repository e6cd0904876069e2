//! The run itself: trials handed to libtest-mimic, whose threads only wait for the runtime.

use crate::{
    admission::Gate,
    harness::TestArguments,
    plan::{Plan, Trial},
    summary::Summary,
    trial_runner::{Limits, State, TrialRunner},
};
use libtest_mimic::{Arguments, Completion, Failed, Trial as MimicTrial};
use meshproof_contract::{Environment, Event, Finding, RunShared, Verdict};
use std::{
    collections::VecDeque,
    fs::File,
    panic::{AssertUnwindSafe, catch_unwind},
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};
use tokio::{runtime::Handle, sync::mpsc::UnboundedSender, task::JoinSet};
use tokio_util::sync::CancellationToken;

/// How to run.
#[derive(Clone, Debug)]
pub struct RunOptions {
    /// What trials share: runs on the same deployment share one, other runs do not.
    pub shared: Arc<RunShared>,
    /// Shared trials at once; at least one.
    pub jobs: usize,
    /// Longest times of one trial, counted from its admission.
    pub limits: Limits,
    /// Whether the first failure keeps the rest from starting.
    pub fail_fast: bool,
    /// Ends the run: nothing more starts, and running trials are stopped.
    pub cancel: CancellationToken,
    /// Ends the run in the same way, as inconclusive: it has lost its Lease.
    pub lost: CancellationToken,
    /// The runtime on which checks run.
    pub handle: Handle,
    /// Where libtest-mimic's own report goes.
    pub printer: Printer,
}

/// Where libtest-mimic prints its lines. It cannot be silenced, only redirected, and it panics when it cannot write; so
/// only a test target lets it print to the terminal.
#[derive(Clone, Debug, Default)]
pub enum Printer {
    /// Nowhere.
    #[default]
    Silent,
    /// Into a file, such as `libtest.log` in the run's folder.
    File(PathBuf),
    /// On stdout as these arguments ask, for a test target under `cargo test` or `cargo nextest`.
    Stdout(TestArguments),
}

/// Runs the plan to its end and blocks until then. Call it from a thread that may block
/// (`tokio::task::spawn_blocking`), not from an async task.
///
/// Sends [`Event::Planned`], then [`Event::TrialStarted`] and [`Event::TrialFinished`] for every trial; a trial that
/// could not start has only the latter. Each trial of the plan is finished exactly once, whatever happens.
pub fn run(
    plan: &Plan,
    environment: Arc<dyn Environment>,
    events: UnboundedSender<Event>,
    options: RunOptions,
) -> Summary {
    let warn = |message: String| {
        if events.send(Event::Warning { message }).is_err() {
            tracing::debug!("the receiver of events is gone");
        }
    };
    let mut arguments = arguments(&options, plan.trials().len(), &warn);
    let runner = runner(environment, &events, &options);
    if events.send(plan.planned()).is_err() {
        tracing::debug!("the receiver of events is gone");
    }
    // Its printer (a full disk, a closed pipe) panics before the first trial or after all started ones have ended,
    // since the threads are joined; trials that have not run yet run then without a log.
    let attempt = |arguments: &Arguments| {
        let trials = mimic_trials(plan, &runner, &options.handle);
        catch_unwind(AssertUnwindSafe(|| libtest_mimic::run(arguments, trials))).is_ok()
    };
    if !attempt(&arguments) {
        warn("libtest-mimic failed to write its log; other reports are not affected".to_owned());
        arguments.logfile = Some(NOWHERE.to_owned());
        if !attempt(&arguments) {
            warn(format!(
                "libtest-mimic failed to write to {NOWHERE}; trials may be missing"
            ));
        }
    }
    runner.summary()
}

/// Runs the plan to its end on the runtime of the caller, without threads and without libtest-mimic: with the same
/// admission, order, deadlines and events as [`run`]. For simulations, whose clock may be stopped while all wait.
pub async fn simulate(
    plan: &Plan,
    environment: Arc<dyn Environment>,
    events: UnboundedSender<Event>,
    options: RunOptions,
) -> Summary {
    let runner = runner(environment, &events, &options);
    if events.send(plan.planned()).is_err() {
        tracing::debug!("the receiver of events is gone");
    }
    let waiting: VecDeque<Trial> = plan.in_order().into_iter().cloned().collect();
    let waiting = Arc::new(Mutex::new(waiting));
    let mut threads = JoinSet::new();
    for _ in 0..threads_of(options.jobs, plan.trials().len()) {
        let (runner, waiting) = (runner.clone(), waiting.clone());
        threads.spawn(async move {
            let next = || waiting.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
            while let Some(trial) = next() {
                runner.run(&trial).await;
            }
        });
    }
    threads.join_all().await;
    runner.summary()
}

fn runner(
    environment: Arc<dyn Environment>,
    events: &UnboundedSender<Event>,
    options: &RunOptions,
) -> Arc<TrialRunner> {
    let clusters: Vec<_> = environment
        .facts()
        .clusters
        .iter()
        .map(|cluster| cluster.name.clone())
        .collect();
    Arc::new(TrialRunner {
        environment,
        shared: options.shared.clone(),
        observed: Arc::default(),
        events: events.clone(),
        gate: Gate::new(options.jobs, clusters),
        limits: options.limits,
        cancel: options.cancel.clone(),
        lost: options.lost.clone(),
        fail_fast: options.fail_fast,
        state: Mutex::new(State::default()),
    })
}

/// More than shared ones are admitted, so that exclusive trials can queue while the last shared ones run, and those
/// that leave each other alone find each other. Threads are cheap: they only wait.
fn threads_of(jobs: usize, trials: usize) -> usize {
    const QUEUE: usize = 16;
    jobs.clamp(1, 4096).saturating_add(QUEUE).min(trials.max(1))
}

/// The file that swallows everything.
const NOWHERE: &str = if cfg!(windows) { "NUL" } else { "/dev/null" };

/// The trials that have not finished yet.
fn mimic_trials(plan: &Plan, runner: &Arc<TrialRunner>, handle: &Handle) -> Vec<MimicTrial> {
    let waiting = plan
        .in_order()
        .into_iter()
        .filter(|trial| !runner.has_finished(&trial.name));
    waiting
        .map(|trial| {
            let (runner, handle, trial) = (runner.clone(), handle.clone(), trial.clone());
            MimicTrial::ignorable_test(trial.name.to_string(), move || {
                completion(&trial, handle.block_on(runner.run(&trial)))
            })
        })
        .collect()
}

fn arguments(options: &RunOptions, trials: usize, warn: &dyn Fn(String)) -> Arguments {
    let silent = || Some(NOWHERE.to_owned());
    let logfile = match &options.printer {
        Printer::Silent => silent(),
        Printer::Stdout(_) => None,
        Printer::File(path) => match (File::create(path), path.to_str()) {
            (Ok(_), Some(text)) => Some(text.to_owned()),
            (Ok(_), None) => silent(),
            (Err(error), _) => {
                warn(format!(
                    "failed to write {}: {error}; other reports are not affected",
                    path.display()
                ));
                silent()
            }
        },
    };
    let mut arguments = match &options.printer {
        Printer::Stdout(given) => given.for_printing(),
        Printer::Silent | Printer::File(_) => Arguments::default(),
    };
    arguments.logfile = logfile.or(arguments.logfile);
    arguments.test_threads = Some(threads_of(options.jobs, trials));
    arguments
}

fn completion(trial: &Trial, verdict: Verdict) -> Result<Completion, Failed> {
    if let Some(waiver) = &trial.waiver
        && trial.standing(&verdict).is_waived()
    {
        return Ok(Completion::ignored_with(format!("waived {waiver}")));
    }
    match verdict {
        Verdict::Pass { .. } => Ok(Completion::Completed),
        Verdict::Skipped { why } => Ok(Completion::ignored_with(why)),
        Verdict::Inconclusive { why } => Err(format!("inconclusive: {why}").into()),
        Verdict::Fail { findings } => Err(findings.iter().map(describe).collect::<Vec<_>>().join("\n").into()),
    }
}

fn describe(
    Finding {
        subject,
        expected,
        observed,
    }: &Finding,
) -> String {
    format!("{subject}\n  expected: {expected}\n  observed: {observed}")
}

#[cfg(test)]
mod tests;
