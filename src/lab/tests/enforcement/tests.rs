//! The tests.

use crate::{
    client::{Result, eventually, text},
    place::{Place, answered, create, delete, for_servers, get, ping, tcp, udp},
};
use meshproof_contract::{Action, DnsCode, Outcome, RecordType, Search, Target, Transport, probe::Connection};
use serde_json::json;

pub type Test = fn() -> Result<()>;

pub const ALL: &[(&str, Test)] = &[
    ("what_no_rule_allows_is_dropped_in_both_clusters", only_clients_come_in),
    ("requests_and_names_are_decided_by_the_proxies", proxies_decide),
    ("names_and_addresses_open_the_outside", names_open_the_outside),
    ("the_rarer_rules_hold", rarer_rules),
];

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
        place.end().await
    })
}

fn http(to: &str, method: &str, path: &str, headers: &[(&str, &str)]) -> Action {
    Action::Http {
        to: Target::new(to, meshproof_contract::port::HTTP),
        method: method.into(),
        path: path.into(),
        headers: headers
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect(),
        body: 0,
        connection: Connection::New,
    }
}

fn status(outcome: &Outcome) -> Option<u16> {
    match outcome {
        Outcome::Answered { status, .. } => *status,
        _ => None,
    }
}

/// L7: HTTP on either side, names on the way out.
fn proxies_decide() -> Result<()> {
    block_on(async {
        let place = Place::start().await?;
        let server = place.first("infra", "test", "server").await?;
        let to = server.address();
        let (near, far) = (
            place.first("infra", "test", "client").await?,
            place.first("apps", "test", "client").await?,
        );
        let requests = [
            http(&to, "GET", "/identity", &[("x-token", "secret")]),
            http(&to, "GET", "/identity", &[]),
            http(&to, "POST", "/identity", &[("x-token", "secret")]),
            http(&to, "GET", "/elsewhere", &[("x-token", "secret")]),
        ];
        let before = near.probe(requests.to_vec()).await?;
        let http_rule = json!([{"ports": [{"port": "8080", "protocol": "TCP"}], "rules": {"http": [
            {"method": "GET", "path": "/ident.*", "headers": ["X-Token: secret"]},
        ]}}]);
        let ingress = for_servers(
            "http",
            json!({"ingress": [{"fromEndpoints": [{}], "toPorts": http_rule}]}),
        );
        create(&place.infra, &ingress).await?;
        let first = status(&before[0]);
        for from in [&near, &far] {
            eventually("three requests of four are forbidden", || async {
                let seen = from.probe(requests.to_vec()).await?;
                let seen: Vec<_> = seen.iter().map(status).collect();
                if seen == [first, Some(403), Some(403), Some(403)] {
                    Ok(())
                } else {
                    Err(format!("{first:?} {seen:?}"))
                }
            })
            .await?;
            let seen = from.probe(requests[..1].to_vec()).await?;
            let expected = from.address().parse().ok();
            match &seen[0] {
                Outcome::Answered {
                    source,
                    served_by: Some(_),
                    ..
                } if *source == expected => {}
                other => return Err(format!("the server should see the client itself, got {other:?}")),
            }
        }
        delete(&place.infra, &ingress).await?;

        let dns = |name: &str, transport| Action::Dns {
            name: format!("{name}."),
            record: RecordType::A,
            server: None,
            transport,
            search: Search::Absolute,
        };
        let mut egress = for_servers(
            "egress",
            json!({"egress": [
                {
                    "toEndpoints": [{"matchLabels": {"k8s:io.kubernetes.pod.namespace": "kube-system", "k8s-app": "kube-dns"}}],
                    "toPorts": [{
                        "ports": [{"port": "53", "protocol": "ANY"}],
                        "rules": {"dns": [{"matchPattern": "*.default.svc.cluster.local"}]},
                    }],
                },
                {"toEndpoints": [{"matchLabels": {"app": "server"}}], "toPorts": http_rule},
            ]}),
        );
        egress["spec"]["endpointSelector"]["matchLabels"]["app"] = json!("client");
        create(&place.infra, &egress).await?;
        let questions: Vec<_> = [Transport::Udp, Transport::Tcp]
            .into_iter()
            .flat_map(|over| {
                [
                    "kubernetes.default.svc.cluster.local",
                    "kube-dns.kube-system.svc.cluster.local",
                ]
                .map(|name| dns(name, over))
            })
            .collect();
        eventually("one name of two is refused", || async {
            let seen = near.probe(questions.clone()).await?;
            let is =
                |outcome: &Outcome, wanted: DnsCode| matches!(outcome, Outcome::Dns { code, .. } if *code == wanted);
            let fits = seen
                .iter()
                .zip([DnsCode::NoError, DnsCode::Refused].iter().cycle())
                .all(|(outcome, code)| is(outcome, *code));
            if fits { Ok(()) } else { Err(format!("{seen:#?}")) }
        })
        .await?;
        let seen = near.probe(requests.to_vec()).await?;
        let seen: Vec<_> = seen.iter().map(status).collect();
        if seen != [first, Some(403), Some(403), Some(403)] {
            return Err(format!(
                "the client's own proxy should forbid three requests of four, got {seen:?}"
            ));
        }
        near.eventually(
            "and nothing else goes out",
            &[tcp(&to, 8081), udp(&to)],
            &[false, false],
        )
        .await?;
        place.end().await
    })
}

/// Names of the outside: what they resolved to is reached, other addresses are not.
fn names_open_the_outside() -> Result<()> {
    block_on(async {
        let place = Place::start().await?;
        let near = place.first("infra", "test", "client").await?;
        let outside = |name: &str| tcp(&format!("{name}.outside.example."), 8080);
        let all = [outside("one"), outside("a.wild"), outside("two")];
        near.eventually("all is open", &all, &[true; 3]).await?;
        let mut egress = for_servers(
            "names",
            json!({"egress": [
                {
                    "toEndpoints": [{"matchLabels": {"k8s:io.kubernetes.pod.namespace": "kube-system", "k8s-app": "kube-dns"}}],
                    "toPorts": [{"ports": [{"port": "53", "protocol": "ANY"}], "rules": {"dns": [{"matchPattern": "*"}]}}],
                },
                {"toFQDNs": [{"matchPattern": "*.wild.outside.example"}], "toPorts": [{"ports": [{"port": "8080", "protocol": "TCP"}]}]},
            ]}),
        );
        egress["spec"]["endpointSelector"]["matchLabels"]["app"] = json!("client");
        create(&place.infra, &egress).await?;
        near.eventually("only what matches", &all[1..], &[true, false]).await?;
        delete(&place.infra, &egress).await?;
        near.eventually("open again", &all, &[true; 3]).await?;
        let mut addresses = for_servers(
            "addresses",
            json!({"egress": [
                {"toEntities": ["cluster"]},
                {"toCIDRSet": [{"cidr": "198.51.100.0/24", "except": ["198.51.100.20/32"]}]},
            ]}),
        );
        addresses["spec"]["endpointSelector"]["matchLabels"]["app"] = json!("client");
        create(&place.infra, &addresses).await?;
        near.eventually("all but the exception", &all, &[true, true, false])
            .await?;
        place.end().await
    })
}

/// Authentication, entities, deny by default or not, CIDRs, and what is no policy.
fn rarer_rules() -> Result<()> {
    block_on(async {
        let place = Place::start().await?;
        let server = place.first("infra", "test", "server").await?;
        let (to, node) = (server.address(), server.node_address());
        let near = place.first("infra", "test", "client").await?;
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
            create(&place.infra, &policy).await?;
            in_force(&place, &policy).await?;
            near.eventually(name, &port, &[open]).await?;
            delete(&place.infra, &policy).await?;
            near.eventually("open again", &port, &[true]).await?;
        }
        // Where identities can authenticate each other; the other cluster's client shows that the rule is in force.
        let there = place.first("apps", "test", "server").await?.address();
        let theirs = place.first("apps", "test", "client").await?;
        let rule = json!([{"fromEntities": ["cluster"], "authentication": {"mode": "required"}}]);
        let policy = for_servers("auth-works", json!({"ingress": rule}));
        create(&place.apps, &policy).await?;
        near.eventually("not of this cluster", &[tcp(&there, 8080)], &[false])
            .await?;
        theirs.eventually("auth-works", &[tcp(&there, 8080)], &[true]).await?;
        delete(&place.apps, &policy).await?;
        let mut nodes = for_servers("to-nodes", json!({"egress": [{"toEntities": ["host"]}]}));
        nodes["spec"]["endpointSelector"]["matchLabels"]["app"] = json!("client");
        create(&place.infra, &nodes).await?;
        near.eventually(
            "only the own node is reached",
            &[ping(&node), tcp(&to, 8080)],
            &[true, false],
        )
        .await?;

        let wrong = for_servers("wrong", json!({"ingress": []}));
        create(&place.infra, &wrong).await?;
        eventually("the policy is not valid", || async {
            let condition = get(&place.infra, &wrong).await?["status"]["conditions"][0].clone();
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
            match create(&place.infra, &for_servers("refused", json!({"ingress": rules}))).await {
                Err(error) if error.contains(why) => {}
                other => return Err(format!("the API server should say {why}, got {other:?}")),
            }
        }
        place.end().await
    })
}

async fn in_force(place: &Place, policy: &serde_json::Value) -> Result<()> {
    eventually("the policy is valid", || async {
        let condition = get(&place.infra, policy).await?["status"]["conditions"][0].clone();
        if condition["status"] == "True" {
            Ok(())
        } else {
            Err(condition.to_string())
        }
    })
    .await
}
