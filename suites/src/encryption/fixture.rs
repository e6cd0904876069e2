//! Two clusters that claim WireGuard, in memory: agents that exchange markers, captures that see what is between nodes, and
//! Cilium's words, each of which can be broken.

use super::window::WIREGUARD_PORT;
use crate::testing::Fake;
use async_trait::async_trait;
use meshproof_contract::capture::{CaptureReport, ClearFlow, DeviceCapture, NeedleHit, Sighting, WireguardFlow};
use meshproof_contract::facts::PodNetwork;
use meshproof_contract::{
    Action, AgentFacts, AgentId, CaptureId, CaptureSpec, Check, CheckContext, CiliumAnswer, CiliumQuery, Claim,
    ClaimKind, ClaimSource, ClockReading, ClusterName, Disruption, DnsCode, Environment, EnvironmentError, Facts,
    Identity, Instance, Marker, ObjectRef, Outcome, Probe, Readiness, StreamId, StreamReport, StreamSpec, Timing,
    Verdict,
};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};

/// A claim of encryption.
pub fn claim(cluster: &str, value: &str) -> Claim {
    Claim {
        cluster: cluster.into(),
        kind: ClaimKind::Encryption,
        value: value.to_owned(),
        source: ClaimSource::Live {
            object: "ConfigMap kube-system/cilium-config: enable-wireguard".to_owned(),
        },
    }
}

/// The fake's two clusters with this suite's agents.
pub fn facts() -> Facts {
    let mut facts = Fake::healthy().facts;
    facts.agents.clear();
    for (cluster, pods, first_node) in [("infra", 244, 11), ("apps", 246, 14)] {
        facts.claims.push(claim(cluster, "wireguard"));
        for n in 1..=3u8 {
            for (workload, network, address) in [
                ("talker", PodNetwork::Pod, format!("10.{pods}.{n}.20")),
                ("listener", PodNetwork::Pod, format!("10.{pods}.{n}.21")),
                (
                    "capture",
                    PodNetwork::HostCapture,
                    format!("10.25.11.{}", first_node + n - 1),
                ),
            ] {
                facts.agents.push(AgentFacts {
                    id: AgentId {
                        cluster: cluster.into(),
                        pod: format!("{workload}-{cluster}-{n}"),
                    },
                    scenario: "encryption".to_owned(),
                    workload: workload.to_owned(),
                    namespace: "meshproof".to_owned(),
                    node: format!("{cluster}-{n}").into(),
                    address: address.parse().expect("an address"),
                    network,
                });
            }
        }
    }
    facts
}

/// What the wire shows of a packet between two pods.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Shown {
    Ciphertext,
    Headers,
    Everything,
    Nothing,
}

type Tamper = Arc<dyn Fn(&str, &mut Value) + Send + Sync>;
type Wire = Arc<dyn Fn(&str, &str, &Action) -> Shown + Send + Sync>;

/// A packet that went over the wire.
struct Sent {
    from: (String, IpAddr),
    to: (String, IpAddr),
    pods: Option<(IpAddr, IpAddr)>,
    marker: Option<Marker>,
    bytes: u64,
    shown: Shown,
}

/// The world of the suite's own tests; healthy until told otherwise.
#[derive(Clone)]
pub struct World {
    pub facts: Facts,
    wire: Wire,
    debuginfo: Tamper,
    status: Tamper,
    report: Arc<dyn Fn(&mut DeviceCapture) + Send + Sync>,
    lost: bool,
    pings: bool,
    sent: Arc<Mutex<Vec<Sent>>>,
    captures: Arc<Mutex<BTreeMap<u64, CaptureSpec>>>,
}

fn key(node: &str) -> String {
    format!("key-of-{node}")
}

impl World {
    pub fn healthy() -> Self {
        Self {
            facts: facts(),
            wire: Arc::new(|_, _, _| Shown::Ciphertext),
            debuginfo: Arc::new(|_, _| {}),
            status: Arc::new(|_, _| {}),
            report: Arc::new(|_| {}),
            lost: false,
            pings: true,
            sent: Arc::default(),
            captures: Arc::default(),
        }
    }
    /// All clusters claim this instead.
    pub fn claims(mut self, value: &str) -> Self {
        for claim in self.facts.claims.iter_mut().filter(|c| c.kind == ClaimKind::Encryption) {
            claim.value = value.to_owned();
        }
        self
    }
    /// What the wire shows of what goes from a node to a node.
    pub fn wire(mut self, wire: impl Fn(&str, &str, &Action) -> Shown + Send + Sync + 'static) -> Self {
        self.wire = Arc::new(wire);
        self
    }
    /// Tampers with a node's WireGuard interface in `debuginfo`.
    pub fn interface(mut self, tamper: impl Fn(&str, &mut Value) + Send + Sync + 'static) -> Self {
        self.debuginfo = Arc::new(tamper);
        self
    }
    /// Tampers with a node's status.
    pub fn status(mut self, tamper: impl Fn(&str, &mut Value) + Send + Sync + 'static) -> Self {
        self.status = Arc::new(tamper);
        self
    }
    /// Tampers with what every capture reports.
    pub fn report(mut self, tamper: impl Fn(&mut DeviceCapture) + Send + Sync + 'static) -> Self {
        self.report = Arc::new(tamper);
        self
    }
    /// Nothing that pods send arrives.
    /// Agents may not ping.
    pub fn without_pings(mut self) -> Self {
        self.pings = false;
        self
    }
    pub fn lost(mut self) -> Self {
        self.lost = true;
        self
    }

    /// Runs the check, panics unless it concludes `word`, and returns what it said.
    pub async fn expect(self, check: &dyn Check, instance: Instance, word: &str) -> String {
        let context = CheckContext::new(Arc::new(self), instance);
        let verdict = check.run(&context).await;
        let text = format!("{verdict:?}");
        assert_eq!(verdict.word(), word, "{}: {text}", check.id());
        if let Verdict::Fail { findings } = verdict {
            assert!(findings.iter().all(|f| !f.subject.is_empty()));
        }
        text
    }

    fn node_address(&self, node: &str) -> IpAddr {
        let mut nodes = self.facts.clusters.iter().flat_map(|c| &c.nodes);
        nodes.find(|n| n.name.as_str() == node).expect("a node").addresses[0]
    }

    fn interface_of(&self, node: &str) -> Value {
        let others = self
            .facts
            .clusters
            .iter()
            .flat_map(|c| &c.nodes)
            .filter(|n| n.name.as_str() != node);
        let counted = |from: &str, to: &str| -> u64 {
            let sent = self.sent.lock().expect("no panic while sending");
            let between = sent
                .iter()
                .filter(|s| s.from.0 == from && s.to.0 == to && s.shown == Shown::Ciphertext);
            1000 + between.map(|s| s.bytes).sum::<u64>()
        };
        let peers: Vec<Value> = others
            .map(|other| {
                let name = other.name.as_str();
                json!({
                    "public-key": key(name), "endpoint": format!("{}:{WIREGUARD_PORT}", other.addresses[0]),
                    "allowed-ips": [format!("{}/32", other.addresses[0])],
                    "last-handshake-time": jiff::Timestamp::now().to_string(),
                    "transfer-rx": counted(name, node), "transfer-tx": counted(node, name),
                })
            })
            .collect();
        let mut interface =
            json!({"name": "cilium_wg0", "listen-port": WIREGUARD_PORT, "public-key": key(node), "peers": peers});
        (self.debuginfo)(node, &mut interface);
        interface
    }

    fn send(&self, from: &AgentFacts, to: &AgentFacts, action: &Action, marker: Option<Marker>, bytes: u64) {
        let between_pods = to.network == PodNetwork::Pod;
        let shown = match between_pods {
            true => (self.wire)(from.node.as_str(), to.node.as_str(), action),
            false => Shown::Everything,
        };
        let mut sent = self.sent.lock().expect("no panic while sending");
        for (a, b) in [(from, to), (to, from)] {
            sent.push(Sent {
                from: (a.node.to_string(), self.node_address(a.node.as_str())),
                to: (b.node.to_string(), self.node_address(b.node.as_str())),
                pods: between_pods.then_some((a.address, b.address)),
                marker,
                bytes,
                shown,
            });
        }
    }

    /// Something goes to an address that nobody has; on the wire it is to node ``, if at all.
    fn leak(&self, from: &AgentFacts, to: &str, action: &Action, marker: Option<Marker>) {
        let address: IpAddr = to.parse().expect("an address");
        let shown = (self.wire)(from.node.as_str(), "", action);
        if shown != Shown::Ciphertext {
            self.sent.lock().expect("no panic while sending").push(Sent {
                from: (from.node.to_string(), self.node_address(from.node.as_str())),
                to: (String::new(), address),
                pods: Some((from.address, address)),
                marker,
                bytes: 0,
                shown,
            });
        }
    }

    fn outcome(&self, from: &AgentFacts, probe: &Probe) -> Outcome {
        let timing = Timing::default();
        let (to, marker, bytes) = match &probe.action {
            Action::MarkedEcho {
                to, marker, payload, ..
            } => (to.host.clone(), Some(*marker), u64::from(*payload)),
            Action::TcpConnect { to } if to.port == 9 => {
                return Outcome::Refused { timing };
            }
            Action::TcpConnect { to } => (to.host.clone(), None, 40),
            Action::IcmpEcho { .. } if !self.pings => return crate::testing::local_error(),
            Action::IcmpEcho { to, .. } => (to.to_string(), None, 84),
            _ => {
                return Outcome::Dns {
                    code: DnsCode::NxDomain,
                    answers: Vec::new(),
                    server: IpAddr::from([10, 96, 0, 10]),
                    timing,
                };
            }
        };
        let agents = self.facts.agents.iter();
        let Some(to) = agents.into_iter().find(|a| a.address.to_string() == to) else {
            self.leak(from, &to, &probe.action, marker);
            return Outcome::Timeout { timing };
        };
        if self.lost && to.network == PodNetwork::Pod {
            return Outcome::Timeout { timing };
        }
        self.send(from, to, &probe.action, marker, bytes);
        Outcome::Answered {
            served_by: Some(Identity {
                cluster: to.id.cluster.to_string(),
                node: to.node.to_string(),
                namespace: to.namespace.clone(),
                pod: to.id.pod.clone(),
            }),
            source: None,
            address: None,
            status: None,
            bytes,
            timing,
        }
    }

    /// What a capture on a node's device saw.
    fn seen(&self, node: &str, spec: &CaptureSpec) -> DeviceCapture {
        let mut device = DeviceCapture {
            device: spec.devices[0].clone(),
            ..DeviceCapture::default()
        };
        let sent = self.sent.lock().expect("no panic while sending");
        for s in sent.iter().filter(|s| s.from.0 == node || s.to.0 == node) {
            device.packets += 1;
            let first = Sighting {
                at: 0,
                source: Some(s.from.1),
                destination: Some(s.to.1),
                outgoing: s.from.0 == node,
                length: 100,
                head: "4500".to_owned(),
            };
            let needle = s
                .marker
                .and_then(|m| spec.needles.iter().position(|n| n.bytes() == m.0));
            if let (Shown::Everything, Some(needle)) = (s.shown, needle) {
                device.hits.push(NeedleHit {
                    needle: needle as u32,
                    packets: 1,
                    first: first.clone(),
                });
            }
            match (s.shown, s.pods) {
                (Shown::Everything | Shown::Headers, Some((source, destination))) => device.clear.push(ClearFlow {
                    source,
                    destination,
                    protocol: 6,
                    tunnel: true,
                    packets: 1,
                    first,
                }),
                (Shown::Ciphertext, _) => device.wireguard.push(WireguardFlow {
                    source: s.from.1,
                    destination: s.to.1,
                    transport: 1,
                    transport_bytes: s.bytes,
                    keepalives: 0,
                    handshakes: 0,
                    other: 0,
                }),
                _ => {}
            }
        }
        (self.report)(&mut device);
        device
    }

    fn node_of(&self, agent: &AgentId) -> String {
        let found = self
            .facts
            .agents
            .iter()
            .find(|a| &a.id == agent)
            .expect("a known agent");
        found.node.to_string()
    }
}

fn not_here<T>() -> Result<T, EnvironmentError> {
    Err(EnvironmentError::Api {
        cluster: "infra".into(),
        operation: "do this".to_owned(),
        reason: "this world is a fake".to_owned(),
    })
}

#[async_trait]
impl Environment for World {
    fn facts(&self) -> Arc<Facts> {
        Arc::new(self.facts.clone())
    }
    async fn probe(&self, agent: &AgentId, batch: Vec<Probe>) -> Result<Vec<Outcome>, EnvironmentError> {
        let from = self
            .facts
            .agents
            .iter()
            .find(|a| &a.id == agent)
            .expect("a known agent");
        Ok(batch.iter().map(|probe| self.outcome(from, probe)).collect())
    }
    async fn cilium(&self, cluster: &ClusterName, query: CiliumQuery) -> Result<Vec<CiliumAnswer>, EnvironmentError> {
        let nodes = self.facts.cluster(cluster).into_iter().flat_map(|c| &c.nodes);
        let answers = nodes.map(|node| {
            let name = node.name.as_str();
            let output = match query {
                CiliumQuery::Debuginfo => json!({"encryption": {"wireguard": {"interfaces": [self.interface_of(name)]}}}),
                _ => {
                    let mut status = json!({
                        "encryption": {"mode": "Wireguard", "wireguard": {"node-encryption": "Disabled", "interfaces": [{"listen-port": WIREGUARD_PORT}]}},
                        "kube-proxy-replacement": {"deviceList": [{"name": "ens3", "ip": ["", node.addresses[0]]}]},
                    });
                    (self.status)(name, &mut status);
                    status
                }
            };
            CiliumAnswer {
                pod: format!("cilium-{name}"),
                node: node.name.clone(),
                output: Ok(output),
            }
        });
        Ok(answers.collect())
    }
    async fn list(
        &self,
        cluster: &ClusterName,
        _: &str,
        _: &str,
        _: Option<&str>,
    ) -> Result<Vec<Value>, EnvironmentError> {
        let nodes = self.facts.cluster(cluster).into_iter().flat_map(|c| &c.nodes);
        Ok(nodes
            .map(|node| {
                json!({
                    "metadata": {"name": node.name, "annotations": {crate::kit::cilium::nodes::PUBLIC_KEY[0]: key(node.name.as_str())}},
                    "spec": {"addresses": [{"type": "InternalIP", "ip": node.addresses[0]}], "ipam": {"podCIDRs": node.pod_cidrs}},
                })
            })
            .collect())
    }
    async fn start_capture(&self, _: &AgentId, spec: CaptureSpec) -> Result<CaptureId, EnvironmentError> {
        let mut captures = self.captures.lock().expect("no panic while starting");
        let number = captures.len() as u64;
        captures.insert(number, spec);
        Ok(CaptureId(number))
    }
    async fn stop_capture(&self, agent: &AgentId, capture: CaptureId) -> Result<CaptureReport, EnvironmentError> {
        let spec = self.captures.lock().expect("no panic while stopping")[&capture.0].clone();
        Ok(CaptureReport {
            devices: vec![self.seen(&self.node_of(agent), &spec)],
            ended: false,
        })
    }
    async fn collect_capture(&self, _: &AgentId, _: CaptureId) -> Result<CaptureReport, EnvironmentError> {
        not_here()
    }
    async fn get(&self, _: &ClusterName, _: &ObjectRef) -> Result<Option<Value>, EnvironmentError> {
        not_here()
    }
    async fn apply(&self, _: &ClusterName, _: Value) -> Result<Value, EnvironmentError> {
        not_here()
    }
    async fn patch(&self, _: &ClusterName, _: &ObjectRef, _: Value) -> Result<Value, EnvironmentError> {
        not_here()
    }
    async fn delete(&self, _: &ClusterName, _: &ObjectRef) -> Result<(), EnvironmentError> {
        not_here()
    }
    async fn agents(&self, _: &ClusterName, _: &str, _: &str) -> Result<Vec<AgentFacts>, EnvironmentError> {
        not_here()
    }
    async fn set_ready(&self, _: &AgentId, _: Readiness) -> Result<(), EnvironmentError> {
        not_here()
    }
    async fn clock(&self, _: &AgentId) -> Result<ClockReading, EnvironmentError> {
        not_here()
    }
    async fn start_stream(&self, _: &AgentId, _: StreamSpec) -> Result<StreamId, EnvironmentError> {
        not_here()
    }
    async fn collect_stream(&self, _: &AgentId, _: StreamId) -> Result<StreamReport, EnvironmentError> {
        not_here()
    }
    async fn stop_stream(&self, _: &AgentId, _: StreamId) -> Result<StreamReport, EnvironmentError> {
        not_here()
    }
    async fn disrupt(&self, _: &ClusterName, _: &Disruption) -> Result<(), EnvironmentError> {
        not_here()
    }
    async fn restore(&self, _: &ClusterName, _: &Disruption) -> Result<(), EnvironmentError> {
        not_here()
    }
}
