//! A cluster knows as many identities and pods of the other one as that has.

use super::STATUS_NEEDS;
use crate::kit::cilium::remotes::{self, Report, reports};
use crate::kit::cilium::nodes::place;
use crate::kit::next_steps;
use async_trait::async_trait;
use meshproof_contract::{
    Check, CheckContext, CheckId, CheckText, CiliumQuery, ClusterName, Needs, NodeName, Scope, Tally, Verdict,
};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tokio::time::{Instant, sleep_until};

/// Identities and addresses of pods across the mesh, in one direction.
pub struct ObjectCounts;

/// Time between two comparisons.
const INTERVAL: Duration = Duration::from_secs(1);

/// How many there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Counts {
    identities: u64,
    addresses: u64,
}

/// Who says how many it knows.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Teller {
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
            title: "Every agent knows as many identities and pod addresses of the other cluster as it has",
            proves: "What the other cluster announces has arrived whole and nothing that is gone has stayed: a pod whose address or identity is missing is a stranger to policies, and one that is left over lends its identity to whoever gets the address next.",
            how: "`num-identities` and `num-endpoints` of the remote in `cilium-dbg status -o json` of every agent, and in KVStoreMesh's status where it is configured, against the CiliumIdentities and the addresses of the CiliumEndpoints \
                  that the other cluster's API lists. Both are read again every second until each has been equal once, for `propagation` of the thresholds (10 s by default).",
            control: "Both numbers are read for this run, one from either side; if either cannot be read the result is inconclusive, and so are no CiliumIdentities or no CiliumEndpoints at all.",
            when_red: "All agents too many or too few: KVStoreMesh of this cluster, `kubectl --context CONTEXT -n kube-system logs deploy/clustermesh-apiserver -c kvstoremesh --tail=50`, and container apiserver in the other one. One agent: `cilium-dbg ip list` there against `kubectl get ciliumendpoints -A` of the other cluster.",
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
                "{to} shares only some of its namespaces, so what it has and what others know of it differ on purpose"
            ));
        }
        let mut queries = vec![("agent", CiliumQuery::Status)];
        if near.kvstoremesh {
            queries.push(("KVStoreMesh", CiliumQuery::KvstoreMesh));
        }
        let mesh_name = remotes::mesh_name(&facts, to);
        let start = Instant::now();
        let mut equal: BTreeSet<Teller> = BTreeSet::new();
        loop {
            let begun = Instant::now();
            let mut tally = Tally::new();
            let mut told: BTreeMap<Teller, Counts> = BTreeMap::new();
            for (what, query) in &queries {
                let reports = reports(context, from, *query, &mut tally).await;
                told.extend(reports.iter().filter_map(|report| counts(report, what, &mesh_name)));
            }
            let there = match count(context, to).await {
                Ok(there) => there,
                Err(why) => return Verdict::inconclusive(why),
            };
            equal.extend(
                told.iter()
                    .filter(|(_, known)| **known == there)
                    .map(|(who, _)| who.clone()),
            );
            let differ: Vec<_> = told.iter().filter(|(who, _)| !equal.contains(who)).collect();
            let is_over = start.elapsed() >= facts.thresholds.propagation;
            if !differ.is_empty() && !is_over {
                sleep_until(begun + INTERVAL).await;
                continue;
            }
            for (who, known) in &differ {
                tally.finding(
                    format!("{} {} on {}", who.what, who.pod, place(from, &who.node)),
                    format!(
                        "{} identities and {} addresses of pods, as {to} has them",
                        there.identities, there.addresses
                    ),
                    format!(
                        "{} identities and {} addresses, and never as many for {} s",
                        known.identities,
                        known.addresses,
                        start.elapsed().as_secs()
                    ),
                );
            }
            if !equal.is_empty() {
                tally.witness(format!(
                    "{} of {} pods of {from} know all {} identities and {} addresses of pods of {to}",
                    equal.len(),
                    told.len().max(equal.len()),
                    there.identities,
                    there.addresses
                ));
            }
            if tally.has_findings() {
                let command = "get ciliumendpoints,ciliumidentities -A";
                context.suggest(next_steps::kubectl(&facts, to, command));
                let command = next_steps::in_agent(&facts, from, None, "cilium-dbg ip list");
                context.suggest(command);
            }
            return tally.verdict();
        }
    }
}

/// What one pod says; nothing of a remote that it does not list or is not connected to, which mesh::agents_ready and
/// mesh::kvstoremesh_ready judge.
fn counts(report: &Report, what: &'static str, remote: &str) -> Option<(Teller, Counts)> {
    let listed = report.remotes.as_ref()?.iter().find(|r| r.name == remote)?;
    let teller = Teller {
        what,
        node: report.node.clone(),
        pod: report.pod.clone(),
    };
    let counts = Counts {
        identities: listed.num_identities,
        addresses: listed.num_endpoints,
    };
    listed.connected.then_some((teller, counts))
}

/// What a cluster has, as its API lists it now. An agent counts a pod with two addresses twice.
async fn count(context: &CheckContext, cluster: &ClusterName) -> Result<Counts, String> {
    let list = async |kind: &str| {
        let listed = context.environment.list(cluster, "cilium.io/v2", kind, None).await;
        match listed {
            Ok(objects) if objects.is_empty() => Err(format!("the API of {cluster} lists no {kind} at all")),
            Ok(objects) => Ok(objects),
            Err(error) => Err(format!("the objects {kind} of {cluster} could not be read: {error}")),
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
        assert!(text.contains("4 of 4 pods of infra know all 11 identities"), "{text}");
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
