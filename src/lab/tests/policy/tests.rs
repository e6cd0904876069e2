//! The tests.

use serde_json::json;

use crate::client::{Result, eventually, text};
use crate::place::{self, Place, answered, create, delete, for_servers, get, ping, tcp, udp};

pub type Test = fn() -> Result<()>;

pub const ALL: &[(&str, Test)] = &[("what_no_rule_allows_is_dropped_in_both_clusters", only_clients_come_in)];

fn block_on<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(text)?;
    runtime.block_on(work)
}

/// L3 and L4: labels, namespaces, clusters, ports, the three kinds of policies, and their removal.
fn only_clients_come_in() -> Result<()> {
    block_on(async {
        let place = Place::start().await?;
        let server = place.first("infra", "test", "server").await?.address();
        let (near, other) = (
            place.first("infra", "test", "client").await?,
            place.first("apps", "test", "other").await?,
        );
        let (far, beyond) = (
            place.first("apps", "test", "client").await?,
            place.first("apps", "beyond", "client").await?,
        );
        let everything = [tcp(&server, 8080), tcp(&server, 8081), udp(&server), ping(&server)];
        for from in [&near, &far, &other, &beyond] {
            let seen = from.probe(everything.to_vec()).await?;
            if !seen.iter().all(answered) {
                return Err(format!("everything should be open without a policy, got {seen:#?}"));
            }
        }
        let only = for_servers(
            "only-clients",
            json!({"ingress": [{
                "fromEndpoints": [{"matchLabels": {"app": "client"}}],
                "toPorts": [{"ports": [{"port": "8080", "protocol": "TCP"}]}],
            }]}),
        );
        create(&place.infra, &only).await?;
        for from in [&near, &far] {
            from.eventually(
                "clients reach port 8080 only",
                &everything,
                &[true, false, false, false],
            )
            .await?;
        }
        for from in [&other, &beyond] {
            from.eventually("others reach nothing", &everything, &[false; 4])
                .await?;
        }
        eventually("the policy is valid", || async {
            let condition = get(&place.infra, &only).await?["status"]["conditions"][0].clone();
            if condition["type"] == "Valid" && condition["status"] == "True" {
                Ok(())
            } else {
                Err(condition.to_string())
            }
        })
        .await?;

        // A second policy adds to the first: its named port, a namespace of another cluster.
        let more = for_servers(
            "beyond-too",
            json!({"ingress": [{
                "fromEndpoints": [{"matchLabels": {
                    "k8s:io.kubernetes.pod.namespace": "beyond", "io.cilium.k8s.policy.cluster": "apps",
                }}],
                "toPorts": [{"ports": [{"port": "echo", "protocol": "TCP"}]}],
            }]}),
        );
        create(&place.infra, &more).await?;
        beyond
            .eventually(
                "beyond reaches the named port",
                &everything,
                &[false, true, false, false],
            )
            .await?;
        far.eventually("clients as before", &everything, &[true, false, false, false])
            .await?;

        delete(&place.infra, &only).await?;
        delete(&place.infra, &more).await?;
        for from in [&near, &far, &other, &beyond] {
            from.eventually("everything is open again", &everything, &[true; 4])
                .await?;
        }

        // Egress and Kubernetes' own kind: clients of apps may only send UDP, and only within their namespace.
        let egress = json!({
            "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
            "metadata": {"name": "udp-only", "namespace": "test"},
            "spec": {
                "podSelector": {"matchLabels": {"app": "client"}}, "policyTypes": ["Egress"],
                "egress": [{"to": [{"podSelector": {}}], "ports": [{"protocol": "UDP", "port": 8000, "endPort": 8100}]}],
            },
        });
        create(&place.apps, &egress).await?;
        far.eventually("only UDP goes out", &everything, &[false, false, true, false])
            .await?;
        beyond
            .eventually("others are not concerned", &everything, &[true; 4])
            .await?;

        // Cluster-wide, denied by the way of an entity, over what is allowed.
        let denied = json!({
            "apiVersion": "cilium.io/v2", "kind": "CiliumClusterwideNetworkPolicy", "metadata": {"name": "no-pings"},
            "spec": {
                "endpointSelector": {"matchLabels": {"app": "server"}},
                "ingress": [{"fromEntities": ["all"]}],
                "ingressDeny": [{"fromEndpoints": [{}], "icmps": [{"fields": [{"type": "EchoRequest"}]}]}],
            },
        });
        create(&place.infra, &denied).await?;
        beyond
            .eventually("pings are denied", &everything, &[true, true, true, false])
            .await?;
        let _ = place::answered;
        place.end().await
    })
}
