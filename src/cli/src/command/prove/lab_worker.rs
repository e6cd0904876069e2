//! A lab into which faults are injected one after another, beside other labs.

use super::{
    injection::Injection,
    matrix::{Expected, Matrix, Row},
    selection::{exactly, plan},
    verdicts::{VerdictCollector, Verdicts},
};
use crate::{
    args::ProveArgs,
    cli_error::CliError,
    session::{
        Session,
        lab::{self, Lab},
        lab_shape::LabShape,
        run_plan,
    },
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
const RETRIES: usize = 4;

/// Labs share the machine: fewer trials at once than in a run, or latencies would tell of the labs beside.
const JOBS: usize = 5;
/// Labs share the machine: streams as dense as in a run would only show how busy it is.
const STREAM_SPACING_MS: u32 = 50;
/// Longer than the faults of a clustermesh-apiserver that stays away take to act, and no longer: labs wait for it.
const MESH_OUTAGE_SECONDS: u32 = 20;

/// Which checks meet a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meeting {
    /// Every check.
    Every,
    /// Those of the suites that it concerns, of slow ones those that name it.
    Suites,
    /// Those that name it.
    Named,
}

impl Meeting {
    /// As the command line says.
    pub fn of(args: &ProveArgs) -> Self {
        match (args.full, args.named) {
            (true, _) => Self::Every,
            (false, true) => Self::Named,
            (false, false) => Self::Suites,
        }
    }
}

/// The faults to inject, each taken by one worker.
pub struct FaultQueue<'a> {
    rows: &'a [Injection],
    baseline: &'a Matrix,
    meeting: Meeting,
    next: AtomicUsize,
    done: AtomicUsize,
}

impl<'a> FaultQueue<'a> {
    /// A queue of these rows.
    pub fn new(rows: &'a [Injection], baseline: &'a Matrix, meeting: Meeting) -> Self {
        Self {
            rows,
            baseline,
            meeting,
            next: AtomicUsize::new(0),
            done: AtomicUsize::new(0),
        }
    }

    fn take(&self) -> Option<&'a Injection> {
        self.rows.get(self.next.fetch_add(1, Ordering::Relaxed))
    }

    fn plan(&self, row: &Injection) -> Result<Plan, CliError> {
        let concerned = match self.meeting {
            Meeting::Every => BTreeSet::new(),
            Meeting::Suites => row.checks(),
            Meeting::Named => row.checks_that_name(),
        };
        if concerned.is_empty() {
            plan(&Filter::default())
        } else {
            plan(&exactly(concerned))
        }
    }

    /// Whether the check must say more than that it does not know: all must, but those that the fault blinds or can.
    fn must_conclude(&self, row: &Injection, check: &CheckId) -> bool {
        let mut injected = row.faults.iter().map(|fault| fault.name.into());
        !injected.any(|fault| self.baseline.can_blind(&fault, check))
    }

    fn print(&self, row: &Row) {
        let done = self.done.fetch_add(1, Ordering::Relaxed) + 1;
        println!("[{done:>2}/{}] {}", self.rows.len(), line(row, self.baseline));
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
        let flows = run_plan::lab_flows(Some(lab::encrypts(shape.profile)))?;
        let scenarios = run_plan::scenarios(plan, &flows)?;
        let collector = VerdictCollector::start();
        let lab = Lab::start(shape, &[]).await?;
        let mut target = lab.target();
        target.overrides.flows = flows;
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
            matrix.dimmed.insert(trial.check.id(), names(trial.check.dimmed_by()));
        }
        // What is red because labs share the machine is green when it is repeated; `run --lab` judges a lab alone.
        let verdicts = self.pass_with_retries(checks, Expected::Unnoticed, |_| true).await?;
        matrix.unhealthy = verdicts.not_green();
        for (check, reason) in &matrix.unhealthy {
            println!("FALSE ALARM  {check}: {reason}");
        }
        // What does not apply to the lab (skipped) is not part of the proof.
        let skipped = verdicts.only_skipped();
        matrix.checks.retain(|check, _| !skipped.contains_key(check));
        matrix
            .blinded
            .retain(|check, faults| !faults.is_empty() && !skipped.contains_key(check));
        Ok(matrix)
    }

    /// Injects faults until none is left, and closes.
    pub async fn work(self, queue: &FaultQueue<'_>) -> Result<Vec<Row>, CliError> {
        let mut rows = Vec::new();
        let mut end = Ok(());
        while let Some(row) = queue.take() {
            match self.inject_and_check(row, queue).await {
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

    async fn inject_and_check(&self, row: &Injection, queue: &FaultQueue<'_>) -> Result<Row, CliError> {
        let plan = queue.plan(row)?;
        let injected = Instant::now();
        for fault in row.orders() {
            self.lab.inject(&fault).await?;
        }
        let verdicts = self
            .pass_with_retries(&plan, row.expected, |check| queue.must_conclude(row, check))
            .await;
        for fault in row.orders() {
            self.lab.heal(&fault).await?;
        }
        let verdicts = verdicts?;
        let (caught, inconclusive) = (verdicts.failed(), verdicts.inconclusive());
        let (mut ran, skipped) = (verdicts.ran(), verdicts.only_skipped());
        ran.retain(|check| !skipped.contains_key(check));
        let affected: BTreeSet<CheckId> = caught.keys().chain(inconclusive.keys()).cloned().collect();
        let healed = Instant::now();
        let unhealed = self.wait_until_green(&affected).await?;
        tracing::info!(
            "{}: {} checks in {:.1} s, {} green again {:.1} s later",
            row.name(),
            verdicts.ran().len(),
            (healed - injected).as_secs_f64(),
            affected.len(),
            healed.elapsed().as_secs_f64()
        );
        Ok(Row {
            fault: row.name(),
            of: row.faults.first().map_or_else(|| row.name(), |fault| fault.name.into()),
            expected: row.expected,
            summary: row.summary(),
            ran,
            skipped,
            caught,
            inconclusive,
            unhealed,
            red_in: verdicts.failed_in(),
            place: verdicts.place,
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

    /// A pass after which those inconclusive checks are repeated that must not be; and red ones where nothing may be
    /// noticed, since a busy machine is noticed, too.
    async fn pass_with_retries(
        &self,
        checks: &Plan,
        expected: Expected,
        must_conclude: impl Fn(&CheckId) -> bool,
    ) -> Result<Verdicts, CliError> {
        let mut verdicts = self.pass(checks).await?;
        for _ in 0..RETRIES {
            let mut unsure: Vec<CheckId> = verdicts.inconclusive().into_keys().filter(&must_conclude).collect();
            if expected == Expected::Unnoticed {
                unsure.extend(verdicts.failed().into_keys());
            }
            if unsure.is_empty() {
                break;
            }
            verdicts.merge(self.pass(&plan(&exactly(unsure))?).await?);
        }
        Ok(verdicts)
    }

    async fn pass(&self, plan: &Plan) -> Result<Verdicts, CliError> {
        let mut options = run_plan::options(&self.session, self.cancel.child_token());
        options.jobs = JOBS;
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
        0 if row.expected == Expected::Unnoticed && row.inconclusive.is_empty() => "unnoticed, as expected".to_owned(),
        _ if row.expected == Expected::Unnoticed => {
            by.extend(row.inconclusive.keys().map(ToString::to_string));
            format!("TOO SENSITIVE: {}", by.join(", "))
        }
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
            of: "udp-dropped".into(),
            expected: Expected::Noticed,
            skipped: BTreeMap::new(),
            summary: String::new(),
            ran: BTreeSet::new(),
            caught: reasons(caught),
            inconclusive: reasons(inconclusive),
            unhealed: BTreeMap::new(),
            red_in: BTreeMap::new(),
            place: None,
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
