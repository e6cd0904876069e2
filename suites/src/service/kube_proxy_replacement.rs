//! Every agent replaces kube-proxy where that is claimed.

use crate::kit::{cilium::nodes, recent::Age};
use async_trait::async_trait;
use meshproof_contract::{
    Admission, Check, CheckContext, CheckId, CheckText, CiliumQuery, ClaimKind, Needs, NodeLabel, Scope, Tally, Verdict,
};

/// kube-proxy replacement as the agents report it.
pub struct ReplacementInForce;

#[async_trait]
impl Check for ReplacementInForce {
    fn id(&self) -> CheckId {
        CheckId::from("service::replacement_in_force")
    }
    fn text(&self) -> CheckText {
        CheckText {
            title: "Every Cilium agent replaces kube-proxy, as claimed",
            proves: "The configuration has reached every agent. On a node without it, Services work only through a \
                     leftover kube-proxy, or not at all.",
            how: "`.[\"kube-proxy-replacement\"].mode` in `cilium-dbg status -o json` of every agent must be True.",
            control: "Every node must have an agent that answers and reports its mode; otherwise the check is \
                      inconclusive.",
            when_red: "`kubectl --context CONTEXT -n kube-system get cm cilium-config -o yaml | grep \
                       kube-proxy-replacement`. A changed ConfigMap takes effect only after the agent restarts; its \
                       log names features that the kernel lacks.",
        }
    }
    fn scope(&self) -> Scope {
        Scope::Cluster
    }
    fn needs(&self) -> Needs {
        Needs {
            scenario: None,
            claim: Some(ClaimKind::KubeProxyReplacement),
            admission: Admission::Shared,
            mutates: false,
        }
    }
    fn faults(&self) -> &'static [&'static str] {
        &["kube-proxy-replacement-off"]
    }

    async fn run(&self, context: &CheckContext) -> Verdict {
        let facts = context.environment.facts();
        let cluster = context.instance.from();
        let Some(claim) = facts.claim(cluster, ClaimKind::KubeProxyReplacement) else {
            return Verdict::skipped(format!(
                "not claimed: no claim that Cilium replaces kube-proxy in {cluster}"
            ));
        };
        let mut tally = Tally::new();
        let answers = nodes::ask(
            context,
            std::slice::from_ref(cluster),
            CiliumQuery::Status,
            Age::OfThisRun,
            &mut tally,
        )
        .await;
        let mut agree = 0;
        for answer in &answers {
            let at = NodeLabel::pod(cluster, &answer.node).to_string();
            match answer.output["kube-proxy-replacement"]["mode"].as_str() {
                // Older versions report "Strict".
                Some("True" | "Strict") => agree += 1,
                Some(mode) => tally.finding(
                    at,
                    format!("mode True (claimed: {})", claim.source),
                    format!("mode {mode}"),
                ),
                None => tally.unknown(format!(
                    "{at}: `cilium-dbg status` does not report the mode of kube-proxy-replacement"
                )),
            }
        }
        note_stray_pods(context).await;
        if agree > 0 {
            tally.witness(format!(
                "{agree} of {} agents of {cluster} replace kube-proxy",
                answers.len()
            ));
        }
        tally.verdict()
    }
}

/// Says where kube-proxy still runs: its rules decide beside Cilium's, or stay behind when it is removed.
async fn note_stray_pods(context: &CheckContext) {
    let cluster = context.instance.from();
    let pods = context
        .environment
        .list(cluster, "v1", "Pod", Some("kube-system"))
        .await;
    let pods = pods.unwrap_or_default();
    let stray = pods
        .iter()
        .filter(|pod| pod["metadata"]["labels"]["k8s-app"] == "kube-proxy" && pod["status"]["phase"] == "Running");
    let nodes: Vec<&str> = stray.filter_map(|pod| pod["spec"]["nodeName"].as_str()).collect();
    if !nodes.is_empty() {
        context.note(format!(
            "kube-proxy still runs beside Cilium on {}: its iptables rules also serve Services there; remove it, and \
             its rules with `kube-proxy --cleanup`",
            nodes.join(", ")
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Fake, infra};
    use meshproof_contract::{Claim, ClaimSource};
    use serde_json::json;

    fn claimed() -> Fake {
        Fake::healthy().facts(|facts| {
            facts.claims.push(Claim {
                cluster: "infra".into(),
                kind: ClaimKind::KubeProxyReplacement,
                value: "true".to_owned(),
                source: ClaimSource::Live {
                    object: "ConfigMap kube-system/cilium-config: kube-proxy-replacement".to_owned(),
                },
            });
        })
    }

    fn says(mode: &'static str) -> Fake {
        claimed().status(move |_, node, status| {
            let mode = if node == "infra-2" { mode } else { "True" };
            status["kube-proxy-replacement"] = json!({"mode": mode});
        })
    }

    #[tokio::test]
    async fn one_agent_without_it_is_red() {
        says("True").expect(&ReplacementInForce, infra(), "pass").await;
        let text = says("False").expect(&ReplacementInForce, infra(), "fail").await;
        assert!(text.contains("infra-2") && text.contains("mode False"), "{text}");
    }

    #[tokio::test]
    async fn unreported_is_inconclusive_and_unclaimed_is_skipped() {
        claimed().expect(&ReplacementInForce, infra(), "inconclusive").await;
        claimed()
            .cilium_refused()
            .expect(&ReplacementInForce, infra(), "inconclusive")
            .await;
        Fake::healthy().expect(&ReplacementInForce, infra(), "skipped").await;
    }
}
