//! The test world with WireGuard between its nodes: agents that exchange markers, captures that see what is between
//! nodes, and Cilium's reports, each of which can be broken.

use super::{
    super::capture_point::WIREGUARD_PORT,
    wire::{Shown, Wire},
};
use crate::{
    kit::cilium::nodes::PUBLIC_KEY,
    testing::{Fake, MISSION, Shape},
};
use meshproof_contract::{
    Action, AgentFacts, AgentId, Check, CheckContext, CiliumQuery, Claim, ClaimKind, ClaimSource, ClusterFacts,
    Consent, Environment, Evidence, Facts, Flow, Instance, ServiceFacts,
    capture::DeviceCapture,
    evidence::Packet,
    facts::PodNetwork,
    flow::{SCENARIO, client},
};
use serde_json::{Value, json};
use std::{net::IpAddr, sync::Arc};

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

/// The clusters with this suite's agents.
pub fn facts(shape: Shape) -> Facts {
    let mut facts = Fake::of(shape).facts;
    facts.agents.clear();
    for site in shape.sites() {
        facts.claims.push(claim(site.name, "wireguard"));
        for n in site.nodes() {
            for (workload, network, address) in [
                ("talker", PodNetwork::Pod, site.pod_address(n, 20)),
                ("listener", PodNetwork::Pod, site.pod_address(n, 21)),
                ("capture", PodNetwork::HostCapture, site.node_address(n)),
            ] {
                facts.agents.push(AgentFacts {
                    id: AgentId {
                        cluster: site.name.into(),
                        pod: format!("{workload}-{}", site.node(n)),
                    },
                    scenario: "encryption".to_owned(),
                    workload: workload.to_owned(),
                    namespace: "meshproof".to_owned(),
                    node: site.node(n).into(),
                    address,
                    network,
                });
            }
        }
    }
    facts
}

type Tamper = Arc<dyn Fn(&str, &mut Value) + Send + Sync>;
type Shows = Arc<dyn Fn(&str, &str, &Action) -> Shown + Send + Sync>;
type ShowsHosts = Arc<dyn Fn(&str, &str) -> Shown + Send + Sync>;
type Report = Arc<dyn Fn(&mut DeviceCapture) + Send + Sync>;

/// The world of the suite's own tests; healthy until something is broken.
#[derive(Clone)]
pub struct World {
    pub facts: Facts,
    shape: Shape,
    pub(super) shows: Shows,
    pub(super) hosts: ShowsHosts,
    interface: Tamper,
    ipcache: Tamper,
    encrypt_status: Tamper,
    status: Tamper,
    report: Report,
    pub(super) lost: bool,
    pub(super) pings: bool,
}

fn key(node: &str) -> String {
    format!("key-of-{node}")
}

impl World {
    pub fn healthy() -> Self {
        Self::of(MISSION)
    }
    fn of(shape: Shape) -> Self {
        Self {
            facts: facts(shape),
            shape,
            shows: Arc::new(|_, _, _| Shown::Ciphertext),
            hosts: Arc::new(|_, _| Shown::Everything),
            interface: Arc::new(|_, _| {}),
            ipcache: Arc::new(|_, _| {}),
            encrypt_status: Arc::new(|_, _| {}),
            status: Arc::new(|_, _| {}),
            report: Arc::new(|_| {}),
            lost: false,
            pings: true,
        }
    }
    /// The world in which no check of the suite is skipped: with strict mode, proxies and Services.
    pub fn complete(shape: Shape) -> Self {
        let mut world = Self::of(shape).hosts(|_, _| Shown::Ciphertext).status(|_, status| {
            status["encryption"]["wireguard"]["node-encryption"] = json!("Enabled");
        });
        let kinds = [
            ClaimKind::StrictEncryption,
            ClaimKind::NodeEncryption,
            ClaimKind::FqdnPolicy,
            ClaimKind::L7Policy,
        ];
        world.facts.consent = Consent::Given;
        world.add_flow(shape);
        for site in shape.sites() {
            let (cluster, range) = (site.name, format!("10.{}.0.0/16", 242 + 2 * site.id));
            let claims = kinds.map(|kind| Claim {
                kind,
                ..claim(cluster, "true")
            });
            world.facts.claims.extend(claims);
            let services = [("listener", 1), ("listener-global", 2)];
            world.facts.services.extend(services.map(|(name, last)| ServiceFacts {
                cluster: cluster.into(),
                scenario: "encryption".to_owned(),
                namespace: "meshproof".to_owned(),
                name: name.to_owned(),
                address: Some(site.service_address(8, last)),
                ports: [("tcp".to_owned(), 8081), ("udp".to_owned(), 8082)].into(),
                workload: "listener".to_owned(),
            }));
            world.configure(cluster, "routing-mode", "native");
            world.configure(cluster, "enable-encryption-strict-mode", "true");
            world.configure(cluster, "encryption-strict-mode-cidr", &range);
        }
        world
    }
    /// A flow of the operators from the first node of the first cluster to a pod on its second node.
    fn add_flow(&mut self, shape: Shape) {
        let site = shape.sites()[0];
        let flow: Flow = serde_json::from_value(json!({
            "name": "encrypted", "from": {"cluster": site.name, "namespace": "shop"},
            "to": {"address": site.pod_address(2, 21), "port": 8081}, "expect": {"encrypted": true},
        }))
        .expect("a flow");
        self.facts.agents.push(AgentFacts {
            id: AgentId {
                cluster: site.name.into(),
                pod: "meshproof-flows-client-1".to_owned(),
            },
            scenario: SCENARIO.to_owned(),
            workload: client(std::slice::from_ref(&flow), &flow),
            namespace: "shop".to_owned(),
            node: site.node(1).into(),
            address: site.pod_address(1, 71),
            network: PodNetwork::Pod,
        });
        self.facts.flows.push(flow);
    }
    /// Sets a key of a cluster's cilium-config.
    pub fn configure(&mut self, cluster: &str, key: &str, value: &str) {
        let mut clusters = self.facts.clusters.iter_mut();
        let cluster = clusters.find(|c| c.name.as_str() == cluster).expect("a cluster");
        let config = &mut cluster.cilium.as_mut().expect("Cilium").config;
        config.insert(key.to_owned(), value.to_owned());
    }
    /// All clusters claim this instead.
    pub fn claims(mut self, value: &str) -> Self {
        for claim in self.facts.claims.iter_mut().filter(|c| c.kind == ClaimKind::Encryption) {
            claim.value = value.to_owned();
        }
        self
    }
    /// What the wire shows of what goes from a node to a node.
    pub fn wire(mut self, shows: impl Fn(&str, &str, &Action) -> Shown + Send + Sync + 'static) -> Self {
        self.shows = Arc::new(shows);
        self
    }
    /// What the wire shows of what goes between nodes where one of them is an end.
    pub fn hosts(mut self, shows: impl Fn(&str, &str) -> Shown + Send + Sync + 'static) -> Self {
        self.hosts = Arc::new(shows);
        self
    }
    /// Tampers with a node's WireGuard interface in `debuginfo`.
    pub fn interface(mut self, tamper: impl Fn(&str, &mut Value) + Send + Sync + 'static) -> Self {
        self.interface = Arc::new(tamper);
        self
    }
    /// Tampers with a node's ipcache.
    pub fn ipcache(mut self, tamper: impl Fn(&str, &mut Value) + Send + Sync + 'static) -> Self {
        self.ipcache = Arc::new(tamper);
        self
    }
    /// Tampers with a node's `cilium-dbg encrypt status`.
    pub fn encrypt_status(mut self, tamper: impl Fn(&str, &mut Value) + Send + Sync + 'static) -> Self {
        self.encrypt_status = Arc::new(tamper);
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
    /// Agents may not ping.
    pub fn without_pings(mut self) -> Self {
        self.pings = false;
        self
    }
    /// Nothing that pods send arrives.
    pub fn lost(mut self) -> Self {
        self.lost = true;
        self
    }

    /// Runs the check, panics unless it concludes `word`, and returns everything that it said.
    pub async fn expect(self, check: &dyn Check, instance: Instance, word: &str) -> String {
        self.fake().expect(check, instance, word).await
    }

    /// Runs the check; the packets that it leaves as evidence.
    pub async fn packets(self, check: &dyn Check, instance: Instance) -> Vec<Packet> {
        let context = CheckContext::new(self.environment(), instance);
        check.run(&context).await;
        let evidence = context.take_notes().evidence.into_iter();
        let packets = evidence.filter_map(|one| match one {
            Evidence::Packet(packet) => Some(packet),
            _ => None,
        });
        packets.collect()
    }

    /// The world as checks see it.
    pub fn environment(self) -> Arc<dyn Environment> {
        Arc::new(self.fake())
    }

    /// The test world of all suites with this one's wire in it.
    fn fake(self) -> Fake {
        let wire = Arc::new(Wire::of(&self.facts, self.report.clone()));
        let world = Arc::new(self);
        let (sending, reporting, replying) = (world.clone(), world.clone(), world.clone());
        let (sent, counted) = (wire.clone(), wire.clone());
        let mut fake = Fake::of(world.shape)
            .facts(|facts| *facts = world.facts.clone())
            .rule(move |ask| Some(sending.outcome(ask, &sent)))
            .status(move |_, node, status| reporting.report_status(node, status))
            .policies(move |node, query| match query {
                CiliumQuery::Debuginfo => {
                    json!({"encryption": {"wireguard": {"interfaces": [replying.interface_of(node, &counted)]}}})
                }
                CiliumQuery::Ipcache => replying.ipcache_of(node),
                CiliumQuery::EncryptStatus => {
                    let mut shown =
                        json!({"mode": "IPsec", "ipsec": {"decrypt-interfaces": ["ens3"], "keys-in-use": 1}});
                    (replying.encrypt_status)(node, &mut shown);
                    shown
                }
                _ => Value::Null,
            })
            .captures(wire);
        for cluster in &world.facts.clusters {
            for node in &cluster.nodes {
                let name = node.name.as_str();
                let announced = json!({
                    "kind": "CiliumNode",
                    "metadata": {"name": name, "annotations": {PUBLIC_KEY[0]: key(name)}},
                    "spec": {
                        "addresses": [{"type": "InternalIP", "ip": node.addresses[0]}],
                        "ipam": {"podCIDRs": node.pod_cidrs},
                    },
                });
                fake = fake.object(cluster.name.as_str(), announced);
            }
        }
        fake
    }

    /// What a node knows of all pods of the suite.
    fn ipcache_of(&self, node: &str) -> Value {
        let pods = self
            .facts
            .agents
            .iter()
            .filter(|agent| agent.network == PodNetwork::Pod);
        let entry = |pod: &AgentFacts| {
            let text = "identity=7001 encryptkey=255 tunnelendpoint=10.25.11.12 flags=hastunnel";
            (format!("{}/32", pod.address), json!([text]))
        };
        let mut entries = Value::Object(pods.map(entry).collect());
        (self.ipcache)(node, &mut entries);
        entries
    }

    fn report_status(&self, node: &str, status: &mut Value) {
        let wireguard = json!({"node-encryption": "Disabled", "interfaces": [{"listen-port": WIREGUARD_PORT}]});
        let address = self.node_address(node);
        status["encryption"] = json!({"mode": "Wireguard", "wireguard": wireguard});
        status["kube-proxy-replacement"] = json!({"deviceList": [{"name": "ens3", "ip": ["", address]}]});
        (self.status)(node, status);
    }

    fn node_address(&self, node: &str) -> IpAddr {
        let mut nodes = self.facts.clusters.iter().flat_map(|c| &c.nodes);
        nodes.find(|n| n.name.as_str() == node).expect("a node").addresses[0]
    }

    /// WireGuard's interface on a node, with the counters that the wire makes.
    fn interface_of(&self, node: &str, wire: &Wire) -> Value {
        let nodes = self.facts.clusters.iter().flat_map(|c| &c.nodes);
        let others = nodes.filter(|n| n.name.as_str() != node);
        let counted = |from: &str, to: &str| 1000 + wire.ciphertext(from, to);
        let native = |c: &ClusterFacts| {
            let config = c.cilium.as_ref().map(|cilium| &cilium.config);
            config.is_some_and(|config| config.get("routing-mode").is_some_and(|mode| mode == "native"))
        };
        let native = self.facts.clusters.iter().any(native);
        let peers: Vec<Value> = others
            .map(|other| {
                let name = other.name.as_str();
                let mut allowed = vec![format!("{}/32", other.addresses[0])];
                allowed.extend(other.pod_cidrs.iter().filter(|_| native).cloned());
                json!({
                    "public-key": key(name), "endpoint": format!("{}:{WIREGUARD_PORT}", other.addresses[0]),
                    "allowed-ips": allowed,
                    "last-handshake-time": jiff::Timestamp::now().to_string(),
                    "transfer-rx": counted(name, node), "transfer-tx": counted(node, name),
                })
            })
            .collect();
        let mut interface =
            json!({"name": "cilium_wg0", "listen-port": WIREGUARD_PORT, "public-key": key(node), "peers": peers});
        (self.interface)(node, &mut interface);
        interface
    }
}
