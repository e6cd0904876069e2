//! The suite's checks against two clusters in memory. What changes objects or readiness is tried on the lab only.

use super::{global, headless, merging, names, node_port, plain, ports, sticky};
use crate::testing::{Ask, Fake, NODE_PORT, dns_records, infra, infra_to_apps, timeout};
use meshproof_contract::facts::PodNetwork;
use meshproof_contract::{Action, AgentFacts, AgentId, ClaimKind, DnsAnswer, Identity, Outcome, ServiceFacts, Timing};
use serde_json::json;
use std::collections::BTreeMap;
use std::net::IpAddr;

const SERVICES: [&str; 11] = [
    "svc-plain",
    "svc-sticky",
    "svc-global",
    "svc-legacy",
    "svc-local",
    "svc-remote",
    "svc-mover-local",
    "svc-mover-remote",
    "svc-drained",
    "svc-headless",
    "server",
];

/// Which pods (of those of infra, then of those of apps) take turns at a service for a client, by its cluster.
type Turns = fn(service: &str, client: &str, number: u32) -> usize;

/// As the annotations say; pods 0 and 1 are of infra, 2 and 3 of apps.
fn right(service: &str, client: &str, number: u32) -> usize {
    let (own, other) = if client == "infra" { (0, 2) } else { (2, 0) };
    let turn = number as usize % 2;
    match service {
        "svc-sticky" => own,
        "svc-global" | "svc-legacy" => number as usize % 4,
        "svc-remote" => other + turn,
        _ => own + turn,
    }
}

fn agent(cluster: &str, node: u8, workload: &str, last: u8) -> AgentFacts {
    let net = if cluster == "infra" { 244 } else { 246 };
    AgentFacts {
        id: AgentId {
            cluster: cluster.into(),
            pod: format!("service-{workload}-{cluster}-{node}"),
        },
        scenario: "service".to_owned(),
        workload: workload.to_owned(),
        namespace: "meshproof".to_owned(),
        node: format!("{cluster}-{node}").as_str().into(),
        address: IpAddr::from([10, net, node, last]),
        network: PodNetwork::Pod,
    }
}

pub(super) fn backends() -> Vec<AgentFacts> {
    let of = |cluster| (1..=2).map(move |node| agent(cluster, node, "backend", 60));
    of("infra").chain(of("apps")).collect()
}

fn address(cluster: &str, service: &str) -> IpAddr {
    let index = SERVICES.iter().position(|s| *s == service).expect("a service") as u8;
    IpAddr::from([10, if cluster == "infra" { 96 } else { 97 }, 7, index])
}

fn answer(probe: &Ask<'_>, turns: Turns) -> Option<Outcome> {
    let client = probe.from.id.cluster.as_str();
    let host = match probe.action {
        Action::Http { to, .. } | Action::TcpEcho { to, .. } | Action::UdpEcho { to, .. } => to.host.clone(),
        Action::Dns { name, .. } if name.starts_with("svc-headless.") => {
            let all = backends().into_iter().map(|pod| DnsAnswer::Address(pod.address));
            return Some(dns_records(all.collect()));
        }
        _ => return None,
    };
    let named = host.split('.').next().filter(|name| name.starts_with("svc-"));
    let service = match named {
        Some(name) => name.to_owned(),
        None => SERVICES
            .iter()
            .find(|service| address(client, service).to_string() == host)
            .map(|s| (*s).to_owned())?,
    };
    let pods = backends();
    let pod = pods.get(turns(&service, client, probe.number))?;
    let mut outcome = probe.answered_as(Identity {
        cluster: pod.id.cluster.to_string(),
        node: pod.node.to_string(),
        namespace: pod.namespace.clone(),
        pod: pod.id.pod.clone(),
    });
    if let Outcome::Answered { address: at, .. } = &mut outcome {
        *at = Some(address(client, &service));
    }
    Some(outcome)
}

fn world(turns: Turns) -> Fake {
    let fake = Fake::healthy().facts(|facts| {
        for cluster in ["infra", "apps"] {
            facts
                .agents
                .extend((1..=3).map(|node| agent(cluster, node, "asker", 50)));
            for name in SERVICES {
                facts.services.push(ServiceFacts {
                    cluster: cluster.into(),
                    scenario: "service".to_owned(),
                    namespace: "meshproof".to_owned(),
                    name: name.to_owned(),
                    address: (name != "svc-headless").then(|| address(cluster, name)),
                    ports: [("http", 80), ("alt", 8088), ("tcp", 81), ("udp", 82)]
                        .map(|(name, port)| (name.to_owned(), port))
                        .into_iter()
                        .collect::<BTreeMap<_, _>>(),
                    workload: "backend".to_owned(),
                });
            }
        }
        facts.agents.extend(backends());
    });
    fake.rule(move |probe| answer(probe, turns))
}

/// The world in which the first pod of infra is ready or not, by the API.
fn first_pod(fake: Fake, status: &str) -> Fake {
    let pod = &backends()[0];
    fake.object(
        "infra",
        json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": pod.id.pod, "namespace": pod.namespace},
            "status": {"conditions": [{"type": "Ready", "status": status, "lastTransitionTime": "2026-01-01T00:00:00Z"}]},
        }),
    )
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_is_not_ready_may_be_spared() {
    let spared: Turns = |service, client, number| match right(service, client, number) {
        0 => 1,
        other => other,
    };
    first_pod(world(spared), "True")
        .expect(&plain::Plain, infra(), "fail")
        .await;
    let text = first_pod(world(spared), "False")
        .expect(&plain::Plain, infra(), "inconclusive")
        .await;
    assert!(
        text.contains("pod infra/service-backend-infra-1 is not ready since") && text.contains("evidence: svc-plain"),
        "{text}"
    );
}

#[tokio::test(start_paused = true)]
async fn services_as_annotated_are_green() {
    for check in super::SUITE.checks.iter().filter(|check| {
        [
            "cluster_ip",
            "several_ports",
            "udp_port",
            "session_affinity",
            "global_spread",
            "global_spread_legacy",
        ]
        .iter()
        .chain(&["unannotated_not_merged", "affinity_local", "affinity_remote"])
        .any(|name| check.id().as_str() == format!("service::{name}"))
    }) {
        let text = world(right).expect(*check, infra(), "pass").await;
        assert!(text.contains("witness"), "{text}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_foreign_answer_to_a_plain_service_is_red_and_tells_whose() {
    let text = world(|_, _, number| number as usize % 4)
        .expect(&plain::Plain, infra(), "fail")
        .await;
    assert!(
        text.contains("pods of apps answer, too") && text.contains("all 3 nodes of infra"),
        "{text}"
    );
    world(|_, _, number| number as usize % 4)
        .expect(&merging::UNANNOTATED, infra(), "fail")
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_is_never_met_is_red() {
    let text = world(|_, _, _| 0).expect(&plain::Plain, infra(), "fail").await;
    assert!(text.contains("never answers"), "{text}");
}

#[tokio::test(start_paused = true)]
async fn a_skewed_spread_is_red_although_everybody_answers() {
    let skewed: Turns = |service, client, number| match (service, number % 20) {
        ("svc-global", 0..17) => 0,
        ("svc-global", n) => n as usize - 16,
        _ => right(service, client, number),
    };
    let text = world(skewed).expect(&global::CURRENT, infra(), "fail").await;
    assert!(
        text.contains("exact binomial test") && text.contains("cluster apps"),
        "{text}"
    );
    world(skewed).expect(&global::LEGACY, infra(), "pass").await;
}

#[tokio::test(start_paused = true)]
async fn nothing_is_proven_about_merging_while_the_control_is_silent() {
    let cut: Turns = |service, client, number| match service {
        "svc-global" => right("svc-local", client, number),
        _ => right(service, client, number),
    };
    for check in [&merging::UNANNOTATED, &merging::LOCAL, &merging::REMOTE] {
        let text = world(cut).expect(check, infra(), "inconclusive").await;
        assert!(text.contains("control"), "{text}");
    }
    let text = world(cut).expect(&global::CURRENT, infra(), "fail").await;
    assert!(text.contains("never answers"), "{text}");
}

#[tokio::test(start_paused = true)]
async fn an_affinity_that_is_not_heeded_is_red() {
    let ignored: Turns = |_, _, number| number as usize % 4;
    for check in [&merging::LOCAL, &merging::REMOTE] {
        world(ignored).expect(check, infra(), "fail").await;
    }
    world(ignored).expect(&sticky::Sticky, infra(), "fail").await;
}

#[tokio::test(start_paused = true)]
async fn a_dead_port_is_red_and_named() {
    // Beyond the last pod nobody answers, and the address of a service is no agent's.
    let dead: Turns = |service, client, number| match service {
        "svc-global" => right("svc-local", client, number),
        _ => right(service, client, number),
    };
    let text = world(dead).expect(&ports::TCP, infra(), "fail").await;
    assert!(text.contains("svc-global port tcp (81)"), "{text}");
}

#[tokio::test(start_paused = true)]
async fn a_headless_name_must_lead_to_every_cluster_where_that_is_configured() {
    let text = world(right).expect(&headless::GlobalHeadless, infra(), "skipped").await;
    assert!(text.contains("clustermesh-enable-endpoint-sync"), "{text}");
    let synced = || {
        world(right).facts(|facts| {
            let cilium = facts.clusters[0].cilium.as_mut().expect("cilium");
            cilium
                .config
                .insert("clustermesh-enable-endpoint-sync".to_owned(), "true".to_owned());
        })
    };
    synced().expect(&headless::GlobalHeadless, infra(), "pass").await;
    synced()
        .facts(|facts| facts.agents.push(agent("apps", 3, "backend", 61)))
        .expect(&headless::GlobalHeadless, infra(), "fail")
        .await;
}

#[tokio::test(start_paused = true)]
async fn what_nobody_could_observe_is_inconclusive_and_what_nobody_claims_skipped() {
    for fake in [world(right).agents_gone(), world(right).local_errors()] {
        fake.expect(&plain::Plain, infra(), "inconclusive").await;
    }
    world(right)
        .facts(|facts| facts.agents.retain(|a| a.workload != "backend"))
        .expect(&plain::Plain, infra(), "inconclusive")
        .await;
    for check in [&global::CURRENT, &global::LEGACY] {
        world(right)
            .facts(|facts| facts.claims.clear())
            .expect(check, infra(), "skipped")
            .await;
    }
    world(right)
        .facts(|facts| facts.claims.clear())
        .expect(&names::GlobalName, infra(), "skipped")
        .await;
}

/// Apps serves NodePorts as `served` says: by the address of the node that is asked, and by the right answer.
fn node_ports(served: impl Fn(&str, Outcome) -> Outcome + Send + Sync + 'static) -> Fake {
    let plain = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "svc-plain", "namespace": "meshproof"},
        "spec": {"selector": {"meshproof.dev/workload": "backend"}},
    });
    let fake = Fake::healthy().object("apps", plain).rule(move |probe| {
        let Action::Http { to, .. } = probe.action else {
            return None;
        };
        let pod = &backends()[2 + probe.number as usize % 2];
        let right = probe.answered_as(Identity {
            cluster: pod.id.cluster.to_string(),
            node: pod.node.to_string(),
            namespace: pod.namespace.clone(),
            pod: pod.id.pod.clone(),
        });
        (to.port == NODE_PORT).then(|| served(&to.host, right))
    });
    fake.facts(|facts| {
        facts.agents.extend(world(right).facts.agents);
        facts.services = world(right).facts.services;
        let claim = facts.claims[0].clone();
        facts.claims.push(meshproof_contract::Claim {
            kind: ClaimKind::KubeProxyReplacement,
            ..claim
        });
    })
}

#[tokio::test(start_paused = true)]
async fn node_ports_of_every_node_are_green_and_of_all_but_one_red() {
    let check = node_port::NodePort;
    let text = node_ports(|_, right| right)
        .expect(&check, infra_to_apps(), "pass")
        .await;
    assert!(text.contains("10.25.11.16:30080 of apps-3"), "{text}");
    let refused = Outcome::Refused {
        timing: Timing::default(),
    };
    let one = node_ports(move |node, right| match node {
        "10.25.11.15" => refused.clone(),
        _ => right,
    });
    let text = one.expect(&check, infra_to_apps(), "fail").await;
    assert!(
        text.contains("NodePort 10.25.11.15:30080 of apps-2 from infra-1") && !text.contains("of apps-3 from"),
        "{text}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_node_port_that_strangers_answer_is_red_and_a_silent_way_no_proof() {
    let check = node_port::NodePort;
    let strangers = node_ports(|_, right| match right {
        Outcome::Answered {
            served_by: Some(mut identity),
            source,
            address,
            status,
            bytes,
            timing,
        } => {
            identity.cluster = "infra".to_owned();
            Outcome::Answered {
                served_by: Some(identity),
                source,
                address,
                status,
                bytes,
                timing,
            }
        }
        other => other,
    });
    let text = strangers.expect(&check, infra_to_apps(), "fail").await;
    assert!(text.contains("others answer"), "{text}");
    let silent = node_ports(|_, _| timeout());
    let text = silent.expect(&check, infra_to_apps(), "inconclusive").await;
    assert!(text.contains("a firewall may stand between"), "{text}");
    let refused = node_ports(|_, right| right).apply_refused();
    refused.expect(&check, infra_to_apps(), "inconclusive").await;
}
