//! Checks of HTTP rules, which say so when no proxy runs that could enforce them.
//!
//! `enable-l7-proxy` is on by default, the DNS proxy needs it too, and an agent shows `embedded` for Envoy even when its
//! image has none. So without words of the operators the claim is only believed once a proxy has answered something.

use super::case::{Case, Family, Provided};
use super::cell::{Ask, Compared};
use super::scene::Scene;
use super::ward::GROUPS;
use meshproof_contract::claim::ClaimSource;
use meshproof_contract::{CheckContext, CiliumQuery, ClaimKind, Tally, Verdict};
use serde_json::json;

/// A family about HTTP rules.
pub const fn proxied(family: &'static Family) -> Provided {
    Provided {
        family,
        lacking: |context| Box::pin(async { no_proxy(context).await.map(Verdict::skipped) }),
    }
}

/// Every request is admitted, by a rule that only a proxy can judge.
const ANY_REQUEST: Case = Case {
    name: "any request through the proxy",
    policies: |scene| {
        let ports = json!([{"ports": [{"port": "8080", "protocol": "TCP"}], "rules": {"http": [{}]}}]);
        vec![crate::kit::object::policy::cilium(
            json!({"endpointSelector": scene.selector(), "ingress": [{"toPorts": ports}]}),
        )]
    },
    cells: super::cases::inbound,
};

/// Why there is no proxy to be tried, where only the live configuration says that there is one.
async fn no_proxy(context: &CheckContext) -> Option<String> {
    let facts = context.environment.facts();
    let cluster = context.instance.to();
    let claim = facts.claim(cluster, ClaimKind::L7Policy)?;
    let ClaimSource::Live { object } = &claim.source else {
        return None;
    };
    let answers = context
        .environment
        .cilium(cluster, CiliumQuery::Status)
        .await
        .unwrap_or_default();
    let statuses: Vec<_> = answers
        .iter()
        .filter_map(|answer| answer.output.as_ref().ok())
        .collect();
    if !statuses.is_empty() && statuses.iter().all(|status| status["proxy"].is_null()) {
        return Some(format!(
            "no agent of {cluster} has an L7 proxy (`proxy` of its status is null), though {object} is set"
        ));
    }
    let embedded = |status: &&serde_json::Value| status["proxy"]["envoy-deployment-mode"] == "embedded";
    if !statuses.iter().any(embedded) {
        return None;
    }
    let scene = Scene::set(context, &GROUPS).await.ok()?;
    let seen = ANY_REQUEST.play(context, &scene, &mut Tally::new()).await?;
    let (http, other): (Vec<_>, Vec<_>) = seen
        .iter()
        .partition(|(row, _)| matches!(row.cell.ask, Ask::Http { .. }));
    let in_force = other.iter().all(|(_, compared)| *compared == Compared::Right);
    let silent = http.iter().all(|(_, compared)| matches!(compared, Compared::Wrong(_)));
    (in_force && silent && !http.is_empty()).then(|| {
        format!(
            "no Envoy runs in {cluster}: with a rule that admits every HTTP request none of {} was answered, while the rest of \
             the policy was in force; that {object} is set claims no L7 policies by itself (claim `l7-policy` in meshproof.yaml if they should work)",
            http.len()
        )
    })
}
