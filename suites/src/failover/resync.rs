//! When a cluster follows another one again whose clustermesh-apiserver was away. A status that reports ready does not
//! prove it: it stays so for two minutes after the connection broke. So a new Service is created in the other cluster,
//! and counted in this one.

use super::{SCENARIO, now, recording::Recording, workload::unknown};
use crate::kit::{cilium::remotes::mesh_name, unique_name};
use meshproof_contract::{
    CheckContext, CiliumQuery, ClusterName, ObjectRef, Verdict,
    cilium::{AgentStatus, RemoteCluster},
    port,
};
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use tokio::time::sleep;

/// Between two queries.
const INTERVAL: Duration = Duration::from_millis(200);
const MESH_APISERVER: &str = "clustermesh-apiserver";

/// A counter of the other cluster's global services: which pods report it, and what it was before the event.
#[derive(Clone, Copy, Debug)]
pub struct ServiceCounter {
    query: CiliumQuery,
    before: u64,
}

impl ServiceCounter {
    /// KVStoreMesh's counter, or the agents'; none where neither counts.
    pub async fn find(context: &CheckContext, from: &ClusterName, to: &ClusterName) -> Option<Self> {
        for query in [CiliumQuery::KvstoreMesh, CiliumQuery::Status] {
            // The scenario has some: a count of zero means that nothing is counted.
            let count = services(context, query, from, to).await;
            if let Some(before) = count.filter(|count| *count > 0) {
                return Some(Self { query, before });
            }
        }
        None
    }

    /// When it has counted a new Service of the other cluster; none if it has not in that time.
    pub async fn counts_new_service(
        &self,
        context: &CheckContext,
        recording: &mut Recording<'_>,
        within: Duration,
    ) -> Result<Option<Instant>, Verdict> {
        let to = context.instance.to();
        let service = create_service(context, to).await?;
        let counted = self.wait_for_more(context, recording, within).await;
        let deleted = context.environment.delete(to, &service).await.map_err(unknown);
        let counted = counted?;
        deleted.map(|()| counted)
    }

    async fn wait_for_more(
        &self,
        context: &CheckContext,
        recording: &mut Recording<'_>,
        within: Duration,
    ) -> Result<Option<Instant>, Verdict> {
        let (from, to) = (context.instance.from(), context.instance.to());
        let begun = now();
        loop {
            let count = services(context, self.query, from, to).await;
            if count.is_some_and(|count| count > self.before) {
                return Ok(Some(now()));
            }
            if now() - begun > within {
                return Ok(None);
            }
            recording.collect().await?;
            sleep(INTERVAL).await;
        }
    }
}

/// Creates another global Service of the backends.
async fn create_service(context: &CheckContext, cluster: &ClusterName) -> Result<ObjectRef, Verdict> {
    let facts = context.environment.facts();
    let missing = || Verdict::inconclusive(format!("{cluster}: service failover-remote was not found"));
    let known = facts.service(cluster, "failover-remote").ok_or_else(missing)?;
    let mut service = ObjectRef::namespaced("v1", "Service", &known.namespace, &known.name);
    let model = context.environment.get(cluster, &service).await.map_err(unknown)?;
    let model = model.ok_or_else(missing)?;
    service.name = unique_name::label(&format!("{SCENARIO}-resync"));
    let ports = json!([{"name": "http", "port": port::HTTP, "targetPort": port::HTTP, "protocol": "TCP"}]);
    let object = json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {
            "name": service.name, "namespace": known.namespace,
            "annotations": {"service.cilium.io/global": "true"},
        },
        "spec": {"selector": model["spec"]["selector"], "ports": ports},
    });
    context.environment.apply(cluster, object).await.map_err(unknown)?;
    Ok(service)
}

/// The least number of global services of `to` that any pod queried in `from` knows; none if any pod does not know.
async fn services(context: &CheckContext, query: CiliumQuery, from: &ClusterName, to: &ClusterName) -> Option<u64> {
    let name = mesh_name(&context.environment.facts(), to);
    let answers = context.environment.cilium(from, query).await.ok()?;
    let counts = answers
        .into_iter()
        .map(|answer| count(query, answer.output.ok()?, &name));
    counts.collect::<Option<Vec<u64>>>()?.into_iter().min()
}

fn count(query: CiliumQuery, output: Value, name: &str) -> Option<u64> {
    let clusters: Vec<RemoteCluster> = match query {
        CiliumQuery::KvstoreMesh => serde_json::from_value(output).ok()?,
        _ => {
            serde_json::from_value::<AgentStatus>(output)
                .ok()?
                .cluster_mesh?
                .clusters
        }
    };
    let cluster = clusters.into_iter().find(|cluster| cluster.name == name)?;
    Some(cluster.num_shared_services)
}

/// Whether all replicas that the clustermesh-apiserver should have are ready; none where that cannot be read.
pub async fn is_complete(context: &CheckContext, cluster: &ClusterName) -> Option<bool> {
    let found = context
        .environment
        .list(cluster, "apps/v1", "Deployment", None)
        .await
        .ok()?;
    let deployment = found.iter().find(|d| d["metadata"]["name"] == MESH_APISERVER)?;
    let ready = deployment["status"]["readyReplicas"].as_u64().unwrap_or(0);
    Some(ready >= deployment["spec"]["replicas"].as_u64().unwrap_or(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn services_are_counted_for_the_cluster_that_has_them() {
        let remote = json!({"name": "apps", "num-shared-services": 3});
        let status = json!({"cluster-mesh": {"clusters": [{"name": "x"}, remote]}});
        assert_eq!(count(CiliumQuery::Status, status, "apps"), Some(3));
        assert_eq!(count(CiliumQuery::KvstoreMesh, json!([remote]), "apps"), Some(3));
        assert_eq!(count(CiliumQuery::KvstoreMesh, json!([remote]), "infra"), None);
        assert_eq!(count(CiliumQuery::Status, json!({}), "apps"), None);
    }
}
