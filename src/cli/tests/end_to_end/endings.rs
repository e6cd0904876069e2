//! How runs end: in order, by Ctrl-C in every phase, and by kill -9. Whatever happens, nothing is left on the clusters.

use crate::{Result, clusters::Clusters, command::QUICK};
use nix::sys::signal::Signal;

type Test = fn(&Clusters) -> Result<()>;

pub const ALL: &[(&str, Test)] = &[
    ("a_run_in_order_leaves_nothing", a_run_in_order),
    ("ctrl_c_while_discovering_leaves_nothing", |clusters| {
        interrupted(clusters, "discovering", Signal::SIGINT)
    }),
    ("ctrl_c_while_deploying_leaves_nothing", |clusters| {
        interrupted(clusters, "deploying", Signal::SIGINT)
    }),
    ("sigterm_while_checking_leaves_nothing", |clusters| {
        interrupted(clusters, "checking", Signal::SIGTERM)
    }),
    ("ctrl_c_while_cleaning_up_leaves_nothing", |clusters| {
        interrupted(clusters, "cleaning", Signal::SIGINT)
    }),
    ("a_killed_run_is_cleaned_by_hand", a_killed_run_is_cleaned),
    ("a_killed_run_is_cleaned_by_the_next", a_killed_run_is_followed),
];

fn a_run_in_order(clusters: &Clusters) -> Result<()> {
    let meshproof = clusters.meshproof()?;
    meshproof.run(&QUICK)?.with(0)?.printing("PASSED")?;
    for file in ["junit.xml", "report.json", "report.html", "summary.md", "events.ndjson"] {
        let path = meshproof.latest(file)?;
        if !path.is_file() {
            return Err(format!("{} was not written", path.display()));
        }
    }
    clusters.hold_nothing()?;
    let cleaned = meshproof.clean(&[])?.with(0)?;
    cleaned
        .printing("infra: nothing to remove")?
        .printing("apps: nothing to remove")?;
    Ok(())
}

fn interrupted(clusters: &Clusters, phase: &str, signal: Signal) -> Result<()> {
    let meshproof = clusters.meshproof()?;
    let running = meshproof.start(&["connectivity::"])?;
    meshproof.wait_for_event(&format!("\"{phase}"))?;
    running.signal(signal)?;
    let ended = running.end()?;
    // Interrupted at the very end, the run has all its verdicts and may keep them.
    let allowed = if phase == "cleaning" { vec![0, 130] } else { vec![130] };
    if !allowed.iter().any(|code| ended.code == Some(*code)) {
        return Err(format!(
            "expected one of {allowed:?}, got {:?}\n{}{}",
            ended.code, ended.out, ended.err
        ));
    }
    if !meshproof.latest("report.json")?.is_file() {
        return Err("an interrupted run has no report".to_owned());
    }
    clusters.hold_nothing()
}

fn killed(clusters: &Clusters) -> Result<()> {
    let meshproof = clusters.meshproof()?;
    let running = meshproof.start(&["connectivity::"])?;
    meshproof.wait_for_event("\"checking\"")?;
    running.signal(Signal::SIGKILL)?;
    running.end()?;
    match clusters.hold_nothing() {
        Ok(()) => Err("a killed run should leave something to clean".to_owned()),
        Err(_) => {
            // What it wrote before is a report all the same.
            let log = meshproof.latest("events.ndjson")?;
            meshproof.ran(&["report", &log.to_string_lossy()])?.with(0)?;
            meshproof.report().map(drop)
        }
    }
}

fn a_killed_run_is_cleaned(clusters: &Clusters) -> Result<()> {
    killed(clusters)?;
    let meshproof = clusters.meshproof()?;
    meshproof.clean(&[])?.with(0)?.printing("removed")?;
    clusters.hold_nothing()
}

fn a_killed_run_is_followed(clusters: &Clusters) -> Result<()> {
    killed(clusters)?;
    let meshproof = clusters.meshproof()?;
    meshproof.run(&QUICK)?.with(0)?.printing("did not end properly")?;
    clusters.hold_nothing()
}
