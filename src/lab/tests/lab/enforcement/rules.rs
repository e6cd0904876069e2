//! Rules for addresses, labels and ports, and the rarer ones.

use crate::{
    client::{LONG, Result, Test, block_on, eventually},
    enforcement::world::{World, answered, create, delete, for_servers, get, ping, tcp, udp},
};
use serde_json::json;

pub const ALL: &[(&str, Test)] = &[
    ("what_no_rule_allows_is_dropped_in_both_clusters", only_clients_come_in),
    ("the_rarer_rules_hold", rarer_rules),
];

/// L3 and L4: labels, namespaces, clusters, ports, the three kinds of policies, and their removal.
fn only_clients_come_in() -> Result<()> {
    block_on(LONG, async {
        let world = World::start().await?;
        let server = world.first("infra", "test", "server").await?.address();
        let (near, other) = (
            world.first("infra", "test", "client").await?,
            world.first("apps", "test", "other").await?,
        );
        let (far, beyond) = (
            world.first("apps", "test", "client").await?,
            world.first("apps", "beyond", "client").await?,
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
        create(&world.infra, &only).await?;
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
            let condition = get(&world.infra, &only).await?["status"]["conditions"][0].clone();
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
        create(&world.infra, &more).await?;
        beyond
            .eventually(
                "beyond reaches the named port",
                &everything,
                &[false, true, false, false],
            )
            .await?;
        far.eventually("clients as before", &everything, &[true, false, false, false])
            .await?;

        delete(&world.infra, &only).await?;
        delete(&world.infra, &more).await?;
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
                "egress": [{
                    "to": [{"podSelector": {}}], "ports": [{"protocol": "UDP", "port": 8000, "endPort": 8100}],
                }],
            },
        });
        create(&world.apps, &egress).await?;
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
        create(&world.infra, &denied).await?;
        beyond
            .eventually("pings are denied", &everything, &[true, true, true, false])
            .await?;
        world.end().await
    })
}

/// Authentication, entities, deny by default or not, CIDRs, and what is not a policy.
fn rarer_rules() -> Result<()> {
    block_on(LONG, async {
        let world = World::start().await?;
        let server = world.first("infra", "test", "server").await?;
        let (to, node) = (server.address(), server.node_address());
        let near = world.first("infra", "test", "client").await?;
        let port = [tcp(&to, 8080)];
        for (name, rule, open) in [
            (
                "auth-fails",
                json!([{"fromEntities": ["cluster"], "authentication": {"mode": "test-always-fail"}}]),
                false,
            ),
            (
                "auth-in-vain",
                json!([{"fromEntities": ["cluster"], "authentication": {"mode": "required"}}]),
                false,
            ),
            ("of-nobody", json!([{"fromEndpoints": []}]), false),
            ("empty", json!([{}]), false),
            ("by-address", json!([{"fromCIDR": ["0.0.0.0/0"]}]), false),
            (
                "not-denying",
                json!([{"fromEndpoints": [{"matchLabels": {"app": "nobody"}}]}]),
                true,
            ),
        ] {
            let mut policy = for_servers(name, json!({"ingress": rule}));
            if name == "not-denying" {
                policy["spec"]["enableDefaultDeny"] = json!({"ingress": false});
            }
            create(&world.infra, &policy).await?;
            in_force(&world, &policy).await?;
            near.eventually(name, &port, &[open]).await?;
            delete(&world.infra, &policy).await?;
            near.eventually("open again", &port, &[true]).await?;
        }
        // Where identities can authenticate each other; the other cluster's client shows that the rule is in force.
        let there = world.first("apps", "test", "server").await?.address();
        let theirs = world.first("apps", "test", "client").await?;
        let rule = json!([{"fromEntities": ["cluster"], "authentication": {"mode": "required"}}]);
        let policy = for_servers("auth-works", json!({"ingress": rule}));
        create(&world.apps, &policy).await?;
        near.eventually("not of this cluster", &[tcp(&there, 8080)], &[false])
            .await?;
        theirs.eventually("auth-works", &[tcp(&there, 8080)], &[true]).await?;
        delete(&world.apps, &policy).await?;
        let mut nodes = for_servers("to-nodes", json!({"egress": [{"toEntities": ["host"]}]}));
        nodes["spec"]["endpointSelector"]["matchLabels"]["app"] = json!("client");
        create(&world.infra, &nodes).await?;
        near.eventually(
            "only the own node is reached",
            &[ping(&node), tcp(&to, 8080)],
            &[true, false],
        )
        .await?;

        let wrong = for_servers("wrong", json!({"ingress": []}));
        create(&world.infra, &wrong).await?;
        eventually("the policy is not valid", || async {
            let condition = get(&world.infra, &wrong).await?["status"]["conditions"][0].clone();
            let why = "rule must have at least one of Ingress, IngressDeny, Egress, EgressDeny";
            let fits = condition["status"] == "False" && condition["message"] == why;
            if fits { Ok(()) } else { Err(condition.to_string()) }
        })
        .await?;
        for (rules, why) in [
            (
                json!([{"fromEntities": ["everybody"]}]),
                "spec.ingress[0].fromEntities[0]: Unsupported value: \"everybody\"",
            ),
            (
                json!({"fromEntities": []}),
                "spec.ingress in body must be of type array: \"object\"",
            ),
        ] {
            match create(&world.infra, &for_servers("refused", json!({"ingress": rules}))).await {
                Err(error) if error.contains(why) => {}
                other => return Err(format!("the API server should say {why}, got {other:?}")),
            }
        }
        world.end().await
    })
}

async fn in_force(world: &World, policy: &serde_json::Value) -> Result<()> {
    eventually("the policy is valid", || async {
        let condition = get(&world.infra, policy).await?["status"]["conditions"][0].clone();
        if condition["status"] == "True" {
            Ok(())
        } else {
            Err(condition.to_string())
        }
    })
    .await
}
