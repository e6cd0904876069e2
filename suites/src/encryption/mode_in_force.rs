//! Every agent runs the claimed encryption.

use super::claim::{self, Claimed, Mode};
use crate::kit::{cilium::nodes, recent::Age};
use async_trait::async_trait;
use meshproof_contract::{
    Check, CheckContext, CheckId, CheckText, CiliumQuery, ClaimKind, Needs, NodeLabel, Scope, Tally, Verdict,
    cilium::{AgentStatus, Encryption, Ipsec},
};
use std::{collections::BTreeMap, time::Duration};

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
                  another cluster of the mesh encrypts, since Cilium does not support mixed encryption in one mesh. \
                  With IPsec, `cilium-dbg encrypt status -o json` must also show a key in use on every node, and no \
                  XFRM error that a retry shows as new. That all nodes have the same key is not shown anywhere: \
                  encryption::pod_traffic proves it by what arrives.",
            control: "Every node must have an agent that answers and reports its mode; otherwise the check is \
                      inconclusive.",
            when_red: "`kubectl --context CONTEXT -n kube-system get cm cilium-config -o yaml | grep -E \
                       'wireguard|ipsec'`. A changed ConfigMap takes effect only after the agents restart. XFRM \
                       errors, or no key: `kubectl --context CONTEXT -n kube-system exec AGENT_POD -c cilium-agent \
                       -- cilium-dbg encrypt status`, and the Secret cilium-ipsec-keys.",
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
        if claimed.mode == Mode::Ipsec {
            judge_keys(context, &claimed, &mut tally).await;
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

/// Between two looks at the XFRM errors.
const APART: Duration = Duration::from_secs(5);

/// Whether every node has a key in use, and none counts new errors. Errors from before are only noted: they do not
/// tell when.
async fn judge_keys(context: &CheckContext, claimed: &Claimed, tally: &mut Tally) {
    let first = ipsec(context, tally).await;
    tokio::time::sleep(APART).await;
    let second = ipsec(context, &mut Tally::new()).await;
    let mut with_keys = 0;
    for (at, before) in &first {
        if before.keys_in_use > 0 {
            with_keys += 1;
        } else {
            tally.finding(at, claimed.expects("an IPsec key in use"), "keys-in-use 0");
        }
        if before.error_count > 0 {
            context.note(format!(
                "{at}: XFRM errors since the node started: {:?}",
                before.xfrm_errors
            ));
        }
        let Some(after) = second.get(at) else { continue };
        let rose = |(name, count): (&String, &u64)| {
            let more = count.saturating_sub(before.xfrm_errors.get(name).copied().unwrap_or_default());
            (more > 0).then(|| format!("{name} +{more}"))
        };
        let new: Vec<String> = after.xfrm_errors.iter().filter_map(rose).collect();
        if !new.is_empty() {
            let (seconds, new) = (APART.as_secs(), new.join(", "));
            tally.finding(
                at,
                claimed.expects("no new XFRM errors"),
                format!("within {seconds} s: {new}"),
            );
        }
    }
    if with_keys > 0 {
        tally.witness(format!("{with_keys} of {} nodes have an IPsec key in use", first.len()));
    }
}

/// IPsec as the node's agent shows it, by node.
async fn ipsec(context: &CheckContext, tally: &mut Tally) -> BTreeMap<String, Ipsec> {
    let cluster = std::slice::from_ref(context.instance.from());
    let answers = nodes::ask(context, cluster, CiliumQuery::EncryptStatus, Age::now(), tally).await;
    let mut found = BTreeMap::new();
    for answer in answers {
        let at = NodeLabel::pod(&answer.cluster, &answer.node).to_string();
        match serde_json::from_value::<Encryption>(answer.output).map(|shown| shown.ipsec) {
            Ok(Some(ipsec)) => drop(found.insert(at, ipsec)),
            Ok(None) => tally.unknown(format!("{at}: `cilium-dbg encrypt status` does not report IPsec")),
            Err(error) => tally.unknown(format!("{at}: cannot parse `cilium-dbg encrypt status`: {error}")),
        }
    }
    found
}
