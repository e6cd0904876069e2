//! A mesh in memory that enforces the policies applied to it, and ways in which it can fail to.

use super::actor::endpoint;
use super::case::Family;
use super::cases::outside::{self, needs_outside};
use super::cases::{authentication, clusters, deny, empty, entities, http, kinds, names, peers, ports};
use super::pinged::pinged;
use crate::testing::{Fake, dns_answer, dns_code, identity_of, infra, infra_to_apps, local_error, timeout};
use async_trait::async_trait;
use meshproof_contract::claim::{Claim, ClaimKind, ClaimSource};
use meshproof_contract::facts::PodNetwork;
use meshproof_contract::*;
use meshproof_oracle::{
    CidrMatch, DnsRefusal, EgressDenial, Endpoint, Expected, Flow, HttpRequest, Party, Protocol, Request, Semantics,
    UnnamedCluster, decide, parse,
};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::time::Instant;

type Meddle = Arc<dyn Fn(&str, Expected, &Flow) -> Expected + Send + Sync>;

/// Objects with the time from which they act, and that from which they do not.
type Objects = Arc<Mutex<BTreeMap<(ClusterName, String), Acting>>>;
type Acting = (Value, Instant, Option<Instant>);

/// Machines outside, with their addresses.
const OUTSIDE: [(&str, &str); 2] = [
    ("one.outside.example", "198.51.100.10"),
    ("two.outside.example", "198.51.100.20"),
];

/// The mesh.
pub struct World {
    facts: Facts,
    pods: BTreeMap<AgentId, Value>,
    objects: Objects,
    /// Until a change acts.
    pub lag: Duration,
    /// Until a removal acts; none is never.
    pub release: Option<Duration>,
    /// Changes what a flow meets.
    pub meddle: Meddle,
    /// How a drop looks.
    pub drop: Outcome,
    apply_refused: bool,
    /// Whether pods may send pings.
    pings: Pings,
    /// What Cilium's agents say.
    words: Words,
    /// Policies of others.
    foreign: Vec<Value>,
}

#[derive(PartialEq, Eq)]
enum Pings {
    Sent,
    Forbidden,
}

#[derive(PartialEq, Eq)]
enum Words {
    Refused,
    /// After this long, with an error.
    Late(Duration),
    /// That whatever was applied is realized.
    Realized,
}

impl World {
    pub fn new() -> Self {
        let mut facts = Fake::healthy().facts;
        facts.agents.retain(|agent| agent.network == PodNetwork::Host);
        facts.outside = OUTSIDE
            .map(|(name, _)| OutsideFacts {
                name: name.to_owned(),
                port: 80,
            })
            .into();
        let mut pods = BTreeMap::new();
        for (cluster, block) in [("infra", 244), ("apps", 246)] {
            let mut number = 20u8;
            let mut add = |workload: &str, node: u8, namespace: &str, account: &str, labels: Value| {
                number += 1;
                let id = AgentId {
                    cluster: cluster.into(),
                    pod: format!("{workload}-{cluster}-{node}"),
                };
                let node_name = format!("{cluster}-{node}");
                facts.agents.push(AgentFacts {
                    id: id.clone(),
                    scenario: "policy".to_owned(),
                    workload: workload.to_owned(),
                    namespace: namespace.to_owned(),
                    node: node_name.as_str().into(),
                    address: format!("10.{block}.{node}.{number}").parse().expect("an address"),
                    network: PodNetwork::Pod,
                });
                let ports: Vec<Value> = [("mp-http", 8080), ("mp-tcp", 8081), ("mp-udp", 8082)]
                    .map(|(name, port)| json!({"name": name, "containerPort": port}))
                    .into();
                let pod = json!({
                    "metadata": {"name": id.pod, "namespace": namespace, "labels": labels},
                    "spec": {"nodeName": node_name, "serviceAccountName": account, "containers": [{"ports": ports}]},
                });
                pods.insert(id, pod);
            };
            let front = json!({"role": "caller", "tier": "front"});
            for node in 1..=3 {
                add("caller", node, "meshproof", "default", front.clone());
                add("ward-all", node, "meshproof", "default", json!({"ward": "all"}));
            }
            add(
                "stranger",
                1,
                "meshproof",
                "meshproof-stranger",
                json!({"role": "stranger", "tier": "back"}),
            );
            add("foreigner", 2, "meshproof-peer", "default", front);
            for group in ["a", "b", "c"] {
                for node in 1..=2 {
                    add(
                        &format!("ward-{group}"),
                        node,
                        "meshproof",
                        "default",
                        json!({"ward": group}),
                    );
                }
            }
        }
        for cluster in ["infra", "apps"] {
            for kind in [
                ClaimKind::Policy,
                ClaimKind::L7Policy,
                ClaimKind::FqdnPolicy,
                ClaimKind::MutualAuth,
            ] {
                facts.claims.push(Claim {
                    cluster: cluster.into(),
                    kind,
                    value: "true".to_owned(),
                    source: ClaimSource::Live {
                        object: "test".to_owned(),
                    },
                });
            }
        }
        Self {
            facts,
            pods,
            objects: Objects::default(),
            lag: Duration::from_millis(30),
            release: Some(Duration::from_millis(30)),
            meddle: Arc::new(|_, expected, _| expected),
            drop: timeout(),
            apply_refused: false,
            pings: Pings::Sent,
            words: Words::Refused,
            foreign: Vec::new(),
        }
    }

    fn meddling(mut self, meddle: impl Fn(&str, Expected, &Flow) -> Expected + Send + Sync + 'static) -> Self {
        self.meddle = Arc::new(meddle);
        self
    }

    fn endpoint(&self, agent: &AgentFacts) -> Party {
        match self.pods.get(&agent.id) {
            Some(pod) => {
                let labels = BTreeMap::from([("kubernetes.io/metadata.name".to_owned(), agent.namespace.clone())]);
                Party::Endpoint(endpoint(pod, agent.id.cluster.as_str(), &agent.namespace, &labels))
            }
            None => Party::Node {
                cluster: agent.id.cluster.to_string(),
                name: agent.node.to_string(),
                address: agent.address,
                serves_api: false,
            },
        }
    }

    fn decide(&self, flow: &Flow) -> Expected {
        let now = Instant::now();
        let objects = self.objects.lock().expect("no panic");
        let acting = objects
            .iter()
            .filter(|(_, (_, since, until))| *since <= now && until.is_none_or(|until| now < until));
        let foreign = self
            .foreign
            .iter()
            .flat_map(|object| parse(object, "infra").expect("a policy"));
        let policies: Vec<_> = acting
            .flat_map(|((cluster, _), (object, ..))| parse(object, cluster.as_str()).expect("a policy"))
            .chain(foreign)
            .collect();
        let semantics = Semantics {
            unnamed_cluster: UnnamedCluster::Any,
            cidr_matches_nodes: CidrMatch::WorldOnly,
            dns_refusal: DnsRefusal::Refused,
            egress_denial: EgressDenial::Silent,
        };
        decide(&policies, &semantics, flow).expected
    }

    fn dns_outcome(&self, from: &AgentFacts, name: &str) -> Outcome {
        let labels = BTreeMap::from([("kubernetes.io/metadata.name".to_owned(), "kube-system".to_owned())]);
        let flow = Flow {
            from: self.endpoint(from),
            to: Party::Endpoint(endpoint(&dns_pod(), from.id.cluster.as_str(), "kube-system", &labels)),
            protocol: Protocol::Udp,
            port: 53,
            request: Request::Dns(name.trim_end_matches('.').to_owned()),
        };
        match (self.meddle)(from.node.as_str(), self.decide(&flow), &flow) {
            Expected::Dropped => self.drop.clone(),
            Expected::DnsRefused => dns_code(DnsCode::Refused),
            _ => match outside_address(name) {
                Some(address) => dns_answer(address),
                None => dns_code(DnsCode::NxDomain),
            },
        }
    }

    /// A connection to a name outside, which is asked of cluster DNS first.
    fn reach_outcome(&self, from: &AgentFacts, to: &Target) -> Outcome {
        let asked = self.dns_outcome(from, &to.host);
        if !asked.is_success() {
            return asked;
        }
        let name = to.host.trim_end_matches('.');
        let address = outside_address(name).expect("a machine outside");
        let flow = Flow {
            from: self.endpoint(from),
            to: Party::World {
                address,
                names: vec![name.to_owned()],
            },
            protocol: Protocol::Tcp,
            port: to.port,
            request: Request::Opaque,
        };
        match (self.meddle)(from.node.as_str(), self.decide(&flow), &flow) {
            Expected::Dropped => self.drop.clone(),
            _ => Outcome::Answered {
                served_by: None,
                source: None,
                address: Some(address),
                status: None,
                bytes: 0,
                timing: Timing::default(),
            },
        }
    }

    fn outcome(&self, from: &AgentFacts, probe: &Probe) -> Outcome {
        let (host, port, protocol, request) = match &probe.action {
            Action::Http {
                to,
                method,
                path,
                headers,
                ..
            } => (
                to.host.clone(),
                to.port,
                Protocol::Tcp,
                Request::Http(HttpRequest {
                    method: method.clone(),
                    path: path.clone(),
                    host: to.to_string(),
                    headers: headers.clone(),
                }),
            ),
            Action::TcpEcho { to, .. } => (to.host.clone(), to.port, Protocol::Tcp, Request::Opaque),
            Action::UdpEcho { to, .. } => (to.host.clone(), to.port, Protocol::Udp, Request::Opaque),
            Action::IcmpEcho { .. } if self.pings == Pings::Forbidden => return local_error(),
            Action::IcmpEcho { to, .. } => (to.to_string(), 8, Protocol::Icmp, Request::Opaque),
            Action::Dns { name, .. } => return self.dns_outcome(from, name),
            Action::TcpConnect { to } => return self.reach_outcome(from, to),
            other => panic!("not asked by this suite: {other:?}"),
        };
        let to = self
            .facts
            .agents
            .iter()
            .find(|a| a.address.to_string() == host)
            .expect("an agent there");
        let flow = Flow {
            from: self.endpoint(from),
            to: self.endpoint(to),
            protocol,
            port,
            request,
        };
        let expected = self.decide(&flow);
        match (self.meddle)(from.node.as_str(), expected, &flow) {
            Expected::Dropped => self.drop.clone(),
            Expected::Forbidden => self.answer(to, Some(403)),
            _ => self.answer(to, matches!(flow.request, Request::Http(_)).then_some(200)),
        }
    }

    fn answer(&self, to: &AgentFacts, status: Option<u16>) -> Outcome {
        Outcome::Answered {
            served_by: Some(identity_of(to.id.cluster.as_str(), to.node.as_str(), &to.workload)),
            source: None,
            address: Some(to.address),
            status,
            bytes: 64,
            timing: Timing {
                total: 400,
                ..Timing::default()
            },
        }
    }

    /// Runs the check and returns its verdict's word and everything that it said.
    pub async fn run(self, check: &dyn Check, instance: Instance) -> (String, String) {
        let objects = self.objects.clone();
        let context = CheckContext::new(Arc::new(self), instance);
        let verdict = check.run(&context).await;
        let left = objects
            .lock()
            .expect("no panic")
            .values()
            .filter(|(_, _, until)| until.is_none())
            .count();
        assert_eq!(left, 0, "{}: it removes every policy that it applies", check.id());
        (
            verdict.word().to_owned(),
            format!("{verdict:?}\n{:?}", context.take_notes()),
        )
    }

    async fn expect(self, check: &dyn Check, instance: Instance, word: &str) -> String {
        let id = check.id();
        let (found, text) = self.run(check, instance).await;
        assert_eq!(found, word, "{id}: {text}");
        text
    }
}

fn outside_address(name: &str) -> Option<std::net::IpAddr> {
    let name = name.trim_end_matches('.');
    let found = OUTSIDE.into_iter().find(|(known, _)| *known == name)?;
    found.1.parse().ok()
}

fn dns_pod() -> Value {
    json!({
        "metadata": {"name": "coredns-1", "namespace": "kube-system", "labels": {"k8s-app": "kube-dns"}},
        "spec": {"nodeName": "infra-1", "containers": [{"ports": [{"name": "dns", "containerPort": 53}]}]},
    })
}

fn gone<T>() -> Result<T, EnvironmentError> {
    Err(EnvironmentError::Api {
        cluster: "infra".into(),
        operation: "do this".into(),
        reason: "not here".into(),
    })
}

#[async_trait]
impl Environment for World {
    fn facts(&self) -> Arc<Facts> {
        Arc::new(self.facts.clone())
    }
    async fn probe(&self, agent: &AgentId, batch: Vec<Probe>) -> Result<Vec<Outcome>, EnvironmentError> {
        let from = self.facts.agents.iter().find(|a| &a.id == agent).expect("an agent");
        let outcomes: Vec<Outcome> = batch.iter().map(|probe| self.outcome(from, probe)).collect();
        let longest = batch.iter().zip(&outcomes).map(|(probe, outcome)| match outcome {
            Outcome::Timeout { .. } => probe.deadline,
            _ => Duration::from_micros(400),
        });
        tokio::time::sleep(longest.max().unwrap_or_default()).await;
        Ok(outcomes)
    }
    async fn cilium(&self, cluster: &ClusterName, query: CiliumQuery) -> Result<Vec<CiliumAnswer>, EnvironmentError> {
        match self.words {
            Words::Refused => return gone(),
            Words::Late(late) => {
                tokio::time::sleep(late).await;
                return gone();
            }
            Words::Realized => {}
        }
        let objects = self.objects.lock().expect("no panic");
        let known = objects.iter().filter(|(_, (_, _, until))| until.is_none());
        let known: Vec<&str> = known.map(|((_, name), _)| name.as_str()).collect();
        let endpoint = |id: &AgentId, pod: &Value| {
            let name = format!(
                "{}/{}",
                pod["metadata"]["namespace"].as_str().unwrap_or_default(),
                id.pod
            );
            json!({"status": {
                "external-identifiers": {"pod-name": name}, "policy": {"realized": {"policy-revision": 7}},
            }})
        };
        let answer = |n| {
            let node = format!("{cluster}-{n}");
            let here = self
                .pods
                .iter()
                .filter(|(_, pod)| pod["spec"]["nodeName"] == node.as_str());
            let output = match query {
                CiliumQuery::Policy => json!({"revision": 7, "policy": known.join(" ")}),
                _ => here.map(|(id, pod)| endpoint(id, pod)).collect(),
            };
            CiliumAnswer {
                pod: format!("cilium-{n}"),
                node: node.as_str().into(),
                output: Ok(output),
            }
        };
        Ok((1..=3).map(answer).collect())
    }
    async fn get(&self, _: &ClusterName, object: &ObjectRef) -> Result<Option<Value>, EnvironmentError> {
        Ok((object.kind == "Pod").then(dns_pod))
    }
    async fn list(
        &self,
        cluster: &ClusterName,
        _: &str,
        kind: &str,
        namespace: Option<&str>,
    ) -> Result<Vec<Value>, EnvironmentError> {
        if kind != "Pod" {
            let foreign = self
                .foreign
                .iter()
                .filter(|object| object["kind"] == kind && cluster.as_str() == "infra");
            return Ok(foreign.cloned().collect());
        }
        let here = |(id, pod): &(&AgentId, &Value)| {
            &id.cluster == cluster && pod["metadata"]["namespace"].as_str() == namespace
        };
        Ok(self.pods.iter().filter(here).map(|(_, pod)| pod.clone()).collect())
    }
    async fn apply(&self, cluster: &ClusterName, object: Value) -> Result<Value, EnvironmentError> {
        if self.apply_refused {
            return gone();
        }
        let name = object["metadata"]["name"].as_str().expect("a name").to_owned();
        let acting = (object.clone(), Instant::now() + self.lag, None);
        self.objects
            .lock()
            .expect("no panic")
            .insert((cluster.clone(), name), acting);
        Ok(object)
    }
    async fn patch(&self, _: &ClusterName, _: &ObjectRef, _: Value) -> Result<Value, EnvironmentError> {
        gone()
    }
    async fn delete(&self, cluster: &ClusterName, object: &ObjectRef) -> Result<(), EnvironmentError> {
        let mut objects = self.objects.lock().expect("no panic");
        if let Some((_, _, until)) = objects.get_mut(&(cluster.clone(), object.name.clone())) {
            *until = Some(Instant::now() + self.release.unwrap_or(Duration::from_secs(3600)));
        }
        Ok(())
    }
    async fn agents(&self, _: &ClusterName, _: &str, _: &str) -> Result<Vec<AgentFacts>, EnvironmentError> {
        gone()
    }
    async fn set_ready(&self, _: &AgentId, _: Readiness) -> Result<(), EnvironmentError> {
        gone()
    }
    async fn clock(&self, _: &AgentId) -> Result<ClockReading, EnvironmentError> {
        gone()
    }
    async fn start_stream(&self, _: &AgentId, _: StreamSpec) -> Result<StreamId, EnvironmentError> {
        gone()
    }
    async fn collect_stream(&self, _: &AgentId, _: StreamId) -> Result<StreamReport, EnvironmentError> {
        gone()
    }
    async fn stop_stream(&self, _: &AgentId, _: StreamId) -> Result<StreamReport, EnvironmentError> {
        gone()
    }
    async fn start_capture(&self, _: &AgentId, _: CaptureSpec) -> Result<CaptureId, EnvironmentError> {
        gone()
    }
    async fn collect_capture(&self, _: &AgentId, _: CaptureId) -> Result<CaptureReport, EnvironmentError> {
        gone()
    }
    async fn stop_capture(&self, _: &AgentId, _: CaptureId) -> Result<CaptureReport, EnvironmentError> {
        gone()
    }
    async fn disrupt(&self, _: &ClusterName, _: &Disruption) -> Result<(), EnvironmentError> {
        gone()
    }
    async fn restore(&self, _: &ClusterName, _: &Disruption) -> Result<(), EnvironmentError> {
        gone()
    }
}

const FAMILIES: &[&Family] = &[
    &deny::DEFAULT_DENY_INGRESS,
    &deny::DEFAULT_DENY_EGRESS,
    &deny::DEFAULT_DENY_ACROSS,
    &deny::DENY_OVER_ALLOW,
    &deny::NO_DEFAULT_DENY,
    &peers::LABELS,
    &peers::EXPRESSIONS,
    &peers::NAMESPACES,
    &peers::SERVICE_ACCOUNTS,
    &peers::CIDR,
    &clusters::CLUSTERS,
    &entities::FROM_ENTITIES,
    &entities::TO_ENTITIES,
    &ports::PORTS,
    &ports::PORT_RANGES,
    &ports::NAMED_PORTS,
    &ports::PROTOCOLS,
    &ports::ICMP,
    &empty::EMPTY,
    &kinds::CLUSTER_WIDE,
    &kinds::KUBERNETES,
    &http::METHOD_AND_PATH,
    &http::HEADERS,
    &names::NAMES,
    &names::NAMES_AND_PODS,
    &outside::FQDN,
    &outside::ADDRESSES,
    &authentication::REQUIRED,
    &authentication::ALWAYS_FAILS,
];

fn instance(family: &Family) -> Instance {
    match family.scope {
        Scope::Cluster => infra(),
        Scope::Direction => infra_to_apps(),
    }
}

#[tokio::test(start_paused = true)]
async fn a_mesh_that_enforces_is_green_in_every_family() {
    for family in FAMILIES {
        let text = World::new().expect(*family, instance(family), "pass").await;
        let played = text.matches("open before and after the policy").count();
        assert_eq!(
            played,
            family.cases.len(),
            "{}: every case has a witness of its own",
            family.id
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_mesh_that_enforces_nothing_is_red_in_every_family() {
    for family in FAMILIES {
        World::new()
            .meddling(|_, _, _| Expected::Allowed)
            .expect(*family, instance(family), "fail")
            .await;
    }
}

#[tokio::test(start_paused = true)]
async fn one_node_that_does_not_enforce_is_red() {
    let world = World::new().meddling(|_, expected, flow| match &flow.to {
        Party::Endpoint(Endpoint { node, .. }) if node == "infra-2" => Expected::Allowed,
        _ => expected,
    });
    let text = world.expect(&deny::DEFAULT_DENY_INGRESS, infra(), "fail").await;
    assert!(text.contains("on infra-2, GET /: answered"), "{text}");
}

#[tokio::test(start_paused = true)]
async fn a_refusal_of_another_kind_is_red() {
    let world = World {
        drop: Outcome::Refused {
            timing: Timing::default(),
        },
        ..World::new()
    };
    let text = world.expect(&deny::DEFAULT_DENY_INGRESS, infra(), "fail").await;
    assert!(text.contains("dropped without a word"), "{text}");
}

#[tokio::test(start_paused = true)]
async fn a_path_that_is_broken_by_itself_is_not_blamed_on_the_policy() {
    let selected = |flow: &Flow| matches!(&flow.to, Party::Endpoint(e) if e.labels.contains_key("ward"));
    let world = World::new().meddling(move |_, expected, flow| match expected {
        Expected::Allowed if selected(flow) && flow.port == 8082 => Expected::Dropped,
        other => other,
    });
    let text = world.expect(&deny::DEFAULT_DENY_EGRESS, infra(), "inconclusive").await;
    assert!(text.contains("was not open before"), "{text}");
    let calls = Arc::new(std::sync::atomic::AtomicU32::new(0));
    let world = World::new().meddling(move |_, expected, flow| {
        // Open before, closed under the policy, open after: the first looks and the last are let through.
        let denied = expected == Expected::Dropped;
        let seen = calls.fetch_add(u32::from(denied), std::sync::atomic::Ordering::Relaxed);
        let during = seen > 0 && flow.port == 8080;
        if during && selected(flow) {
            Expected::Dropped
        } else {
            expected
        }
    });
    let text = world.expect(&ports::PORTS, infra(), "inconclusive").await;
    assert!(text.contains("was not the policy"), "{text}");
}

#[tokio::test(start_paused = true)]
async fn what_stays_closed_after_the_removal_is_red() {
    let world = World {
        release: None,
        ..World::new()
    };
    let text = world.expect(&deny::DEFAULT_DENY_EGRESS, infra(), "fail").await;
    assert!(
        text.contains("after the policy") && text.contains("open again within"),
        "{text}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_change_that_takes_its_time_is_green_and_timed() {
    let world = World {
        lag: Duration::from_secs(2),
        ..World::new()
    };
    let text = world.expect(&peers::LABELS, infra(), "pass").await;
    assert!(text.contains("enforced_within"), "{text}");
    let world = World {
        lag: Duration::from_secs(20),
        ..World::new()
    };
    world.expect(&peers::LABELS, infra(), "fail").await;
}

#[tokio::test(start_paused = true)]
async fn a_path_that_never_was_open_proves_nothing() {
    let world = World::new().meddling(|_, _, _| Expected::Dropped);
    let text = world.expect(&deny::DEFAULT_DENY_INGRESS, infra(), "inconclusive").await;
    assert!(text.contains("was not open before the policy"), "{text}");
}

#[tokio::test(start_paused = true)]
async fn what_the_harness_could_not_do_is_inconclusive() {
    let world = World {
        apply_refused: true,
        ..World::new()
    };
    world.expect(&deny::DEFAULT_DENY_INGRESS, infra(), "inconclusive").await;
    let mut world = World::new();
    world.facts.agents.clear();
    world.expect(&deny::DEFAULT_DENY_INGRESS, infra(), "inconclusive").await;
}

#[tokio::test(start_paused = true)]
async fn generated_policies_are_green_and_shrunk_when_they_deviate() {
    World::new().expect(&super::generated::Generated, infra(), "pass").await;
    let world = World::new().meddling(|_, _, _| Expected::Allowed);
    let text = world.expect(&super::generated::Generated, infra(), "fail").await;
    assert!(
        text.contains("of seed 1, shrunk") && text.contains("policy: {"),
        "{text}"
    );
}

#[tokio::test(start_paused = true)]
async fn without_a_machine_outside_nothing_is_said_of_it() {
    let mut world = World::new();
    world.facts.outside.clear();
    let text = world.expect(&needs_outside(&outside::FQDN), infra(), "skipped").await;
    assert!(text.contains("meshproof.yaml"), "{text}");
    World::new()
        .expect(&needs_outside(&outside::FQDN), infra(), "pass")
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_name_that_opens_another_machine_is_red() {
    let world = World::new().meddling(|_, expected, flow| match &flow.to {
        Party::World { names, .. } if names[0].starts_with("two") => Expected::Allowed,
        _ => expected,
    });
    let text = world.expect(&outside::FQDN, infra(), "fail").await;
    assert!(text.contains("TCP 80 of two.outside.example."), "{text}");
}

#[tokio::test(start_paused = true)]
async fn where_pods_may_not_ping_the_rest_is_judged_and_the_check_of_icmp_is_skipped() {
    let quiet = || World {
        pings: Pings::Forbidden,
        ..World::new()
    };
    let begun = Instant::now();
    let text = quiet().expect(&deny::DEFAULT_DENY_INGRESS, infra(), "pass").await;
    assert!(text.contains("pings are left out"), "{text}");
    assert!(begun.elapsed() < Duration::from_secs(4), "nothing is waited for");
    quiet()
        .meddling(|_, _, _| Expected::Allowed)
        .expect(&deny::DEFAULT_DENY_INGRESS, infra(), "fail")
        .await;
    let text = quiet().expect(&pinged(&ports::ICMP), infra(), "skipped").await;
    assert!(text.contains("ping_group_range"), "{text}");
    World::new().expect(&pinged(&ports::ICMP), infra(), "pass").await;
}

#[tokio::test(start_paused = true)]
async fn an_agent_with_other_trouble_keeps_its_pings() {
    let world = World {
        pings: Pings::Forbidden,
        ..World::new()
    };
    let world = world.meddling(|from, expected, flow| match from == "infra-1" && flow.port == 8081 {
        true => Expected::Dropped,
        false => expected,
    });
    let text = world.expect(&deny::DEFAULT_DENY_INGRESS, infra(), "inconclusive").await;
    assert!(text.contains("was not open before"), "{text}");
}

#[tokio::test(start_paused = true)]
async fn agents_that_hang_are_asked_once_and_not_for_long() {
    let frozen = || {
        let world = World {
            words: Words::Late(Duration::from_secs(33)),
            ..World::new()
        };
        world.meddling(|_, _, _| Expected::Allowed)
    };
    let begun = Instant::now();
    frozen().expect(&peers::EXPRESSIONS, infra(), "fail").await;
    let limit = 2 * Thresholds::default().policy_enforcement + Duration::from_secs(6);
    assert!(begun.elapsed() < limit, "two cases took {:?}", begun.elapsed());
    let begun = Instant::now();
    frozen().expect(&super::generated::Generated, infra(), "fail").await;
    assert!(begun.elapsed() < Duration::from_secs(100), "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn what_cilium_calls_realized_is_looked_at_again_before_it_is_red() {
    let late = |millis| World {
        words: Words::Realized,
        lag: Duration::from_millis(millis),
        ..World::new()
    };
    late(2300).expect(&deny::DEFAULT_DENY_INGRESS, infra(), "pass").await;
    let begun = Instant::now();
    late(60_000).expect(&deny::DEFAULT_DENY_INGRESS, infra(), "fail").await;
    assert!(begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_source_that_stalls_for_a_while_is_no_finding() {
    let begun = Instant::now();
    let world = World {
        words: Words::Realized,
        ..World::new()
    };
    // For longer than it takes to believe what Cilium says.
    let world = world.meddling(move |from, expected, _| match from == "infra-1" && stalls(begun) {
        true => Expected::Dropped,
        false => expected,
    });
    world.expect(&deny::DEFAULT_DENY_EGRESS, infra(), "pass").await;
}

/// Whether it is so soon after this that all paths were seen open and a policy has just been applied.
fn stalls(begun: Instant) -> bool {
    (Duration::from_millis(10)..Duration::from_secs(5)).contains(&begun.elapsed())
}

#[tokio::test(start_paused = true)]
async fn each_node_of_the_other_cluster_takes_part() {
    let world = World::new().meddling(|from, expected, _| match from {
        "infra-3" => Expected::Allowed,
        _ => expected,
    });
    let text = world.expect(&deny::DEFAULT_DENY_ACROSS, infra_to_apps(), "fail").await;
    assert!(text.contains("on infra-3"), "{text}");
    assert!(text.contains("is on apps-3: policies were not tried there"), "{text}");
}

#[tokio::test(start_paused = true)]
async fn a_policy_of_others_is_named_where_it_disturbs() {
    let foreign = |label: &str| {
        let mut policy = crate::kit::object::policy::cluster_wide(
            json!({"endpointSelector": {"matchLabels": {"role": label}}, "ingress": [{"toPorts": [{"ports": [{"port": "1"}]}]}]}),
        );
        policy["metadata"] = json!({"name": "lockdown"});
        World {
            foreign: vec![policy],
            ..World::new()
        }
    };
    let text = foreign("caller")
        .expect(&deny::DEFAULT_DENY_EGRESS, infra(), "inconclusive")
        .await;
    let named = "policies of others also select these pods: CiliumClusterwideNetworkPolicy lockdown in infra";
    assert!(text.contains(named), "{text}");
    let world = foreign("nobody").meddling(|_, _, _| Expected::Allowed);
    let text = world.expect(&deny::DEFAULT_DENY_EGRESS, infra(), "fail").await;
    assert!(!text.contains("lockdown"), "it selects nobody of ours: {text}");
}

#[test]
fn families_of_the_suite_are_tested() {
    let tested: BTreeSet<&str> = FAMILIES.iter().map(|family| family.id).collect();
    assert_eq!(tested.len(), FAMILIES.len());
    for check in super::SUITE.checks {
        let id = check.id();
        let own = tested.contains(id.as_str());
        let elsewhere = super::OWN_TESTS.contains(&id.as_str());
        assert!(own || elsewhere, "{id} is in the suite and not in the tests");
    }
}
