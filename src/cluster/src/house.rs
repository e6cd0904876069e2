//! Policies of others, and settings, that act on probe pods: found once the probes run, since an admission controller
//! may have made them for the run's namespaces.

mod effect;
mod selector;

use crate::{
    ApiError, ProgressSink,
    api::Cause,
    client::{ClusterClient, kind_of},
    name::{MANAGED_BY, MANAGED_BY_VALUE},
};
use effect::{closes, denies_probes};
use futures::future::join_all;
use kube::api::ListParams;
use meshproof_contract::{Barred, ClusterFacts, HouseRule};
use meshproof_scenario::Allowance;
pub(crate) use selector::{Labels, NAMESPACE, NAMESPACE_LABELS};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// A probe pod as policies see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ProbePod {
    pub(crate) namespace: String,
    pub(crate) labels: Labels,
    pub(crate) allowance: Allowance,
}

/// Whether the run's own allow policies are in the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Allowed {
    Yes,
    /// Why not.
    No(String),
}

/// What policies are, with the kinds that may be listed in namespaces only.
const CLUSTER_WIDE: (&str, &str) = ("cilium.io/v2", "CiliumClusterwideNetworkPolicy");
const NAMESPACED: [(&str, &str); 2] = [
    ("cilium.io/v2", "CiliumNetworkPolicy"),
    ("networking.k8s.io/v1", "NetworkPolicy"),
];

/// Applies the run's allow policies; a cluster without the kind has no Cilium that could enforce one.
pub(crate) async fn allow(client: &ClusterClient, policies: Vec<Value>, progress: &ProgressSink) -> Allowed {
    let applied = join_all(policies.into_iter().map(|policy| client.apply(policy))).await;
    match applied.into_iter().find_map(Result::err) {
        None => Allowed::Yes,
        Some(error) if is_absent(&error) => Allowed::No("the cluster has no CiliumNetworkPolicy".to_owned()),
        Some(error) => {
            progress.warning(format!(
                "{}: the run's own allow policies were refused, so a default deny closes its probes: {error}",
                client.name()
            ));
            Allowed::No(error.to_string())
        }
    }
}

/// What others decide for these pods.
pub(crate) async fn rules(
    client: &ClusterClient,
    cluster: Option<&ClusterFacts>,
    pods: &[ProbePod],
    allowed: &Allowed,
) -> Vec<HouseRule> {
    let policies = foreign(client, pods).await;
    let found = policies.into_iter().filter_map(|policy| {
        let (bars, effect) = judge(&policy, pods, allowed)?;
        Some(HouseRule {
            cluster: client.name().clone(),
            name: title(&policy),
            effect,
            bars,
            object: Some(policy),
        })
    });
    found.chain(always(client, cluster, allowed)).collect()
}

/// What a policy keeps probes from, if anything.
fn judge(policy: &Value, pods: &[ProbePod], allowed: &Allowed) -> Option<(Barred, String)> {
    let selected: Vec<&ProbePod> = pods.iter().filter(|pod| effect::selects(policy, pod)).collect();
    if let Some(place) = denies_probes(policy, &selected, pods) {
        let effect = format!("denies traffic of the probes ({place}), which no allow policy can open");
        return Some((Barred::Probes, effect));
    }
    if selected.is_empty() || !closes(policy) {
        return None;
    }
    let subjects = selected.iter().any(|pod| pod.allowance == Allowance::Nothing);
    match allowed {
        Allowed::No(why) => Some((
            Barred::Probes,
            format!("denies by default, and the run's own allow policies are absent: {why}"),
        )),
        _ if subjects => Some((
            Barred::Subjects,
            "denies by default on the pods that policies are tested on".to_owned(),
        )),
        _ => None,
    }
}

/// The mode in which Cilium denies whatever no policy allows.
fn always(client: &ClusterClient, cluster: Option<&ClusterFacts>, allowed: &Allowed) -> Option<HouseRule> {
    if cluster?.cilium.as_ref()?.setting("enable-policy") != Some("always") {
        return None;
    }
    let (bars, effect) = match allowed {
        Allowed::Yes => (
            Barred::Subjects,
            "denies by default on every pod, also those that policies are tested on".to_owned(),
        ),
        Allowed::No(why) => (
            Barred::Probes,
            format!("denies by default on every pod, and the run's own allow policies are absent: {why}"),
        ),
    };
    Some(HouseRule {
        cluster: client.name().clone(),
        name: "`enable-policy: always` of cilium-config".to_owned(),
        effect,
        bars,
        object: None,
    })
}

/// The policies that are not ours, of the whole cluster and in the pods' namespaces. What may not be listed is not
/// known: its deviations then stay findings.
async fn foreign(client: &ClusterClient, pods: &[ProbePod]) -> Vec<Value> {
    let namespaces: BTreeSet<&str> = pods.iter().map(|pod| pod.namespace.as_str()).collect();
    let within = namespaces
        .iter()
        .flat_map(|namespace| NAMESPACED.map(|kind| (kind, Some(*namespace))));
    let lists = std::iter::once((CLUSTER_WIDE, None)).chain(within);
    let found = join_all(lists.map(|(kind, namespace)| list(client, kind, namespace))).await;
    let mut found: Vec<Value> = found.into_iter().flatten().filter(is_foreign).collect();
    found.sort_by_key(title);
    found
}

async fn list(client: &ClusterClient, (version, kind): (&str, &str), namespace: Option<&str>) -> Vec<Value> {
    let Ok(objects) = client.dynamic(&kind_of(version, kind), namespace).await else {
        return Vec::new();
    };
    let params = ListParams::default();
    let listed = client.call_again(objects.operation("list"), || objects.api.list(&params));
    let items = listed.await.map(|list| list.items).unwrap_or_default();
    let whole = items.into_iter().filter_map(|object| {
        let mut value = serde_json::to_value(object).ok()?;
        // Items of a list leave out what the list says.
        (value["apiVersion"], value["kind"]) = (json!(version), json!(kind));
        Some(value)
    });
    whole.collect()
}

fn is_foreign(policy: &Value) -> bool {
    policy["metadata"]["labels"][MANAGED_BY] != MANAGED_BY_VALUE
}

/// `CiliumNetworkPolicy meshproof/baseline`.
fn title(policy: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let (kind, name) = (text(&policy["kind"]), text(&policy["metadata"]["name"]));
    match policy["metadata"]["namespace"].as_str() {
        Some(namespace) => format!("{kind} {namespace}/{name}"),
        None => format!("{kind} {name}"),
    }
}

fn is_absent(error: &ApiError) -> bool {
    let unknown = |message: &str| message.contains("Missing Kind") || message.contains("Missing Api Group");
    error.is_not_found() || matches!(&error.cause, Cause::Other(message) if unknown(message))
}

#[cfg(test)]
mod tests;
