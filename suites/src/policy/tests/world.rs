//! A mesh in memory that enforces the policies applied to it, and ways in which it can fail to.

mod environment;
mod network;
mod streams;

use crate::{
    policy::{
        participant::endpoint,
        subjects::{EVERY_NODE, GROUPS},
    },
    testing::{Fake, MISSION, Shape, Site, service_net, timeout},
};
use meshproof_contract::{
    AgentFacts, AgentId, Check, CheckContext, ClusterName, Evidence, Facts, Instance, Outcome, OutsideFacts, Verdict,
    check::Notes,
    claim::{Claim, ClaimKind, ClaimSource},
    facts::PodNetwork,
};
use meshproof_oracle::{Expected, Flow, NamedPorts, Party, Policy};
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, OnceLock},
    time::Duration,
};
use streams::Running;
use tokio::time::Instant;

/// Changes what a flow between nodes meets, given what it should meet.
type Tamper = Arc<dyn Fn(&str, Expected, &Flow) -> Expected + Send + Sync>;

/// A policy object that was applied.
pub(super) struct Applied {
    object: Value,
    policies: Vec<Policy>,
    /// From when on it is in force.
    since: Instant,
    /// From when on it is not; none until it is deleted.
    until: Option<Instant>,
}

/// External hosts, with their addresses.
const EXTERNAL_HOSTS: [(&str, &str); 2] = [
    ("one.outside.example", "198.51.100.10"),
    ("two.outside.example", "198.51.100.20"),
];

/// The mesh; healthy unless changed.
pub struct World {
    pub facts: Facts,
    pub(super) began: Instant,
    pub(super) pods: BTreeMap<AgentId, Value>,
    pub(super) parties: BTreeMap<AgentId, Party>,
    pub(super) objects: Arc<Mutex<BTreeMap<(ClusterName, String), Applied>>>,
    /// Until a change is in force.
    pub lag: Duration,
    /// When the generator of a stream is not scheduled, since the stream's beginning.
    pub stall: Option<(Duration, Duration)>,
    /// Until a deletion is in force; none is never.
    pub release: Option<Duration>,
    /// Changes what a flow meets.
    pub tamper: Tamper,
    /// How a drop looks.
    pub drop: Outcome,
    /// Whether the API refuses policies.
    pub apply_refused: bool,
    /// Whether pods may send pings.
    pub pings: Pings,
    /// What Cilium's agents report.
    pub agents: Agents,
    /// What they report of their L7 proxy.
    pub proxy: Value,
    /// Policies of others in cluster infra.
    pub foreign: Vec<Value>,
    pub(super) streams: Mutex<Vec<Running>>,
    /// Of its pods, which stay what they are.
    pub(super) named_ports: OnceLock<NamedPorts>,
}

#[derive(PartialEq, Eq)]
pub enum Pings {
    Sent,
    Forbidden,
}

#[derive(PartialEq, Eq)]
pub enum Agents {
    Refuse,
    /// They answer with an error after this long.
    Hang(Duration),
    /// They report whatever was applied as realized.
    ReportRealized,
}

impl World {
    pub fn new() -> Self {
        Self::of(MISSION)
    }

    fn of(shape: Shape) -> Self {
        let mut facts = Fake::of(shape).facts;
        facts.agents.retain(|agent| agent.network == PodNetwork::Host);
        facts.outside = EXTERNAL_HOSTS
            .map(|(name, _)| OutsideFacts {
                name: name.to_owned(),
                port: 80,
            })
            .into();
        facts.claims.extend(claims(shape));
        let mut world = Self {
            facts,
            began: Instant::now(),
            pods: BTreeMap::new(),
            parties: BTreeMap::new(),
            objects: Arc::default(),
            lag: Duration::from_millis(30),
            stall: None,
            release: Some(Duration::from_millis(30)),
            tamper: Arc::new(|_, expected, _| expected),
            drop: timeout(),
            apply_refused: false,
            pings: Pings::Sent,
            agents: Agents::Refuse,
            proxy: json!({"envoy-deployment-mode": "external"}),
            foreign: Vec::new(),
            streams: Mutex::default(),
            named_ports: OnceLock::new(),
        };
        for site in shape.sites() {
            world.add_pods(site);
        }
        world
    }

    /// The pods of the scenario.
    fn add_pods(&mut self, site: Site) {
        let cluster = site.name;
        let peer = json!({"role": "peer", "tier": "front"});
        for node in site.nodes() {
            self.add(cluster, node, "peer", "meshproof", "default", peer.clone());
            self.add(
                cluster,
                node,
                "subject-all",
                "meshproof",
                "default",
                json!({"subject": "all"}),
            );
        }
        let other = json!({"role": "other-peer", "tier": "back"});
        self.add(cluster, 1, "other-peer", "meshproof", "meshproof-other-peer", other);
        self.add(cluster, 2, "namespace-peer", "meshproof-peer", "default", peer);
        let groups = GROUPS.into_iter().filter(|group| *group != EVERY_NODE);
        for (group, node) in groups.zip([1, 2].into_iter().cycle()) {
            let workload = format!("subject-{group}");
            self.add(
                cluster,
                node,
                &workload,
                "meshproof",
                "default",
                json!({"subject": group}),
            );
        }
    }

    fn add(&mut self, cluster: &str, node: u8, workload: &str, namespace: &str, account: &str, labels: Value) {
        let block = 244 + 2 * (service_net(cluster) - 96);
        let number = node;
        let node = format!("{cluster}-{node}");
        let before = self
            .facts
            .agents
            .iter()
            .filter(|agent| agent.node.as_str() == node)
            .count();
        let address = format!("10.{block}.{number}.{}", 21 + before);
        let id = AgentId {
            cluster: cluster.into(),
            pod: format!("{workload}-{node}"),
        };
        let ports: Vec<Value> = [("mp-http", 8080), ("mp-tcp", 8081), ("mp-udp", 8082)]
            .map(|(name, port)| json!({"name": name, "containerPort": port}))
            .into();
        let pod = json!({
            "metadata": {"name": id.pod, "namespace": namespace, "labels": labels},
            "spec": {"nodeName": node, "serviceAccountName": account, "containers": [{"ports": ports}]},
        });
        self.facts.agents.push(AgentFacts {
            id: id.clone(),
            scenario: "policy".to_owned(),
            workload: workload.to_owned(),
            namespace: namespace.to_owned(),
            node: node.as_str().into(),
            address: address.parse().expect("an address"),
            network: PodNetwork::Pod,
        });
        let labels = BTreeMap::from([("kubernetes.io/metadata.name".to_owned(), namespace.to_owned())]);
        let party = Party::Endpoint(endpoint(&pod, cluster, namespace, &labels));
        self.parties.insert(id.clone(), party);
        self.pods.insert(id, pod);
    }

    /// The healthy mesh, with agents that report what is in force.
    pub fn healthy() -> Self {
        Self::healthy_of(MISSION)
    }

    /// The same in clusters of that shape.
    pub fn healthy_of(shape: Shape) -> Self {
        Self {
            agents: Agents::ReportRealized,
            ..Self::of(shape)
        }
    }

    pub fn tampering(mut self, tamper: impl Fn(&str, Expected, &Flow) -> Expected + Send + Sync + 'static) -> Self {
        self.tamper = Arc::new(tamper);
        self
    }

    /// An agent as policies see it.
    fn party(&self, agent: &AgentFacts) -> Party {
        match self.parties.get(&agent.id) {
            Some(party) => party.clone(),
            None => Party::Node {
                cluster: agent.id.cluster.to_string(),
                name: agent.node.to_string(),
                address: agent.address,
                serves_api: false,
            },
        }
    }

    /// Runs the check.
    async fn run(self, check: &dyn Check, instance: Instance) -> (Verdict, Notes) {
        let objects = self.objects.clone();
        let context = CheckContext::new(Arc::new(self), instance);
        let verdict = check.run(&context).await;
        let objects = objects.lock().expect("no panic");
        // A group's allow policy stays for the next check that borrows the group.
        let stays = |applied: &&Applied| {
            let name = applied.object["metadata"]["name"].as_str().unwrap_or_default();
            applied.until.is_none() && !name.starts_with("meshproof-open-")
        };
        let left = objects.values().filter(stays).count();
        assert_eq!(left, 0, "{}: it deletes every policy that it applies", check.id());
        (verdict, context.take_notes())
    }

    /// Runs the check, panics unless it concludes `word`, and returns everything that it reported.
    pub async fn expect(self, check: &dyn Check, instance: Instance, word: &str) -> String {
        let (verdict, notes) = self.run(check, instance).await;
        let text = format!("{verdict:?}\n{notes:?}");
        assert_eq!(verdict.word(), word, "{}: {text}", check.id());
        text
    }

    /// Runs the check and returns its evidence.
    pub async fn evidence(self, check: &dyn Check, instance: Instance) -> Vec<Evidence> {
        self.run(check, instance).await.1.evidence
    }
}

fn claims(shape: Shape) -> Vec<Claim> {
    let kinds = [
        ClaimKind::Policy,
        ClaimKind::L7Policy,
        ClaimKind::FqdnPolicy,
        ClaimKind::MutualAuth,
    ];
    let claims = shape.sites().into_iter().flat_map(|site| {
        kinds.map(|kind| Claim {
            cluster: site.name.into(),
            kind,
            value: "true".to_owned(),
            source: ClaimSource::Live {
                object: "test".to_owned(),
            },
        })
    });
    claims.collect()
}
