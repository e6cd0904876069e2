//! Every agent runs the claimed encryption.

use super::claim;
use crate::kit::{cilium::nodes, recent::Age};
use async_trait::async_trait;
use meshproof_contract::{
    Check, CheckContext, CheckId, CheckText, CiliumQuery, ClaimKind, Needs, NodeLabel, Scope, Tally, Verdict,
    cilium::AgentStatus,
};

/// The mode as the agents report it.
pub struct ModeInForce;

#[async_trait]
impl Check for ModeInForce {
    fn id(&self) -> CheckId {
        CheckId::from("encryption::mode_in_force")
    }
    fn text(&self) -> CheckText {
        CheckText {
            title: "Every Cilium agent runs the claimed encryption",
            proves: "The configuration has reached every agent; no rollout has left one with another mode.",
            how: "`.encryption.mode` in `cilium-dbg status -o json` of every agent must be the claimed one \
                  (Wireguard, IPsec or Disabled). A live configuration without encryption is not a claim where \
                  another cluster of the mesh encrypts, since Cilium does not support mixed encryption in one mesh.",
            control: "Every node must have an agent that answers and reports its mode; otherwise the check is \
                      inconclusive.",
            when_red: "`kubectl --context CONTEXT -n kube-system get cm cilium-config -o yaml | grep -E \
                       'wireguard|ipsec'`. A changed ConfigMap takes effect only after the agents restart.",
        }
    }
    fn scope(&self) -> Scope {
        Scope::Cluster
    }
    fn needs(&self) -> Needs {
        Needs {
            claim: Some(ClaimKind::Encryption),
            ..Needs::default()
        }
    }
    fn faults(&self) -> &'static [&'static str] {
        &["encryption-off"]
    }

    async fn run(&self, context: &CheckContext) -> Verdict {
        let facts = context.environment.facts();
        let cluster = context.instance.from();
        let claimed = match claim::of(&facts, cluster) {
            Ok(claimed) => claimed,
            Err(verdict) => return verdict,
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
            let at = NodeLabel::pod(&answer.cluster, &answer.node).to_string();
            let status = serde_json::from_value::<AgentStatus>(answer.output.clone());
            let mode = match status.map(|status| status.encryption.map(|e| e.mode)) {
                Ok(Some(mode)) if !mode.is_empty() => mode,
                Ok(_) => {
                    tally.unknown(format!("{at}: `cilium-dbg status` does not report encryption"));
                    continue;
                }
                Err(error) => {
                    tally.unknown(format!("{at}: cannot parse the output of `cilium-dbg status`: {error}"));
                    continue;
                }
            };
            if mode.eq_ignore_ascii_case(claimed.mode.status()) {
                agree += 1;
            } else {
                let expected = claimed.expects(format_args!("mode {}", claimed.mode.status()));
                tally.finding(at, expected, format!("mode {mode}"));
            }
        }
        if agree > 0 {
            tally.witness(format!(
                "{agree} of {} agents of {cluster} report mode {}",
                answers.len(),
                claimed.mode.status()
            ));
        }
        tally.verdict()
    }
}
