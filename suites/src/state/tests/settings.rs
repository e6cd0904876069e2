//! Agents with other settings than their ConfigMap, or than their neighbours.

use super::{
    expect,
    recorded::{told, world},
};
use crate::{state::settings::Settings, testing::Fake};
use meshproof_contract::CiliumQuery;
use serde_json::{Value, json};

fn set(on: &'static [&'static str], field: &'static str, value: Value) -> Fake {
    told(move |node, query, output| {
        if on.contains(&node) && query == CiliumQuery::Configuration {
            output[field] = value.clone();
        }
    })
}

#[tokio::test(start_paused = true)]
async fn an_agent_with_another_setting_is_red_with_both_values() {
    let text = expect(set(&["infra-2"], "EnablePolicy", json!("always")), &Settings, "fail").await;
    assert!(text.contains("setting EnablePolicy, agent on infra-2"), "{text}");
    assert!(
        text.contains("`default`, as `enable-policy` of cilium-config | observed `always`"),
        "{text}"
    );
    assert!(text.contains("cilium-dbg config --all"), "{text}");
    let text = expect(
        set(&["infra-1", "infra-2"], "EncryptNode", json!(false)),
        &Settings,
        "fail",
    )
    .await;
    assert!(
        text.contains("all 2 agents of infra") && text.contains("`encrypt-node`"),
        "{text}"
    );
    let now = set(&["infra-1"], "policy-enforcement", json!("never"));
    expect(now, &Settings, "fail").await;
}

#[tokio::test(start_paused = true)]
async fn what_the_configmap_leaves_out_is_compared_with_most_agents() {
    let three = |on: &'static [&'static str]| {
        set(on, "EnableHostFirewall", json!(true)).facts(|facts| {
            let mut third = facts.clusters[0].nodes[1].clone();
            third.name = "infra-3".into();
            facts.clusters[0].nodes.push(third);
        })
    };
    let third = json!({"kind": "CiliumNode", "metadata": {"name": "infra-3"}, "spec": {}});
    let text = expect(three(&["infra-3"]).object("infra", third.clone()), &Settings, "fail").await;
    assert!(
        text.contains("agent on infra-3") && text.contains("`false`, as most agents have"),
        "{text}"
    );
    // Nobody else says what it should be: the chart leaves out what is off.
    let all = three(&["infra-1", "infra-2", "infra-3"]).object("infra", third);
    expect(all, &Settings, "pass").await;
}

#[tokio::test(start_paused = true)]
async fn an_option_that_somebody_changed_at_run_time_is_red() {
    let options = |on: &'static [&'static str], value: &'static str| {
        told(move |node, query, output| {
            if query == CiliumQuery::Configuration {
                let here = if on.contains(&node) { value } else { "Enabled" };
                output["options"] = json!({"DropNotification": here, "ConntrackAccounting": here});
            }
        })
    };
    expect(options(&[], ""), &Settings, "pass").await;
    let text = expect(options(&["infra-2"], "Disabled"), &Settings, "fail").await;
    for words in [
        "setting options.ConntrackAccounting",
        "the same on every agent of the cluster",
        "setting options.DropNotification, agent on infra-2",
    ] {
        assert!(text.contains(words), "{words}: {text}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_setting_that_a_version_lacks_is_not_compared() {
    expect(set(&["infra-1"], "EnablePolicy", json!(null)), &Settings, "pass").await;
    let nothing = told(|_, query, output| {
        if query == CiliumQuery::Configuration {
            *output = json!({});
        }
    });
    expect(nothing, &Settings, "inconclusive").await;
    expect(world().cilium_error_on("infra-2"), &Settings, "inconclusive").await;
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_reports_another_mode_is_red() {
    for (path, value, expected) in [
        (
            "/hubble/state",
            json!("Disabled"),
            "`true`, as `enable-hubble` of cilium-config",
        ),
        (
            "/kube-proxy-replacement/features/nodePort/mode",
            json!("SNAT"),
            "`dsr`, as `bpf-lb-mode` of cilium-config",
        ),
        (
            "/masquerading/mode",
            json!("IPTables"),
            "`true`, as `enable-bpf-masquerade` of cilium-config",
        ),
    ] {
        let other = told(move |node, query, output| {
            if node == "infra-2" && query == CiliumQuery::Status {
                *output.pointer_mut(path).expect("it is reported") = value.clone();
            }
        });
        let text = expect(other, &Settings, "fail").await;
        assert!(text.contains("agent on infra-2") && text.contains(expected), "{text}");
    }
    let busy = told(|node, query, output| {
        if node == "infra-2" && query == CiliumQuery::Status {
            output["hubble"]["state"] = json!("Warning");
        }
    });
    expect(busy, &Settings, "pass").await;
}
