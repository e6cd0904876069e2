//! Policies of others that act on the pods under test, too: asked for only where something deviates, to name the culprit.

use super::Row;
use crate::policy::actor::{Actor, mesh_name};
use meshproof_contract::{ClusterName, Environment};
use meshproof_oracle::{Endpoint, Party, parse};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// Label of every object of a run.
const RUN: &str = "meshproof.dev/run";
/// Kinds, with whether they are in a namespace.
const KINDS: [(&str, &str, Where); 3] = [
    ("cilium.io/v2", "CiliumClusterwideNetworkPolicy", Where::Everywhere),
    ("cilium.io/v2", "CiliumNetworkPolicy", Where::InNamespaces),
    ("networking.k8s.io/v1", "NetworkPolicy", Where::InNamespaces),
];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Where {
    Everywhere,
    InNamespaces,
}

/// Words about the policies of others that may select pods of these rows, to be appended to what was seen; empty if there are none.
pub async fn policies(environment: &dyn Environment, rows: &[Row]) -> String {
    let facts = environment.facts();
    let mut pods: BTreeMap<ClusterName, Vec<&Endpoint>> = BTreeMap::new();
    let ends = rows.iter().flat_map(|row| [&row.cell.from, &row.cell.to]);
    for actor in ends.map(|actor| actor.as_ref() as &Actor) {
        if let Party::Endpoint(endpoint) = &actor.party {
            pods.entry(actor.cluster().clone()).or_default().push(endpoint);
        }
    }
    let mut found = BTreeSet::new();
    for (cluster, pods) in &pods {
        let mesh = mesh_name(&facts, cluster);
        let namespaces: BTreeSet<&str> = pods.iter().map(|pod| pod.namespace.as_str()).collect();
        for (version, kind, place) in KINDS {
            let places: Vec<Option<&str>> = match place {
                Where::Everywhere => vec![None],
                Where::InNamespaces => namespaces.iter().map(|namespace| Some(*namespace)).collect(),
            };
            for namespace in places {
                let objects = environment
                    .list(cluster, version, kind, namespace)
                    .await
                    .unwrap_or_default();
                for object in objects.iter().filter(|object| is_foreign(object)) {
                    // The API leaves these out of the elements of a list.
                    let mut whole = object.clone();
                    (whole["apiVersion"], whole["kind"]) = (version.into(), kind.into());
                    if may_select(&whole, &mesh, pods) {
                        let name = object["metadata"]["name"].as_str().unwrap_or_default();
                        let within = namespace.map_or_else(String::new, |namespace| format!("{namespace}/"));
                        found.insert(format!("{kind} {within}{name} in {cluster}"));
                    }
                }
            }
        }
    }
    match found.is_empty() {
        true => String::new(),
        false => {
            let found: Vec<String> = found.into_iter().collect();
            format!(" (policies of others also select these pods: {})", found.join(", "))
        }
    }
}

fn is_foreign(object: &Value) -> bool {
    object["metadata"]["labels"][RUN].is_null()
}

/// Whether it selects one of the pods; what cannot be read may.
fn may_select(object: &Value, mesh: &str, pods: &[&Endpoint]) -> bool {
    parse(object, mesh).map_or(true, |policies| {
        policies.iter().any(|policy| pods.iter().any(|pod| policy.selects(pod)))
    })
}
