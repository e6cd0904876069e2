//! No namespace is stuck in its deletion.

use super::{
    inventory::{condition, text},
    looks::{Look, Seen, conclude},
};
use crate::kit::recent::{self, Age};
use async_trait::async_trait;
use jiff::Timestamp;
use meshproof_contract::{Check, CheckContext, CheckId, CheckText, Scope, Verdict};
use serde_json::Value;

/// Namespaces.
pub struct Namespaces;

/// A deletion takes no longer: pods have 30 s to end.
const DELETION_SECONDS: i64 = 120;
/// What the namespace controller says when it cannot go on, whatever time it has.
const FAILURES: [&str; 3] = [
    "NamespaceDeletionDiscoveryFailure",
    "NamespaceDeletionGroupVersionParsingFailure",
    "NamespaceDeletionContentFailure",
];
/// What it says when something is left.
const REMAINS: [&str; 2] = ["NamespaceFinalizersRemaining", "NamespaceContentRemaining"];

#[async_trait]
impl Check for Namespaces {
    fn id(&self) -> CheckId {
        CheckId::from("components::namespaces")
    }

    fn text(&self) -> CheckText {
        CheckText {
            title: "No namespace is stuck in its deletion",
            proves: "What was removed is gone. A namespace that cannot end keeps its objects, its policies and its \
                     Services, and whoever installs into it again fails.",
            how: "The namespaces are read. One that has been Terminating for more than two minutes, or whose deletion \
                  the controller reports as failed, must be gone when it is read again after 10 s.",
            control: "At least one Active namespace must be found; otherwise the check is inconclusive.",
            when_red: "`kubectl --context CONTEXT get namespace NAME -o yaml` names in its conditions what remains: \
                       finalizers whose controller is gone, or an API that is not available (`kubectl --context \
                       CONTEXT get apiservices`).",
        }
    }

    fn scope(&self) -> Scope {
        Scope::Cluster
    }
    fn faults(&self) -> &'static [&'static str] {
        &["namespace-stuck"]
    }

    async fn run(&self, context: &CheckContext) -> Verdict {
        conclude(context, self).await
    }
}

#[async_trait]
impl Look for Namespaces {
    async fn look(&self, context: &CheckContext, age: Age) -> Seen {
        let mut seen = Seen::default();
        let cluster = context.instance.from();
        let namespaces = recent::list(context, cluster, ("v1", "Namespace"), age).await;
        let Some(namespaces) = seen.read("namespaces", cluster, namespaces) else {
            return seen;
        };
        let mut active = 0;
        for namespace in namespaces.iter() {
            let name = text(&namespace["metadata"]["name"]);
            let Some(since) = namespace["metadata"]["deletionTimestamp"].as_str() else {
                active += 1;
                continue;
            };
            if let Some(why) = stuck(namespace, since) {
                seen.deviates(
                    format!("namespace {name}"),
                    "gone",
                    format!("Terminating since {since}{why}"),
                    format!("get namespace {name} -o yaml"),
                );
            }
        }
        if active > 0 {
            seen.witness(format!("{active} namespaces are Active"));
        }
        seen
    }
}

/// What keeps it, if it should be gone.
fn stuck(namespace: &Value, since: &str) -> Option<String> {
    let says = |kind: &&str| condition(namespace, kind).filter(|one| one["status"] == "True");
    let words = |one: &Value| format!("; {}: {}", text(&one["type"]), text(&one["message"]));
    if let Some(failure) = FAILURES.iter().find_map(says) {
        return Some(words(failure));
    }
    let since: Timestamp = since.parse().ok()?;
    let is_old = Timestamp::now().as_second() - since.as_second() > DELETION_SECONDS;
    is_old.then(|| REMAINS.iter().find_map(says).map(words).unwrap_or_default())
}
