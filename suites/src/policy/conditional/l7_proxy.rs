//! Checks of HTTP rules, skipped where no proxy runs that could enforce them.
//!
//! `enable-l7-proxy` is on by default, the DNS proxy needs it too, and an agent reports `embedded` for Envoy even when
//! its image has none. So unless the operators claim L7 policies themselves, a proxy must have answered something
//! first.

use super::Conditional;
use crate::{
    kit::{
        object::policy::cilium,
        recent::{self, Age},
    },
    policy::{
        case::{Case, PolicyCheck},
        cases::inbound,
        cell::{CellResult, Traffic},
        fixture::Fixture,
    },
};
use meshproof_contract::{CheckContext, CiliumQuery, ClaimKind, Tally, Verdict, claim::ClaimSource};
use serde_json::{Value, json};

/// Runs a check where an L7 proxy runs, or the operators claim one.
pub const fn if_l7_proxy(check: &'static PolicyCheck) -> Conditional {
    Conditional {
        check,
        unmet: |context| Box::pin(async { no_proxy(context).await.map(Verdict::skipped) }),
    }
}

/// Every request is admitted, by a rule that only a proxy can judge.
const ANY_REQUEST: Case = Case {
    name: "any request through the proxy",
    policies: |fixture| {
        let ports = json!([{"ports": [{"port": "8080", "protocol": "TCP"}], "rules": {"http": [{}]}}]);
        vec![cilium(
            json!({"endpointSelector": fixture.selector(), "ingress": [{"toPorts": ports}]}),
        )]
    },
    cells: inbound,
};

/// Why there is no proxy to test, where only the live configuration enables one.
pub(in crate::policy) async fn no_proxy(context: &CheckContext) -> Option<String> {
    let facts = context.environment.facts();
    let cluster = context.instance.to();
    let claim = facts.claim(cluster, ClaimKind::L7Policy)?;
    let ClaimSource::Live { object } = &claim.source else {
        return None;
    };
    let answers = recent::cilium(context, cluster, CiliumQuery::Status, Age::OfThisRun).await;
    let answers = answers.unwrap_or_default();
    let statuses: Vec<&Value> = answers
        .iter()
        .filter_map(|answer| answer.output.as_ref().ok())
        .collect();
    if !statuses.is_empty() && statuses.iter().all(|status| status["proxy"].is_null()) {
        return Some(format!(
            "no agent of {cluster} has an L7 proxy (`proxy` in its status is null), although {object} enables it"
        ));
    }
    let embedded = |status: &&Value| status["proxy"]["envoy-deployment-mode"] == "embedded";
    if !statuses.iter().any(embedded) {
        return None;
    }
    let fixture = Fixture::new(context).await.ok()?;
    let seen = ANY_REQUEST.run(context, &fixture, &mut Tally::new()).await?;
    let (http, other): (Vec<_>, Vec<_>) = seen
        .iter()
        .partition(|(judged, _)| matches!(judged.cell.traffic, Traffic::Http { .. }));
    let in_force = other.iter().all(|(_, result)| *result == CellResult::Ok);
    let unanswered = http.iter().all(|(_, result)| matches!(result, CellResult::Mismatch(_)));
    (in_force && unanswered && !http.is_empty()).then(|| {
        format!(
            "no Envoy runs in {cluster}: a policy that admits every HTTP request was in force, and none of {} \
             requests was answered. {object} alone does not claim L7 policies: set the claim `l7-policy` in \
             meshproof.yaml if they should work",
            http.len()
        )
    })
}
