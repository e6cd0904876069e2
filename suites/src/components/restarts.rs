//! No container of a component ends and starts again.

use super::{
    inventory::{Inventory, text, time},
    looks::{Seen, report},
};
use crate::kit::recent::Age;
use async_trait::async_trait;
use jiff::Timestamp;
use meshproof_contract::{Admission, Check, CheckContext, CheckId, CheckText, Needs, Scope, Verdict};
use serde_json::Value;
use std::{collections::BTreeMap, time::Duration};

/// Restarts of components.
pub struct Restarts;

/// For so long at least nothing may restart.
const WINDOW: Duration = Duration::from_secs(10);
/// So many restarts, the last one this long ago or less, are a loop: the kubelet's own pause is at most five minutes.
const LOOP_RESTARTS: u64 = 3;
const LOOP_SECONDS: i64 = 600;

#[async_trait]
impl Check for Restarts {
    fn id(&self) -> CheckId {
        CheckId::from("components::restarts")
    }

    fn text(&self) -> CheckText {
        CheckText {
            title: "No container of a component restarts during the run, or again and again",
            proves: "What the other checks observe was served by components that ran all the time: no crash, no failed \
                     liveness probe and no lack of memory.",
            how: "The container statuses of the components' pods are read after the checks that run beside others, and \
                  10 s after the creation of the run's first pod at least: none may have restarted or ended since \
                  then or be in CrashLoopBackOff, and none may have restarted three times or more with the last one \
                  within 10 minutes.",
            control: "At least one running container of a component must be found; otherwise the check is \
                      inconclusive.",
            when_red: "`kubectl --context CONTEXT -n kube-system logs POD --previous --tail=50` shows the last words \
                       of the container that ended; exit code 137 with OOMKilled means that its \
                       memory limit is too low.",
        }
    }

    fn scope(&self) -> Scope {
        Scope::Cluster
    }
    fn faults(&self) -> &'static [&'static str] {
        &["operator-crash-loop"]
    }

    /// After the checks that run beside others: what they met is in the window, and nobody waits for it.
    fn needs(&self) -> Needs {
        Needs {
            admission: Admission::ExclusiveInCluster,
            ..Needs::default()
        }
    }

    async fn run(&self, context: &CheckContext) -> Verdict {
        let mut seen = Seen::default();
        let Some(inventory) = Inventory::read(context, Age::OfThisRun, &mut seen).await else {
            return report(context, seen);
        };
        let before = restarts(&inventory);
        tokio::time::sleep(left_of_window(began(context, &inventory))).await;
        if let Some(inventory) = inventory.with_pods_of_now(context, &mut seen).await {
            judge(context, &inventory, &before, &mut seen);
        }
        // What has ended has ended, whatever the next look would show.
        report(context, seen)
    }
}

/// How much is left of the time for which nothing may restart, of a run that began then.
fn left_of_window(began: Option<Timestamp>) -> Duration {
    let since = began.map_or(0, |began| Timestamp::now().as_second() - began.as_second());
    WINDOW.saturating_sub(Duration::from_secs(since.try_into().unwrap_or(0)))
}

/// How often each container restarted, by its pod's uid and its name.
type Restarted = BTreeMap<(String, String), u64>;

fn restarts(inventory: &Inventory) -> Restarted {
    let pods = inventory
        .components()
        .flat_map(|(_, workload)| inventory.pods_of(workload));
    let of = |pod| statuses(pod).map(move |status| (key(pod, status), count(status)));
    pods.flat_map(of).collect()
}

fn key(pod: &Value, status: &Value) -> (String, String) {
    (
        text(&pod["metadata"]["uid"]).to_owned(),
        text(&status["name"]).to_owned(),
    )
}

fn count(status: &Value) -> u64 {
    status["restartCount"].as_u64().unwrap_or(0)
}

fn judge(context: &CheckContext, inventory: &Inventory, before: &Restarted, seen: &mut Seen) {
    let began = began(context, inventory);
    let mut running = 0;
    for (component, workload) in inventory.components() {
        for pod in inventory.pods_of(workload) {
            for status in statuses(pod) {
                let rose = before
                    .get(&key(pod, status))
                    .is_some_and(|before| count(status) > *before);
                let Some(what) = restarted(status, began, rose) else {
                    running += usize::from(status["state"]["running"].is_object());
                    continue;
                };
                let (namespace, name) = (&workload.namespace, text(&pod["metadata"]["name"]));
                let container = text(&status["name"]);
                seen.deviates(
                    format!(
                        "{}, pod {namespace}/{name} on {}",
                        component.name,
                        text(&pod["spec"]["nodeName"])
                    ),
                    format!("container {container} runs without restarts"),
                    what,
                    format!("-n {namespace} logs {name} -c {container} --previous --tail=50"),
                );
            }
        }
    }
    if running > 0 {
        seen.witness(format!("{running} containers of components run without restarts"));
    }
}

fn statuses(pod: &Value) -> impl Iterator<Item = &Value> {
    let of = |field: &str| pod["status"][field].as_array().into_iter().flatten();
    of("containerStatuses").chain(of("initContainerStatuses"))
}

/// When the run began, by the API server's clock: when its first pod was created; none where it has no pods.
fn began(context: &CheckContext, inventory: &Inventory) -> Option<Timestamp> {
    let facts = context.environment.facts();
    let of_run = |pod: &&Value| {
        let metadata = &pod["metadata"];
        let mut agents = facts.agents.iter();
        agents.any(|agent| metadata["name"] == agent.id.pod.as_str() && metadata["namespace"] == *agent.namespace)
    };
    let created = inventory
        .pods
        .iter()
        .filter(of_run)
        .filter_map(|pod| time(&pod["metadata"]["creationTimestamp"]));
    created.min()
}

/// How a container restarted, if that matters.
fn restarted(status: &Value, began: Option<Timestamp>, rose: bool) -> Option<String> {
    let restarts = count(status);
    let last = &status["lastState"]["terminated"];
    let ended = last.is_object().then(|| {
        let code = last["exitCode"].as_i64().unwrap_or_default();
        format!(
            "it last ended at {} with exit code {code} ({})",
            text(&last["finishedAt"]),
            text(&last["reason"])
        )
    });
    let ended = ended.unwrap_or_default();
    let waiting = text(&status["state"]["waiting"]["reason"]);
    if waiting == "CrashLoopBackOff" {
        return Some(format!("{waiting} after {restarts} restarts; {ended}"));
    }
    let finished = time(&last["finishedAt"]);
    if rose || began.zip(finished).is_some_and(|(began, finished)| finished >= began) {
        return Some(format!("restarted during the run ({restarts} in all); {ended}"));
    }
    let since = Timestamp::now().as_second() - finished?.as_second();
    (restarts >= LOOP_RESTARTS && since <= LOOP_SECONDS).then(|| format!("{restarts} restarts; {ended}"))
}
