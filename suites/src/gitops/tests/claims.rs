//! Each link of the chain, broken.

use super::world::{git, healthy, helm_release, live, objects, secret, told, values};
use crate::{
    gitops::claims::Claims,
    testing::{Fake, MISSION, infra},
};
use meshproof_contract::CiliumQuery;
use serde_json::{Value, json};

async fn expect(world: Fake, word: &str) -> String {
    world.expect(&Claims, infra(), word).await
}

/// The healthy world with another object instead of one of infra's.
fn with(object: Value) -> Fake {
    let (kind, name) = (object["kind"].clone(), object["metadata"]["name"].clone());
    let (kind, name) = (kind.as_str().unwrap_or_default(), name.as_str().unwrap_or_default());
    healthy(MISSION)
        .without_object("infra", kind, name)
        .object("infra", object)
}

fn release(values: &Value) -> Fake {
    with(secret("infra", 7, "deployed", values))
}

fn object(index: usize, change: impl FnOnce(&mut Value)) -> Fake {
    let mut object = live(objects("infra").remove(index));
    change(&mut object);
    with(object)
}

#[tokio::test(start_paused = true)]
async fn a_chain_without_a_break_is_green_and_every_link_is_told() {
    let said = expect(healthy(MISSION), "pass").await;
    assert!(
        said.contains("infra encryption.nodeEncryption: Git true, Helm true, live true, agents Enabled on 3"),
        "{said}"
    );
    assert!(
        said.contains("infra operator.replicas: Git 2, Helm 2, live 2"),
        "{said}"
    );
    assert!(said.contains("revision 7, chart 1.18.3"), "{said}");
    assert!(!said.contains("hunter2"), "{said}");
}

#[tokio::test(start_paused = true)]
async fn a_release_that_is_older_than_the_files_breaks_at_helm() {
    let mut old = values("infra");
    old["encryption"]["nodeEncryption"] = json!(false);
    let said = expect(release(&old), "fail").await;
    assert!(
        said.contains("infra encryption.nodeEncryption (clusters/infra/cilium-values.yaml:7)"),
        "{said}"
    );
    assert!(
        said.contains("Helm: Git says `true`, and release cilium, revision 7"),
        "{said}"
    );
    assert!(
        said.contains("run the bootstrap again") && !said.contains("hunter2"),
        "{said}"
    );
    let mut by_hand = values("infra");
    by_hand["policyEnforcementMode"] = json!("never");
    let said = expect(release(&by_hand), "fail").await;
    assert!(
        said.contains("no file states it") && said.contains("given by hand"),
        "{said}"
    );
}

#[tokio::test(start_paused = true)]
async fn an_edited_key_breaks_at_the_objects_and_names_who() {
    let edited = object(0, |map| {
        map["data"]["bpf-lb-algorithm"] = json!("random");
        map["data"]["password"] = json!("hunter2-live");
        let entry = json!({
            "manager": "kubectl-edit", "time": "2026-11-30T10:00:30Z",
            "fieldsV1": {"f:data": {"f:bpf-lb-algorithm": {}, "f:password": {}}},
        });
        map["metadata"]["managedFields"]
            .as_array_mut()
            .expect("a list")
            .push(entry);
    });
    let said = expect(edited, "fail").await;
    assert!(
        said.contains(
            "rendered `bpf-lb-algorithm` as maglev, and in ConfigMap kube-system/cilium-config it is random, last \
                       changed by kubectl-edit at 2026-11-30T10:00:30Z"
        ),
        "{said}"
    );
    assert!(
        said.contains("cilium-config password") && !said.contains("hunter2"),
        "{said}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_workload_that_somebody_changed_breaks_at_the_objects() {
    let scaled = object(2, |operator| operator["spec"]["replicas"] = json!(0));
    let said = expect(scaled, "fail").await;
    assert!(
        said.contains("the release rendered 2 replicas") && said.contains("has 0"),
        "{said}"
    );
    let image = object(1, |agent| {
        agent["spec"]["template"]["spec"]["containers"][0]["image"] = json!("quay.io/cilium/cilium:v1.18.2");
    });
    let said = expect(image, "fail").await;
    assert!(said.contains("infra DaemonSet cilium: image of cilium-agent"), "{said}");
    let token = object(1, |agent| {
        agent["spec"]["template"]["spec"]["containers"][0]["env"][0]["value"] = json!("hunter2-other");
    });
    let said = expect(token, "fail").await;
    assert!(said.contains("variable TOKEN") && !said.contains("hunter2"), "{said}");
}

#[tokio::test(start_paused = true)]
async fn an_agent_with_other_settings_breaks_at_the_agents() {
    let odd = told(MISSION, |node, query, output| {
        if node == "infra-2" && query == CiliumQuery::Status {
            output["encryption"]["wireguard"]["node-encryption"] = json!("Disabled");
        }
    });
    let said = expect(odd.facts(|facts| facts.git = Some(git(&["infra", "apps"]))), "fail").await;
    assert!(
        said.contains("agents 2 of 3") && said.contains("the agent on infra-2 runs with `Disabled`"),
        "{said}"
    );
    assert!(said.contains("rollout restart ds/cilium"), "{said}");
    // What nobody states must hold as well.
    let never = told(MISSION, |node, query, output| {
        if node == "infra-1" && query == CiliumQuery::Configuration {
            output["EnablePolicy"] = json!("never");
        }
    });
    let said = expect(never, "fail").await;
    assert!(said.contains("infra policyEnforcementMode"), "{said}");
}

#[tokio::test(start_paused = true)]
async fn agents_that_started_before_the_change_are_named() {
    let changed = object(0, |map| {
        map["metadata"]["managedFields"][0]["time"] = json!("2026-11-30T11:00:00Z");
    });
    let said = expect(changed, "fail").await;
    assert!(said.contains("infra agents on infra-1, infra-2, infra-3"), "{said}");
    assert!(said.contains("last changed by helm at 2026-11-30T11:00:00Z"), "{said}");
}

#[tokio::test(start_paused = true)]
async fn without_the_release_the_files_are_followed_to_the_objects() {
    let edited = object(0, |map| map["data"]["encrypt-node"] = json!("false"));
    let said = expect(edited.list_refused("Secret"), "fail").await;
    assert!(
        said.contains("meshproof rbac --helm-release") && said.contains("Helm not read"),
        "{said}"
    );
    assert!(
        said.contains("the chart makes of the files `encrypt-node` as true"),
        "{said}"
    );
    expect(healthy(MISSION).list_refused("Secret"), "pass").await;
}

#[tokio::test(start_paused = true)]
async fn without_files_the_chain_starts_at_the_release_and_without_that_at_the_objects() {
    let nobody = || healthy(MISSION).facts(|facts| facts.git = None);
    let said = expect(nobody(), "pass").await;
    assert!(
        said.contains("no file states its values") && said.contains("Helm true, live true"),
        "{said}"
    );
    let said = expect(nobody().list_refused("Secret"), "pass").await;
    assert!(
        said.contains("infra encryption.nodeEncryption: Helm not read, live true"),
        "{said}"
    );
}

#[tokio::test(start_paused = true)]
async fn values_that_the_chart_does_not_know_and_releases_that_failed_are_told() {
    let mut misspelt = values("infra");
    misspelt["encryption"]["nodeEncrypt"] = json!("hunter2-wrong");
    misspelt["left"] = json!("hunter2-left");
    let said = expect(release(&misspelt), "fail").await;
    assert!(
        said.contains("infra encryption.nodeEncrypt") && said.contains("encryption.nodeEncryption is"),
        "{said}"
    );
    assert!(
        said.contains("left is a value of the release") && !said.contains("hunter2"),
        "{said}"
    );
    let failed = healthy(MISSION).object("infra", secret("infra", 8, "failed", &json!({})));
    let said = expect(failed, "fail").await;
    assert!(said.contains("revision 8 is failed"), "{said}");
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_read_is_not_known() {
    expect(
        healthy(MISSION).without_object("infra", "ConfigMap", "cilium-config"),
        "inconclusive",
    )
    .await;
    let silent = told(MISSION, |_, _, output| *output = json!({}));
    expect(silent, "inconclusive").await;
    expect(healthy(MISSION).cilium_error_on("infra-2"), "inconclusive").await;
}

#[tokio::test(start_paused = true)]
async fn values_that_the_table_does_not_know_are_compared_and_never_shown() {
    let mut other = values("infra");
    other["hubble"]["relay"]["tls"]["server"]["key"] = json!("hunter2-other");
    let said = expect(release(&other), "fail").await;
    assert!(
        said.contains("infra hubble.relay.tls.server.key (clusters/infra/cilium-values.yaml:11)")
            && said.contains("revision 7 has another value: what Git says is not installed"),
        "{said}"
    );
    assert!(!said.contains("hunter2"), "{said}");
    let mut by_hand = values("infra");
    by_hand["podAnnotations"] = json!({"example.com/token": "hunter2-hand"});
    let said = expect(release(&by_hand), "fail").await;
    assert!(
        said.contains("infra podAnnotations.example.com/token") && said.contains("it was given by hand"),
        "{said}"
    );
    assert!(!said.contains("hunter2"), "{said}");
}

/// infra without files, with a HelmRelease of these values and `valuesFrom`.
fn applied(values: Value, from: Value) -> Fake {
    let mut object = helm_release("infra");
    object["spec"]["values"] = values;
    object["spec"]["valuesFrom"] = from;
    healthy(MISSION).facts(|facts| facts.git = None).object("infra", object)
}

#[tokio::test(start_paused = true)]
async fn without_files_the_chain_starts_at_fluxs_helm_release() {
    let said = expect(applied(values("infra"), Value::Null), "pass").await;
    assert!(
        said.contains("the chain starts at HelmRelease kube-system/cilium"),
        "{said}"
    );
    let mut newer = values("infra");
    newer["encryption"]["nodeEncryption"] = json!(false);
    let said = expect(applied(newer.clone(), Value::Null), "fail").await;
    assert!(
        said.contains("infra encryption.nodeEncryption") && said.contains("Git says `false`"),
        "{said}"
    );
    let some = json!({"cluster": {"name": "infra"}});
    let said = expect(applied(some, json!([{"kind": "ConfigMap", "name": "more"}])), "pass").await;
    assert!(said.contains("the chain starts at HelmRelease"), "{said}");
    assert!(!said.contains("hunter2"), "{said}");
}
