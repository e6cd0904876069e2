//! KVStoreMesh, which really talks to the other cluster, says that it is connected.

use super::STATUS_NEEDS;
use super::agent_state::AGAIN;
use crate::kit::cilium::pods::{self, Pods};
use crate::kit::cilium::remotes::{self, reports};
use crate::kit::next_steps;
use async_trait::async_trait;
use meshproof_contract::cilium::RemoteCluster;
use meshproof_contract::{
    Check, CheckContext, CheckId, CheckText, CiliumQuery, ClusterName, Needs, Scope, Tally, Verdict,
};

/// The mesh by the word of KVStoreMesh.
pub struct KvstoreMeshReady;

#[async_trait]
impl Check for KvstoreMeshReady {
    fn id(&self) -> CheckId {
        CheckId::from("mesh::kvstoremesh_ready")
    }

    fn text(&self) -> CheckText {
        CheckText {
            title: "KVStoreMesh is connected to every remote cluster, ready and synchronised",
            proves: "The component that copies the other cluster's state into this one is connected to it. Agents only read its copy and do not notice when it stops.",
            how: "`clustermesh-apiserver kvstoremesh-dbg status -o json` in container kvstoremesh of every clustermesh-apiserver pod, judged as Cilium judges it. It notices a cut after about two minutes. Where agents are configured to read its copy (Secret cilium-clustermesh) \
                  and no pod of clustermesh-apiserver is there, or none is ready, twice ten seconds apart, it is red.",
            control: "Every replica must answer with a list; none at all, while pods are ready, is inconclusive. Where KVStoreMesh is neither configured nor there the check is skipped.",
            when_red: "`kubectl --context CONTEXT -n kube-system get deploy,pods -l k8s-app=clustermesh-apiserver`, `kubectl --context CONTEXT -n kube-system logs deploy/clustermesh-apiserver -c kvstoremesh --tail=50`; then, from there, the other cluster's clustermesh-apiserver Service and port 2379, \
                       and `openssl x509 -enddate` of Secret clustermesh-apiserver-remote-cert.",
        }
    }

    fn scope(&self) -> Scope {
        Scope::Cluster
    }
    fn needs(&self) -> Needs {
        STATUS_NEEDS
    }
    fn faults(&self) -> &'static [&'static str] {
        &["mesh-kvstoremesh-disconnected"]
    }

    async fn run(&self, context: &CheckContext) -> Verdict {
        let facts = context.environment.facts();
        let cluster = context.instance.from();
        let cilium = match remotes::member(&facts, cluster) {
            Ok(cilium) => cilium,
            Err(verdict) => return verdict,
        };
        if !cilium.kvstoremesh {
            return Verdict::skipped(format!(
                "KVStoreMesh is not configured in {cluster}: its agents talk to the other clusters themselves"
            ));
        }
        let expected = remotes::expected(&facts, cluster, cilium);
        if expected.is_empty() {
            return remotes::nobody(cluster, cilium);
        }
        let mut tally = Tally::new();
        if let Some(problem) = not_served(context, cluster).await {
            tally.finding(
                cluster.to_string(),
                "a ready pod of clustermesh-apiserver, from which the agents are configured to read other clusters' state",
                problem,
            );
        }
        let reports = reports(context, cluster, CiliumQuery::KvstoreMesh, &mut tally).await;
        remotes::judge(
            context,
            cluster,
            &reports,
            &expected,
            "is connected, ready and synchronised for KVStoreMesh",
            RemoteCluster::not_ready_because,
            &mut tally,
        );
        if tally.has_findings() {
            let command = "-n kube-system logs deploy/clustermesh-apiserver -c kvstoremesh --tail=50";
            context.suggest(next_steps::kubectl(&facts, cluster, command));
        }
        tally.verdict()
    }
}

/// Why no pod serves the agents, if it is so now and still [`AGAIN`] later.
async fn not_served(context: &CheckContext, cluster: &ClusterName) -> Option<String> {
    look(context, cluster).await?;
    tokio::time::sleep(AGAIN).await;
    look(context, cluster).await
}

async fn look(context: &CheckContext, cluster: &ClusterName) -> Option<String> {
    let pods = match Pods::read(context, cluster).await {
        Ok(pods) => pods,
        Err(error) => {
            context.note(format!("the pods could not be looked at: {error}"));
            return None;
        }
    };
    let servers = pods.of(pods::MESH_SERVER)?;
    if servers.is_empty() {
        return Some("no pod of clustermesh-apiserver is there".to_owned());
    }
    let problems: Option<Vec<String>> = servers.into_iter().map(pods::unready).collect();
    problems.map(|problems| problems.join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Fake, infra};
    use serde_json::json;

    #[tokio::test]
    async fn connected_is_green() {
        Fake::healthy().expect(&KvstoreMeshReady, infra(), "pass").await;
    }

    #[tokio::test]
    async fn what_cilium_shows_after_a_cut_is_red() {
        let fake = Fake::healthy().kvstoremesh(|_, status| {
            *status = json!([{"last-failure": "2026-11-21T09:21:36.737Z", "name": "apps", "num-endpoints": 11, "num-failures": 1,
                "num-identities": 11, "num-nodes": 2, "num-shared-services": 1,
                "status": "Waiting for initial connection to be established", "synced": {}}]);
        });
        let text = fake.expect(&KvstoreMeshReady, infra(), "fail").await;
        assert!(text.contains("Waiting for initial connection"), "{text}");
        Fake::healthy()
            .kvstoremesh(|_, status| *status = json!([]))
            .expect(&KvstoreMeshReady, infra(), "fail")
            .await;
    }

    #[tokio::test(start_paused = true)]
    async fn configured_and_not_there_is_red() {
        let gone = || Fake::healthy().cilium_silent();
        let without = gone().without_object("infra", "Pod", "clustermesh-apiserver-x");
        let text = without.expect(&KvstoreMeshReady, infra(), "fail").await;
        assert!(text.contains("no pod of clustermesh-apiserver"), "{text}");
        let unready = gone()
            .without_object("infra", "Pod", "clustermesh-apiserver-x")
            .object("infra", crate::testing::mesh_pod("False"));
        let text = unready.expect(&KvstoreMeshReady, infra(), "fail").await;
        assert!(text.contains("is not Ready"), "{text}");
    }

    #[tokio::test]
    async fn where_it_does_not_run_or_no_mesh_is_claimed_it_is_skipped() {
        let without = Fake::healthy().facts(|f| f.clusters[0].cilium.as_mut().expect("cilium").kvstoremesh = false);
        without.expect(&KvstoreMeshReady, infra(), "skipped").await;
        Fake::healthy()
            .facts(|f| f.claims.clear())
            .expect(&KvstoreMeshReady, infra(), "skipped")
            .await;
    }

    #[tokio::test]
    async fn what_cannot_be_read_is_inconclusive() {
        Fake::healthy()
            .cilium_refused()
            .expect(&KvstoreMeshReady, infra(), "inconclusive")
            .await;
        Fake::healthy()
            .cilium_silent()
            .expect(&KvstoreMeshReady, infra(), "inconclusive")
            .await;
        Fake::healthy()
            .kvstoremesh(|_, status| *status = json!({"x": 1}))
            .expect(&KvstoreMeshReady, infra(), "inconclusive")
            .await;
    }
}
