//! When a cluster follows another one again whose clustermesh-apiserver was away. A status that says ready does not tell: it does so for
//! two minutes after the connection broke. So something new is made in the other cluster, and counted in this one.

use super::cast::SCENARIO;
use super::now;
use super::recording::{Recording, unknown};
use crate::kit::unique_name;
use crate::kit::cilium::remotes::mesh_name;
use meshproof_contract::cilium::{AgentStatus, RemoteCluster};
use meshproof_contract::{CheckContext, CiliumQuery, ClusterName, ObjectRef, Verdict, port};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

const LOOK: Duration = Duration::from_millis(200);
const MESH_APISERVER: &str = "clustermesh-apiserver";

/// Whose word about the other cluster's global services is taken, and how many it knew before anything was done.
#[derive(Clone, Copy, Debug)]
pub struct Witness {
    query: CiliumQuery,
    services: u64,
}

impl Witness {
    /// Whoever counts the other cluster's services: KVStoreMesh, or the agents; none where nobody does.
    pub async fn of(context: &CheckContext, from: &ClusterName, to: &ClusterName) -> Option<Self> {
        for query in [CiliumQuery::KvstoreMesh, CiliumQuery::Status] {
            // Those of the scenario are there: who counts none does not count.
            if let Some(services) = services(context, query, from, to).await.filter(|count| *count > 0) {
                return Some(Self { query, services });
            }
        }
        None
    }

    /// When the other cluster's news arrived; none if they did not in that time.
    pub async fn sees_news(
        &self,
        context: &CheckContext,
        recording: &mut Recording<'_>,
        within: Duration,
    ) -> Result<Option<Instant>, Verdict> {
        let (from, to) = (context.instance.from(), context.instance.to());
        let news = news(context, to).await?;
        let seen = self.counts_more(context, recording, (from, to), within).await;
        let removed = context.environment.delete(to, &news).await.map_err(unknown);
        let seen = seen?;
        removed.map(|()| seen)
    }

    async fn counts_more(
        &self,
        context: &CheckContext,
        recording: &mut Recording<'_>,
        (from, to): (&ClusterName, &ClusterName),
        within: Duration,
    ) -> Result<Option<Instant>, Verdict> {
        let begun = now();
        loop {
            let count = services(context, self.query, from, to).await;
            if count.is_some_and(|count| count > self.services) {
                return Ok(Some(now()));
            }
            if now() - begun > within {
                return Ok(None);
            }
            recording.collect().await?;
            tokio::time::sleep(LOOK).await;
        }
    }
}

/// Another global service of the backends.
async fn news(context: &CheckContext, cluster: &ClusterName) -> Result<ObjectRef, Verdict> {
    let facts = context.environment.facts();
    let known = facts.service(cluster, "failover-remote");
    let known =
        known.ok_or_else(|| Verdict::inconclusive(format!("{cluster}: service failover-remote is not known")))?;
    let mut service = ObjectRef {
        api_version: "v1".to_owned(),
        kind: "Service".to_owned(),
        namespace: Some(known.namespace.clone()),
        name: known.name.clone(),
    };
    let like = context.environment.get(cluster, &service).await.map_err(unknown)?;
    let like = like.ok_or_else(|| Verdict::inconclusive(format!("{cluster}: service failover-remote is gone")))?;
    service.name = unique_name::label(&format!("{SCENARIO}-news"));
    let object = json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {
            "name": service.name, "namespace": known.namespace,
            "annotations": {"service.cilium.io/global": "true"},
        },
        "spec": {"selector": like["spec"]["selector"], "ports": [{"name": "http", "port": port::HTTP, "targetPort": port::HTTP, "protocol": "TCP"}]},
    });
    context.environment.apply(cluster, object).await.map_err(unknown)?;
    Ok(service)
}

/// The least number of global services of `to` that any of those asked in `from` knows; none if any cannot tell.
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

/// Whether all replicas that the clustermesh-apiserver should have are ready; none where that may not be read.
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
    fn services_are_counted_by_the_cluster_that_has_them() {
        let remote = json!({"name": "apps", "num-shared-services": 3});
        let status = json!({"cluster-mesh": {"clusters": [{"name": "x"}, remote]}});
        assert_eq!(count(CiliumQuery::Status, status, "apps"), Some(3));
        assert_eq!(count(CiliumQuery::KvstoreMesh, json!([remote]), "apps"), Some(3));
        assert_eq!(count(CiliumQuery::KvstoreMesh, json!([remote]), "infra"), None);
        assert_eq!(count(CiliumQuery::Status, json!({}), "apps"), None);
    }
}
