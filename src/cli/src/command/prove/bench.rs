//! A lab on which faults are tried one after another, beside other labs.

use super::{
    concerned,
    matrix::{Matrix, Row},
    pass::{Bystander, Pass},
    plan, these,
};
use crate::{
    command::run::{JOBS, LIMITS, execute, new_run_id, scenarios},
    fatal::Fatal,
    session::{
        Session,
        fault::FaultEntry,
        lab::{Lab, LabNodes},
    },
};
use anyhow::anyhow;
use meshproof_contract::{CheckId, Exit, FaultName};
use meshproof_engine::{Filter, Plan, Printer, RunOptions};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::atomic::{AtomicUsize, Ordering},
    time::{Duration, Instant},
};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

/// How long the lab may take to be green again after a fault was healed; checks are asked again and again till then.
const HEALED_WITHIN: Duration = Duration::from_secs(90);

/// How often checks that could not tell are asked again: labs share the machine, and whoever sees that it was too busy says so.
const ASKED_AGAIN: usize = 2;

const STREAM_SPACING_MS: u32 = 50;

/// The faults to try, each taken by one bench.
pub(super) struct Queue<'a> {
    faults: &'a [&'a FaultEntry],
    healthy: &'a Matrix,
    full: bool,
    next: AtomicUsize,
    done: AtomicUsize,
}

impl<'a> Queue<'a> {
    pub(super) fn new(faults: &'a [&'a FaultEntry], healthy: &'a Matrix, full: bool) -> Self {
        Self {
            faults,
            healthy,
            full,
            next: AtomicUsize::new(0),
            done: AtomicUsize::new(0),
        }
    }

    fn take(&self) -> Option<&'a FaultEntry> {
        self.faults.get(self.next.fetch_add(1, Ordering::Relaxed)).copied()
    }

    fn tell(&self, row: &Row) {
        let done = self.done.fetch_add(1, Ordering::Relaxed) + 1;
        println!("[{done:>2}/{}] {}", self.faults.len(), told(row, self.healthy));
        for said in row.unhealed.values() {
            println!("        {said}");
        }
    }
}

/// A lab with agents in it.
pub(super) struct Bench {
    lab: Lab,
    session: Session,
    bystander: Bystander,
    cancel: CancellationToken,
}

impl Bench {
    /// Boots a lab and deploys what the plan needs.
    pub(super) async fn open(plan: &Plan, nodes: LabNodes, cancel: &CancellationToken) -> Result<Self, Fatal> {
        let scenarios = scenarios(plan)?;
        let bystander = Bystander::start();
        let lab = Lab::start(nodes, &[]).await?;
        let mut place = lab.place();
        // Labs share the machine: streams as dense as in a run would tell of its being busy only.
        place.disruptive.stream_spacing_ms = Some(STREAM_SPACING_MS);
        match Session::open(&place, new_run_id(), &scenarios, &bystander.events(), cancel).await {
            Ok(session) => Ok(Self {
                lab,
                session,
                bystander,
                cancel: cancel.clone(),
            }),
            Err(fatal) => {
                lab.stop().await;
                Err(fatal)
            }
        }
    }

    /// Removes everything.
    pub(super) async fn close(self) {
        self.session.close().await;
        self.lab.stop().await;
    }

    /// The checks on the healthy lab: a matrix without rows.
    pub(super) async fn healthy(&self, checks: &Plan) -> Result<Matrix, Fatal> {
        let mut matrix = Matrix::default();
        for trial in checks.trials() {
            let faults = trial.check.faults().iter();
            let named = faults.map(|fault| FaultName::from(*fault)).collect::<BTreeSet<_>>();
            matrix.checks.insert(trial.check.id(), named);
            let blinding = trial.check.blinded_by().iter().map(|fault| FaultName::from(*fault));
            matrix.blinded.insert(trial.check.id(), blinding.collect());
        }
        let healthy = self.insist(checks, |_| true).await?;
        matrix.unhealthy = healthy.not_green();
        for (check, said) in &matrix.unhealthy {
            println!("FALSE ALARM  {check}: {said}");
        }
        // What does not apply to the lab (skipped) is no part of the proof.
        let skipped = healthy.only_skipped();
        matrix.checks.retain(|check, _| !skipped.contains(check));
        matrix
            .blinded
            .retain(|check, faults| !faults.is_empty() && !skipped.contains(check));
        Ok(matrix)
    }

    /// Tries faults until none is left, and closes.
    pub(super) async fn work(self, queue: &Queue<'_>) -> Result<Vec<Row>, Fatal> {
        let mut rows = Vec::new();
        let mut end = Ok(());
        while let Some(fault) = queue.take() {
            match self.meet(fault, queue).await {
                Ok(row) => {
                    queue.tell(&row);
                    rows.push(row);
                }
                Err(fatal) => {
                    // Whatever keeps one bench from working ends the others, too: the matrix would not be complete.
                    self.cancel.cancel();
                    end = Err(fatal);
                    break;
                }
            }
        }
        self.close().await;
        end.map(|()| rows)
    }

    async fn meet(&self, fault: &FaultEntry, queue: &Queue<'_>) -> Result<Row, Fatal> {
        let concerned = concerned(fault);
        let filter = match queue.full || concerned.is_empty() {
            true => Filter::default(),
            false => these(concerned),
        };
        let plan = plan(&filter)?;
        let started = Instant::now();
        self.lab.inject(&fault.name).await?;
        let name = FaultName::from(fault.name.as_str());
        let promised = |check: &CheckId| {
            queue
                .healthy
                .checks
                .get(check)
                .is_some_and(|named| named.contains(&name))
        };
        let pass = self.insist(&plan, promised).await;
        self.lab.heal(&fault.name).await?;
        let pass = pass?;
        let caught = pass.failed();
        let inconclusive = pass.inconclusive();
        let affected: BTreeSet<CheckId> = caught.keys().chain(inconclusive.keys()).cloned().collect();
        let met = Instant::now();
        let unhealed = self.see_green(&affected).await?;
        tracing::info!(
            "{}: met by {} checks in {:.1} s, {} green again {:.1} s later",
            fault.name,
            pass.ran().len(),
            (met - started).as_secs_f64(),
            affected.len(),
            met.elapsed().as_secs_f64()
        );
        Ok(Row {
            fault: name,
            summary: fault.summary.clone(),
            ran: pass.ran(),
            caught,
            inconclusive,
            unhealed,
        })
    }

    /// Asks the checks that were not green again until they are; those that never are come back with what they said last.
    async fn see_green(&self, checks: &BTreeSet<CheckId>) -> Result<BTreeMap<CheckId, String>, Fatal> {
        let deadline = Instant::now() + HEALED_WITHIN;
        let mut left: Vec<CheckId> = checks.iter().cloned().collect();
        let mut said = BTreeMap::new();
        while !left.is_empty() {
            let plan = plan(&these(left))?;
            said = self.pass(&plan).await?.not_green();
            left = said.keys().cloned().collect();
            if Instant::now() > deadline {
                break;
            }
        }
        Ok(said)
    }

    /// A pass in which those who should be able to tell are asked again if they could not.
    async fn insist(&self, checks: &Plan, should_tell: impl Fn(&CheckId) -> bool) -> Result<Pass, Fatal> {
        let mut pass = self.pass(checks).await?;
        for _ in 0..ASKED_AGAIN {
            let unsure: Vec<CheckId> = pass.inconclusive().into_keys().filter(&should_tell).collect();
            if unsure.is_empty() {
                break;
            }
            pass.renew(self.pass(&plan(&these(unsure))?).await?);
        }
        Ok(pass)
    }

    async fn pass(&self, plan: &Plan) -> Result<Pass, Fatal> {
        let options = RunOptions {
            shared: self.session.shared(),
            jobs: JOBS.into(),
            limits: LIMITS,
            fail_fast: false,
            cancel: self.cancel.child_token(),
            lost: self.session.lost(),
            handle: Handle::current(),
            printer: Printer::Silent,
        };
        self.bystander.forget();
        let summary = execute(&self.session, plan, options, &self.bystander.events()).await?;
        if self.session.lost().is_cancelled() {
            return Err(Fatal::environment(anyhow!(
                "the Lease of this run was lost; the matrix is not complete, and not written"
            )));
        }
        match summary.interrupted {
            true => Err(Fatal {
                exit: Exit::Interrupted,
                error: anyhow!("interrupted; the matrix is not complete, and not written"),
            }),
            false => Ok(self.bystander.seen(summary.total()).await),
        }
    }
}

fn told(row: &Row, matrix: &Matrix) -> String {
    let mut by: Vec<String> = row.caught.keys().map(ToString::to_string).collect();
    let outcome = match by.len() {
        0 if matrix.is_noticed(row) => format!("blinds {} checks, which say so", row.inconclusive.len()),
        0 => "SURVIVED".to_owned(),
        1..=3 => format!("caught by {}", by.join(", ")),
        n => {
            by.truncate(2);
            format!("caught by {} and {} more", by.join(", "), n - 2)
        }
    };
    let healed = match row.unhealed.is_empty() {
        true => "",
        false => "; NOT GREEN AGAIN after healing",
    };
    format!("{:<36} {outcome}{healed}", row.fault)
}
