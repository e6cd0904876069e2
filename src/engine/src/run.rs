//! The run itself: trials handed to libtest-mimic, whose threads only wait for what the runtime does.

use crate::{
    admission::Gate,
    conduct::{Conductor, Limits, State},
    harness::TestArguments,
    plan::Plan,
    summary::Summary,
};
use libtest_mimic::{Arguments, Completion, Failed, Trial as MimicTrial};
use meshproof_contract::{Environment, Event, Finding, RunShared, Verdict};
use std::{
    fs::File,
    panic::{AssertUnwindSafe, catch_unwind},
    path::PathBuf,
    sync::{Arc, Mutex},
};
use tokio::{runtime::Handle, sync::mpsc::UnboundedSender};
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
    /// Ends the run: nothing more starts, and what runs is given up.
    pub cancel: CancellationToken,
    /// Ends the run in the same way, as one that could not tell: the clusters are not its own any more.
    pub lost: CancellationToken,
    /// The runtime on which checks run.
    pub handle: Handle,
    /// Where libtest-mimic's own report goes.
    pub printer: Printer,
}

/// What becomes of the lines that libtest-mimic prints. It cannot be told to be silent, only where to print, and it
/// panics when it cannot; so anything but a test target keeps it away from the terminal.
#[derive(Clone, Debug, Default)]
pub enum Printer {
    /// Nobody sees them.
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
            tracing::debug!("nobody takes the events of this run any more");
        }
    };
    let mut arguments = arguments(&options, plan.trials().len(), &warn);
    let conductor = Arc::new(Conductor {
        environment,
        shared: options.shared,
        events: events.clone(),
        gate: Gate::new(options.jobs),
        limits: options.limits,
        cancel: options.cancel,
        lost: options.lost,
        fail_fast: options.fail_fast,
        state: Mutex::new(State::default()),
    });
    if events.send(plan.planned()).is_err() {
        tracing::debug!("nobody takes the events of this run");
    }
    // A panic of its printer (a full disk, a closed pipe) comes before the first trial or after all that started have
    // ended, since the threads are joined; what has not run yet runs then without a log.
    let attempt = |arguments: &Arguments| {
        let trials = mimic_trials(plan, &conductor, &options.handle);
        catch_unwind(AssertUnwindSafe(|| libtest_mimic::run(arguments, trials))).is_ok()
    };
    if !attempt(&arguments) {
        warn("libtest-mimic failed to write its own log; the other reports do not need it".to_owned());
        arguments.logfile = Some(NOWHERE.to_owned());
        if !attempt(&arguments) {
            warn(format!(
                "libtest-mimic failed to write to {NOWHERE}; trials may be missing"
            ));
        }
    }
    conductor.summary()
}

/// The file that swallows everything.
const NOWHERE: &str = if cfg!(windows) { "NUL" } else { "/dev/null" };

/// The trials that have not finished yet.
fn mimic_trials(plan: &Plan, conductor: &Arc<Conductor>, handle: &Handle) -> Vec<MimicTrial> {
    let waiting = plan
        .trials()
        .iter()
        .filter(|trial| !conductor.has_finished(&trial.name));
    waiting
        .map(|trial| {
            let (conductor, handle, trial) = (conductor.clone(), handle.clone(), trial.clone());
            MimicTrial::ignorable_test(trial.name.to_string(), move || {
                completion(handle.block_on(conductor.conduct(&trial)))
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
                    "failed to write {}: {error}; the other reports do not need it",
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
    // One more than are admitted, so that an exclusive trial can queue while the last shared ones run. Threads are
    // cheap: they only wait.
    arguments.test_threads = Some(options.jobs.clamp(1, 4096).saturating_add(1).min(trials.max(1)));
    arguments
}

fn completion(verdict: Verdict) -> Result<Completion, Failed> {
    match verdict {
        Verdict::Pass { .. } => Ok(Completion::Completed),
        Verdict::Skipped { why } => Ok(Completion::ignored_with(why)),
        Verdict::Inconclusive { why } => Err(format!("inconclusive: {why}").into()),
        Verdict::Fail { findings } => Err(findings.iter().map(told).collect::<Vec<_>>().join("\n").into()),
    }
}

fn told(
    Finding {
        subject,
        expected,
        observed,
    }: &Finding,
) -> String {
    format!("{subject}\n  expected: {expected}\n  observed: {observed}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        fake::{FakeCheck, World, suite},
        selection::{Filter, select},
    };
    use meshproof_contract::Admission;
    use std::{collections::BTreeMap, time::Duration};
    use tokio::sync::mpsc::unbounded_channel;

    fn run_all(checks: Vec<FakeCheck>, printer: Printer, jobs: usize) -> (Summary, Vec<Event>) {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_time()
            .build()
            .unwrap();
        let plan = select(
            &[suite("a", checks)],
            &["infra".into(), "apps".into()],
            &Filter::default(),
        )
        .unwrap();
        let (events, mut told) = unbounded_channel();
        let options = RunOptions {
            shared: Arc::default(),
            jobs,
            limits: Limits {
                shared: Duration::from_secs(20),
                exclusive: Duration::from_secs(20),
            },
            fail_fast: false,
            cancel: CancellationToken::new(),
            lost: CancellationToken::new(),
            handle: runtime.handle().clone(),
            printer,
        };
        let summary = run(&plan, Arc::new(World::default()), events, options);
        (summary, std::iter::from_fn(|| told.try_recv().ok()).collect())
    }

    fn mixed() -> Vec<FakeCheck> {
        vec![
            FakeCheck::passing("a::green").lasting(Duration::from_millis(20)),
            FakeCheck::failing("a::red"),
            FakeCheck::concluding("a::unsure", Verdict::inconclusive("an agent is away")),
            FakeCheck::concluding("a::skipped", Verdict::skipped("not here")),
            FakeCheck::panicking("a::broken", "oh"),
            FakeCheck::passing("a::alone")
                .admission(Admission::Exclusive)
                .lasting(Duration::from_millis(20)),
        ]
    }

    #[test]
    fn every_trial_finishes_exactly_once_whatever_it_does() {
        for jobs in [1, 4, 100] {
            let (summary, events) = run_all(mixed(), Printer::Silent, jobs);
            let expected = Summary {
                passed: 4,
                failed: 2,
                inconclusive: 4,
                skipped: 2,
                interrupted: false,
            };
            assert_eq!(summary, expected);
            assert!(
                matches!(&events[0], Event::Planned { trials } if trials.len() == 12),
                "{:?}",
                events[0]
            );
            let mut finished = BTreeMap::new();
            let mut running = Vec::new();
            for event in &events {
                match event {
                    Event::TrialStarted { trial } => {
                        running.push(trial.clone());
                        let alone = running.iter().all(|t| !t.as_str().contains("alone")) || running.len() == 1;
                        assert!(alone, "{running:?} at once");
                    }
                    Event::TrialFinished { trial, .. } => {
                        running.retain(|t| t != trial);
                        *finished.entry(trial.clone()).or_insert(0) += 1;
                    }
                    _ => {}
                }
            }
            assert!(
                finished.len() == 12 && finished.values().all(|n| *n == 1),
                "{finished:?}"
            );
        }
    }

    #[test]
    fn libtests_own_report_goes_to_its_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("libtest.log");
        run_all(mixed(), Printer::File(path.clone()), 2);
        let log = std::fs::read_to_string(path).unwrap();
        assert!(log.contains("4 passed; 6 failed; 2 ignored"), "{log}");
        assert!(log.contains("expected: green"), "{log}");
    }

    #[test]
    fn a_log_that_cannot_be_written_is_a_warning_only() {
        let (summary, events) = run_all(mixed(), Printer::File("/nonexistent/libtest.log".into()), 2);
        assert_eq!(summary.total(), 12);
        assert!(
            matches!(&events[0], Event::Warning { message } if message.contains("failed to write")),
            "{events:?}"
        );
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_full_disk_under_libtests_log_does_not_lose_a_verdict() {
        let (summary, events) = run_all(mixed(), Printer::File("/dev/full".into()), 2);
        assert_eq!(summary.total(), 12);
        let warned = events
            .iter()
            .any(|e| matches!(e, Event::Warning { message } if message.contains("its own log")));
        assert!(warned, "{events:?}");
    }
}
