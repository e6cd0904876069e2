//! The checks in a world of one Service, whose server and network a test can break.

use super::{allowed::Allowed, denied::Denied};
use crate::testing::Fake;
use async_trait::async_trait;
use meshproof_contract::{
    Action, AgentFacts, AgentId, Check, CheckContext, CiliumAnswer, CiliumQuery, ClusterName, Environment,
    EnvironmentError, Exchange, Facts, Flow, Heard, Instance, NodeName, ObjectRef, Outcome, Probe, Speech, Timing,
    Verdict,
    exchange::{Answer, TlsHeard},
    facts::PodNetwork,
};
use serde_json::{Value, json};
use std::{net::IpAddr, sync::Arc};

/// The clusters, and how they differ from healthy ones.
struct World {
    facts: Facts,
    /// What the flow's own client meets when it connects.
    client: fn() -> Outcome,
    /// What all others meet.
    others: fn() -> Outcome,
    /// What the server says.
    server: fn(&Exchange) -> Heard,
    /// Addresses behind the Service, on the client's node.
    backends: Vec<&'static str>,
    service: bool,
    /// Microseconds of a connection.
    latency: u32,
}

fn timing(total: u64) -> Timing {
    Timing {
        total,
        ..Timing::default()
    }
}
fn connected() -> Outcome {
    Outcome::Answered {
        served_by: None,
        source: None,
        address: None,
        status: None,
        bytes: 0,
        timing: timing(700),
    }
}
fn dropped() -> Outcome {
    Outcome::Timeout {
        timing: timing(2_000_000),
    }
}
fn rejected() -> Outcome {
    Outcome::Refused { timing: timing(500) }
}
fn unable() -> Outcome {
    Outcome::LocalError {
        reason: "no sockets left".to_owned(),
    }
}
fn without_backends() -> Outcome {
    Outcome::Denied {
        reason: "Operation not permitted".to_owned(),
        timing: timing(40),
    }
}

fn says(exchange: &Exchange) -> Heard {
    let tls = |distrust, days: i64| TlsHeard {
        distrust,
        not_after: Some(jiff::Timestamp::now().as_second() + days * 86_400),
        subject: "CN=portal".to_owned(),
        version: "TLSv1_3".to_owned(),
    };
    let mut heard = Heard::unconnected(connected());
    match &exchange.speech {
        Speech::Tls(_) => heard.tls = Some(tls(None, 90)),
        Speech::Http { tls: client, .. } => {
            heard.tls = client.as_ref().map(|_| tls(None, 90));
            heard.answer = Some(Answer::Http {
                status: 200,
                headers: vec![("x-portal".to_owned(), "2.3.0".to_owned())],
                body: "the portal".to_owned(),
            });
        }
        Speech::Postgres(_) => {
            heard.answer = Some(Answer::Postgres {
                tls: false,
                startup: "asks for SASL (SCRAM-SHA-256)".to_owned(),
            });
        }
        Speech::Redis => {
            heard.answer = Some(Answer::Redis {
                line: "-NOAUTH Authentication required.".to_owned(),
                demands_password: true,
            });
        }
    }
    heard
}

/// A world with a flow that is allowed and one that is not, both as expected.
pub fn world() -> Arc<dyn Environment> {
    let to = json!({"service": "postgres-rw.platform", "port": 5432});
    let from = json!({"cluster": "infra", "namespace": "shop", "labels": {"app": "web"}});
    let mut world = World::of(json!({"name": "allowed", "from": from, "to": to}));
    world.add(json!({
        "name": "denied", "from": {"cluster": "infra"}, "to": to, "expect": {"allowed": false, "refusal": "dropped"},
    }));
    Arc::new(world)
}

impl World {
    fn of(flow: Value) -> Self {
        let mut world = Self::without_flows();
        world.add(flow);
        world
    }

    /// Adds a flow, with agents for its client and for a control.
    fn add(&mut self, flow: Value) {
        let flow: Flow = serde_json::from_value(flow).expect("a flow");
        flow.verify(&["infra".into(), "apps".into()]).expect("it makes sense");
        let cluster = flow.from.cluster.clone();
        self.facts.flows.push(flow);
        let number = self.facts.flows.len() as u8;
        for (workload, last) in [
            (format!("client-{number}"), 70 + number),
            ("flow-control".to_owned(), 80 + number),
        ] {
            self.facts.agents.push(AgentFacts {
                id: AgentId {
                    cluster: cluster.clone(),
                    pod: format!("meshproof-flows-{workload}"),
                },
                scenario: "meshproof-flows".to_owned(),
                workload,
                namespace: "shop".to_owned(),
                node: format!("{cluster}-1").as_str().into(),
                address: IpAddr::from([10, 246, 1, last]),
                network: PodNetwork::Pod,
            });
        }
    }

    fn without_flows() -> Self {
        let facts = Fake::healthy().facts;
        Self {
            facts,
            client: connected,
            others: connected,
            server: says,
            backends: vec!["10.244.1.5"],
            service: true,
            latency: 900,
        }
    }

    /// Runs the check; its verdict as text.
    async fn expect(self, check: &dyn Check, word: &str) -> String {
        let instance = Instance::of_flow(&self.facts.flows[0]);
        let context = CheckContext::new(Arc::new(self), instance);
        let verdict = check.run(&context).await;
        let said = match &verdict {
            Verdict::Pass { witnesses } => witnesses.iter().map(|w| w.what.clone()).collect::<Vec<_>>().join("\n"),
            Verdict::Fail { findings } => {
                format!("expected {} observed {}", findings[0].expected, findings[0].observed)
            }
            Verdict::Inconclusive { why } | Verdict::Skipped { why } => why.clone(),
        };
        assert_eq!(verdict.word(), word, "{said}");
        said
    }
}

#[async_trait]
impl Environment for World {
    fn facts(&self) -> Arc<Facts> {
        Arc::new(self.facts.clone())
    }

    async fn probe(&self, agent: &AgentId, batch: Vec<Probe>) -> Result<Vec<Outcome>, EnvironmentError> {
        // A second flow is one that is denied.
        let meets = match &agent.pod {
            pod if pod.ends_with("client-1") => self.client,
            pod if pod.ends_with("client-2") => dropped,
            _ => self.others,
        };
        let one = |probe: &Probe| match &probe.action {
            Action::TcpConnect { .. } | Action::Http { .. } if probe.count == 1 => meets(),
            _ => Outcome::Series {
                latencies: vec![self.latency; probe.count as usize],
                failures: Vec::new(),
                served_by: Vec::new(),
                lag: 10,
                starved: Some(0),
            },
        };
        Ok(batch.iter().map(one).collect())
    }

    async fn exchange(&self, _: &AgentId, exchange: Exchange) -> Result<Heard, EnvironmentError> {
        match (self.client)() {
            outcome if outcome.is_success() => Ok((self.server)(&exchange)),
            outcome => Ok(Heard::unconnected(outcome)),
        }
    }

    async fn cilium_on(
        &self,
        _: &ClusterName,
        _: CiliumQuery,
        nodes: &[NodeName],
    ) -> Result<Vec<CiliumAnswer>, EnvironmentError> {
        let backends: Vec<Value> = self.backends.iter().map(|ip| json!({"ip": ip, "port": 5432})).collect();
        let spec = json!({
            "frontend-address": {"ip": "10.97.0.9", "port": 5432, "protocol": "TCP"}, "backend-addresses": backends,
        });
        Ok(vec![CiliumAnswer {
            pod: "cilium-x".to_owned(),
            node: nodes[0].clone(),
            output: Ok(json!([{"spec": spec, "status": {"realized": spec}}])),
        }])
    }

    async fn get(&self, _: &ClusterName, object: &ObjectRef) -> Result<Option<Value>, EnvironmentError> {
        let ports = json!([{"port": 5432}, {"port": 80}, {"port": 443}, {"port": 6379}]);
        let service = json!({"spec": {"clusterIP": "10.97.0.9", "ports": ports}});
        Ok((self.service && object.kind == "Service").then_some(service))
    }

    async fn list(
        &self,
        cluster: &ClusterName,
        _: &str,
        _: &str,
        _: Option<&str>,
    ) -> Result<Vec<Value>, EnvironmentError> {
        let address = if cluster.as_str() == "infra" {
            "10.244.1.5"
        } else {
            "10.246.1.5"
        };
        let labels = json!({"kubernetes.io/service-name": "postgres-rw"});
        Ok(vec![
            json!({"metadata": {"labels": labels}, "endpoints": [{"addresses": [address]}]}),
        ])
    }
}

fn flow(to: Value, expect: Value) -> World {
    let from = json!({"cluster": "apps", "namespace": "shop", "labels": {"app": "web"}, "serviceAccount": "web"});
    World::of(json!({"name": "a flow", "from": from, "to": to, "expect": expect}))
}
fn database(expect: Value) -> World {
    flow(
        json!({"service": "postgres-rw.platform", "port": 5432, "protocol": "postgres"}),
        expect,
    )
}
fn portal(protocol: &str, expect: Value) -> World {
    let port = if protocol == "https" { 443 } else { 80 };
    flow(
        json!({"service": "portal.platform", "port": port, "protocol": protocol}),
        expect,
    )
}
fn denied(expect: Value) -> World {
    flow(json!({"service": "postgres-rw.platform", "port": 5432}), expect)
}

#[tokio::test(start_paused = true)]
async fn a_flow_that_works_passes_with_what_was_seen() {
    let said = database(json!({"answeredBy": {"cluster": "infra"}}))
        .expect(&Allowed, "pass")
        .await;
    assert!(said.contains("PostgreSQL without TLS asks for SASL"), "{said}");
    assert!(said.contains("all 1 backends are in infra"), "{said}");
    let cache = json!({"service": "dragonfly.platform", "port": 6379, "protocol": "redis"});
    let said = flow(cache, json!({})).expect(&Allowed, "pass").await;
    assert!(said.contains("demands a password"), "{said}");
    let levels = json!({"p99": "10ms", "availability": "99.9%", "status": 200, "headers": {"x-portal": "^2"}});
    let said = portal("http", levels).expect(&Allowed, "pass").await;
    assert!(
        said.contains("p99 0.9 ms of 600 tries") && said.contains("600 of 600"),
        "{said}"
    );
    portal("https", json!({"daysLeft": 30})).expect(&Allowed, "pass").await;
}

#[tokio::test(start_paused = true)]
async fn a_client_that_is_denied_is_red() {
    let mut world = database(json!({}));
    world.client = dropped;
    let said = world.expect(&Allowed, "fail").await;
    assert!(said.contains("no answer within 2000 ms"), "{said}");
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_cannot_try_says_nothing() {
    let mut world = database(json!({}));
    world.client = unable;
    world.expect(&Allowed, "inconclusive").await;
    let mut world = database(json!({}));
    world.facts.agents.retain(|agent| agent.workload != "client-1");
    world.expect(&Allowed, "inconclusive").await;
}

#[tokio::test(start_paused = true)]
async fn a_service_that_is_not_there_is_red() {
    let mut world = database(json!({}));
    world.service = false;
    assert!(world.expect(&Allowed, "fail").await.contains("does not exist"));
}

#[tokio::test(start_paused = true)]
async fn what_the_server_says_is_compared() {
    let mut world = portal("http", json!({}));
    world.server = |exchange| {
        let mut heard = says(exchange);
        heard.answer = Some(Answer::Http {
            status: 503,
            headers: Vec::new(),
            body: String::new(),
        });
        heard
    };
    assert!(world.expect(&Allowed, "fail").await.contains("HTTP status 503"));
    portal("http", json!({"body": "^nothing"}))
        .expect(&Allowed, "fail")
        .await;
    portal("http", json!({"headers": {"x-other": "."}}))
        .expect(&Allowed, "fail")
        .await;
    database(json!({"tls": true})).expect(&Allowed, "fail").await;
}

#[tokio::test(start_paused = true)]
async fn a_certificate_must_be_trusted_and_last() {
    portal("https", json!({"daysLeft": 120})).expect(&Allowed, "fail").await;
    let mut world = portal("https", json!({}));
    world.server = |exchange| {
        let mut heard = says(exchange);
        if let Some(tls) = &mut heard.tls {
            tls.distrust = Some("invalid peer certificate: Expired".to_owned());
        }
        heard
    };
    assert!(world.expect(&Allowed, "fail").await.contains("Expired"));
}

#[tokio::test(start_paused = true)]
async fn a_slow_destination_and_another_clusters_backends_are_red() {
    let mut world = portal("http", json!({"p99": "10ms"}));
    world.latency = 12_000;
    assert!(world.expect(&Allowed, "fail").await.contains("p99 12.0 ms"));
    let mut world = database(json!({"answeredBy": {"cluster": "infra"}}));
    world.backends.push("10.246.1.5");
    let said = world.expect(&Allowed, "fail").await;
    assert!(said.contains("1 in apps, 1 in infra"), "{said}");
}

#[tokio::test(start_paused = true)]
async fn encryption_is_for_another_check_to_judge() {
    database(json!({"encrypted": true})).expect(&Allowed, "pass").await;
}

#[tokio::test(start_paused = true)]
async fn a_refused_flow_passes_only_with_its_control() {
    let refused = || {
        let mut world = denied(json!({"allowed": false, "refusal": "dropped"}));
        world.client = dropped;
        world
    };
    let said = refused().expect(&Denied, "pass").await;
    assert!(said.contains("answers meshproof-flows-flow-control"), "{said}");
    let mut world = refused();
    world.others = dropped;
    world.expect(&Denied, "inconclusive").await;
    let mut world = refused();
    (world.client, world.others) = (without_backends, without_backends);
    world.expect(&Denied, "inconclusive").await;
    let mut world = refused();
    world.client = unable;
    world.expect(&Denied, "inconclusive").await;
}

#[tokio::test(start_paused = true)]
async fn a_flow_that_gets_through_or_is_refused_otherwise_is_red() {
    let world = denied(json!({"allowed": false}));
    assert!(world.expect(&Denied, "fail").await.contains("connected"));
    let mut world = denied(json!({"allowed": false, "refusal": "dropped"}));
    world.client = rejected;
    assert!(world.expect(&Denied, "fail").await.contains("rejected"));
    let mut world = denied(json!({"allowed": false}));
    world.client = rejected;
    world.expect(&Denied, "pass").await;
}

#[tokio::test(start_paused = true)]
async fn a_rule_about_http_refuses_after_the_connection() {
    let http = |refusal: Value| {
        let mut world = portal("http", refusal);
        world.server = |exchange| {
            let mut heard = says(exchange);
            heard.answer = Some(Answer::Http {
                status: 403,
                headers: Vec::new(),
                body: "Access denied".to_owned(),
            });
            heard
        };
        world
    };
    http(json!({"allowed": false, "refusal": "forbidden"}))
        .expect(&Denied, "pass")
        .await;
    let world = portal("http", json!({"allowed": false, "refusal": "forbidden"}));
    assert!(world.expect(&Denied, "fail").await.contains("status 200"));
    http(json!({"allowed": false, "refusal": "dropped"}))
        .expect(&Denied, "fail")
        .await;
}
