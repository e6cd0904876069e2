//! Every agent runs the encryption that is claimed.

use super::claim;
use crate::kit::cilium::nodes;
use async_trait::async_trait;
use meshproof_contract::cilium::AgentStatus;
use meshproof_contract::{
    Check, CheckContext, CheckId, CheckText, CiliumQuery, ClaimKind, Needs, Scope, Tally, Verdict,
};

/// The mode by the word of the agents.
pub struct ModeInForce;

#[async_trait]
impl Check for ModeInForce {
    fn id(&self) -> CheckId {
        CheckId::from("encryption::mode_in_force")
    }
    fn text(&self) -> CheckText {
        CheckText {
            title: "Every Cilium agent runs the encryption that is claimed",
            proves: "The configuration has reached every agent: none was left with encryption off, or on, by a rollout that did not reach it.",
            how: "`cilium-dbg status -o json` of every agent: `.encryption.mode` must be that of the claim (Wireguard, IPsec, Disabled). A live configuration without encryption is no claim where another cluster of the mesh encrypts: mixed encryption in one mesh is not supported by Cilium.",
            control: "Every node must have an agent that answered and that says its mode; a missing key is inconclusive.",
            when_red: "`kubectl --context CONTEXT -n kube-system get cm cilium-config -o yaml | grep -E 'wireguard|ipsec'`, and when the agents were restarted: a changed ConfigMap acts only then.",
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
        let answers = nodes::ask(context, std::slice::from_ref(cluster), CiliumQuery::Status, &mut tally).await;
        let mut agree = 0;
        for answer in &answers {
            let at = nodes::place(&answer.cluster, &answer.node);
            let status = serde_json::from_value::<AgentStatus>(answer.output.clone());
            let mode = match status.map(|status| status.encryption.map(|e| e.mode)) {
                Ok(Some(mode)) if !mode.is_empty() => mode,
                Ok(_) => {
                    tally.unknown(format!("{at}: `cilium-dbg status` says nothing of encryption"));
                    continue;
                }
                Err(error) => {
                    tally.unknown(format!("{at}: `cilium-dbg status` is not understood: {error}"));
                    continue;
                }
            };
            match mode.eq_ignore_ascii_case(claimed.mode.status()) {
                true => agree += 1,
                false => tally.finding(
                    at,
                    format!("mode {}: {}", claimed.mode.status(), claimed.by),
                    format!("mode {mode}"),
                ),
            }
        }
        if agree > 0 {
            tally.witness(format!(
                "{agree} of {} agents of {cluster} say {}",
                answers.len(),
                claimed.mode.status()
            ));
        }
        tally.verdict()
    }
}
