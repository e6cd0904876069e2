//! Houses with policies of their own: what others decide counts beside the policies of a case.

use super::{
    super::cases::{deny, peers},
    CHECKS, instance,
    world::World,
};
use crate::{
    kit::object::policy::{cilium, cluster_wide},
    testing::infra,
};
use meshproof_contract::{Barred, HouseRule};
use meshproof_oracle::Expected;
use serde_json::{Value, json};

const NAME: &str = "CiliumClusterwideNetworkPolicy baseline";

fn rule(bars: Barred, object: Option<Value>) -> HouseRule {
    HouseRule {
        cluster: "infra".into(),
        name: NAME.to_owned(),
        effect: "denies by default".to_owned(),
        bars,
        object,
    }
}

/// Infra denies by default whatever is no system pod's, and the run's allow policies open all but subject pods.
fn house() -> World {
    let of_probes = json!({
        "key": "k8s:io.kubernetes.pod.namespace", "operator": "In", "values": ["meshproof", "meshproof-peer"],
    });
    let mut baseline = cluster_wide(json!({
        "endpointSelector": {"matchExpressions": [of_probes]}, "ingress": [{}], "egress": [{}],
    }));
    baseline["metadata"] = json!({"name": "baseline"});
    let mut world = World::new();
    world.facts.house = vec![rule(Barred::Subjects, Some(baseline.clone()))];
    world.foreign = vec![baseline];
    for namespace in ["meshproof", "meshproof-peer"] {
        let mut allow = cilium(json!({
            "endpointSelector": {"matchExpressions": [{"key": "subject", "operator": "DoesNotExist"}]},
            "enableDefaultDeny": {"ingress": false, "egress": false},
            "ingress": [{"fromEntities": ["all"]}], "egress": [{"toEntities": ["all"]}],
        }));
        let labels = json!({"meshproof.dev/run": "test"});
        allow["metadata"] = json!({"name": "meshproof-allow", "namespace": namespace, "labels": labels});
        world.foreign.push(allow);
    }
    world
}

#[tokio::test(start_paused = true)]
async fn every_check_is_green_beside_a_default_deny() {
    for check in CHECKS {
        let text = house().expect(*check, instance(check), "pass").await;
        assert!(!text.contains("was not open before"), "{}: {text}", check.id);
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_not_enforced_is_red_beside_it() {
    let world = house().tampering(|node, expected, _| match node {
        "infra-1" => Expected::Allowed,
        _ => expected,
    });
    world.expect(&deny::DEFAULT_DENY_EGRESS, infra(), "fail").await;
}

#[tokio::test(start_paused = true)]
async fn a_rule_that_bars_all_probes_is_named_at_once() {
    let mut world = World::new();
    world.facts.house = vec![rule(Barred::Probes, None)];
    let text = world.expect(&peers::LABELS, infra(), "inconclusive").await;
    assert!(text.contains(&format!("{NAME} in infra denies by default")), "{text}");
}

#[tokio::test(start_paused = true)]
async fn labels_outside_of_identities_are_one_reason_to_skip() {
    let mut world = World::new();
    let cilium = world.facts.clusters[0].cilium.as_mut().expect("Cilium");
    cilium
        .config
        .insert("labels".to_owned(), "k8s:app !k8s:role".to_owned());
    let text = world.expect(&peers::LABELS, infra(), "skipped").await;
    assert!(
        text.contains("cilium-config of infra leaves labels out of identities"),
        "{text}"
    );
}
