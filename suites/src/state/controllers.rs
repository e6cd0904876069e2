//! What every agent does again and again succeeds.

use super::{
    cilium,
    deviation::{Counts, Difference, Seen, conclude},
    look::Look,
    object::{list, text},
};
use async_trait::async_trait;
use meshproof_contract::{
    Check, CheckContext, CheckId, CheckText, CiliumQuery, Needs, NodeName, Scope, Tally, Verdict,
};
use serde_json::Value;
use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

/// Controllers of agents.
pub struct Controllers;

const COMMAND: &str = "cilium-dbg status --all-controllers";
/// One failure may be a moment's; a controller tries again soon.
const FAILURES: u64 = 2;

/// The last words of controllers that fail, by kind and node.
type Words = Mutex<BTreeMap<String, String>>;

#[async_trait]
impl Check for Controllers {
    fn id(&self) -> CheckId {
        CheckId::from("state::controllers")
    }

    fn text(&self) -> CheckText {
        CheckText {
            title: "Every controller of every agent succeeds",
            proves: "No agent tries something again and again without success: to write CiliumEndpoints without the \
                     right to, to reach its own health endpoint, to reach an etcd, to write maps. Its status is `Ok` \
                     all the same, and what it knew before stays in force.",
            how: "In `cilium-dbg status -o json` of every agent no controller may have failed twice or more in a row, \
                  and still so when it is read again after `thresholds.propagation` (default 10 s). Controllers of \
                  single endpoints count together.",
            control: "At least one controller must be listed. An agent that does not answer makes it inconclusive.",
            when_red: "`kubectl --context CONTEXT -n kube-system exec AGENT_POD -c cilium-agent -- cilium-dbg status \
                       --all-controllers` shows the last error of each. Forbidden: compare ClusterRole cilium with the \
                       chart's. Otherwise `kubectl --context CONTEXT -n kube-system logs AGENT_POD -c cilium-agent \
                       --tail=100`.",
        }
    }

    fn scope(&self) -> Scope {
        Scope::Cluster
    }
    fn needs(&self) -> Needs {
        Needs::default()
    }
    fn faults(&self) -> &'static [&'static str] {
        &["agent-forbidden"]
    }

    async fn run(&self, context: &CheckContext) -> Verdict {
        let facts = context.environment.facts();
        if let Err(verdict) = cilium(context, &facts) {
            return verdict;
        }
        let words = Words::default();
        let verdict = conclude(context, |look, tally| compare(context, look, &words, tally)).await;
        for (what, why) in words.into_inner().unwrap_or_else(PoisonError::into_inner) {
            context.note(format!("{what}: {why}"));
        }
        verdict
    }
}

fn compare(context: &CheckContext, look: &Look, words: &Words, tally: &mut Tally) -> Seen {
    let mut seen = Seen::of("controllers of agents");
    match look.cluster(context.instance.from()) {
        Ok(look) => {
            for (node, status) in look.answers(CiliumQuery::Status, tally) {
                of_agent(node, status, words, &mut seen);
            }
        }
        Err(why) => tally.unknown(why),
    }
    if seen.compared == 0 {
        tally.unknown("no agent lists a controller");
    }
    seen
}

fn of_agent(node: &NodeName, status: &Value, words: &Words, seen: &mut Seen) {
    let mut words = words.lock().unwrap_or_else(PoisonError::into_inner);
    for controller in list(&status["controllers"]) {
        seen.compared += 1;
        let status = &controller["status"];
        if status["consecutive-failure-count"].as_u64().unwrap_or(0) < FAILURES {
            continue;
        }
        let name = text(&controller["name"]);
        words.insert(format!("{name} on {node}"), text(&status["last-failure-msg"]));
        let difference = Difference {
            subject: format!("controller {}", kind(&name)),
            expected: "it succeeds".to_owned(),
            observed: "it fails again and again".to_owned(),
            version: String::new(),
            counts: Counts::Twice,
        };
        seen.on(node, COMMAND, difference);
    }
}

/// The name without what tells one endpoint's from another's: `sync-policymap-161`, `sync-to-k8s-ciliumendpoint (161)`,
/// `resolve-labels-demo/echo-6f5579c5c5-gkm4w`, `endpoint-161-regeneration-recovery`.
fn kind(name: &str) -> String {
    if name.starts_with("resolve-labels-") {
        return "resolve-labels".to_owned();
    }
    let is_number = |word: &&str| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_digit());
    let words = name.split(['-', ' ']).map(|word| word.trim_matches(['(', ')']));
    words.filter(|word| !is_number(word)).collect::<Vec<_>>().join("-")
}

#[cfg(test)]
mod tests {
    use super::kind;

    #[test]
    fn controllers_of_endpoints_count_together() {
        for (name, expected) in [
            ("sync-policymap-161", "sync-policymap"),
            ("sync-to-k8s-ciliumendpoint (161)", "sync-to-k8s-ciliumendpoint"),
            ("resolve-labels-demo/echo-6f5579c5c5-gkm4w", "resolve-labels"),
            ("endpoint-161-regeneration-recovery", "endpoint-regeneration-recovery"),
            ("k8s-heartbeat", "k8s-heartbeat"),
            ("remote-etcd-infra", "remote-etcd-infra"),
        ] {
            assert_eq!(kind(name), expected);
        }
    }
}
