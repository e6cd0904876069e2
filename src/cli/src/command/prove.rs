//! `meshproof prove`: the proof that the checks can fail.
//!
//! Injects each fault into a running lab, runs the suites that it concerns, heals it, and sees green again. Most of the time is
//! waiting for what does not come, so several labs share the faults.

mod bench;
mod matrix;
mod pass;

use crate::{
    args::ProveArgs,
    command::run::{lab_clusters, new_run_id},
    fatal::Fatal,
    session::{
        fault::FaultEntry,
        lab::{Lab, LabNodes},
        signal::cancelled_by_signals,
    },
};
use anyhow::{Context, anyhow};
use bench::{Bench, Queue};
use futures::future::join_all;
use matrix::{Coverage, Matrix, Row};
use meshproof_contract::{Admission, Check, CheckId, Exit, Verdict};
use meshproof_engine::{Filter, Plan, select};
use meshproof_report::RunFolder;
use std::{
    collections::BTreeSet,
    fs,
    time::{Duration, Instant},
};
use tokio_util::sync::CancellationToken;

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
    let folder = RunFolder::create(&args.report_dir, &new_run_id()).map_err(Fatal::usage)?;
    let coverage = match args.faults.is_empty() {
        true => Coverage::AllFaults,
        false => Coverage::SomeFaults,
    };
    let everything = match coverage == Coverage::AllFaults || args.full {
        true => Filter::default(),
        false => these(faults.iter().flat_map(concerned)),
    };
    let everything = plan(&everything)?;

    let labs = usize::from(args.labs.get()).min(faults.len());
    eprintln!("booting {labs} labs");
    let benches = open(labs, LabNodes(args.nodes), &everything, &cancel).await?;
    eprintln!("the healthy labs: {} trials", everything.trials().len());
    let parts = shares(&everything, labs)?;
    let healthy = join_all(benches.iter().zip(&parts).map(|(bench, part)| bench.healthy(part))).await;
    let mut matrix = Matrix::default();
    for part in healthy {
        match part {
            Ok(part) => matrix.join(part),
            Err(fatal) => {
                join_all(benches.into_iter().map(Bench::close)).await;
                return Err(fatal);
            }
        }
    }
    let order = slow_ones_first(faults);
    let queue = Queue::new(&order, &matrix, args.full);
    let worked = join_all(benches.into_iter().map(|bench| bench.work(&queue))).await;
    let (mut rows, mut failures) = (Vec::new(), Vec::new());
    for worked in worked {
        match worked {
            Ok(worked) => rows.extend(worked),
            Err(fatal) => failures.push(fatal),
        }
    }
    // A bench that fails interrupts the others: its own words say more than theirs.
    failures.sort_by_key(|fatal| fatal.exit == Exit::Interrupted);
    if let Some(fatal) = failures.into_iter().next() {
        return Err(fatal);
    }
    rows.sort_by(|a: &Row, b: &Row| a.fault.cmp(&b.fault));
    matrix.rows = rows;
    write(&folder, &matrix)?;
    Ok(conclude(&matrix, coverage, &folder, started.elapsed()))
}

/// As many labs with agents in them, or none: where one does not come up, the others go.
async fn open(
    labs: usize,
    nodes: LabNodes,
    everything: &Plan,
    cancel: &CancellationToken,
) -> Result<Vec<Bench>, Fatal> {
    let opened = join_all((0..labs).map(|_| Bench::open(everything, nodes, cancel))).await;
    let (mut benches, mut failure) = (Vec::new(), None);
    for opened in opened {
        match opened {
            Ok(bench) => benches.push(bench),
            Err(fatal) => failure = failure.or(Some(fatal)),
        }
    }
    match failure {
        None => Ok(benches),
        Some(fatal) => {
            join_all(benches.into_iter().map(Bench::close)).await;
            Err(fatal)
        }
    }
}

/// Otherwise the last of the slow ones would be waited for by idle labs.
fn slow_ones_first(faults: &[FaultEntry]) -> Vec<&FaultEntry> {
    let suites = super::suites();
    let checks = || suites.iter().flat_map(|suite| suite.checks);
    let meets_slow = |fault: &&FaultEntry| checks().any(|check| is_slow(*check) && names(*check, fault));
    let (mut order, quick): (Vec<_>, Vec<_>) = faults.iter().partition(meets_slow);
    order.extend(quick);
    order
}

/// The plan's checks in as many parts, or fewer where there are fewer checks.
fn shares(everything: &Plan, parts: usize) -> Result<Vec<Plan>, Fatal> {
    let checks: BTreeSet<CheckId> = everything.trials().iter().map(|trial| trial.check.id()).collect();
    let share = |part| these(checks.iter().skip(part).step_by(parts).cloned());
    (0..parts.min(checks.len())).map(|part| plan(&share(part))).collect()
}

/// Exactly these; none at all would be all of them, so callers see to it that there is one.
fn these(checks: impl IntoIterator<Item = CheckId>) -> Filter {
    Filter {
        patterns: checks.into_iter().map(|check| check.to_string()).collect(),
        exact: true,
        ..Filter::default()
    }
}

fn plan(filter: &Filter) -> Result<Plan, Fatal> {
    select(&super::suites(), &lab_clusters(), filter).map_err(Fatal::usage)
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

/// The checks that meet a fault: those of its suites, of which the slow ones, which run alone or change something and wait for
/// it, only if they name the fault.
fn concerned(fault: &FaultEntry) -> Vec<CheckId> {
    let meets = |check: &&&dyn Check| !is_slow(**check) || names(**check, fault);
    let suites = super::suites();
    let concerned = suites
        .iter()
        .filter(|suite| fault.suites.iter().any(|name| name == suite.name));
    concerned
        .flat_map(|suite| suite.checks.iter().filter(meets))
        .map(|check| check.id())
        .collect()
}

/// Whether the check runs alone, or changes something and waits for it.
fn is_slow(check: &dyn Check) -> bool {
    let needs = check.needs();
    needs.admission == Admission::Exclusive || needs.mutates
}

/// Whether the check says that the fault turns it red, or blinds it.
fn names(check: &dyn Check, fault: &FaultEntry) -> bool {
    let name = fault.name.as_str();
    check.faults().contains(&name) || check.blinded_by().contains(&name)
}

/// Whether a verdict is neither green nor a skip.
fn is_trouble(verdict: &Verdict) -> bool {
    matches!(verdict, Verdict::Fail { .. } | Verdict::Inconclusive { .. })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_check_names_faults_that_exist_and_concern_its_suite() {
        let faults = Lab::faults();
        for suite in super::super::suites() {
            for check in suite.checks {
                assert!(
                    !check.faults().is_empty(),
                    "{} names no fault: can it fail?",
                    check.id()
                );
                for name in check.faults() {
                    let fault = faults.iter().find(|fault| fault.name == *name);
                    let fault = fault.unwrap_or_else(|| panic!("{} names {name}, which does not exist", check.id()));
                    let concerned = fault.suites.iter().any(|concerned| concerned == suite.name);
                    assert!(
                        concerned,
                        "{name} is named by {} but does not meet its suite",
                        check.id()
                    );
                }
            }
        }
    }

    #[test]
    fn every_fault_of_a_suite_is_named_by_a_check() {
        let suites = super::super::suites();
        let checks = suites.iter().flat_map(|suite| suite.checks);
        let named: BTreeSet<&str> = checks
            .flat_map(|check| check.faults().iter().chain(check.blinded_by()).copied())
            .collect();
        let meets = |fault: &FaultEntry| {
            fault
                .suites
                .iter()
                .any(|name| suites.iter().any(|suite| suite.name == *name))
        };
        let unnamed: Vec<_> = Lab::faults()
            .into_iter()
            .filter(|fault| meets(fault) && !named.contains(fault.name.as_str()))
            .map(|fault| fault.name)
            .collect();
        assert!(
            unnamed.is_empty(),
            "faults that no check promises to catch: {unnamed:?}"
        );
    }
}
