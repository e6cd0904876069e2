//! Flux, in each state that keeps Git from the cluster.

use super::world::healthy;
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
