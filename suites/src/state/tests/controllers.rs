//! Agents whose controllers fail.

use super::{expect, recorded::told};
use crate::{state::controllers::Controllers, testing::Fake};
use meshproof_contract::CiliumQuery;
use serde_json::json;

/// A controller of one agent has failed so often in a row.
fn failing(failures: u64) -> Fake {
    told(move |node, query, output| {
        if query == CiliumQuery::Status
            && node == "infra-2"
            && let Some(controllers) = output["controllers"].as_array_mut()
        {
            controllers.push(json!({"name": "sync-to-k8s-ciliumendpoint (161)", "status": {
                "consecutive-failure-count": failures, "last-failure-msg": "ciliumendpoints is forbidden"}}));
        }
    })
}

#[tokio::test(start_paused = true)]
async fn what_fails_again_and_again_is_red_with_node_and_reason() {
    for once in [0, 1] {
        expect(failing(once), &Controllers, "pass").await;
    }
    let text = expect(failing(9), &Controllers, "fail").await;
    for words in [
        "controller sync-to-k8s-ciliumendpoint, agent on infra-2",
        "ciliumendpoints is forbidden",
    ] {
        assert!(text.contains(words), "{words}: {text}");
    }
}

#[tokio::test(start_paused = true)]
async fn agents_that_list_none_are_inconclusive() {
    let silent = told(|_, query, output| {
        if query == CiliumQuery::Status {
            output["controllers"] = json!(null);
        }
    });
    expect(silent, &Controllers, "inconclusive").await;
}
