//! Policies of others that also select the pods under test: listed only where something deviates, to name the culprit.

use super::judged_cell::JudgedCell;
use crate::{kit::cilium::remotes::mesh_name, policy::participant::Participant};
use meshproof_contract::{ClusterName, Environment};
use meshproof_oracle::{Endpoint, Party, parse};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// Label of every object of a run.
const RUN: &str = "meshproof.dev/run";
/// Kinds of policies, with their scope.
const KINDS: [(&str, &str, PolicyScope); 3] = [
    ("cilium.io/v2", "CiliumClusterwideNetworkPolicy", PolicyScope::Cluster),
    ("cilium.io/v2", "CiliumNetworkPolicy", PolicyScope::Namespace),
    ("networking.k8s.io/v1", "NetworkPolicy", PolicyScope::Namespace),
];

#[derive(Clone, Copy, PartialEq, Eq)]
enum PolicyScope {
    Cluster,
    Namespace,
}

/// Names the policies of others that may select pods of these cells, to be appended to what was seen; empty if none.
pub async fn describe(environment: &dyn Environment, cells: &[JudgedCell]) -> String {
    let facts = environment.facts();
    let mut found = BTreeSet::new();
    for (cluster, pods) in endpoints(cells) {
        let mesh = mesh_name(&facts, &cluster);
        let namespaces: BTreeSet<&str> = pods.iter().map(|pod| pod.namespace.as_str()).collect();
        for (version, kind, scope) in KINDS {
            let namespaces: Vec<Option<&str>> = match scope {
                PolicyScope::Cluster => vec![None],
                PolicyScope::Namespace => namespaces.iter().copied().map(Some).collect(),
            };
            for namespace in namespaces {
                let objects = environment.list(&cluster, version, kind, namespace).await;
                for object in objects.unwrap_or_default().iter().filter(|object| is_foreign(object)) {
                    // The API leaves these out of the elements of a list.
                    let mut whole = object.clone();
                    (whole["apiVersion"], whole["kind"]) = (version.into(), kind.into());
                    if may_select(&whole, &mesh, &pods) {
                        let name = object["metadata"]["name"].as_str().unwrap_or_default();
                        let prefix = namespace.map_or_else(String::new, |namespace| format!("{namespace}/"));
                        found.insert(format!("{kind} {prefix}{name} in {cluster}"));
                    }
                }
            }
        }
    }
    if found.is_empty() {
        return String::new();
    }
    let found: Vec<String> = found.into_iter().collect();
    format!(" (policies of others also select these pods: {})", found.join(", "))
}

fn endpoints(cells: &[JudgedCell]) -> BTreeMap<ClusterName, Vec<&Endpoint>> {
    let mut pods: BTreeMap<ClusterName, Vec<&Endpoint>> = BTreeMap::new();
    let ends = cells.iter().flat_map(|judged| [&judged.cell.from, &judged.cell.to]);
    for participant in ends.map(|participant| participant.as_ref() as &Participant) {
        if let Party::Endpoint(endpoint) = &participant.party {
            pods.entry(participant.cluster().clone()).or_default().push(endpoint);
        }
    }
    pods
}

fn is_foreign(object: &Value) -> bool {
    object["metadata"]["labels"][RUN].is_null()
}

/// Whether it selects one of the pods; a policy that cannot be read may.
fn may_select(object: &Value, mesh: &str, pods: &[&Endpoint]) -> bool {
    parse(object, mesh).map_or(true, |policies| {
        policies.iter().any(|policy| pods.iter().any(|pod| policy.selects(pod)))
    })
}
