//! Flux, in each state that keeps Git from the cluster.

use super::world::{healthy, helm_release};
use crate::{
    gitops::flux::Flux,
    testing::{Fake, MISSION, infra},
};
use serde_json::{Value, json};

/// infra with its Kustomization changed.
fn with(change: Value) -> Fake {
    let mut object = json!({
        "apiVersion": "kustomize.toolkit.fluxcd.io/v1", "kind": "Kustomization",
        "metadata": {"name": "apps", "namespace": "flux-system", "generation": 4},
        "spec": {"sourceRef": {"kind": "GitRepository", "name": "flux-system"}},
        "status": {
            "observedGeneration": 4, "lastAppliedRevision": "main@sha1:aa",
            "conditions": [{"type": "Ready", "status": "True"}],
        },
    });
    for (pointer, value) in change.as_object().into_iter().flatten() {
        *object.pointer_mut(pointer).expect("a field") = value.clone();
    }
    healthy(MISSION).object("infra", object)
}

async fn expect(world: Fake, word: &str) -> String {
    world.expect(&Flux, infra(), word).await
}

#[tokio::test(start_paused = true)]
async fn what_is_ready_is_green_and_each_other_state_is_named() {
    expect(healthy(MISSION), "pass").await;
    expect(with(json!({})), "pass").await;
    let said = expect(with(json!({"/spec": {"suspend": true}})), "fail").await;
    assert!(
        said.contains("infra Kustomization flux-system/apps") && said.contains("suspend"),
        "{said}"
    );
    let said = expect(with(json!({"/status/observedGeneration": 3})), "fail").await;
    assert!(
        said.contains("generation 4 is there, its controller has seen 3"),
        "{said}"
    );
    let failed = json!([{"type": "Ready", "status": "False", "reason": "BuildFailed", "message": "no such file"}]);
    let said = expect(with(json!({"/status/conditions": failed})), "fail").await;
    assert!(said.contains("BuildFailed: no such file"), "{said}");
    let said = expect(with(json!({"/status/lastAppliedRevision": "main@sha1:00"})), "fail").await;
    assert!(
        said.contains("GitRepository flux-system has fetched") && said.contains("main@sha1:00"),
        "{said}"
    );
}

#[tokio::test(start_paused = true)]
async fn what_is_being_reconciled_is_not_judged_and_without_flux_there_is_nothing() {
    let busy = json!([{"type": "Ready", "status": "Unknown"}, {"type": "Reconciling", "status": "True"}]);
    expect(with(json!({"/status/conditions": busy})), "inconclusive").await;
    expect(Fake::healthy(), "skipped").await;
    expect(healthy(MISSION).list_refused("Kustomization"), "inconclusive").await;
}

/// infra with its HelmRelease changed.
fn released(change: Value) -> Fake {
    let mut object = helm_release("infra");
    for (pointer, value) in change.as_object().into_iter().flatten() {
        *object.pointer_mut(pointer).expect("a field") = value.clone();
    }
    healthy(MISSION).object("infra", object)
}

#[tokio::test(start_paused = true)]
async fn the_last_release_of_a_helm_release_is_judged() {
    let said = expect(released(json!({})), "pass").await;
    assert!(said.contains("HelmRelease kube-system/cilium is Ready"), "{said}");
    let last = |field: &str| format!("/status/history/0/{field}");
    for (pointer, value, expected) in [
        (last("status"), json!("failed"), "revision 7 is failed"),
        (
            last("version"),
            json!(6),
            "revision 7 is in force: somebody else than Flux installed it",
        ),
        (
            last("chartVersion"),
            json!("1.18.2"),
            "chart version 1.18.2 is deployed",
        ),
        (
            last("configDigest"),
            json!("sha256:bb"),
            "values with digest sha256:bb is deployed",
        ),
        (
            "/status/conditions/0/observedGeneration".to_owned(),
            json!(2),
            "generation 3 is there, its controller has seen 2",
        ),
    ] {
        let said = expect(released(json!({pointer: value})), "fail").await;
        assert!(
            said.contains("infra HelmRelease kube-system/cilium") && said.contains(expected),
            "{said}"
        );
    }
}
