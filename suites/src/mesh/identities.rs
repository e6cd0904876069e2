//! Cluster names, ids and pods' ranges differ, and each side knows the other by its own.

use super::STATUS_NEEDS;
use crate::kit::cilium::remotes::{self, reports};
use crate::kit::next_steps;
use async_trait::async_trait;
use ipnet::IpNet;
use meshproof_contract::{
    Check, CheckContext, CheckId, CheckText, CiliumQuery, ClusterName, Needs, Scope, Tally, Verdict,
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
            title: "The clusters' names, ids and pod ranges differ, and each is known to the other by its own",
            proves: "Pods' addresses mean one pod in the whole mesh, and security identities of the two clusters cannot be confused: they carry the cluster's id, and two clusters with one id, or an id that the other side has wrong, would share them.",
            how: "`cluster-name` and `cluster-id` of both ConfigMaps cilium-config must differ, the id be within 1 to 255 (511 with max-connected-clusters=511, which must be equal on both sides), and every agent's status (and KVStoreMesh's) of this cluster \
                  must show the other under its own name with its own id. No range of pods that a CiliumNode of one cluster has (`spec.ipam.podCIDRs`) may overlap one of the other.",
            control: "Both sides are read; a key that is missing is unknown, and the result inconclusive. CiliumNodes without ranges, as IPAM modes of clouds leave them, have nothing to compare.",
            when_red: "`kubectl --context CONTEXT -n kube-system get cm cilium-config -o yaml | grep -E 'cluster-(name|id)|max-connected'` on both sides. Changing a cluster's id needs a restart of all its workloads.",
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

    async fn run(&self, context: &CheckContext) -> Verdict {
        let facts = context.environment.facts();
        let (from, to) = (context.instance.from(), context.instance.to());
        let (near, far) = match remotes::members(&facts, from, to) {
            Ok(found) => found,
            Err(verdict) => return verdict,
        };
        let mut tally = Tally::new();
        let key = |config: &std::collections::BTreeMap<String, String>, key: &str| config.get(key).cloned();
        let (Some(near_name), Some(far_name)) = (key(&near.config, "cluster-name"), key(&far.config, "cluster-name"))
        else {
            return Verdict::inconclusive(
                "ConfigMap cilium-config has no cluster-name on one side, so the clusters cannot be told apart",
            );
        };
        let id = |config, cluster| {
            key(config, "cluster-id")
                .and_then(|id| id.parse::<u32>().ok())
                .ok_or_else(|| format!("ConfigMap cilium-config of {cluster} has no cluster-id that is a number"))
        };
        let (near_id, far_id) = match (id(&near.config, from), id(&far.config, to)) {
            (Ok(near), Ok(far)) => (near, far),
            (Err(why), _) | (_, Err(why)) => return Verdict::inconclusive(why),
        };
        let pair = format!("{from} and {to}");
        if near_name == far_name {
            tally.finding(
                &pair,
                "different values of cluster-name",
                format!("both are {near_name}"),
            );
        }
        if near_id == far_id {
            tally.finding(&pair, "different values of cluster-id", format!("both are {near_id}"));
        }
        let (near_limit, far_limit) = (
            key(&near.config, "max-connected-clusters"),
            key(&far.config, "max-connected-clusters"),
        );
        if let (Some(near), Some(far)) = (&near_limit, &far_limit)
            && near != far
        {
            tally.finding(
                &pair,
                "equal values of max-connected-clusters, which decides the width of the id",
                format!("{near} and {far}"),
            );
        }
        let largest = if far_limit.as_deref() == Some("511") { 511 } else { 255 };
        if !(1..=largest).contains(&far_id) {
            tally.finding(
                to.to_string(),
                format!("a cluster-id within 1 and {largest}, as a mesh needs"),
                far_id.to_string(),
            );
        }
        let (near_ranges, far_ranges) = tokio::join!(ranges(context, from), ranges(context, to));
        match (near_ranges, far_ranges) {
            (Ok(near), Ok(far)) => {
                for (node, range) in &near {
                    for (other, _) in far.iter().filter(|(_, other)| overlap(range, other)) {
                        tally.finding(
                            format!("pods' ranges of {from} and {to}"),
                            "no address in both",
                            format!("{range} of {node} overlaps that of {other}"),
                        );
                    }
                }
            }
            (Err(why), _) | (_, Err(why)) => tally.unknown(why),
        }
        let expected = BTreeSet::from([far_name]);
        let what = format!("has cluster id {far_id}, as its own configuration says");
        let mut queries = vec![CiliumQuery::Status];
        if near.kvstoremesh {
            queries.push(CiliumQuery::KvstoreMesh);
        }
        for query in queries {
            let said = reports(context, from, query, &mut tally).await;
            for report in &said {
                for remote in report
                    .remotes
                    .iter()
                    .flatten()
                    .filter(|r| expected.contains(&r.name) && r.config.is_none())
                {
                    tally.unknown(format!(
                        "{} on {} has not retrieved the configuration of {}",
                        report.pod, report.node, remote.name
                    ));
                }
            }
            remotes::judge(
                context,
                from,
                &said,
                &expected,
                &what,
                |remote| {
                    let known = remote.config.as_ref()?.cluster_id;
                    (known != far_id).then(|| format!("knows it as id {known}"))
                },
                &mut tally,
            );
        }
        if tally.has_findings() {
            for cluster in [from, to] {
                context.suggest(next_steps::kubectl(&facts, cluster, "-n kube-system get cm cilium-config -o yaml"));
            }
        }
        tally.verdict()
    }
}

/// The ranges of a cluster's pods, each with its node.
async fn ranges(context: &CheckContext, cluster: &ClusterName) -> Result<Vec<(String, IpNet)>, String> {
    let listed = context
        .environment
        .list(cluster, "cilium.io/v2", "CiliumNode", None)
        .await;
    let nodes = listed.map_err(|error| format!("the CiliumNodes of {cluster} could not be read: {error}"))?;
    let of_node = |node: &Value| -> Vec<(String, IpNet)> {
        let name = node["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        let ranges = node["spec"]["ipam"]["podCIDRs"].as_array().into_iter().flatten();
        let ranges = ranges.filter_map(|range| range.as_str()?.parse().ok());
        ranges.map(|range| (name.clone(), range)).collect()
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
        assert!(text.contains("knows it as id 7"), "{text}");
    }

    #[tokio::test]
    async fn overlapping_ranges_of_pods_are_red() {
        let node = |name: &str, range: &str| json!({"kind": "CiliumNode", "metadata": {"name": name}, "spec": {"ipam": {"podCIDRs": [range]}}});
        let both = |far: &str| {
            let near = Fake::healthy().object("infra", node("infra-1", "10.244.1.0/24"));
            near.object("apps", node("apps-1", far))
        };
        both("10.246.1.0/24").expect(&Identities, infra_to_apps(), "pass").await;
        let text = both("10.244.0.0/16").expect(&Identities, infra_to_apps(), "fail").await;
        assert!(
            text.contains("10.244.1.0/24 of infra-1 overlaps that of apps-1"),
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
