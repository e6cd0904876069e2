//! What proxies decide: requests, names, and addresses that names resolve to.

use crate::{
    client::{LONG, Result, Test, block_on, eventually},
    enforcement::world::{World, create, delete, for_servers, tcp, udp},
};
use meshproof_contract::{Action, DnsCode, Outcome, RecordType, Search, Target, Transport, probe::Connection};
use serde_json::json;

pub const ALL: &[(&str, Test)] = &[
    ("requests_and_names_are_decided_by_the_proxies", proxies_decide),
    ("names_and_addresses_open_the_outside", names_open_the_outside),
];

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
    block_on(LONG, async {
        let world = World::start().await?;
        let server = world.first("infra", "test", "server").await?;
        let to = server.address();
        let (near, far) = (
            world.first("infra", "test", "client").await?,
            world.first("apps", "test", "client").await?,
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
        create(&world.infra, &ingress).await?;
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
        delete(&world.infra, &ingress).await?;

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
                    "toEndpoints": [{
                        "matchLabels": {"k8s:io.kubernetes.pod.namespace": "kube-system", "k8s-app": "kube-dns"},
                    }],
                    "toPorts": [{
                        "ports": [{"port": "53", "protocol": "ANY"}],
                        "rules": {"dns": [{"matchPattern": "*.default.svc.cluster.local"}]},
                    }],
                },
                {"toEndpoints": [{"matchLabels": {"app": "server"}}], "toPorts": http_rule},
            ]}),
        );
        egress["spec"]["endpointSelector"]["matchLabels"]["app"] = json!("client");
        create(&world.infra, &egress).await?;
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
        world.end().await
    })
}

/// Names of the outside: what they resolved to is reached, other addresses are not.
fn names_open_the_outside() -> Result<()> {
    block_on(LONG, async {
        let world = World::start().await?;
        let near = world.first("infra", "test", "client").await?;
        let outside = |name: &str| tcp(&format!("{name}.outside.example."), 8080);
        let all = [outside("one"), outside("a.wild"), outside("two")];
        near.eventually("all is open", &all, &[true; 3]).await?;
        let mut egress = for_servers(
            "names",
            json!({"egress": [
                {
                    "toEndpoints": [{
                        "matchLabels": {"k8s:io.kubernetes.pod.namespace": "kube-system", "k8s-app": "kube-dns"},
                    }],
                    "toPorts": [{
                        "ports": [{"port": "53", "protocol": "ANY"}], "rules": {"dns": [{"matchPattern": "*"}]},
                    }],
                },
                {
                    "toFQDNs": [{"matchPattern": "*.wild.outside.example"}],
                    "toPorts": [{"ports": [{"port": "8080", "protocol": "TCP"}]}],
                },
            ]}),
        );
        egress["spec"]["endpointSelector"]["matchLabels"]["app"] = json!("client");
        create(&world.infra, &egress).await?;
        near.eventually("only what matches", &all[1..], &[true, false]).await?;
        delete(&world.infra, &egress).await?;
        near.eventually("open again", &all, &[true; 3]).await?;
        let mut addresses = for_servers(
            "addresses",
            json!({"egress": [
                {"toEntities": ["cluster"]},
                {"toCIDRSet": [{"cidr": "198.51.100.0/24", "except": ["198.51.100.20/32"]}]},
            ]}),
        );
        addresses["spec"]["endpointSelector"]["matchLabels"]["app"] = json!("client");
        create(&world.infra, &addresses).await?;
        near.eventually("all but the exception", &all, &[true, true, false])
            .await?;
        world.end().await
    })
}
