//! `meshproof prove`: the proof that the checks can fail.
//!
//! Injects each fault into a running lab, runs the suites that it concerns, heals it and waits until all is green
//! again. Most of the time is waiting for what does not come, so several labs share the faults.

mod injection;
mod lab_worker;
mod matrix;
mod selection;
mod verdicts;

use crate::{
    args::{LabProfile, ProveArgs, again_with},
    cli_error::CliError,
    runtime::runtime,
    session::{
        fault::FaultSpec,
        lab::Lab,
        lab_shape::LabShape,
        run_plan::{new_run_id, suites, today},
        signal::cancelled_by_signals,
    },
};
use anyhow::{Context, anyhow};
use clap::ValueEnum as _;
use futures::future::join_all;
use injection::{Injection, Sizes, injections, is_all_sizes};
use lab_worker::{FaultQueue, LabWorker, Meeting};
use matrix::{Coverage, Defect, Expected, Matrix, Row};
use meshproof_contract::{Exit, FaultName, Signatures};
use meshproof_engine::{Filter, Plan};
use meshproof_report::RunFolder;
use selection::{exactly, plan, shares, slow_first};
use std::{
    collections::BTreeSet,
    fs,
    path::Path,
    time::{Duration, Instant},
};
use tokio_util::sync::CancellationToken;

/// Carries out `meshproof prove`.
pub fn prove(args: &ProveArgs) -> Result<Exit, CliError> {
    let faults = faults(&args.faults)?;
    if args.list {
        for fault in faults {
            println!("{:<36} {}", fault.name, fault.told(None));
        }
        return Ok(Exit::Passed);
    }
    runtime()?.block_on(run(args, &faults))
}

/// The faults that concern a suite and whose name contains one of these; all without any.
fn faults(parts: &[String]) -> Result<Vec<FaultSpec>, CliError> {
    let suites = suites();
    let concerns_a_suite = |fault: &FaultSpec| suites.iter().any(|suite| fault.suites.contains(&suite.name));
    let wanted = |fault: &FaultSpec| parts.is_empty() || parts.iter().any(|part| fault.name.contains(part.as_str()));
    let faults: Vec<FaultSpec> = Lab::faults()?
        .into_iter()
        .filter(concerns_a_suite)
        .filter(wanted)
        .collect();
    if faults.is_empty() {
        return Err(CliError::usage(anyhow!(
            "no fault matches {}; `meshproof prove --list` lists the faults",
            parts.join(", ")
        )));
    }
    Ok(faults)
}

async fn run(args: &ProveArgs, faults: &[FaultSpec]) -> Result<Exit, CliError> {
    let cancel = cancelled_by_signals()?;
    let folder = RunFolder::create(&args.report_dir, &new_run_id()).map_err(CliError::usage)?;
    let seed = args.seed.unwrap_or_else(today);
    eprintln!("places and sizes of the faults: --seed {seed}");
    let profiles = if args.all_profiles {
        LabProfile::value_variants()
    } else {
        &[args.profile]
    };
    let mut exit = Exit::Passed;
    for profile in profiles {
        let shape = LabShape {
            nodes: args.nodes,
            profile: *profile,
            fault_seed: seed,
        };
        if args.all_profiles {
            println!("\nprofile {profile}");
        }
        if prove_in(args, faults, shape, &folder, &cancel).await? != Exit::Passed {
            exit = Exit::Failed;
        }
    }
    Ok(exit)
}

/// The proof in labs of one shape.
async fn prove_in(
    args: &ProveArgs,
    faults: &[FaultSpec],
    shape: LabShape,
    folder: &RunFolder,
    cancel: &CancellationToken,
) -> Result<Exit, CliError> {
    let started = Instant::now();
    let coverage = if args.faults.is_empty() {
        Coverage::AllFaults
    } else {
        Coverage::SomeFaults
    };
    let sizes = if args.each_size {
        Sizes::Each
    } else {
        Sizes::Drawn(shape.fault_seed)
    };
    let rows = injections(faults, sizes);
    let everything = plan(&if coverage == Coverage::AllFaults || args.full {
        Filter::default()
    } else {
        exactly(rows.iter().flat_map(Injection::checks))
    })?;

    let labs = usize::from(args.labs.get()).min(rows.len());
    eprintln!("booting {labs} labs");
    let workers = start(labs, shape, &everything, cancel).await?;
    eprintln!("baseline: {} trials", everything.trials().len());
    let (workers, mut matrix) = baseline(workers, &shares(&everything, labs)?).await?;
    let (rows, unconcerned) = concerned(rows, &matrix);
    matrix.unconcerned = unconcerned;
    let order = slow_first(rows);
    let queue = FaultQueue::new(&order, &matrix, Meeting::of(args));
    let rows = join_all(workers.into_iter().map(|worker| worker.work(&queue))).await;
    matrix.rows = rows_or_failure(rows)?;
    let name = match args.all_profiles {
        true => format!("prove-{}", shape.profile),
        false => "prove".to_owned(),
    };
    write(folder, &name, shape.profile, &matrix)?;
    Ok(conclude(
        &matrix,
        coverage,
        shape,
        &folder.file(&format!("{name}.md")),
        started.elapsed(),
    ))
}

/// The rows whose faults some check of this configuration must notice, and the faults of which none must.
fn concerned(rows: Vec<Injection>, matrix: &Matrix) -> (Vec<Injection>, BTreeSet<FaultName>) {
    let mut unconcerned = BTreeSet::new();
    let mut kept = Vec::new();
    for mut row in rows {
        row.faults.retain(|fault| {
            let name = FaultName::from(fault.name);
            let is_concerned = matrix.is_concerned(&name);
            if !is_concerned {
                unconcerned.insert(name);
            }
            is_concerned
        });
        if !row.faults.is_empty() {
            kept.push(row);
        }
    }
    (kept, unconcerned)
}

/// So many labs with agents in them, or none: if one does not start, the others are closed.
async fn start(
    labs: usize,
    shape: LabShape,
    everything: &Plan,
    cancel: &CancellationToken,
) -> Result<Vec<LabWorker>, CliError> {
    let started = join_all((0..labs).map(|_| LabWorker::start(everything, shape, cancel))).await;
    let (mut workers, mut failure) = (Vec::new(), None);
    for started in started {
        match started {
            Ok(worker) => workers.push(worker),
            Err(error) => failure = failure.or(Some(error)),
        }
    }
    match failure {
        None => Ok(workers),
        Some(error) => {
            join_all(workers.into_iter().map(LabWorker::close)).await;
            Err(error)
        }
    }
}

/// What the checks say of the healthy labs, each of which runs a part of them.
async fn baseline(workers: Vec<LabWorker>, parts: &[Plan]) -> Result<(Vec<LabWorker>, Matrix), CliError> {
    let baselines = join_all(workers.iter().zip(parts).map(|(worker, part)| worker.baseline(part))).await;
    let mut matrix = Matrix::default();
    for part in baselines {
        match part {
            Ok(part) => matrix.merge(part),
            Err(error) => {
                join_all(workers.into_iter().map(LabWorker::close)).await;
                return Err(error);
            }
        }
    }
    Ok((workers, matrix))
}

fn rows_or_failure(worked: Vec<Result<Vec<Row>, CliError>>) -> Result<Vec<Row>, CliError> {
    let (mut rows, mut failures) = (Vec::new(), Vec::new());
    for worked in worked {
        match worked {
            Ok(worked) => rows.extend(worked),
            Err(error) => failures.push(error),
        }
    }
    // A worker that fails interrupts the others: its error says more than theirs.
    failures.sort_by_key(|error| error.exit == Exit::Interrupted);
    if let Some(error) = failures.into_iter().next() {
        return Err(error);
    }
    rows.sort_by(|a: &Row, b: &Row| a.fault.cmp(&b.fault));
    Ok(rows)
}

/// The matrix as a page, and its signatures.
fn write(folder: &RunFolder, name: &str, profile: LabProfile, matrix: &Matrix) -> Result<(), CliError> {
    let signatures = Signatures {
        rows: matrix.signatures(&profile.to_string()),
    };
    let json = signatures
        .to_json()
        .context("failed to write the signatures as JSON")
        .map_err(CliError::environment)?;
    for (kind, content) in [("md", matrix.markdown().into_bytes()), ("json", json.into_bytes())] {
        let file = folder.file(&format!("{name}.{kind}"));
        fs::write(&file, content)
            .with_context(|| format!("failed to write {}", file.display()))
            .map_err(CliError::usage)?;
    }
    Ok(())
}

fn conclude(matrix: &Matrix, coverage: Coverage, shape: LabShape, page: &Path, took: Duration) -> Exit {
    let defects = matrix.defects(coverage);
    let rows = |expected: Expected| matrix.rows.iter().filter(move |row| row.expected == expected);
    let survivors = rows(Expected::Noticed).filter(|row| !matrix.is_noticed(row)).count();
    let faults = rows(Expected::Noticed).count();
    println!(
        "\n{faults} faults, {} caught, {survivors} survived; {} checks; {:.0} s",
        faults - survivors,
        matrix.checks.len(),
        took.as_secs_f64()
    );
    for defect in &defects {
        println!("  {defect}");
        if let Some(line) = again(defect, shape) {
            println!("      {line}");
        }
    }
    if !matrix.unconcerned.is_empty() {
        println!(
            "{} faults concern nothing in this configuration",
            matrix.unconcerned.len()
        );
    }
    println!("matrix: {}", page.display());
    if defects.is_empty() { Exit::Passed } else { Exit::Failed }
}

/// The command line that shows the defect again in a lab like these; none where no single run does.
fn again(defect: &Defect, shape: LabShape) -> Option<String> {
    let nodes = shape.nodes.to_string();
    let (profile, seed) = (shape.profile.to_string(), shape.fault_seed.to_string());
    let check = defect.check()?;
    if defect.fault().is_some_and(is_all_sizes) {
        // Which of them it is, only each by itself tells.
        return Some(format!("meshproof prove --each-size --seed {}", shape.fault_seed));
    }
    let mut arguments = vec!["--lab", "--lab-nodes", &nodes];
    if shape.profile != LabProfile::default() {
        arguments.extend(["--lab-profile", &profile]);
    }
    if let Some(fault) = defect.fault() {
        arguments.extend(["--lab-fault", fault.as_str(), "--lab-fault-seed", &seed]);
    }
    Some(meshproof_contract::again(
        &again_with(&arguments),
        &check.as_str().into(),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(nodes: u8, profile: LabProfile) -> LabShape {
        LabShape {
            nodes,
            profile,
            fault_seed: 7,
        }
    }

    #[test]
    fn a_defect_of_a_check_comes_with_the_run_that_shows_it() {
        let missed = Defect::Missed {
            fault: "udp-dropped".into(),
            check: "dns::latency".into(),
            unsure: None,
        };
        assert_eq!(
            again(&missed, shape(2, LabProfile::Tunnel)).as_deref(),
            Some("meshproof run --lab --lab-nodes 2 --lab-fault udp-dropped --lab-fault-seed 7 --exact dns::latency")
        );
        let false_alarm = Defect::FalseAlarm {
            check: "dns::latency".into(),
            reason: String::new(),
        };
        assert_eq!(
            again(&false_alarm, shape(3, LabProfile::Native)).as_deref(),
            Some("meshproof run --lab --lab-nodes 3 --lab-profile native --exact dns::latency")
        );
        let survivor = Defect::Survivor {
            fault: "udp-dropped".into(),
        };
        assert_eq!(again(&survivor, shape(2, LabProfile::Tunnel)), None);
    }
}
