//! Those of which one leads have a leader that is alive.

use super::{
    inventory::{Inventory, OPERATOR, cilium, text},
    looks::{AGAIN, Seen},
};
use crate::kit::{next_steps, recent::Age};
use async_trait::async_trait;
use meshproof_contract::{Check, CheckContext, CheckId, CheckText, Scope, Tally, Verdict};
use serde_json::Value;
use tokio::time::{Duration, Instant, sleep};

/// Leases of leaders.
pub struct Leases;

/// The Lease of Cilium's operator (semantics, E).
const OPERATORS: &str = "cilium-operator-resource-lock";
/// Those of Kubernetes' own controllers, where they are to be seen.
const OF_KUBERNETES: [&str; 2] = ["kube-controller-manager", "kube-scheduler"];
/// How often a Lease is read until it is renewed.
const POLL: Duration = Duration::from_secs(2);
/// Time beyond a Lease's own duration until it counts as left.
const GRACE: Duration = Duration::from_secs(5);
/// The default of Cilium's operator (`leader-election-lease-duration`).
const LEASE_SECONDS: u64 = 15;

#[async_trait]
impl Check for Leases {
    fn id(&self) -> CheckId {
        CheckId::from("components::leases")
    }

    fn text(&self) -> CheckText {
        CheckText {
            title: "Cilium's operator and Kubernetes' controllers have a leader that renews its Lease",
            proves: "Of each there is one that works, not only pods that run: an operator that cannot renew its Lease \
                     does nothing, and its pods are ready all the same.",
            how: "Lease cilium-operator-resource-lock (and those of kube-controller-manager and kube-scheduler, if \
                  they are there) is read every 2 s until its time of renewal changes, at most its \
                  duration and 5 s more. \
                  Its holder must be one of the operator's pods or their nodes.",
            control: "The renewal of at least one Lease must be observed; otherwise the check is inconclusive.",
            when_red: "`kubectl --context CONTEXT -n kube-system logs deploy/cilium-operator --tail=50` says why it \
                       does not renew; `kubectl --context CONTEXT -n kube-system get lease \
                       cilium-operator-resource-lock -o yaml` shows holder and time.",
        }
    }

    fn scope(&self) -> Scope {
        Scope::Cluster
    }
    fn faults(&self) -> &'static [&'static str] {
        &["operator-crash-loop", "operator-hangs", "operator-scaled-to-zero"]
    }

    async fn run(&self, context: &CheckContext) -> Verdict {
        let cluster = context.instance.from();
        if cilium(context, cluster).is_none() {
            return Verdict::skipped(format!(
                "{cluster} has no ConfigMap cilium-config, so no operator of Cilium"
            ));
        }
        let mut seen = Seen::default();
        let inventory = Inventory::read(context, Age::STATE, &mut seen).await;
        let Some(inventory) = inventory else {
            return Verdict::inconclusive(format!("the workloads of {cluster} cannot be read"));
        };
        let namespace = inventory.of(&OPERATOR).next().map(|one| one.namespace.clone());
        follow(
            context,
            &inventory,
            &namespace.unwrap_or_else(|| "kube-system".to_owned()),
        )
        .await
    }
}

async fn read(context: &CheckContext, namespace: &str) -> Result<Vec<Value>, Verdict> {
    let cluster = context.instance.from();
    let listed = context
        .environment
        .list(cluster, "coordination.k8s.io/v1", "Lease", Some(namespace))
        .await;
    listed.map_err(|error| Verdict::inconclusive(format!("the Leases of {cluster} cannot be read: {error}")))
}

fn named<'a>(leases: &'a [Value], name: &str) -> Option<&'a Value> {
    leases.iter().find(|lease| lease["metadata"]["name"] == name)
}

async fn follow(context: &CheckContext, inventory: &Inventory, namespace: &str) -> Verdict {
    let mut first = match read(context, namespace).await {
        Ok(leases) => leases,
        Err(verdict) => return verdict,
    };
    if named(&first, OPERATORS).is_none() {
        // An operator that has just started has none yet.
        sleep(AGAIN).await;
        first = match read(context, namespace).await {
            Ok(leases) => leases,
            Err(verdict) => return verdict,
        };
    }
    let mut tally = Tally::new();
    let mut waiting: Vec<&str> = OF_KUBERNETES
        .into_iter()
        .filter(|name| named(&first, name).is_some())
        .collect();
    match named(&first, OPERATORS) {
        Some(_) => waiting.push(OPERATORS),
        None => tally.finding(
            format!("Lease {namespace}/{OPERATORS}"),
            "there, held by the leader of Cilium's operator",
            "there is none: no operator has ever led",
        ),
    }
    let allowed = |name: &str| {
        let lease = named(&first, name);
        let seconds = lease.and_then(|lease| lease["spec"]["leaseDurationSeconds"].as_u64());
        Duration::from_secs(seconds.unwrap_or(LEASE_SECONDS)) + GRACE
    };
    let began = Instant::now();
    while !waiting.is_empty() {
        sleep(POLL).await;
        let now = match read(context, namespace).await {
            Ok(leases) => leases,
            Err(verdict) => return verdict,
        };
        waiting.retain(|name| {
            let Some(lease) = named(&now, name) else { return true };
            if named(&first, name).is_some_and(|before| before["spec"] != lease["spec"]) {
                renewed(context, inventory, namespace, name, lease, &mut tally);
                return false;
            }
            if began.elapsed() < allowed(name) {
                return true;
            }
            tally.finding(
                format!("Lease {namespace}/{name}"),
                format!("renewed within {} s", allowed(name).as_secs()),
                format!(
                    "{} has not renewed it since {}",
                    holder(lease),
                    text(&lease["spec"]["renewTime"])
                ),
            );
            false
        });
        if began.elapsed() > Duration::from_secs(120) {
            tally.unknown(format!("{} cannot be seen any more", waiting.join(", ")));
            break;
        }
    }
    if tally.has_findings() {
        let command = format!("-n {namespace} get lease {OPERATORS} -o yaml");
        context.suggest(next_steps::kubectl(
            &context.environment.facts(),
            context.instance.from(),
            &command,
        ));
    }
    tally.verdict()
}

fn holder(lease: &Value) -> &str {
    match text(&lease["spec"]["holderIdentity"]) {
        "" => "nobody",
        name => name,
    }
}

fn renewed(
    context: &CheckContext,
    inventory: &Inventory,
    namespace: &str,
    name: &str,
    lease: &Value,
    tally: &mut Tally,
) {
    let holder = holder(lease);
    context.note(format!("Lease {namespace}/{name} is held by {holder}"));
    if name == OPERATORS {
        let pods: Vec<&Value> = inventory.of(&OPERATOR).flat_map(|one| inventory.pods_of(one)).collect();
        // `NODE-abcdefghij`: the hostname, which is the node's in the host's network, and a random end.
        let is_of = |host: &str| !host.is_empty() && holder.starts_with(host);
        let is_known = pods
            .iter()
            .any(|pod| is_of(text(&pod["metadata"]["name"])) || is_of(text(&pod["spec"]["nodeName"])));
        if !is_known {
            let names: Vec<&str> = pods.iter().map(|pod| text(&pod["metadata"]["name"])).collect();
            tally.finding(
                format!("Lease {namespace}/{name}"),
                format!("held by a pod of the operator ({})", names.join(", ")),
                format!("{holder} holds and renews it: an operator that is not of this cluster's Deployment"),
            );
            return;
        }
    }
    tally.witness(format!("{holder} renews Lease {namespace}/{name}"));
}
