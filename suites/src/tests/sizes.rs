//! How the work of a run grows with nodes and clusters: the real suites, planned and run by the real engine, over
//! worlds in memory of several shapes, on a clock that stands still while all wait. What a request, a command and a pod
//! cost is in [`bed`]. The table is committed as docs/sizes.md.

mod bed;
mod metered;
mod page;

use super::{assert_current, repository};
use crate::{
    ALL,
    testing::{Fake, Shape},
};
use async_trait::async_trait;
use bed::Meter;
use meshproof_contract::{
    Check, CheckContext, CheckId, CheckText, ClusterName, Environment, Event, Facts, Instance, Needs, RunShared, Scope,
    Suite, TrialName, Verdict,
};
use meshproof_engine::{Filter, Limits, Printer, RunOptions, Summary, select, simulate};
use metered::Metered;
use std::{sync::Arc, time::Duration};
use tokio::{runtime::Handle, sync::mpsc::unbounded_channel, time::Instant};

/// The shapes of the table. Without optimization the larger ones take minutes: every test run simulates the first
/// [`QUICK`], and the rows of the others stay as committed.
const SHAPES: [Shape; 6] = [
    shape(2, 3),
    shape(5, 3),
    shape(2, 30),
    shape(5, 30),
    shape(2, 100),
    shape(5, 100),
];
const QUICK: usize = 2;
const PAGE: &str = "docs/sizes.md";
/// Defaults of `meshproof run`.
const JOBS: usize = 12;
const LIMITS: Limits = Limits {
    shared: Duration::from_secs(180),
    exclusive: Duration::from_secs(420),
};
/// The suite that a run without `--disruptive` leaves out; its work does not grow with nodes.
const LEFT_OUT: &str = "failover";

const fn shape(clusters: usize, nodes: u8) -> Shape {
    Shape { clusters, nodes }
}

/// What one simulated run was.
struct Run {
    shape: Shape,
    summary: Summary,
    /// What was not green, for people.
    trouble: Vec<String>,
    duration: Duration,
    slowest: (TrialName, Duration),
    used: bed::Used,
    pods: usize,
    /// Bytes of the event log.
    log: usize,
}

/// A healthy world of that shape for the checks of a suite.
fn world(suite: &str, shape: Shape) -> Arc<dyn Environment> {
    match suite {
        "encryption" => crate::encryption::world(shape),
        "gitops" => crate::gitops::world(shape),
        "policy" => crate::policy::world(shape),
        "service" => crate::service::world(shape),
        "components" => crate::components::world(shape),
        "state" => crate::state::world(shape),
        _ => Arc::new(Fake::of(shape)),
    }
}

/// A check in the world of its suite, whose operations are counted and take their time.
struct Simulated {
    check: &'static dyn Check,
    world: Arc<dyn Environment>,
    /// What the checks of the suite have read: other suites have other worlds.
    observed: Arc<RunShared>,
    meter: Arc<Meter>,
}

#[async_trait]
impl Check for Simulated {
    fn id(&self) -> CheckId {
        self.check.id()
    }
    fn text(&self) -> CheckText {
        self.check.text()
    }
    fn scope(&self) -> Scope {
        self.check.scope()
    }
    fn needs(&self) -> Needs {
        self.check.needs()
    }
    fn faults(&self) -> &'static [&'static str] {
        self.check.faults()
    }
    fn blinded_by(&self) -> &'static [&'static str] {
        self.check.blinded_by()
    }
    async fn run(&self, context: &CheckContext) -> Verdict {
        let mut own = context.clone().observing(self.observed.clone());
        own.environment = Arc::new(Metered::new(self.world.clone(), self.meter.clone()));
        self.check.run(&own).await
    }
}

/// What the engine asks of an environment: the facts.
struct Sites(Arc<Facts>);

#[async_trait]
impl Environment for Sites {
    fn facts(&self) -> Arc<Facts> {
        self.0.clone()
    }
}

/// The facts of all worlds together.
fn facts(shape: Shape) -> Facts {
    let mut all = Fake::of(shape).facts;
    for suite in ["encryption", "policy", "service"] {
        let facts = world(suite, shape).facts();
        let known = |id| all.agents.iter().any(|agent| &agent.id == id);
        let more: Vec<_> = facts
            .agents
            .iter()
            .filter(|a| a.scenario == suite && !known(&a.id))
            .cloned()
            .collect();
        all.agents.extend(more);
        all.claims.extend(facts.claims.iter().cloned());
    }
    all
}

/// Suites of simulated checks. They live as long as the process, since the engine asks for checks that do.
fn suites(shape: Shape, meter: &Arc<Meter>) -> Vec<Suite> {
    let simulated = |suite: &Suite| {
        let (world, observed) = (world(suite.name, shape), Arc::<RunShared>::default());
        let checks = suite.checks.iter().map(|check| {
            let simulated = Simulated {
                check: *check,
                world: world.clone(),
                observed: observed.clone(),
                meter: meter.clone(),
            };
            &*Box::leak(Box::new(simulated)) as &'static dyn Check
        });
        Suite {
            checks: Vec::leak(checks.collect()),
            ..*suite
        }
    };
    let selected = ALL.iter().filter(|suite| suite.name != LEFT_OUT);
    selected.map(|suite| simulated(suite)).collect()
}

/// Simulates a run.
async fn run(shape: Shape) -> Run {
    let clusters: Vec<ClusterName> = shape.sites().into_iter().map(|site| site.name.into()).collect();
    let meter = Arc::new(Meter::new(shape));
    let plan = select(&suites(shape, &meter), &clusters, &[], &Filter::default()).expect("a plan");
    let facts = facts(shape);
    let pods = facts.agents.len();
    let options = RunOptions {
        shared: Arc::default(),
        jobs: JOBS,
        limits: LIMITS,
        fail_fast: false,
        cancel: tokio_util::sync::CancellationToken::new(),
        lost: tokio_util::sync::CancellationToken::new(),
        handle: Handle::current(),
        printer: Printer::Silent,
    };
    let (events, mut received) = unbounded_channel();
    let begun = Instant::now();
    let summary = simulate(&plan, Arc::new(Sites(Arc::new(facts))), events, options).await;
    let duration = begun.elapsed();
    let (mut log, mut trouble, mut slowest) = (0, Vec::new(), (TrialName::new("none"), Duration::ZERO));
    while let Some(event) = received.recv().await {
        log += serde_json::to_vec(&event).expect("an event").len();
        let Event::TrialFinished {
            trial, verdict, micros, ..
        } = event
        else {
            continue;
        };
        if !matches!(verdict, Verdict::Pass { .. } | Verdict::Skipped { .. }) {
            let told = format!("{verdict:?}");
            trouble.push(format!("{trial}: {}", told.chars().take(400).collect::<String>()));
        }
        let took = Duration::from_micros(micros);
        if took > slowest.1 {
            slowest = (trial, took);
        }
    }
    Run {
        shape,
        summary,
        trouble,
        duration,
        slowest,
        used: meter.used(),
        pods,
        log,
    }
}

#[tokio::test(start_paused = true)]
async fn the_table_of_sizes_is_current() {
    hold_current(QUICK).await;
}

#[tokio::test(start_paused = true)]
#[ignore = "takes minutes: MESHPROOF_UPDATE=1 cargo test -p meshproof-suites sizes -- --ignored"]
async fn every_row_of_the_table_of_sizes_is_current() {
    hold_current(SHAPES.len()).await;
}

/// Simulates the first shapes and holds their rows against the committed ones.
async fn hold_current(simulated: usize) {
    let committed = std::fs::read_to_string(repository().join(PAGE)).unwrap_or_default();
    let mut rows = Vec::new();
    for (at, shape) in SHAPES.into_iter().enumerate() {
        if at >= simulated {
            rows.extend(page::row_of(&committed, shape));
            continue;
        }
        let begun = std::time::Instant::now();
        let run = run(shape).await;
        println!("{} after {:?}", page::row(&run).trim_end(), begun.elapsed());
        let trouble = run.trouble.join("\n");
        assert!(trouble.is_empty(), "{shape:?}: {:?}\n{trouble}", run.summary);
        rows.push(page::row(&run));
    }
    assert_current(PAGE, &page::page(&rows));
}

/// Directions of a run: each check between clusters has one trial for each.
fn directions(shape: Shape) -> usize {
    let clusters: Vec<ClusterName> = shape.sites().into_iter().map(|site| site.name.into()).collect();
    Instance::of(Scope::Direction, &clusters, &[]).len()
}
