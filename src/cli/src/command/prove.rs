//! `meshproof prove`: the proof that the checks can fail.
//!
//! Injects each fault into a running lab, runs the suites that it concerns, heals it, and sees green again.

mod matrix;
mod pass;

use crate::{
    args::ProveArgs,
    command::run::{JOBS, TRIAL_TIMEOUT, lab_clusters, new_run_id, scenarios},
    fatal::Fatal,
    session::{
        Session,
        consumer::Events,
        lab::{FaultEntry, Lab},
        signal::cancelled_by_signals,
    },
};
use anyhow::{Context, anyhow};
use matrix::{Coverage, Matrix, Row};
use meshproof_contract::{Admission, Check, CheckId, Exit, FaultName, Verdict};
use meshproof_engine::{Filter, Plan, Printer, RunOptions, select};
use meshproof_report::RunFolder;
use pass::{Bystander, Pass};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    time::{Duration, Instant},
};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

/// How long the lab may take to be green again after a fault was healed; checks are asked again and again till then.
const HEALED_WITHIN: Duration = Duration::from_secs(90);

/// Carries out `meshproof prove`.
pub fn prove(args: &ProveArgs) -> Result<Exit, Fatal> {
    let wanted = |fault: &FaultEntry| {
        args.faults.is_empty() || args.faults.iter().any(|part| fault.name.contains(part.as_str()))
    };
    let suites = super::suites();
    let met = |fault: &FaultEntry| {
        fault
            .suites
            .iter()
            .any(|name| suites.iter().any(|suite| suite.name == *name))
    };
    let faults: Vec<FaultEntry> = Lab::faults().into_iter().filter(met).filter(wanted).collect();
    if faults.is_empty() {
        return Err(Fatal::usage(anyhow!(
            "no fault's name contains any of these; `meshproof prove --list` names them all"
        )));
    }
    if args.list {
        for fault in faults {
            println!("{:<36} {}", fault.name, fault.summary);
        }
        return Ok(Exit::Passed);
    }
    super::runtime()?.block_on(conduct(args, &faults))
}

async fn conduct(args: &ProveArgs, faults: &[FaultEntry]) -> Result<Exit, Fatal> {
    let started = Instant::now();
    let cancel = cancelled_by_signals()
        .context("failed to watch for signals")
        .map_err(Fatal::environment)?;
    let id = new_run_id();
    let folder = RunFolder::create(&args.report_dir, &id).map_err(Fatal::usage)?;
    let bystander = Bystander::start();
    let everything = select(&super::suites(), &lab_clusters(), &Filter::default()).map_err(Fatal::usage)?;

    eprintln!("booting the lab");
    let lab = Lab::start(&[]).await?;
    let opened = Session::open(&lab.place(), id, &scenarios(&everything)?, &bystander.events(), &cancel).await;
    let proven = match opened {
        Ok(session) => {
            let mut proof = Proof {
                lab: &lab,
                session: &session,
                bystander: &bystander,
                cancel: &cancel,
                matrix: Matrix::default(),
            };
            let proven = proof.run(&everything, faults, args.full).await.map(|()| proof.matrix);
            session.close().await;
            proven
        }
        Err(fatal) => Err(fatal),
    };
    lab.stop().await;
    let matrix = proven?;
    write(&folder, &matrix)?;
    let coverage = if args.faults.is_empty() {
        Coverage::AllFaults
    } else {
        Coverage::SomeFaults
    };
    Ok(conclude(&matrix, coverage, &folder, started.elapsed()))
}

fn write(folder: &RunFolder, matrix: &Matrix) -> Result<(), Fatal> {
    let json = serde_json::to_vec_pretty(matrix)
        .context("failed to write the matrix as JSON")
        .map_err(Fatal::environment)?;
    for (name, content) in [("prove.md", matrix.markdown().into_bytes()), ("prove.json", json)] {
        fs::write(folder.file(name), content)
            .with_context(|| format!("failed to write {}", folder.file(name).display()))
            .map_err(Fatal::usage)?;
    }
    Ok(())
}

fn conclude(matrix: &Matrix, coverage: Coverage, folder: &RunFolder, took: Duration) -> Exit {
    let defects = matrix.defects(coverage);
    let survivors = matrix.rows.iter().filter(|row| !matrix.is_noticed(row)).count();
    println!(
        "\n{} faults, {} caught, {survivors} survived; {} checks; {:.0} s",
        matrix.rows.len(),
        matrix.rows.len() - survivors,
        matrix.checks.len(),
        took.as_secs_f64()
    );
    for defect in &defects {
        println!("  {defect}");
    }
    println!("matrix: {}", folder.file("prove.md").display());
    match defects.is_empty() {
        true => Exit::Passed,
        false => Exit::Failed,
    }
}

struct Proof<'a> {
    lab: &'a Lab,
    session: &'a Session,
    bystander: &'a Bystander,
    cancel: &'a CancellationToken,
    matrix: Matrix,
}

impl Proof<'_> {
    async fn run(&mut self, everything: &Plan, faults: &[FaultEntry], full: bool) -> Result<(), Fatal> {
        for trial in everything.trials() {
            let named = trial
                .check
                .faults()
                .iter()
                .map(|fault| FaultName::from(*fault))
                .collect::<BTreeSet<_>>();
            self.matrix.checks.insert(trial.check.id(), named);
            let blinding = trial.check.blinded_by().iter().map(|fault| FaultName::from(*fault));
            self.matrix.blinded.insert(trial.check.id(), blinding.collect());
        }
        eprintln!("the healthy lab: {} trials", everything.trials().len());
        let healthy = self.pass(everything).await?;
        self.matrix.unhealthy = healthy.not_green();
        for (check, said) in &self.matrix.unhealthy {
            println!("FALSE ALARM  {check}: {said}");
        }
        // What does not apply to the lab (skipped) is no part of the proof.
        let skipped = healthy.only_skipped();
        self.matrix.checks.retain(|check, _| !skipped.contains(check));
        self.matrix
            .blinded
            .retain(|check, faults| !faults.is_empty() && !skipped.contains(check));
        for (number, fault) in faults.iter().enumerate() {
            let row = self.meet(fault, full).await?;
            println!("[{:>2}/{}] {}", number + 1, faults.len(), told(&row, &self.matrix));
            for said in row.unhealed.values() {
                println!("        {said}");
            }
            self.matrix.rows.push(row);
        }
        Ok(())
    }

    async fn meet(&self, fault: &FaultEntry, full: bool) -> Result<Row, Fatal> {
        let filter = if full { Filter::default() } else { concerned(fault) };
        let plan = select(&super::suites(), &lab_clusters(), &filter).map_err(Fatal::usage)?;
        self.lab.inject(&fault.name).await?;
        let pass = self.pass(&plan).await;
        self.lab.heal(&fault.name).await?;
        let pass = pass?;
        let caught = pass.failed();
        let affected: BTreeSet<CheckId> = pass.not_green().into_keys().collect();
        Ok(Row {
            fault: FaultName::from(fault.name.as_str()),
            summary: fault.summary.clone(),
            ran: pass.ran(),
            inconclusive: affected
                .iter()
                .filter(|check| !caught.contains_key(*check))
                .cloned()
                .collect(),
            unhealed: self.see_green(&affected).await?,
            caught,
        })
    }

    /// Asks the checks that were not green again until they are; those that never are come back with what they said last.
    async fn see_green(&self, checks: &BTreeSet<CheckId>) -> Result<BTreeMap<CheckId, String>, Fatal> {
        let deadline = Instant::now() + HEALED_WITHIN;
        let mut left: Vec<CheckId> = checks.iter().cloned().collect();
        let mut said = BTreeMap::new();
        while !left.is_empty() {
            let filter = Filter {
                patterns: left.iter().map(ToString::to_string).collect(),
                exact: true,
                ..Filter::default()
            };
            let plan = select(&super::suites(), &lab_clusters(), &filter).map_err(Fatal::usage)?;
            said = self.pass(&plan).await?.not_green();
            left = said.keys().cloned().collect();
            if Instant::now() > deadline {
                break;
            }
        }
        Ok(said)
    }

    async fn pass(&self, plan: &Plan) -> Result<Pass, Fatal> {
        let options = RunOptions {
            jobs: JOBS.into(),
            timeout: TRIAL_TIMEOUT,
            fail_fast: false,
            cancel: self.cancel.child_token(),
            handle: Handle::current(),
            printer: Printer::Silent,
        };
        self.bystander.forget();
        let events: Events = self.bystander.events();
        let summary = super::run::execute(self.session, plan, options, &events).await?;
        match summary.interrupted {
            true => Err(Fatal {
                exit: Exit::Interrupted,
                error: anyhow!("interrupted; the matrix is not complete, and not written"),
            }),
            false => Ok(self.bystander.seen(summary.total()).await),
        }
    }
}

/// The checks that meet a fault: those of its suites, of which the ones that must run alone, being slow, only if they
/// name it.
fn concerned(fault: &FaultEntry) -> Filter {
    let suites = super::suites();
    let checks = suites
        .iter()
        .filter(|suite| fault.suites.iter().any(|name| name == suite.name));
    let meets = |check: &&&dyn Check| {
        check.needs().admission == Admission::Shared || check.faults().contains(&fault.name.as_str())
    };
    let patterns = checks
        .flat_map(|suite| suite.checks.iter().filter(meets))
        .map(|check| check.id().to_string());
    Filter {
        patterns: patterns.collect(),
        exact: true,
        ..Filter::default()
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

/// Whether a verdict is neither green nor a skip.
fn is_trouble(verdict: &Verdict) -> bool {
    matches!(verdict, Verdict::Fail { .. } | Verdict::Inconclusive { .. })
}
