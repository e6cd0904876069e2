//! Which clusters a cluster must be joined to, and what its pods report about them.

use crate::kit::recent::{self, Age};
use meshproof_contract::{
    CheckContext, CiliumAnswer, CiliumQuery, ClaimKind, ClusterName, EnvironmentError, Facts, NodeName, Tally, Verdict,
    cilium::RemoteCluster, facts::CiliumFacts,
};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// Whether a cluster claims to be a member of a mesh.
pub fn claims(facts: &Facts, cluster: &ClusterName) -> bool {
    facts
        .claim(cluster, ClaimKind::ClusterMesh)
        .is_some_and(|claim| !matches!(claim.value.as_str(), "" | "false" | "none" | "disabled"))
}

/// Whether two clusters are said to be one mesh: both claim one, or one does and either is configured to join the other
/// (or cannot tell, and there is no third cluster that could be meant). A claim of one side only is what the checks
/// must look at.
pub fn joined(facts: &Facts, a: &ClusterName, b: &ClusterName) -> bool {
    if !claims(facts, a) && !claims(facts, b) {
        return false;
    }
    let remotes = |cluster| facts.cluster(cluster).and_then(|c| c.cilium.as_ref()?.remotes.as_ref());
    let joins = |cluster, other| match remotes(cluster) {
        Some(remotes) => remotes.contains(&mesh_name(facts, other)),
        None => claims(facts, cluster) && facts.clusters.len() == 2,
    };
    (claims(facts, a) && claims(facts, b)) || joins(a, b) || joins(b, a)
}

/// Cilium of a cluster that is said to be in a mesh; else skipped as not claimed, or red when it is claimed and Cilium
/// is absent.
pub fn member<'a>(facts: &'a Facts, cluster: &ClusterName) -> Result<&'a CiliumFacts, Verdict> {
    let others = || facts.clusters.iter().map(|c| &c.name).filter(|other| *other != cluster);
    if !claims(facts, cluster) && !others().any(|other| joined(facts, cluster, other)) {
        return Err(Verdict::skipped(format!(
            "not claimed: {cluster} is not configured as a member of a cluster mesh"
        )));
    }
    let source = facts
        .claim(cluster, ClaimKind::ClusterMesh)
        .map(|claim| claim.source.to_string());
    facts.cluster(cluster).and_then(|c| c.cilium.as_ref()).ok_or_else(|| {
        let mut tally = Tally::new();
        tally.finding(
            cluster.to_string(),
            format!(
                "Cilium with a cluster mesh ({})",
                source.as_deref().unwrap_or("another cluster is configured to join it")
            ),
            "Cilium was not found: no ConfigMap cilium-config",
        );
        tally.verdict()
    })
}

/// Cilium of both ends of a direction; else skipped when nothing says that they are one mesh, or red as in [`member`].
pub fn members<'a>(
    facts: &'a Facts,
    from: &ClusterName,
    to: &ClusterName,
) -> Result<(&'a CiliumFacts, &'a CiliumFacts), Verdict> {
    if !joined(facts, from, to) {
        return Err(Verdict::skipped(format!(
            "not claimed: {from} and {to} are not configured as one cluster mesh"
        )));
    }
    Ok((member(facts, from)?, member(facts, to)?))
}

/// The name of a cluster in the mesh, `cluster-name`, or Cilium's default for it; its role name where Cilium is not
/// found.
pub fn mesh_name(facts: &Facts, cluster: &ClusterName) -> String {
    match facts.cluster(cluster).and_then(|c| c.cilium.as_ref()) {
        Some(cilium) => cilium.cluster_name().unwrap_or("default").to_owned(),
        None => cluster.to_string(),
    }
}

/// The mesh names that `cluster` must be joined to: those that it is configured for, and the other clusters of this run
/// that it is said to be one mesh with.
pub fn expected(facts: &Facts, cluster: &ClusterName, cilium: &CiliumFacts) -> BTreeSet<String> {
    let configured = cilium.remotes.iter().flatten().cloned();
    let others = facts
        .clusters
        .iter()
        .map(|c| &c.name)
        .filter(|name| *name != cluster && joined(facts, cluster, name));
    configured.chain(others.map(|name| mesh_name(facts, name))).collect()
}

/// Cilium of a cluster that is to be joined to others, with their mesh names; else as [`member`] and [`nobody`]
/// conclude.
pub fn joins<'a>(facts: &'a Facts, cluster: &ClusterName) -> Result<(&'a CiliumFacts, BTreeSet<String>), Verdict> {
    let cilium = member(facts, cluster)?;
    let expected = expected(facts, cluster, cilium);
    if expected.is_empty() {
        Err(nobody(cluster, cilium))
    } else {
        Ok((cilium, expected))
    }
}

/// What one pod reports about its remotes; none if it has no list at all.
pub struct Report {
    /// The pod.
    pub pod: String,
    /// Its node.
    pub node: NodeName,
    /// The list.
    pub remotes: Option<Vec<RemoteCluster>>,
}

/// What every pod of the cluster reports, now or not too long ago; what could not be read goes to the tally.
pub async fn reports(
    context: &CheckContext,
    cluster: &ClusterName,
    query: CiliumQuery,
    age: Age,
    tally: &mut Tally,
) -> Vec<Report> {
    let answers = recent::cilium(context, cluster, query, age).await;
    read(answers, cluster, query, tally)
}

/// What these answers report; what could not be read goes to the tally.
pub fn read(
    answers: Result<Vec<CiliumAnswer>, EnvironmentError>,
    cluster: &ClusterName,
    query: CiliumQuery,
    tally: &mut Tally,
) -> Vec<Report> {
    let answers = match answers {
        Ok(answers) => answers,
        Err(error) => {
            tally.unknown(error.to_string());
            return Vec::new();
        }
    };
    if answers.is_empty() {
        tally.unknown(format!("no pod of {cluster} could be asked for its {}", word(query)));
    }
    let mut reports = Vec::new();
    for answer in answers {
        let place = format!("{cluster}, {} on {}", answer.pod, answer.node);
        match answer
            .output
            .map_err(|e| e.to_string())
            .and_then(|value| remotes(query, value))
        {
            Ok(remotes) => reports.push(Report {
                pod: answer.pod,
                node: answer.node,
                remotes,
            }),
            Err(why) => tally.unknown(format!("{place}: {why}")),
        }
    }
    reports
}

fn word(query: CiliumQuery) -> &'static str {
    match query {
        CiliumQuery::KvstoreMesh => "KVStoreMesh status",
        _ => "status",
    }
}

fn remotes(query: CiliumQuery, value: Value) -> Result<Option<Vec<RemoteCluster>>, String> {
    let read = |value: Value| {
        serde_json::from_value::<Vec<RemoteCluster>>(value).map_err(|e| format!("its answer could not be parsed: {e}"))
    };
    if query == CiliumQuery::KvstoreMesh {
        return match value {
            Value::Null => Ok(None),
            list => read(list).map(Some),
        };
    }
    if value.get("cilium").is_none() {
        return Err("its answer has no `.cilium`: not a status".to_owned());
    }
    match value.pointer("/cluster-mesh/clusters") {
        None | Some(Value::Null) => Ok(None),
        Some(list) => read(list.clone()).map(Some),
    }
}

/// Judges every report against every expected remote with `deviation`; pods with the same problem share a finding.
pub fn judge(
    context: &CheckContext,
    cluster: &ClusterName,
    reports: &[Report],
    expected: &BTreeSet<String>,
    what: &str,
    deviation: impl Fn(&RemoteCluster) -> Option<String>,
    tally: &mut Tally,
) {
    for remote in expected {
        let mut wrong: BTreeMap<String, Vec<String>> = BTreeMap::new();
        let mut ok = 0;
        for report in reports {
            let listed = report
                .remotes
                .as_ref()
                .map(|list| list.iter().find(|r| &r.name == remote));
            let problem = match listed {
                None => Some("reports no cluster mesh at all".to_owned()),
                Some(None) => Some(format!("does not list {remote}")),
                Some(Some(found)) => {
                    context.note(format!(
                        "{} on {}: {remote} ready={} connected={} nodes={} endpoints={} shared services={} failures={}",
                        report.pod,
                        report.node,
                        found.ready,
                        found.connected,
                        found.num_nodes,
                        found.num_endpoints,
                        found.num_shared_services,
                        found.num_failures
                    ));
                    deviation(found)
                }
            };
            match problem {
                None => ok += 1,
                Some(problem) => wrong.entry(problem).or_default().push(report.node.to_string()),
            }
        }
        if ok > 0 {
            tally.witness(format!("{ok} of {} pods of {cluster}: {remote} {what}", reports.len()));
        }
        for (problem, nodes) in wrong {
            let who = if nodes.len() == reports.len() && nodes.len() > 1 {
                format!("all {} pods of {cluster}", nodes.len())
            } else {
                format!("{cluster}, on {}", nodes.join(", "))
            };
            let others = if ok > 0 {
                format!("; {ok} others are as expected")
            } else {
                String::new()
            };
            tally.finding(who, format!("{remote} {what}"), format!("{problem}{others}"));
        }
    }
}

/// The verdict when there is no cluster to be joined to: claimed, so neither green nor skipped.
pub fn nobody(cluster: &ClusterName, cilium: &CiliumFacts) -> Verdict {
    if cilium.remotes.is_some() {
        let mut tally = Tally::new();
        tally.finding(
            cluster.to_string(),
            "at least one remote cluster, since a cluster mesh is claimed",
            "Secret cilium-clustermesh configures none",
        );
        return tally.verdict();
    }
    Verdict::inconclusive(format!(
        "the clusters that {cluster} should be joined to are unknown: Secret cilium-clustermesh could not be read, \
         and the run has no other member"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Fake;

    #[test]
    fn a_cluster_without_a_name_has_ciliums_default() {
        let name = |change: fn(&mut Facts)| mesh_name(&Fake::healthy().facts(change).facts, &"apps".into());
        assert_eq!(name(|_| {}), "apps");
        assert_eq!(name(|facts| rename(facts, Some("production"))), "production");
        assert_eq!(name(|facts| rename(facts, None)), "default");
        assert_eq!(name(|facts| facts.clusters[1].cilium = None), "apps");
    }

    fn rename(facts: &mut Facts, name: Option<&str>) {
        let cilium = facts.clusters[1].cilium.as_mut().expect("Cilium");
        cilium.config.remove("cluster-name");
        cilium
            .config
            .extend(name.map(|name| ("cluster-name".to_owned(), name.to_owned())));
    }
}
