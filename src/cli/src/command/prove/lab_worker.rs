//! A lab into which faults are injected one after another, beside other labs.

use super::{
    matrix::{Matrix, Row},
    selection::{checks_concerned, exactly, plan},
    verdicts::{VerdictCollector, Verdicts},
};
use crate::{
    cli_error::CliError,
    session::{Session, fault::FaultSpec, lab::Lab, lab_shape::LabShape, run_plan},
};
use anyhow::anyhow;
use meshproof_contract::{CheckId, Exit, FaultName, text::counted};
use meshproof_engine::{Filter, Plan};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::atomic::{AtomicUsize, Ordering},
    time::{Duration, Instant},
};
use tokio_util::sync::CancellationToken;

/// How long the lab may take to be green again after a fault was healed; checks are repeated till then.
const HEALED_WITHIN: Duration = Duration::from_secs(90);

/// How often inconclusive checks are repeated: labs share the machine, and checks that find it too busy say so.
const RETRIES: usize = 2;

/// Labs share the machine: streams as dense as in a run would only show how busy it is.
const STREAM_SPACING_MS: u32 = 50;
/// Longer than the faults of a clustermesh-apiserver that stays away take to act, and no longer: labs wait for it.
const MESH_OUTAGE_SECONDS: u32 = 20;

/// The faults to inject, each taken by one worker.
pub struct FaultQueue<'a> {
    faults: &'a [&'a FaultSpec],
    baseline: &'a Matrix,
    full: bool,
    next: AtomicUsize,
    done: AtomicUsize,
}

impl<'a> FaultQueue<'a> {
    /// A queue of these faults; with `full`, every check meets every fault.
    pub fn new(faults: &'a [&'a FaultSpec], baseline: &'a Matrix, full: bool) -> Self {
        Self {
            faults,
            baseline,
            full,
            next: AtomicUsize::new(0),
            done: AtomicUsize::new(0),
        }
    }

    fn take(&self) -> Option<&'a FaultSpec> {
        self.faults.get(self.next.fetch_add(1, Ordering::Relaxed)).copied()
    }

    fn plan(&self, fault: &FaultSpec) -> Result<Plan, CliError> {
        let concerned = checks_concerned(fault);
        if self.full || concerned.is_empty() {
            plan(&Filter::default())
        } else {
            plan(&exactly(concerned))
        }
    }

    fn names(&self, fault: &FaultName, check: &CheckId) -> bool {
        let named = self.baseline.checks.get(check);
        named.is_some_and(|named| named.contains(fault))
    }

    fn print(&self, row: &Row) {
        let done = self.done.fetch_add(1, Ordering::Relaxed) + 1;
        println!("[{done:>2}/{}] {}", self.faults.len(), line(row, self.baseline));
        for reason in row.unhealed.values() {
            println!("        {reason}");
        }
    }
}

/// A lab with agents in it.
pub struct LabWorker {
    lab: Lab,
    session: Session,
    collector: VerdictCollector,
    cancel: CancellationToken,
}

impl LabWorker {
    /// Boots a lab and deploys what the plan needs.
    pub async fn start(plan: &Plan, shape: LabShape, cancel: &CancellationToken) -> Result<Self, CliError> {
        let scenarios = run_plan::scenarios(plan)?;
        let collector = VerdictCollector::start();
        let lab = Lab::start(shape, &[]).await?;
        let mut target = lab.target();
        target.disruption.stream_spacing_ms = Some(STREAM_SPACING_MS);
        target.disruption.mesh_outage_seconds = Some(MESH_OUTAGE_SECONDS);
        let (id, events) = (run_plan::new_run_id(), collector.events());
        match Session::open(&target, id, &scenarios, &events, cancel).await {
            Ok(session) => Ok(Self {
                lab,
                session,
                collector,
                cancel: cancel.clone(),
            }),
            Err(error) => {
                lab.stop().await;
                Err(error)
            }
        }
    }

    /// Removes everything.
    pub async fn close(self) {
        self.session.close().await;
        self.lab.stop().await;
    }

    /// The checks on the healthy lab: a matrix without rows.
    pub async fn baseline(&self, checks: &Plan) -> Result<Matrix, CliError> {
        let mut matrix = Matrix::default();
        for trial in checks.trials() {
            let names = |faults: &[&str]| faults.iter().map(|fault| FaultName::from(*fault)).collect();
            matrix.checks.insert(trial.check.id(), names(trial.check.faults()));
            matrix.blinded.insert(trial.check.id(), names(trial.check.blinded_by()));
        }
        let verdicts = self.pass_with_retries(checks, |_| true).await?;
        matrix.unhealthy = verdicts.not_green();
        for (check, reason) in &matrix.unhealthy {
            println!("FALSE ALARM  {check}: {reason}");
        }
        // What does not apply to the lab (skipped) is not part of the proof.
        let skipped = verdicts.only_skipped();
        let (of_skipped, of_others): (Vec<_>, Vec<_>) = matrix.checks.iter().partition(|(id, _)| skipped.contains(*id));
        let named: BTreeSet<&FaultName> = of_others.into_iter().flat_map(|(_, faults)| faults).collect();
        let only_skipped = of_skipped.into_iter().flat_map(|(_, faults)| faults);
        matrix.out_of_profile = only_skipped.filter(|fault| !named.contains(fault)).cloned().collect();
        matrix.checks.retain(|check, _| !skipped.contains(check));
        matrix
            .blinded
            .retain(|check, faults| !faults.is_empty() && !skipped.contains(check));
        Ok(matrix)
    }

    /// Injects faults until none is left, and closes.
    pub async fn work(self, queue: &FaultQueue<'_>) -> Result<Vec<Row>, CliError> {
        let mut rows = Vec::new();
        let mut end = Ok(());
        while let Some(fault) = queue.take() {
            match self.inject_and_check(fault, queue).await {
                Ok(row) => {
                    queue.print(&row);
                    rows.push(row);
                }
                Err(error) => {
                    // If one worker cannot go on, the others stop, too: the matrix would not be complete.
                    self.cancel.cancel();
                    end = Err(error);
                    break;
                }
            }
        }
        self.close().await;
        end.map(|()| rows)
    }

    async fn inject_and_check(&self, fault: &FaultSpec, queue: &FaultQueue<'_>) -> Result<Row, CliError> {
        let plan = queue.plan(fault)?;
        let name = FaultName::from(fault.name);
        let injected = Instant::now();
        self.lab.inject(fault.name).await?;
        let verdicts = self.pass_with_retries(&plan, |check| queue.names(&name, check)).await;
        self.lab.heal(fault.name).await?;
        let verdicts = verdicts?;
        let (caught, inconclusive) = (verdicts.failed(), verdicts.inconclusive());
        let affected: BTreeSet<CheckId> = caught.keys().chain(inconclusive.keys()).cloned().collect();
        let healed = Instant::now();
        let unhealed = self.wait_until_green(&affected).await?;
        tracing::info!(
            "{}: {} checks in {:.1} s, {} green again {:.1} s later",
            fault.name,
            verdicts.ran().len(),
            (healed - injected).as_secs_f64(),
            affected.len(),
            healed.elapsed().as_secs_f64()
        );
        Ok(Row {
            fault: name,
            summary: fault.what.to_owned(),
            ran: verdicts.ran(),
            caught,
            inconclusive,
            unhealed,
        })
    }

    /// Repeats the checks that are not green until they are; those that never are come back with their last reason.
    async fn wait_until_green(&self, checks: &BTreeSet<CheckId>) -> Result<BTreeMap<CheckId, String>, CliError> {
        let deadline = Instant::now() + HEALED_WITHIN;
        let mut left: Vec<CheckId> = checks.iter().cloned().collect();
        let mut reasons = BTreeMap::new();
        while !left.is_empty() {
            let plan = plan(&exactly(left))?;
            reasons = self.pass(&plan).await?.not_green();
            left = reasons.keys().cloned().collect();
            if Instant::now() > deadline {
                break;
            }
        }
        Ok(reasons)
    }

    /// A pass after which those inconclusive checks are repeated that must not be.
    async fn pass_with_retries(
        &self,
        checks: &Plan,
        must_conclude: impl Fn(&CheckId) -> bool,
    ) -> Result<Verdicts, CliError> {
        let mut verdicts = self.pass(checks).await?;
        for _ in 0..RETRIES {
            let unsure: Vec<CheckId> = verdicts.inconclusive().into_keys().filter(&must_conclude).collect();
            if unsure.is_empty() {
                break;
            }
            verdicts.merge(self.pass(&plan(&exactly(unsure))?).await?);
        }
        Ok(verdicts)
    }

    async fn pass(&self, plan: &Plan) -> Result<Verdicts, CliError> {
        let options = run_plan::options(&self.session, self.cancel.child_token());
        self.collector.clear();
        let summary = run_plan::execute(&self.session, plan, options, &self.collector.events()).await?;
        if self.session.lost().is_cancelled() {
            return Err(CliError::environment(anyhow!(
                "this run lost its Lease; the matrix is incomplete and was not written"
            )));
        }
        if summary.interrupted {
            return Err(CliError {
                exit: Exit::Interrupted,
                error: anyhow!("interrupted; the matrix is incomplete and was not written"),
            });
        }
        Ok(self.collector.collected(summary.total()).await)
    }
}

fn line(row: &Row, matrix: &Matrix) -> String {
    let mut by: Vec<String> = row.caught.keys().map(ToString::to_string).collect();
    let outcome = match by.len() {
        0 if matrix.is_noticed(row) => {
            format!("{} inconclusive, as expected", counted(row.inconclusive.len(), "check"))
        }
        0 => "SURVIVED".to_owned(),
        1..=3 => format!("caught by {}", by.join(", ")),
        n => {
            by.truncate(2);
            format!("caught by {} and {} more", by.join(", "), n - 2)
        }
    };
    let healed = if row.unhealed.is_empty() {
        ""
    } else {
        "; NOT GREEN AGAIN after healing"
    };
    format!("{:<36} {outcome}{healed}", row.fault)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_one_line_that_says_how_the_fault_was_noticed() {
        let reasons = |checks: &[&str]| -> BTreeMap<CheckId, String> {
            let checks = checks.iter().map(|check| CheckId::from(*check));
            checks.map(|check| (check, String::new())).collect()
        };
        let row = |caught: &[&str], inconclusive: &[&str]| Row {
            fault: "udp-dropped".into(),
            summary: String::new(),
            ran: BTreeSet::new(),
            caught: reasons(caught),
            inconclusive: reasons(inconclusive),
            unhealed: BTreeMap::new(),
        };
        let matrix = Matrix {
            blinded: [("a::blind".into(), ["udp-dropped".into()].into())].into(),
            ..Matrix::default()
        };
        let shown = |row: &Row| line(row, &matrix).split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!(shown(&row(&[], &[])), "udp-dropped SURVIVED");
        assert_eq!(
            shown(&row(&[], &["a::blind"])),
            "udp-dropped 1 check inconclusive, as expected"
        );
        assert_eq!(shown(&row(&["a::b", "a::c"], &[])), "udp-dropped caught by a::b, a::c");
        let many = row(&["a::b", "a::c", "a::d", "a::e"], &[]);
        assert_eq!(shown(&many), "udp-dropped caught by a::b, a::c and 2 more");
        let unhealed = Row {
            unhealed: reasons(&["a::b"]),
            ..row(&["a::b"], &[])
        };
        assert_eq!(
            shown(&unhealed),
            "udp-dropped caught by a::b; NOT GREEN AGAIN after healing"
        );
    }
}
