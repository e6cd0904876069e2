//! When every pair of a class is silent: is it the path, or does one of the two sides not work at all?

use super::{Cell, Class, Ends, Judged, Paths, answered_by, observe};
use crate::probes;
use meshproof_contract::{CheckContext, ClusterName, Instance};

/// Which part a complete failure points to, told by asking inside each of the two clusters, same node only; none unless
/// every pair was silent.
pub async fn broken_part(context: &CheckContext, paths: &Paths, judged: &[Judged]) -> Option<String> {
    if paths.class == Class::SameNode || !judged.iter().all(|j| matches!(j.cell, Cell::Silent(_))) {
        return None;
    }
    let near = same_node(context, &paths.from).await;
    if paths.class == Class::OtherNode {
        return Some(match near {
            Local::Works(n) => {
                format!(
                    "all {n} same-node pairs in {} answer: the network between its nodes fails",
                    paths.from
                )
            }
            Local::Fails(text) => format!("{text}: begin with the nodes of {} themselves", paths.from),
        });
    }
    Some(match (near, same_node(context, &paths.to).await) {
        (Local::Works(n), Local::Works(m)) => format!(
            "all {n} same-node pairs in {} and all {m} in {} answer: the path between the clusters fails",
            paths.from, paths.to
        ),
        (Local::Fails(text), Local::Works(_)) => format!("{text}: begin with {}", paths.from),
        (Local::Works(_), Local::Fails(text)) => format!("{text}: begin with {}", paths.to),
        (Local::Fails(near), Local::Fails(far)) => format!("{near}; {far}: begin inside each cluster"),
    })
}

enum Local {
    Works(usize),
    Fails(String),
}

async fn same_node(context: &CheckContext, cluster: &ClusterName) -> Local {
    let facts = context.environment.facts();
    let instance = Instance::Cluster(cluster.clone());
    let Ok(paths) = Paths::of(&facts, &instance, Class::SameNode, Ends::PODS) else {
        return Local::Fails(format!("inside {cluster} there is no pair to compare with"));
    };
    let seen = observe(context.environment.as_ref(), &paths.list, |path| {
        vec![probes::http_get(path)]
    })
    .await;
    let answered = paths
        .list
        .iter()
        .zip(&seen)
        .filter(|(path, seen)| {
            seen.as_ref()
                .is_ok_and(|o| o.iter().any(|o| matches!(answered_by(path, o, ""), Cell::Right(_))))
        })
        .count();
    if answered == paths.list.len() {
        Local::Works(answered)
    } else {
        Local::Fails(format!(
            "inside {cluster} only {answered} of {} same-node pairs answer too",
            paths.list.len()
        ))
    }
}
