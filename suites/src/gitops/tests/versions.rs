//! Versions that are mixed, or are not the pinned one.

use super::world::{charts, git, healthy, helm_release, live, objects, told};
use crate::{
    gitops::versions::Versions,
    testing::{Fake, MISSION, infra},
};
use meshproof_contract::CiliumQuery;
use serde_json::json;

async fn expect(world: Fake, word: &str) -> String {
    world.expect(&Versions, infra(), word).await
}

#[tokio::test(start_paused = true)]
async fn one_version_within_the_pins_is_green() {
    let said = expect(healthy(MISSION), "pass").await;
    assert!(said.contains("run version 1.18.3, within 1 pins"), "{said}");
}

#[tokio::test(start_paused = true)]
async fn an_agent_a_component_and_a_pin_that_differ_are_red() {
    let odd = told(MISSION, |node, query, output| {
        if node == "infra-3" && query == CiliumQuery::Status {
            output["cilium"]["msg"] = json!("1.18.2 (v1.18.2-aaaa)");
        }
    });
    let said = expect(odd, "fail").await;
    assert!(
        said.contains("infra: the agent on infra-3") && said.contains("version 1.18.2"),
        "{said}"
    );
    let mut operator = live(objects("infra").remove(2));
    operator["spec"]["template"]["spec"]["containers"][0]["image"] = json!("quay.io/cilium/operator-generic:v1.17.0");
    let mixed = healthy(MISSION).without_object("infra", "Deployment", "cilium-operator");
    let said = expect(mixed.object("infra", operator), "fail").await;
    assert!(
        said.contains("Deployment cilium-operator") && said.contains("version 1.17.0"),
        "{said}"
    );
    let pinned = healthy(MISSION).facts(|facts| {
        let mut git = git(&["infra", "apps"]);
        git.pins[0].version = ">=1.16.0 <1.17.0".to_owned();
        facts.git = Some(git);
    });
    let said = expect(pinned, "fail").await;
    assert!(
        said.contains("the bootstrap (clusters/infra/cilium-values.yaml:1)"),
        "{said}"
    );
}

#[tokio::test(start_paused = true)]
async fn the_pin_of_fluxs_source_counts_as_well() {
    let pinned = |semver| {
        let world = healthy(MISSION).object("infra", helm_release("infra"));
        world.object("infra", charts(semver))
    };
    let said = expect(pinned(">=1.18.0 <1.19.0"), "pass").await;
    assert!(said.contains("within 2 pins"), "{said}");
    let said = expect(pinned("1.17.x"), "fail").await;
    assert!(
        said.contains("OCIRepository flux-system/charts (live, spec.ref.semver)") && said.contains("`1.17.x`"),
        "{said}"
    );
}

#[tokio::test(start_paused = true)]
async fn agents_that_say_nothing_are_not_known() {
    let silent = told(MISSION, |_, _, output| output["cilium"] = json!(null));
    expect(silent, "inconclusive").await;
    expect(healthy(MISSION).cilium_error_on("infra-2"), "inconclusive").await;
}
