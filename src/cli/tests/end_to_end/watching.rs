//! `meshproof watch` beside somebody who works on the clusters.

use crate::{Result, clusters::Clusters};
use nix::sys::signal::Signal;
use serde_json::json;
use std::{thread::sleep, time::Duration};

type Test = fn(&Clusters) -> Result<()>;

pub const ALL: &[(&str, Test)] = &[
    ("a_watch_of_healthy_clusters_passes", healthy),
    ("ctrl_c_ends_a_watch_and_it_is_judged", ended_by_hand),
    ("a_watch_tells_what_changed_near_an_outage", with_an_outage),
    ("a_watch_ends_with_the_rollout", until_rollout),
];

fn healthy(clusters: &Clusters) -> Result<()> {
    let meshproof = clusters.meshproof()?;
    meshproof
        .watch(&["--for", "4s"])?
        .end()?
        .with(0)?
        .printing("PASSED  4 passed")?;
    clusters.hold_nothing()
}

fn ended_by_hand(clusters: &Clusters) -> Result<()> {
    let meshproof = clusters.meshproof()?;
    let running = meshproof.watch(&["--for", "10m"])?;
    meshproof.wait_for_event("\"checking\"")?;
    sleep(Duration::from_secs(4));
    running.signal(Signal::SIGINT)?;
    running.end()?.with(0)?.printing("PASSED  4 passed")?;
    clusters.hold_nothing()
}

fn with_an_outage(clusters: &Clusters) -> Result<()> {
    let meshproof = clusters.meshproof()?;
    let running = meshproof.watch(&["--for", "16s", "watch::within[infra]"])?;
    meshproof.wait_for_event("\"checking\"")?;
    sleep(Duration::from_secs(2));
    let pod =
        |name: &str| json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"namespace": "meshproof", "name": name}});
    for name in clusters.names("infra", &pod(""))? {
        if name.contains("failover-backend") {
            clusters.remove("infra", &pod(&name))?;
        }
    }
    clusters.broken_for("udp-dropped", Duration::from_secs(3))?;
    let ended = running.end()?.with(1)?;
    ended
        .printing("Service failover-local, UDP")?
        .printing("longest outage at")?
        .printing("near it: infra pod meshproof/failover-backend")?;
    clusters.hold_nothing()
}

fn until_rollout(clusters: &Clusters) -> Result<()> {
    let meshproof = clusters.meshproof()?;
    let running = meshproof.watch(&["--for", "10m", "--until-rollout", "deployment/cilium-operator"])?;
    meshproof.wait_for_event("\"checking\"")?;
    sleep(Duration::from_secs(3));
    let mut operator = json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"namespace": "kube-system", "name": "cilium-operator"},
    });
    operator["spec"] = json!({"template": {"metadata": {"annotations": {"restarted": "again"}}}});
    clusters.apply("apps", &operator)?;
    let ended = running.end()?.with(0)?;
    ended.printing("until Deployment kube-system/cilium-operator is rolled out")?;
    clusters.hold_nothing()
}
