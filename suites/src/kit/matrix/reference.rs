//! When no pair of a locality answers: is it the path, or does one of its two ends not work at all? Reference probes
//! say.

use super::{
    cell::{Cell, Judged, answered_by},
    observe::{Seen, observe},
};
use crate::kit::{
    paths::{Locality, Path, Paths, WorkloadPair},
    probes,
};
use meshproof_contract::{CheckContext, ClusterName, Instance};

/// Which part a complete failure points to, found by probing the same pairs over HTTP, then the same-node pairs of each
/// of the two clusters; none unless no pair answered.
pub async fn broken_part(context: &CheckContext, paths: &Paths, judged: &[Judged]) -> Option<String> {
    if paths.locality == Locality::SameNode || !judged.iter().all(|j| matches!(j.cell, Cell::NoAnswer(_))) {
        return None;
    }
    let same: Vec<Path> = judged.iter().map(|j| j.path.clone()).collect();
    let over_http = answered(context, &same).await;
    if over_http > 0 {
        return Some(format!(
            "HTTP works on {over_http} of the same {} pairs: the protocol fails, not the path",
            same.len()
        ));
    }
    let near = same_node(context, &paths.from).await;
    if paths.locality == Locality::OtherNode {
        return Some(match near {
            Local::Works(n) => {
                format!(
                    "all {n} same-node pairs in {} answer: the network between its nodes fails",
                    paths.from
                )
            }
            Local::Fails(text) => format!("{text}: check the nodes of {} first", paths.from),
        });
    }
    Some(match (near, same_node(context, &paths.to).await) {
        (Local::Works(n), Local::Works(m)) => format!(
            "all {n} same-node pairs in {} and all {m} in {} answer: the path between the clusters fails; Cilium \
             notices that only after a minute or two, so `mesh::agents_ready` and `mesh::kvstoremesh_ready` may be \
             green meanwhile",
            paths.from, paths.to
        ),
        (Local::Fails(text), Local::Works(_)) => format!("{text}: check {} first", paths.from),
        (Local::Works(_), Local::Fails(text)) => format!("{text}: check {} first", paths.to),
        (Local::Fails(near), Local::Fails(far)) => format!("{near}; {far}: check each cluster by itself first"),
    })
}

enum Local {
    Works(usize),
    Fails(String),
}

async fn same_node(context: &CheckContext, cluster: &ClusterName) -> Local {
    let facts = context.environment.facts();
    let instance = Instance::Cluster(cluster.clone());
    let Ok(paths) = Paths::of(&facts, &instance, Locality::SameNode, WorkloadPair::PODS) else {
        return Local::Fails(format!("{cluster} has no same-node pair to compare with"));
    };
    let answered = answered(context, &paths.list).await;
    if answered == paths.list.len() {
        Local::Works(answered)
    } else {
        Local::Fails(format!(
            "only {answered} of {} same-node pairs in {cluster} answer",
            paths.list.len()
        ))
    }
}

/// How many of the paths answer one GET.
async fn answered(context: &CheckContext, paths: &[Path]) -> usize {
    let seen = observe(context.environment.as_ref(), paths, |path| vec![probes::http_get(path)]).await;
    let is_ok = |path: &Path, seen: &Seen| {
        let mut outcomes = seen.iter().flatten();
        outcomes.any(|outcome| matches!(answered_by(path, outcome, ""), Cell::Ok(_)))
    };
    paths.iter().zip(&seen).filter(|(path, seen)| is_ok(path, seen)).count()
}
