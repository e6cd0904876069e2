//! How runs end: in order, by Ctrl-C in every phase, and by kill -9. Whatever happens, nothing is left on the clusters.

use crate::{Result, clusters::Clusters, command::QUICK, detour::Detour};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

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
    ("the_second_signal_ends_a_run_at_once", two_signals),
    ("a_full_disk_costs_the_reports_and_not_the_result", full_disk),
    (
        "an_api_server_that_goes_away_ends_a_run_as_inconclusive",
        api_server_gone,
    ),
    ("a_killed_run_is_cleaned_by_hand", a_killed_run_is_cleaned),
    ("a_killed_run_is_cleaned_by_the_next", a_killed_run_is_followed),
    (
        "the_replicas_that_a_killed_run_took_away_are_put_back",
        replicas_are_put_back,
    ),
    ("the_node_that_a_killed_run_cordoned_is_uncordoned", node_is_uncordoned),
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
    let report = meshproof.report()?;
    if ended.code == Some(130) && report["verdict"] != "interrupted" {
        return Err(format!("the report of an interrupted run says {}", report["verdict"]));
    }
    clusters.hold_nothing()
}

fn two_signals(clusters: &Clusters) -> Result<()> {
    let meshproof = clusters.meshproof()?;
    let running = meshproof.start(&["connectivity::"])?;
    meshproof.wait_for_event("\"checking\"")?;
    running.signal(Signal::SIGINT)?;
    // The first one has been taken once cleaning begins: two at once may arrive as one.
    meshproof.wait_for_event("\"cleaning_up\"")?;
    running.signal(Signal::SIGTERM)?;
    let ended = running.end()?;
    // It may have been done with cleaning by then.
    let is_at_once = ended.err.contains("interrupted again");
    ended
        .with(130)?
        .printing("cleaning up (interrupt again to quit at once)")?;
    let log = meshproof.latest("events.ndjson")?;
    meshproof.ran(&["report", &log.to_string_lossy()])?.with(0)?;
    if is_at_once && meshproof.report()?["verdict"] == "passed" {
        return Err("a run that was quit has passed".to_owned());
    }
    meshproof.clean(&["--force"])?.with(0)?;
    clusters.hold_nothing()
}

fn full_disk(clusters: &Clusters) -> Result<()> {
    // In a user namespace of its own it cannot read the lab's, which is an open file of another process.
    let kubeconfig = clusters.kubeconfig_through("apps", |server| Ok(server.to_owned()))?;
    let meshproof = clusters.meshproof()?.with_kubeconfig(kubeconfig);
    let ended = meshproof.run_on_a_small_disk(16, &QUICK)?.with(0)?;
    ended
        .printing("the event log ends here")?
        .printing("failed to write")?
        .printing("free some space")?
        .printing("PASSED")?;
    clusters.hold_nothing()
}

fn api_server_gone(clusters: &Clusters) -> Result<()> {
    let detour = Detour::start()?;
    let kubeconfig = clusters.kubeconfig_through("apps", |server| detour.to(server))?;
    let meshproof = clusters.meshproof()?.with_kubeconfig(kubeconfig);
    let running = meshproof.start(&["connectivity::"])?;
    meshproof.wait_for_event("\"checking\"")?;
    detour.close();
    let ended = running.end()?;
    if !matches!(ended.code, Some(1 | 3)) {
        return Err(format!("ended with {:?}\n{}{}", ended.code, ended.out, ended.err));
    }
    ended.printing("apps")?.printing("meshproof clean")?;
    let report = meshproof.report()?;
    if report["verdict"] == "passed" || report["counts"]["passed"] == report["counts"]["total"] {
        return Err(format!("the report says {}", report["verdict"]));
    }
    // By another way the cluster is still there.
    clusters.meshproof()?.clean(&["--force"])?.with(0)?;
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

/// Kills a run of a check once an object shows that it disrupted it; `clean` must undo that.
fn put_back(clusters: &Clusters, check: &str, is_disrupted: impl Fn() -> Result<bool>, undone: &str) -> Result<()> {
    if is_disrupted()? {
        return Err("it is disrupted before the run".to_owned());
    }
    let meshproof = clusters.meshproof()?;
    let running = meshproof.start(&["--disruptive", "--exact", check])?;
    let begun = Instant::now();
    while !is_disrupted()? {
        if begun.elapsed() > Duration::from_secs(120) {
            return Err(format!("{check} disrupted nothing"));
        }
    }
    running.signal(Signal::SIGKILL)?;
    running.end()?;
    if !is_disrupted()? {
        return Err("a killed run cannot undo it".to_owned());
    }
    meshproof.clean(&["--force"])?.with(0)?.printing(undone)?;
    if is_disrupted()? {
        return Err(format!("not undone: {undone}"));
    }
    clusters.hold_nothing()
}

fn replicas_are_put_back(clusters: &Clusters) -> Result<()> {
    let deployment = json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": "clustermesh-apiserver", "namespace": "kube-system"},
    });
    let is_scaled = || Ok(clusters.read("apps", &deployment)?["spec"]["replicas"] == 0);
    let check = "failover::mesh_apiserver_down_seconds[infra->apps]";
    put_back(
        clusters,
        check,
        is_scaled,
        "scaled Deployment kube-system/clustermesh-apiserver back to",
    )
}

fn node_is_uncordoned(clusters: &Clusters) -> Result<()> {
    let node =
        |number: u8| json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": format!("infra-{number}")}});
    let is_cordoned = || {
        let nodes: Result<Vec<Value>> = (1..=3).map(|number| clusters.read("infra", &node(number))).collect();
        Ok(nodes?.iter().any(|node| node["spec"]["unschedulable"] == true))
    };
    put_back(
        clusters,
        "failover::node_drained[infra]",
        is_cordoned,
        "uncordoned Node infra-",
    )
}
