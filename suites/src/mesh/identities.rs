//! Cluster names, ids and pod CIDRs differ, and each cluster knows the other by its own name and id.

use super::STATUS_NEEDS;
use crate::kit::{
    cilium::remotes::{self, reports},
    next_steps,
    recent::{self, Age},
};
use async_trait::async_trait;
use ipnet::IpNet;
use meshproof_contract::{
    Check, CheckContext, CheckId, CheckText, CiliumQuery, ClusterName, Needs, Scope, Tally, Verdict, facts::CiliumFacts,
};
use serde_json::Value;
use std::collections::BTreeSet;

/// Names and ids of the two clusters.
pub struct Identities;

#[async_trait]
impl Check for Identities {
    fn id(&self) -> CheckId {
        CheckId::from("mesh::cluster_identities")
    }

    fn text(&self) -> CheckText {
        CheckText {
            title: "Names, ids and pod CIDRs of the clusters differ, and each knows the other by its own",
            proves: "A pod address is unique in the mesh, and security identities of the two clusters, which contain \
                     the cluster id, cannot be confused.",
            how: "`cluster-name` and `cluster-id` of both ConfigMaps cilium-config must differ, with an id from 1 to \
                  255 (511 with max-connected-clusters=511, equal on both sides); every agent and KVStoreMesh must \
                  report the other cluster under its own name and id. `spec.ipam.podCIDRs` of the CiliumNodes must \
                  not overlap between the clusters.",
            control: "Both sides are read; a missing key is inconclusive. CiliumNodes without podCIDRs, as cloud IPAM \
                      modes leave them, are not compared.",
            when_red: "`kubectl --context CONTEXT -n kube-system get cm cilium-config -o yaml | grep -E \
                       'cluster-(name|id)|max-connected'`, and the same with `--context OTHER_CONTEXT`. Changing a \
                       cluster id requires a restart of all workloads of that cluster.",
        }
    }

    fn scope(&self) -> Scope {
        Scope::Direction
    }
    fn needs(&self) -> Needs {
        STATUS_NEEDS
    }
    fn faults(&self) -> &'static [&'static str] {
        &["mesh-wrong-cluster-id"]
    }
    fn blinded_by(&self) -> &'static [&'static str] {
        &[
            "mesh-agent-not-ready",
            "mesh-kvstoremesh-disconnected",
            "mesh-remote-not-connected",
        ]
    }

    async fn run(&self, context: &CheckContext) -> Verdict {
        let facts = context.environment.facts();
        let (from, to) = (context.instance.from(), context.instance.to());
        let (near, far) = match remotes::members(&facts, from, to) {
            Ok(found) => found,
            Err(verdict) => return verdict,
        };
        let (near_identity, far_identity) = match (Identity::of(near, from), Identity::of(far, to)) {
            (Ok(near), Ok(far)) => (near, far),
            (Err(why), _) | (_, Err(why)) => return Verdict::inconclusive(why),
        };
        let mut tally = Tally::new();
        compare(context, &near_identity, &far_identity, &mut tally);
        compare_pod_cidrs(context, &mut tally).await;
        let mut queries = vec![CiliumQuery::Status];
        if near.kvstoremesh {
            queries.push(CiliumQuery::KvstoreMesh);
        }
        for query in queries {
            verify_reports(context, query, &far_identity, &mut tally).await;
        }
        if tally.has_findings() {
            for cluster in [from, to] {
                let command = "-n kube-system get cm cilium-config -o yaml";
                context.suggest(next_steps::kubectl(&facts, cluster, command));
            }
        }
        tally.verdict()
    }
}

/// How a cluster is configured to be known in the mesh.
struct Identity {
    name: String,
    id: u32,
    /// `max-connected-clusters`, which decides the width of the id.
    limit: Option<String>,
}

impl Identity {
    fn of(cilium: &CiliumFacts, cluster: &ClusterName) -> Result<Self, String> {
        let missing = |key: &str| format!("ConfigMap cilium-config of {cluster} has no valid {key}");
        let value = |key: &str| cilium.config.get(key).cloned();
        let id = value("cluster-id").and_then(|id| id.parse().ok());
        Ok(Self {
            name: value("cluster-name").ok_or_else(|| missing("cluster-name"))?,
            id: id.ok_or_else(|| missing("cluster-id"))?,
            limit: value("max-connected-clusters"),
        })
    }
}

/// What is configured on both sides.
fn compare(context: &CheckContext, near: &Identity, far: &Identity, tally: &mut Tally) {
    let (from, to) = (context.instance.from(), context.instance.to());
    let pair = format!("{from} and {to}");
    if near.name == far.name {
        tally.finding(&pair, "different cluster-name", format!("both are {}", near.name));
    }
    if near.id == far.id {
        tally.finding(&pair, "different cluster-id", format!("both are {}", near.id));
    }
    if let (Some(near), Some(far)) = (&near.limit, &far.limit)
        && near != far
    {
        tally.finding(
            &pair,
            "equal max-connected-clusters, which decides the width of the cluster id",
            format!("{near} and {far}"),
        );
    }
    let largest = if far.limit.as_deref() == Some("511") { 511 } else { 255 };
    if !(1..=largest).contains(&far.id) {
        tally.finding(
            to.to_string(),
            format!("a cluster-id from 1 to {largest}, as a mesh requires"),
            far.id.to_string(),
        );
    }
}

/// The pod CIDRs of both sides.
async fn compare_pod_cidrs(context: &CheckContext, tally: &mut Tally) {
    let (from, to) = (context.instance.from(), context.instance.to());
    let (near, far) = match tokio::join!(pod_cidrs(context, from), pod_cidrs(context, to)) {
        (Ok(near), Ok(far)) => (near, far),
        (Err(why), _) | (_, Err(why)) => return tally.unknown(why),
    };
    for (node, cidr) in &near {
        for (other, overlapping) in far.iter().filter(|(_, other)| overlap(cidr, other)) {
            tally.finding(
                format!("pod CIDRs of {from} and {to}"),
                "no overlap",
                format!("{cidr} of {node} overlaps {overlapping} of {other}"),
            );
        }
    }
}

/// What the near cluster's pods report about the far one.
async fn verify_reports(context: &CheckContext, query: CiliumQuery, far: &Identity, tally: &mut Tally) {
    let from = context.instance.from();
    let expected = BTreeSet::from([far.name.clone()]);
    let reports = reports(context, from, query, Age::STATE, tally).await;
    for report in &reports {
        let remotes = report.remotes.iter().flatten();
        for remote in remotes.filter(|r| expected.contains(&r.name) && r.config.is_none()) {
            tally.unknown(format!(
                "{} on {} has not retrieved the configuration of {}",
                report.pod, report.node, remote.name
            ));
        }
    }
    remotes::judge(
        context,
        from,
        &reports,
        &expected,
        &format!("has cluster id {}, as configured there", far.id),
        |remote| {
            let known = remote.config.as_ref()?.cluster_id;
            (known != far.id).then(|| format!("reports cluster id {known}"))
        },
        tally,
    );
}

/// The pod CIDRs of a cluster, each with its node.
async fn pod_cidrs(context: &CheckContext, cluster: &ClusterName) -> Result<Vec<(String, IpNet)>, String> {
    let listed = recent::cilium_nodes(context, cluster, Age::STATE).await;
    let nodes = listed.map_err(|error| format!("cannot read the CiliumNodes of {cluster}: {error}"))?;
    let of_node = |node: &Value| -> Vec<(String, IpNet)> {
        let name = node["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        let cidrs = node["spec"]["ipam"]["podCIDRs"].as_array().into_iter().flatten();
        let cidrs = cidrs.filter_map(|cidr| cidr.as_str()?.parse().ok());
        cidrs.map(|cidr| (name.clone(), cidr)).collect()
    };
    Ok(nodes.iter().flat_map(of_node).collect())
}

fn overlap(a: &IpNet, b: &IpNet) -> bool {
    a.contains(b) || b.contains(a)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Fake, infra_to_apps};
    use serde_json::json;

    fn configured(key: &'static str, value: Option<&'static str>) -> Fake {
        Fake::healthy().facts(move |f| {
            let config = &mut f.clusters[1].cilium.as_mut().expect("cilium").config;
            match value {
                Some(value) => config.insert(key.into(), value.into()),
                None => config.remove(key),
            };
        })
    }

    #[tokio::test]
    async fn different_and_agreed_is_green() {
        Fake::healthy().expect(&Identities, infra_to_apps(), "pass").await;
    }

    #[tokio::test]
    async fn equal_strange_or_disagreeing_ones_are_red() {
        for (key, value) in [
            ("cluster-name", "infra"),
            ("cluster-id", "1"),
            ("cluster-id", "0"),
            ("cluster-id", "300"),
            ("max-connected-clusters", "511"),
        ] {
            configured(key, Some(value))
                .expect(&Identities, infra_to_apps(), "fail")
                .await;
        }
        let fake = Fake::healthy().status(|_, node, status| {
            if node == "infra-1" {
                status["cluster-mesh"]["clusters"][0]["config"]["cluster-id"] = json!(7);
            }
        });
        let text = fake.expect(&Identities, infra_to_apps(), "fail").await;
        assert!(text.contains("reports cluster id 7"), "{text}");
    }

    #[tokio::test]
    async fn overlapping_pod_cidrs_are_red() {
        let node = |name: &str, range: &str| {
            let spec = json!({"ipam": {"podCIDRs": [range]}});
            json!({"kind": "CiliumNode", "metadata": {"name": name}, "spec": spec})
        };
        let both = |far: &str| {
            let near = Fake::healthy().object("infra", node("infra-1", "10.244.1.0/24"));
            near.object("apps", node("apps-1", far))
        };
        both("10.246.1.0/24").expect(&Identities, infra_to_apps(), "pass").await;
        let text = both("10.244.0.0/16").expect(&Identities, infra_to_apps(), "fail").await;
        assert!(
            text.contains("10.244.1.0/24 of infra-1 overlaps 10.244.0.0/16 of apps-1"),
            "{text}"
        );
    }

    #[tokio::test]
    async fn what_is_missing_is_inconclusive_and_what_is_not_claimed_skipped() {
        configured("cluster-name", None)
            .expect(&Identities, infra_to_apps(), "inconclusive")
            .await;
        configured("cluster-id", None)
            .expect(&Identities, infra_to_apps(), "inconclusive")
            .await;
        Fake::healthy()
            .cilium_refused()
            .expect(&Identities, infra_to_apps(), "inconclusive")
            .await;
        let fake = Fake::healthy().status(|_, _, status| status["cluster-mesh"]["clusters"][0]["config"] = json!(null));
        fake.expect(&Identities, infra_to_apps(), "inconclusive").await;
        Fake::healthy()
            .facts(|f| f.claims.clear())
            .expect(&Identities, infra_to_apps(), "skipped")
            .await;
    }
}
