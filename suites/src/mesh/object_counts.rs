//! A cluster knows as many identities and pod addresses of the other cluster as that has.

use super::STATUS_NEEDS;
use crate::kit::{
    cilium::remotes::{self, Report, reports},
    next_steps,
    recent::Age,
};
use async_trait::async_trait;
use meshproof_contract::{
    Check, CheckContext, CheckId, CheckText, CiliumQuery, ClusterName, Needs, NodeLabel, NodeName, Scope, Tally,
    Verdict,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};
use tokio::time::{Instant, sleep_until};

/// Identities and addresses of pods across the mesh, in one direction.
pub struct ObjectCounts;

/// Time from the first comparison to the second; it doubles from each to the next, since both lists are long in large
/// clusters: no more than five comparisons in 10 s.
const INTERVAL: Duration = Duration::from_secs(1);

/// How many there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Counts {
    identities: u64,
    addresses: u64,
}

impl std::fmt::Display for Counts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} identities and {} pod addresses", self.identities, self.addresses)
    }
}

/// Who reports how many it knows.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Reporter {
    what: &'static str,
    node: NodeName,
    pod: String,
}

#[async_trait]
impl Check for ObjectCounts {
    fn id(&self) -> CheckId {
        CheckId::from("mesh::object_counts")
    }

    fn text(&self) -> CheckText {
        CheckText {
            title: "Every agent knows all identities and pod addresses of the other cluster, and no others of it",
            proves: "What the other cluster announces has arrived completely, and nothing deleted is left. Policies \
                     treat a pod with a missing address or identity as unknown, and a leftover address passes its \
                     identity on to the next pod that gets it.",
            how: "`num-identities` and `num-endpoints` of the remote in `cilium-dbg status -o json` of every agent, \
                  and in KVStoreMesh's status, must equal the CiliumIdentities and CiliumEndpoint addresses in the \
                  other cluster's API. Both are read after 0, 1, 3 and 7 s until each has matched once, within \
                  `thresholds.propagation` (default 10 s).",
            control: "Both numbers are read in this trial, one from each cluster. If either cannot be read, or the \
                      API lists no CiliumIdentity or no CiliumEndpoint, the check is inconclusive.",
            when_red: "All agents: `kubectl --context CONTEXT -n kube-system logs deploy/clustermesh-apiserver -c \
                       kvstoremesh --tail=50`, and container apiserver with `--context OTHER_CONTEXT`. One agent: \
                       compare `cilium-dbg ip list` there with `kubectl --context OTHER_CONTEXT get ciliumendpoints \
                       -A`.",
        }
    }

    fn scope(&self) -> Scope {
        Scope::Direction
    }
    fn needs(&self) -> Needs {
        STATUS_NEEDS
    }
    fn faults(&self) -> &'static [&'static str] {
        &["mesh-endpoint-stale"]
    }

    async fn run(&self, context: &CheckContext) -> Verdict {
        let facts = context.environment.facts();
        let (from, to) = (context.instance.from(), context.instance.to());
        let (near, far) = match remotes::members(&facts, from, to) {
            Ok(found) => found,
            Err(verdict) => return verdict,
        };
        if far.flag("clustermesh-default-global-namespace") == Some(false) {
            return Verdict::skipped(format!(
                "{to} shares only some of its namespaces, so its counts and those of other clusters differ on purpose"
            ));
        }
        let mut queries = vec![("agent", CiliumQuery::Status)];
        if near.kvstoremesh {
            queries.push(("KVStoreMesh", CiliumQuery::KvstoreMesh));
        }
        let (start, mut interval) = (Instant::now(), INTERVAL);
        let mut age = Age::STATE;
        let mut equal: BTreeSet<Reporter> = BTreeSet::new();
        loop {
            let begun = Instant::now();
            let mut tally = Tally::new();
            let reported = read(context, &queries, age, &mut tally).await;
            let actual = match count(context, to).await {
                Ok(actual) => actual,
                Err(why) => return Verdict::inconclusive(why),
            };
            let matching = reported.iter().filter(|(_, counts)| **counts == actual);
            equal.extend(matching.map(|(who, _)| who.clone()));
            let all_equal = reported.keys().all(|who| equal.contains(who));
            let elapsed = start.elapsed();
            if all_equal || elapsed >= facts.thresholds.propagation {
                judge(context, actual, &reported, &equal, elapsed, &mut tally);
                return tally.verdict();
            }
            sleep_until((begun + interval).min(start + facts.thresholds.propagation)).await;
            interval *= 2;
            age = Age::now();
        }
    }
}

/// What every pod of the near cluster reports, at most so old.
async fn read(
    context: &CheckContext,
    queries: &[(&'static str, CiliumQuery)],
    age: Age,
    tally: &mut Tally,
) -> BTreeMap<Reporter, Counts> {
    let mesh_name = remotes::mesh_name(&context.environment.facts(), context.instance.to());
    let mut reported = BTreeMap::new();
    for (what, query) in queries {
        let reports = reports(context, context.instance.from(), *query, age, tally).await;
        reported.extend(reports.iter().filter_map(|report| counts(report, what, &mesh_name)));
    }
    reported
}

/// Judges the last reports; who matched once is right, since counts change while pods come and go.
fn judge(
    context: &CheckContext,
    actual: Counts,
    reported: &BTreeMap<Reporter, Counts>,
    equal: &BTreeSet<Reporter>,
    elapsed: Duration,
    tally: &mut Tally,
) {
    let (from, to) = (context.instance.from(), context.instance.to());
    for (who, counts) in reported.iter().filter(|(who, _)| !equal.contains(who)) {
        tally.finding(
            format!("{} {} on {}", who.what, who.pod, NodeLabel::pod(from, &who.node)),
            format!("{actual}, as {to} has"),
            format!("{counts}; no match within {} s", elapsed.as_secs()),
        );
    }
    if !equal.is_empty() {
        tally.witness(format!(
            "{} of {} pods of {from} report all {actual} of {to}",
            equal.len(),
            reported.len().max(equal.len()),
        ));
    }
    if tally.has_findings() {
        let facts = context.environment.facts();
        let command = "get ciliumendpoints,ciliumidentities -A";
        context.suggest(next_steps::kubectl(&facts, to, command));
        context.suggest(next_steps::in_agent(&facts, from, None, "cilium-dbg ip list"));
    }
}

/// What one pod reports; nothing of a remote that it does not list or is not connected to, which mesh::agents_ready and
/// mesh::kvstoremesh_ready judge.
fn counts(report: &Report, what: &'static str, remote: &str) -> Option<(Reporter, Counts)> {
    let listed = report.remotes.as_ref()?.iter().find(|r| r.name == remote)?;
    let reporter = Reporter {
        what,
        node: report.node.clone(),
        pod: report.pod.clone(),
    };
    let counts = Counts {
        identities: listed.num_identities,
        addresses: listed.num_endpoints,
    };
    listed.connected.then_some((reporter, counts))
}

/// What a cluster has, as its API lists it now. An agent counts a pod with two addresses twice.
async fn count(context: &CheckContext, cluster: &ClusterName) -> Result<Counts, String> {
    let list = async |kind: &str| {
        let listed = context.environment.list(cluster, "cilium.io/v2", kind, None).await;
        match listed {
            Ok(objects) if objects.is_empty() => Err(format!("the API of {cluster} lists no {kind}")),
            Ok(objects) => Ok(objects),
            Err(error) => Err(format!("cannot read the {kind} objects of {cluster}: {error}")),
        }
    };
    let identities = list("CiliumIdentity").await?.len() as u64;
    let endpoints = list("CiliumEndpoint").await?;
    let pairs = endpoints
        .iter()
        .flat_map(|e| e["status"]["networking"]["addressing"].as_array().into_iter().flatten());
    let addresses: BTreeSet<&str> = pairs
        .flat_map(|pair| ["ipv4", "ipv6"].map(|family| pair[family].as_str()))
        .flatten()
        .collect();
    Ok(Counts {
        identities,
        addresses: addresses.len() as u64,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Fake, infra_to_apps};
    use serde_json::json;

    #[tokio::test(start_paused = true)]
    async fn equal_counts_are_green() {
        let text = Fake::healthy().expect(&ObjectCounts, infra_to_apps(), "pass").await;
        assert!(text.contains("4 of 4 pods of infra report all 11 identities"), "{text}");
    }

    #[tokio::test(start_paused = true)]
    async fn one_too_many_or_too_few_that_stays_is_red() {
        for (key, count) in [("num-endpoints", 12), ("num-identities", 10)] {
            let fake = Fake::healthy().status(move |_, node, status| {
                if node == "infra-2" {
                    status["cluster-mesh"]["clusters"][0][key] = json!(count);
                }
            });
            let text = fake.expect(&ObjectCounts, infra_to_apps(), "fail").await;
            assert!(text.contains("cilium-infra-2 on infra-2"), "{text}");
            let fake = Fake::healthy().kvstoremesh(move |_, status| status[0][key] = json!(count));
            let text = fake.expect(&ObjectCounts, infra_to_apps(), "fail").await;
            assert!(text.contains("KVStoreMesh"), "{text}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_pod_that_has_just_come_is_waited_for() {
        let start = Instant::now();
        let fake = Fake::healthy().status(move |_, _, status| {
            if start.elapsed() < Duration::from_secs(4) {
                status["cluster-mesh"]["clusters"][0]["num-endpoints"] = json!(10);
            }
        });
        fake.expect(&ObjectCounts, infra_to_apps(), "pass").await;
    }

    #[tokio::test(start_paused = true)]
    async fn what_cannot_be_read_is_inconclusive_and_what_is_not_claimed_skipped() {
        for kind in ["CiliumIdentity", "CiliumEndpoint"] {
            Fake::healthy()
                .list_refused(kind)
                .expect(&ObjectCounts, infra_to_apps(), "inconclusive")
                .await;
        }
        Fake::healthy()
            .cilium_refused()
            .expect(&ObjectCounts, infra_to_apps(), "inconclusive")
            .await;
        Fake::healthy()
            .facts(|f| f.claims.clear())
            .expect(&ObjectCounts, infra_to_apps(), "skipped")
            .await;
    }
}
