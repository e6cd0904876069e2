//! KVStoreMesh, which really talks to the other cluster, says that it is connected.

use super::STATUS_NEEDS;
use super::remotes::{self, reports};
use crate::next;
use async_trait::async_trait;
use meshproof_contract::cilium::RemoteCluster;
use meshproof_contract::{Check, CheckContext, CheckId, CheckText, CiliumQuery, Needs, Scope, Tally, Verdict};

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
            how: "`clustermesh-apiserver kvstoremesh-dbg status -o json` in container kvstoremesh of every clustermesh-apiserver pod, judged as Cilium judges it. It notices a cut after about two minutes.",
            control: "Every replica must answer with a list; none at all is inconclusive. Where KVStoreMesh does not run the check is skipped.",
            when_red: "`kubectl --context CONTEXT -n kube-system logs deploy/clustermesh-apiserver -c kvstoremesh --tail=50`; then, from there, the other cluster's clustermesh-apiserver Service and port 2379, \
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
                "KVStoreMesh does not run in {cluster}: its agents talk to the other clusters themselves"
            ));
        }
        let expected = remotes::expected(&facts, cluster, cilium);
        if expected.is_empty() {
            return remotes::nobody(cluster, cilium);
        }
        let mut tally = Tally::new();
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
            context.evidence(format!("next: {}", next::kubectl(&facts, cluster, command)));
        }
        tally.verdict()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::{Fake, infra};
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
