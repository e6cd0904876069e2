//! Every node renews its Lease, and by the time that it writes there its clock is right.

use super::inventory::text;
use crate::kit::{
    next_steps,
    recent::{self, Age},
};
use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use meshproof_contract::{Check, CheckContext, CheckId, CheckText, EnvironmentError, Scope, Tally, Unit, Verdict};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use tokio::time::{Duration, Instant, sleep};

/// Clocks of nodes, and Leases of kubelets.
pub struct Clocks;

/// Where kubelets keep their Leases (Kubernetes, `LeaseNamespace` of the kubelet).
const NAMESPACE: &str = "kube-node-lease";
/// By so much a clock may be wrong: certificates and tokens are made some minutes old, and Leases last 15 s.
const ALLOWED: SignedDuration = SignedDuration::from_secs(5);
/// How often the Leases are read. Kubelets renew them every 10 s.
const POLL: Duration = Duration::from_secs(2);
/// The same once every kubelet that works has renewed its own.
const SLOW_POLL: Duration = Duration::from_secs(6);
/// When that is so, on a busy machine too.
const USUAL: Duration = Duration::from_secs(14);
/// `nodeLeaseDurationSeconds` of the kubelet by default, and some more: after that the node is taken for lost.
const LOST: Duration = Duration::from_secs(45);

/// One reading of all Leases, with the harness's clock before and after it.
struct Reading {
    before: Timestamp,
    after: Timestamp,
    renewed: BTreeMap<String, Timestamp>,
}

/// Between which limits a node's clock is ahead of the harness's; negative where it is behind.
#[derive(Clone, Copy, Debug)]
struct Ahead {
    least: SignedDuration,
    most: SignedDuration,
}

impl Ahead {
    /// By how much the clock is wrong at least, where that is too much.
    fn deviation(self) -> Option<SignedDuration> {
        [self.least, self.most]
            .into_iter()
            .zip([self.least > ALLOWED, self.most < -ALLOWED])
            .find_map(|(by, is_wrong)| is_wrong.then_some(by))
    }
}

#[async_trait]
impl Check for Clocks {
    fn id(&self) -> CheckId {
        CheckId::from("components::clocks")
    }

    fn text(&self) -> CheckText {
        CheckText {
            title: "Every node renews its Lease by a clock that is right",
            proves: "Each kubelet works, and no node's clock is wrong by more than 5 s: certificates, tokens, Leases \
                     and the times of flows and logs depend on it. No Lease is renewed for a node that has gone.",
            how: "The Leases in kube-node-lease are read every 2 s until each was seen to change, for at most 45 s. \
                  Its time of renewal is the node's own, and must lie between the two readings by the clock of the \
                  machine that runs the check, give or take 5 s.",
            control: "At least one renewal must be seen, and Nodes and Leases must be readable; otherwise the check is \
                      inconclusive.",
            when_red: "`kubectl --context CONTEXT -n kube-node-lease get lease NODE -o yaml` shows the time. On the \
                       node `timedatectl` or `chronyc tracking` (Talos: `talosctl time`) say why the clock is wrong. \
                       A Lease that nobody renews: look at the kubelet.",
        }
    }

    fn scope(&self) -> Scope {
        Scope::Cluster
    }
    fn faults(&self) -> &'static [&'static str] {
        &["clock-wrong", "node-lease-left"]
    }

    async fn run(&self, context: &CheckContext) -> Verdict {
        let cluster = context.instance.from();
        let nodes = match recent::list(context, cluster, ("v1", "Node"), Age::STATE).await {
            Ok(nodes) => renewing(context, names(&nodes)),
            Err(error) => return Verdict::inconclusive(format!("the Nodes of {cluster} cannot be read: {error}")),
        };
        let first = match read(context).await {
            Ok(first) => first,
            Err(error) => return Verdict::inconclusive(format!("the Leases of {cluster} cannot be read: {error}")),
        };
        let mut tally = Tally::new();
        let (clocks, last) = follow(context, &first, &nodes, &mut tally).await;
        left(context, &first, &last, &mut tally).await;
        judge(context, &clocks, &mut tally);
        if tally.has_findings() {
            let command = format!("-n {NAMESPACE} get leases -o yaml");
            context.suggest(next_steps::kubectl(&context.environment.facts(), cluster, &command));
        }
        tally.verdict()
    }
}

fn names(objects: &[Value]) -> BTreeSet<String> {
    let names = objects.iter().map(|object| text(&object["metadata"]["name"]));
    names.map(str::to_owned).collect()
}

/// The nodes that have a kubelet: virtual ones need no Lease.
fn renewing(context: &CheckContext, mut nodes: BTreeSet<String>) -> BTreeSet<String> {
    for foreign in &context.environment.facts().foreign_nodes {
        if foreign.cluster == *context.instance.from() {
            nodes.remove(foreign.node.as_str());
        }
    }
    nodes
}

async fn read(context: &CheckContext) -> Result<Reading, EnvironmentError> {
    let before = Timestamp::now();
    let cluster = context.instance.from();
    let environment = &context.environment;
    let leases = environment.list(cluster, "coordination.k8s.io/v1", "Lease", Some(NAMESPACE));
    let leases = leases.await?;
    let of_nodes = leases
        .iter()
        .filter(|lease| lease["metadata"]["namespace"] == NAMESPACE);
    let renewed = of_nodes.filter_map(|lease| {
        let time = text(&lease["spec"]["renewTime"]).parse().ok()?;
        Some((text(&lease["metadata"]["name"]).to_owned(), time))
    });
    Ok(Reading {
        before,
        renewed: renewed.collect(),
        after: Timestamp::now(),
    })
}

/// Reads until every node's Lease has changed; what the times say of the clocks, and the last reading.
async fn follow(
    context: &CheckContext,
    first: &Reading,
    nodes: &BTreeSet<String>,
    tally: &mut Tally,
) -> (BTreeMap<String, Ahead>, BTreeSet<String>) {
    let cluster = context.instance.from();
    let mut clocks = BTreeMap::new();
    let mut waiting: BTreeSet<&String> = nodes.iter().collect();
    waiting.retain(|node| {
        let is_there = first.renewed.contains_key(*node);
        if !is_there {
            tally.unknown(format!("node {node} of {cluster} has no Lease in {NAMESPACE}"));
        }
        is_there
    });
    let mut last: BTreeSet<String> = first.renewed.keys().cloned().collect();
    let mut earlier = first.before;
    let began = Instant::now();
    while !waiting.is_empty() {
        sleep(if began.elapsed() < USUAL { POLL } else { SLOW_POLL }).await;
        let now = match read(context).await {
            Ok(now) => now,
            Err(error) => {
                tally.unknown(format!("the Leases of {cluster} cannot be read: {error}"));
                break;
            }
        };
        last = now.renewed.keys().cloned().collect();
        waiting.retain(|node| {
            let (Some(was), Some(is)) = (first.renewed.get(*node), now.renewed.get(*node)) else {
                return true;
            };
            if was == is {
                return true;
            }
            let (least, most) = (is.duration_since(now.after), is.duration_since(earlier));
            clocks.insert((*node).clone(), Ahead { least, most });
            false
        });
        earlier = now.before;
        if began.elapsed() > LOST {
            break;
        }
    }
    for node in waiting {
        let Some(renewed) = first.renewed.get(node) else {
            continue;
        };
        let observed = match last.contains(node) {
            true => format!(
                "not renewed for {} s; the time in it is {renewed}",
                began.elapsed().as_secs()
            ),
            false => "it has gone meanwhile".to_owned(),
        };
        tally.finding(
            format!("Lease {NAMESPACE}/{node} of {cluster}"),
            "renewed every 10 s by the kubelet of the node",
            observed,
        );
    }
    (clocks, last)
}

/// Leases that were there the whole time without a Node.
async fn left(context: &CheckContext, first: &Reading, last: &BTreeSet<String>, tally: &mut Tally) {
    let cluster = context.instance.from();
    let nodes = match recent::list(context, cluster, ("v1", "Node"), Age::now()).await {
        Ok(nodes) => names(&nodes),
        Err(error) => {
            tally.unknown(format!("the Nodes of {cluster} cannot be read: {error}"));
            return;
        }
    };
    for name in first
        .renewed
        .keys()
        .filter(|name| last.contains(*name) && !nodes.contains(*name))
    {
        tally.finding(
            format!("Lease {NAMESPACE}/{name} of {cluster}"),
            "a Node of the same name",
            format!(
                "there is none: the Node was removed, last renewed {}",
                first.renewed[name]
            ),
        );
    }
}

fn judge(context: &CheckContext, clocks: &BTreeMap<String, Ahead>, tally: &mut Tally) {
    let cluster = context.instance.from();
    let mut right = 0;
    for (node, ahead) in clocks {
        context.measure("clock_ahead_at_least", node, ahead.least.as_secs_f64(), Unit::Seconds);
        context.measure("clock_ahead_at_most", node, ahead.most.as_secs_f64(), Unit::Seconds);
        let Some(deviation) = ahead.deviation() else {
            right += 1;
            continue;
        };
        let direction = if deviation.is_negative() { "behind" } else { "ahead" };
        tally.finding(
            format!("clock of node {node} of {cluster}"),
            "within 5 s of the clock of the machine that runs this",
            format!("at least {:.1} s {direction}", deviation.abs().as_secs_f64()),
        );
    }
    if right == 0 && clocks.len() > 1 {
        context.note("no node's clock is as this machine's: it may be this machine's that is wrong");
    }
    if right > 0 {
        tally.witness(format!(
            "{right} nodes of {cluster} renew their Leases by a clock that is right"
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        components::tests::world::healthy,
        testing::{Fake, MISSION, infra},
    };

    fn world() -> Fake {
        healthy(MISSION)
    }

    async fn red(world: Fake, words: &[&str]) {
        let said = world.expect(&Clocks, infra(), "fail").await;
        for words in words {
            assert!(said.contains(words), "{words}: {said}");
        }
    }

    #[test]
    fn a_clock_is_wrong_only_if_it_is_so_at_both_limits() {
        let ahead = |least: i64, most: i64| Ahead {
            least: SignedDuration::from_secs(least),
            most: SignedDuration::from_secs(most),
        };
        let wrong = |least, most| ahead(least, most).deviation().map(|by| by.as_secs());
        assert_eq!(wrong(-2, 1), None);
        assert_eq!(wrong(4, 7), None, "it may be right");
        assert_eq!(wrong(6, 9), Some(6));
        assert_eq!(wrong(-9, -6), Some(-6));
    }

    #[tokio::test(start_paused = true)]
    async fn clocks_that_are_right_are_green_and_wrong_ones_are_named() {
        let said = world().expect(&Clocks, infra(), "pass").await;
        assert!(said.contains("3 nodes of infra renew"), "{said}");
        red(
            world().beating("infra", "infra-2", 60),
            &["clock of node infra-2 of infra", "at least", "s ahead"],
        )
        .await;
        red(
            world().beating("infra", "infra-3", -3600),
            &["clock of node infra-3", "behind"],
        )
        .await;
        world()
            .beating("infra", "infra-2", 4)
            .expect(&Clocks, infra(), "pass")
            .await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_kubelet_that_stopped_and_a_lease_without_a_node_are_red() {
        red(
            world().kubelet_stopped("infra-2"),
            &["Lease kube-node-lease/infra-2", "not renewed for"],
        )
        .await;
        red(
            world().beating("infra", "infra-9", 0),
            &["Lease kube-node-lease/infra-9", "the Node was removed"],
        )
        .await;
    }

    #[tokio::test(start_paused = true)]
    async fn what_cannot_be_read_is_inconclusive() {
        let no_lease = world().without_object("infra", "Lease", "infra-2");
        for world in [no_lease, world().list_refused("Lease"), world().list_refused("Node")] {
            world.expect(&Clocks, infra(), "inconclusive").await;
        }
        let all_wrong = ["infra-1", "infra-2", "infra-3"]
            .into_iter()
            .fold(world(), |world, node| world.beating("infra", node, 600));
        red(all_wrong, &["it may be this machine's that is wrong"]).await;
    }
}
