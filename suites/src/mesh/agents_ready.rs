//! Every Cilium agent works, and reports every expected remote cluster connected, ready and synchronised.

use super::{STATUS_NEEDS, agent_state};
use crate::kit::{cilium::remotes, next_steps};
use async_trait::async_trait;
use meshproof_contract::{
    Check, CheckContext, CheckId, CheckText, CiliumQuery, Needs, Scope, Tally, Verdict, cilium::RemoteCluster,
};
use std::collections::BTreeSet;

/// The mesh as the agents report it.
pub struct AgentsReady;

#[async_trait]
impl Check for AgentsReady {
    fn id(&self) -> CheckId {
        CheckId::from("mesh::agents_ready")
    }

    fn text(&self) -> CheckText {
        CheckText {
            title: "Every Cilium agent is healthy and reports every remote cluster connected, ready and synchronised",
            proves: "Every node has an agent that runs, answers and reaches its API server, and that reports no \
                     remote cluster as disconnected. With KVStoreMesh an agent reports ready even after the other \
                     cluster is gone; mesh::change_propagates covers that.",
            how: "In `cilium-dbg status -o json` of every agent, each cluster that Secret cilium-clustermesh \
                  configures, and each other cluster of the run with a mesh claim, must be connected, configured, \
                  synchronised and ready. The agent's pod must be ready, its `.cilium.state` and `.kubernetes.state` \
                  not Failure, and its command must return (each problem seen twice, 10 s apart).",
            control: "Every node must have an agent that answers with `.cilium`; otherwise the check is inconclusive, \
                      unless the pods show the reason.",
            when_red: "Agent not healthy: `kubectl --context CONTEXT -n kube-system get pods -l k8s-app=cilium -o \
                       wide`. Remote not ready: `kubectl --context CONTEXT -n kube-system exec AGENT_POD -c \
                       cilium-agent -- cilium-dbg troubleshoot clustermesh`, and for all agents of a cluster `kubectl \
                       --context CONTEXT -n kube-system logs deploy/clustermesh-apiserver -c kvstoremesh --tail=50`.",
        }
    }

    fn scope(&self) -> Scope {
        Scope::Cluster
    }
    fn needs(&self) -> Needs {
        STATUS_NEEDS
    }
    fn faults(&self) -> &'static [&'static str] {
        &[
            "mesh-remote-not-connected",
            "mesh-agent-not-ready",
            "mesh-agent-not-synced",
            "agent-api-server-lost",
        ]
    }

    async fn run(&self, context: &CheckContext) -> Verdict {
        let facts = context.environment.facts();
        let cluster = context.instance.from();
        let (_, expected) = match remotes::joins(&facts, cluster) {
            Ok(found) => found,
            Err(verdict) => return verdict,
        };
        let mut tally = Tally::new();
        let agents = agent_state::observe(context, cluster).await;
        agents.report(cluster, &mut tally);
        let reports = remotes::read(agents.answers, cluster, CiliumQuery::Status, &mut tally);
        let answered: BTreeSet<&str> = reports.iter().map(|r| r.node.as_str()).collect();
        for node in facts.cluster(cluster).iter().flat_map(|c| &c.nodes) {
            if !answered.contains(node.name.as_str()) {
                tally.unknown(format!(
                    "{cluster}: the Cilium agent of node {} did not answer",
                    node.name
                ));
            }
        }
        remotes::judge(
            context,
            cluster,
            &reports,
            &expected,
            "is connected, ready and synchronised",
            RemoteCluster::not_ready_because,
            &mut tally,
        );
        if tally.has_findings() {
            let command = next_steps::in_agent(&facts, cluster, None, "cilium-dbg troubleshoot clustermesh");
            context.suggest(command);
        }
        tally.verdict()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Fake, infra};
    use serde_json::json;

    #[tokio::test]
    async fn ready_everywhere_is_green() {
        let text = Fake::healthy().expect(&AgentsReady, infra(), "pass").await;
        assert!(text.contains("3 of 3 pods of infra: apps is connected"), "{text}");
    }

    #[tokio::test]
    async fn every_way_not_to_be_ready_is_red() {
        let breakages: [(&str, serde_json::Value); 5] = [
            ("connected", json!(false)),
            ("config", json!(null)),
            ("synced", json!({"nodes": true, "endpoints": false})),
            ("synced", json!(null)),
            ("ready", json!(false)),
        ];
        for (key, value) in breakages {
            let fake = Fake::healthy().status(move |_, node, status| {
                if node == "infra-2" {
                    status["cluster-mesh"]["clusters"][0][key] = value.clone();
                }
            });
            let text = fake.expect(&AgentsReady, infra(), "fail").await;
            assert!(text.contains("infra, on infra-2"), "{key}: {text}");
        }
    }

    #[tokio::test]
    async fn a_remote_that_is_not_listed_is_red() {
        let fake = Fake::healthy().status(|_, _, status| status["cluster-mesh"]["clusters"] = json!([]));
        let text = fake.expect(&AgentsReady, infra(), "fail").await;
        assert!(
            text.contains("all 3 pods of infra") && text.contains("does not list apps"),
            "{text}"
        );
        let fake = Fake::healthy().status(|_, _, status| {
            status.as_object_mut().expect("object").remove("cluster-mesh");
        });
        fake.expect(&AgentsReady, infra(), "fail").await;
    }

    #[tokio::test]
    async fn remotes_are_matched_by_their_name_in_the_mesh() {
        let fake = Fake::healthy().facts(|f| {
            let apps = f.clusters[1].cilium.as_mut().expect("cilium");
            apps.config.insert("cluster-name".into(), "production".into());
            f.clusters[0].cilium.as_mut().expect("cilium").remotes = Some(vec!["production".into()]);
        });
        let named = fake
            .clone()
            .status(|_, _, status| status["cluster-mesh"]["clusters"][0]["name"] = json!("production"));
        named.expect(&AgentsReady, infra(), "pass").await;
        fake.status(|_, _, status| status["cluster-mesh"]["clusters"][0]["name"] = json!("apps"))
            .expect(&AgentsReady, infra(), "fail")
            .await;
    }

    #[tokio::test]
    async fn claimed_and_absent_is_red_and_not_claimed_is_skipped() {
        Fake::healthy()
            .facts(|f| f.clusters[0].cilium = None)
            .expect(&AgentsReady, infra(), "fail")
            .await;
        Fake::healthy()
            .facts(|f| f.claims.clear())
            .expect(&AgentsReady, infra(), "skipped")
            .await;
        let alone = |remotes: Option<Vec<String>>| {
            Fake::healthy().facts(move |f| {
                f.clusters.truncate(1);
                f.clusters[0].cilium.as_mut().expect("cilium").remotes = remotes;
            })
        };
        alone(Some(vec![])).expect(&AgentsReady, infra(), "fail").await;
        alone(None).expect(&AgentsReady, infra(), "inconclusive").await;
    }

    #[tokio::test]
    async fn a_claim_of_the_other_side_only_counts_and_a_third_cluster_does_not() {
        let claimed_by_apps = |remotes: &'static str| {
            Fake::healthy().facts(move |f| {
                f.claims.retain(|c| c.cluster.as_str() == "apps");
                f.clusters[1].cilium.as_mut().expect("cilium").remotes = Some(vec![remotes.into()]);
                f.clusters[0].cilium.as_mut().expect("cilium").remotes = Some(vec![]);
            })
        };
        let lost = |fake: Fake| fake.status(|_, _, status| status["cluster-mesh"]["clusters"] = json!([]));
        lost(claimed_by_apps("infra"))
            .expect(&AgentsReady, infra(), "fail")
            .await;
        lost(claimed_by_apps("elsewhere"))
            .expect(&AgentsReady, infra(), "skipped")
            .await;
    }

    #[tokio::test(start_paused = true)]
    async fn an_agent_that_is_gone_unready_or_hangs_is_red() {
        let ways = [
            (Fake::healthy().without_agent_pod("infra-2"), "no agent pod"),
            (
                Fake::healthy().agent_unready("infra-2"),
                "is not Ready: containers with",
            ),
            (Fake::healthy().cilium_hangs_on("infra-2"), "while other agents answer"),
        ];
        for (fake, expected) in ways {
            let text = fake.expect(&AgentsReady, infra(), "fail").await;
            assert!(
                text.contains("Cilium agent on infra-2") && text.contains(expected),
                "{text}"
            );
        }
        Fake::healthy()
            .agent_unready("apps-1")
            .expect(&AgentsReady, infra(), "pass")
            .await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_failure_in_its_own_status_is_red_and_a_warning_is_not() {
        let says = |key: &'static str, state: &'static str| {
            Fake::healthy().status(move |_, node, status| {
                if node == "infra-2" {
                    status[key] = json!({"state": state, "msg": "i/o timeout"});
                }
            })
        };
        for key in ["cilium", "kubernetes"] {
            let text = says(key, "Failure").expect(&AgentsReady, infra(), "fail").await;
            assert!(
                text.contains("reports Failure") && text.contains("i/o timeout"),
                "{text}"
            );
            says(key, "Warning").expect(&AgentsReady, infra(), "pass").await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_cannot_be_read_is_inconclusive() {
        let fakes = [
            Fake::healthy().cilium_refused(),
            Fake::healthy().cilium_error_on("infra-2"),
            Fake::healthy().without_agent_pod("infra-2").list_refused("Pod"),
            Fake::healthy().status(|_, _, status| *status = json!({})),
            Fake::healthy().status(|_, _, status| status["cluster-mesh"]["clusters"] = json!("garbage")),
        ];
        for fake in fakes {
            fake.expect(&AgentsReady, infra(), "inconclusive").await;
        }
    }
}
