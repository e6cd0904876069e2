//! KVStoreMesh, which connects to the other cluster, reports that it is connected.

use super::{STATUS_NEEDS, agent_state::RETRY_AFTER};
use crate::kit::{
    cilium::{
        pods::{self, Pods},
        remotes,
    },
    next_steps,
    recent::{self, Age},
};
use async_trait::async_trait;
use meshproof_contract::{
    Check, CheckContext, CheckId, CheckText, CiliumAnswer, CiliumQuery, ClusterName, EnvironmentError, Needs, NodeName,
    Scope, Tally, Verdict, cilium::RemoteCluster,
};

/// The mesh as KVStoreMesh reports it.
pub struct KvstoreMeshReady;

#[async_trait]
impl Check for KvstoreMeshReady {
    fn id(&self) -> CheckId {
        CheckId::from("mesh::kvstoremesh_ready")
    }

    fn text(&self) -> CheckText {
        CheckText {
            title: "KVStoreMesh is connected to every remote cluster, ready and synchronised",
            proves: "The component that copies the other cluster's state into this one is connected to it. Agents \
                     only read its copy and do not notice when it stops.",
            how: "`clustermesh-apiserver kvstoremesh-dbg status -o json` in container kvstoremesh of every \
                  clustermesh-apiserver pod must report every remote connected and synchronised; it notices a cut \
                  after about 2 min. At least one of these pods must be ready (no ready pod seen twice, 10 s apart, \
                  is red).",
            control: "Every replica must answer with a list. A command that gives nothing for 30 s while Cilium's \
                      agents answer is a finding: the process stands still. Any other error is inconclusive. Where \
                      KVStoreMesh is not configured the check is skipped.",
            when_red: "`kubectl --context CONTEXT -n kube-system get deploy,pods -l k8s-app=clustermesh-apiserver` \
                       and `kubectl --context CONTEXT -n kube-system logs deploy/clustermesh-apiserver -c kvstoremesh \
                       --tail=50`. Then check port 2379 of the other cluster's clustermesh-apiserver Service and \
                       `openssl x509 -enddate` of Secret clustermesh-apiserver-remote-cert.",
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
                "KVStoreMesh is not configured in {cluster}: its agents connect to the other clusters themselves"
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
                "a ready clustermesh-apiserver pod, from which the agents read the state of other clusters",
                problem,
            );
        }
        let answers = recent::cilium(context, cluster, CiliumQuery::KvstoreMesh, Age::STATE).await;
        for (pod, node, why) in silent(answers.as_deref().unwrap_or_default()) {
            if agents_answer(context, cluster).await {
                tally.finding(
                    format!("KVStoreMesh in {pod} on {node}"),
                    "its command answers",
                    format!("{why}, while Cilium agents answer"),
                );
            }
        }
        let reports = remotes::read(answers, cluster, CiliumQuery::KvstoreMesh, &mut tally);
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

/// The pods whose command gave nothing until its deadline: a process that stands still does that.
fn silent(answers: &[CiliumAnswer]) -> Vec<(String, NodeName, String)> {
    let of = |answer: &CiliumAnswer| match &answer.output {
        Err(error @ EnvironmentError::Deadline { .. }) => {
            Some((answer.pod.clone(), answer.node.clone(), error.to_string()))
        }
        _ => None,
    };
    answers.iter().filter_map(of).collect()
}

/// Whether commands in pods of that cluster are answered at all.
async fn agents_answer(context: &CheckContext, cluster: &ClusterName) -> bool {
    let agents = recent::cilium(context, cluster, CiliumQuery::Status, Age::STATE).await;
    agents.is_ok_and(|agents| agents.iter().any(|agent| agent.output.is_ok()))
}

/// Why no pod serves the agents, if none does now and none [`RETRY_AFTER`] later.
async fn not_served(context: &CheckContext, cluster: &ClusterName) -> Option<String> {
    unready(context, cluster, Age::STATE).await?;
    tokio::time::sleep(RETRY_AFTER).await;
    unready(context, cluster, Age::now()).await
}

async fn unready(context: &CheckContext, cluster: &ClusterName, age: Age) -> Option<String> {
    let pods = match Pods::read(context, cluster, age).await {
        Ok(pods) => pods,
        Err(error) => {
            context.note(format!("cannot read the clustermesh-apiserver pods: {error}"));
            return None;
        }
    };
    let servers = pods.of(pods::MESH_SERVER)?;
    if servers.is_empty() {
        return Some("no clustermesh-apiserver pod".to_owned());
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

    #[tokio::test(start_paused = true)]
    async fn a_process_that_stands_still_is_red() {
        let frozen = Fake::healthy().cilium_hangs_on("infra-1");
        let text = frozen.expect(&KvstoreMeshReady, infra(), "fail").await;
        assert!(
            text.contains("KVStoreMesh in clustermesh-apiserver-x on infra-1")
                && text.contains("while Cilium agents answer"),
            "{text}"
        );
    }

    #[tokio::test]
    async fn what_cilium_shows_after_a_cut_is_red() {
        let fake = Fake::healthy().kvstoremesh(|_, status| {
            *status = json!([{
                "last-failure": "2026-11-21T09:21:36.737Z", "name": "apps", "num-endpoints": 11, "num-failures": 1,
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
        assert!(text.contains("no clustermesh-apiserver pod"), "{text}");
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
