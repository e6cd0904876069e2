//! The test world with the scenario's Services as a working mesh answers them: by their selectors, their annotations
//! and the readiness of their pods, whatever checks change about these.

use super::world::{SERVICES, address, agent, deploy, exposed_answer};
use crate::testing::{Ask, Fake, MISSION, NODE_PORT, Shape, dns_records, timeout};
use meshproof_contract::{
    Action, AgentFacts, Claim, ClaimKind, ClusterName, DnsAnswer, Identity, Outcome, Target, Timing,
};
use serde_json::{Value, json};
use std::{
    collections::HashMap,
    ops::RangeInclusive,
    sync::{Arc, Mutex},
};

/// What a broken mesh does not do.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Ignores {
    Nothing,
    GlobalAnnotation,
    SharedAnnotation,
    RemoteBackends,
    Readiness,
    /// That the preferred side of an affinity has no pods.
    Fallback,
    ExternalPolicy,
    InternalPolicy,
    /// Who asks from outside.
    Source,
    /// Addresses of load balancers, where hosts ask.
    LoadBalancerAtHosts,
}

/// The world in which no check of the suite is skipped.
pub fn complete() -> Fake {
    ignoring(Ignores::Nothing)
}

/// The same in clusters of that shape.
pub fn of(shape: Shape) -> Fake {
    meshed(shape, Ignores::Nothing)
}

/// The world of a mesh that is broken.
pub fn ignoring(ignores: Ignores) -> Fake {
    meshed(MISSION, ignores)
}

fn meshed(shape: Shape, ignores: Ignores) -> Fake {
    let clusters: Vec<&str> = shape.sites().into_iter().map(|site| site.name).collect();
    let known = Known::default();
    let mut fake = Fake::of(shape)
        .facts(|facts| {
            deploy(facts, shape);
            for cluster in clusters.iter().copied() {
                facts
                    .agents
                    .extend((1..=2).map(|node| agent(cluster, node, "drained", 70)));
                facts.agents.push(agent(cluster, 1, "mover", 80));
                let claim = facts.claims.iter().find(|c| c.cluster.as_str() == cluster);
                let claim = claim.expect("a claim of a mesh").clone();
                let kind = ClaimKind::KubeProxyReplacement;
                facts.claims.push(Claim { kind, ..claim });
            }
            for cluster in &mut facts.clusters {
                let config = &mut cluster.cilium.as_mut().expect("Cilium").config;
                config.insert("clustermesh-enable-endpoint-sync".to_owned(), "true".to_owned());
            }
        })
        .status(|_, _, status| status["kube-proxy-replacement"] = json!({"mode": "True"}))
        .rule(move |ask| {
            let known = &known;
            Mesh { ask, ignores, known }.answer()
        });
    for cluster in clusters {
        fake = fake.object(
            cluster,
            json!({"kind": "CiliumLoadBalancerIPPool", "metadata": {"name": "public"}, "spec": {}}),
        );
        for name in SERVICES {
            fake = fake.object(cluster, service(cluster, name));
        }
        fake = fake.object(
            cluster,
            json!({
                "kind": "Deployment",
                "metadata": {
                    "name": "service-mover",
                    "labels": {"meshproof.dev/workload": "mover", "meshproof.dev/scenario": "service"},
                },
                "spec": {"replicas": 1},
            }),
        );
    }
    fake
}

/// A Service as scenarios/service.yaml describes it.
fn service(cluster: &str, name: &str) -> Value {
    let global = json!({GLOBAL: "true"});
    let with_affinity = |affinity: &str| json!({GLOBAL: "true", "service.cilium.io/affinity": affinity});
    let annotations = match name {
        "svc-global" | "svc-ports" | "svc-unnamed" | "svc-drained" | "svc-headless" | "svc-sticky" => global,
        "svc-legacy" => json!({"io.cilium/global-service": "true"}),
        "svc-local" | "svc-mover-local" => with_affinity("local"),
        "svc-remote" | "svc-mover-remote" => with_affinity("remote"),
        _ => json!({}),
    };
    let workload = match name {
        "svc-mover-local" | "svc-mover-remote" => "mover",
        "svc-drained" => "drained",
        _ => "backend",
    };
    let affinity = if name == "svc-sticky" { "ClientIP" } else { "None" };
    let address = if name == "svc-headless" {
        json!("None")
    } else {
        json!(address(cluster, name))
    };
    json!({
        "kind": "Service",
        "metadata": {"name": name, "annotations": annotations},
        "spec": {
            "clusterIP": address, "sessionAffinity": affinity, "selector": {WORKLOAD: workload},
        },
    })
}

const GLOBAL: &str = "service.cilium.io/global";
/// HTTP and datagrams.
const NODE_PORTS: RangeInclusive<u16> = NODE_PORT..=NODE_PORT + 1;
const WORKLOAD: &str = "meshproof.dev/workload";

/// The mesh, as a probe meets it.
struct Mesh<'a> {
    ask: &'a Ask<'a>,
    ignores: Ignores,
    known: &'a Known,
}

/// A Service, and the pods that answer it.
type Served = Option<Arc<(Value, Vec<AgentFacts>)>>;

/// What probes to a target meet in a cluster, until an object changes.
type Known = Mutex<HashMap<(u64, ClusterName, String, u16), Served>>;

impl Mesh<'_> {
    /// The outcome of the probe; none if it goes to no Service.
    fn answer(&self) -> Option<Outcome> {
        let here = &self.ask.from.id.cluster;
        let to = match self.ask.action {
            Action::Http { to, .. } | Action::TcpEcho { to, .. } | Action::UdpEcho { to, .. } => to,
            Action::Dns { name, .. } if name.starts_with("svc-headless.") => {
                let service = self.find(here, |service| service["metadata"]["name"] == "svc-headless")?;
                let pods = self.endpoints(here, &service).into_iter();
                return Some(dns_records(pods.map(|pod| DnsAnswer::Address(pod.address)).collect()));
            }
            _ => return None,
        };
        if let Some(outcome) = exposed_answer(self.ask) {
            return Some(outcome);
        }
        let is_lost = self.ignores == Ignores::LoadBalancerAtHosts && self.ask.from.workload == "host";
        if is_lost && to.host.starts_with("192.168.") {
            return Some(timeout());
        }
        let served = self.served(to)?;
        let (service, endpoints) = &*served;
        let is_node_port = NODE_PORTS.contains(&to.port);
        let stays = service["spec"]["internalTrafficPolicy"] == "Local" && !is_node_port;
        let stays = stays && self.ignores != Ignores::InternalPolicy;
        let endpoints = endpoints.iter().filter(|pod| !stays || pod.node == self.ask.from.node);
        let endpoints: Vec<&AgentFacts> = endpoints.collect();
        if endpoints.is_empty() {
            let timing = Timing::default();
            return Some(Outcome::Refused { timing });
        }
        let is_sticky = service["spec"]["sessionAffinity"] == "ClientIP";
        // Each port is remembered by itself.
        let turn = if is_sticky {
            usize::from(to.port == 81)
        } else {
            self.ask.number as usize
        };
        let pod = endpoints[turn % endpoints.len()];
        let mut outcome = self.ask.answered_as(Identity {
            cluster: pod.id.cluster.to_string(),
            node: pod.node.to_string(),
            namespace: pod.namespace.clone(),
            pod: pod.id.pod.clone(),
        });
        if let Outcome::Answered { address, source, .. } = &mut outcome {
            if is_node_port && self.ignores == Ignores::Source {
                *source = to.host.parse().ok();
            }
            *address = service["spec"]["clusterIP"].as_str().and_then(|ip| ip.parse().ok());
        }
        Some(outcome)
    }

    /// What is served at a target.
    fn served(&self, to: &Target) -> Served {
        let here = &self.ask.from.id.cluster;
        let key = (self.ask.revision(), here.clone(), to.host.clone(), to.port);
        let known = self.known.lock().expect("no panic").get(&key).cloned();
        known.unwrap_or_else(|| {
            let served = self.look_up(here, to).map(Arc::new);
            self.known.lock().expect("no panic").insert(key, served.clone());
            served
        })
    }

    fn look_up(&self, here: &ClusterName, to: &Target) -> Option<(Value, Vec<AgentFacts>)> {
        if NODE_PORTS.contains(&to.port) {
            return self.node_port(here, to);
        }
        let name = to.host.split('.').next().unwrap_or_default();
        let service = self.find(here, |service| {
            let ingress = &service["status"]["loadBalancer"]["ingress"][0]["ip"];
            service["spec"]["clusterIP"] == to.host.as_str()
                || service["metadata"]["name"] == name
                || *ingress == to.host.as_str()
        })?;
        // Service `server` of scenario `connectivity` is the test world's own.
        if service["spec"]["selector"][WORKLOAD] == "server" {
            return None;
        }
        let endpoints = self.endpoints(here, &service);
        Some((service, endpoints))
    }

    /// The Service behind a NodePort of the node that has the address, and its backends.
    fn node_port(&self, here: &ClusterName, to: &Target) -> Option<(Value, Vec<AgentFacts>)> {
        let nodes = self.ask.facts().clusters.iter().flat_map(|cluster| {
            let nodes = cluster.nodes.iter();
            nodes.map(|node| (&cluster.name, node))
        });
        let mut at = nodes.filter(|(_, node)| node.addresses.iter().any(|address| address.to_string() == to.host));
        let (cluster, node) = at.next()?;
        let service = self.find(cluster, |service| service["spec"]["type"] == "NodePort")?;
        let mut backends = self.backends(cluster, &service);
        let stays = service["spec"]["externalTrafficPolicy"] == "Local" && here != cluster;
        if stays && self.ignores != Ignores::ExternalPolicy {
            backends.retain(|pod| pod.node == node.name);
        }
        Some((service, backends))
    }

    fn find(&self, cluster: &ClusterName, is: impl Fn(&Value) -> bool) -> Option<Value> {
        self.ask.objects(cluster, "Service").into_iter().find(is)
    }

    /// Whether the Service is merged with those of other clusters.
    fn is_global(&self, service: &Value) -> bool {
        let annotations = &service["metadata"]["annotations"];
        let keys = [GLOBAL, "io.cilium/global-service"];
        self.ignores == Ignores::GlobalAnnotation || keys.iter().any(|key| annotations[key] == "true")
    }

    /// The pods that answer a Service in a cluster. Own and remote ones alternate, so that few requests meet both.
    fn endpoints(&self, cluster: &ClusterName, service: &Value) -> Vec<AgentFacts> {
        let own = self.backends(cluster, service);
        if !self.is_global(service) {
            return own;
        }
        let remote = self.remote_backends(cluster, service);
        let falls_back = self.ignores != Ignores::Fallback;
        match service["metadata"]["annotations"]["service.cilium.io/affinity"].as_str() {
            Some("local") if falls_back && own.is_empty() => remote,
            Some("local") => own,
            Some("remote") if falls_back && remote.is_empty() => own,
            Some("remote") => remote,
            _ => {
                let most = own.len().max(remote.len());
                let both = (0..most).flat_map(|at| [own.get(at), remote.get(at)]);
                both.flatten().cloned().collect()
            }
        }
    }

    /// The pods that other clusters share behind the Service of the same name.
    fn remote_backends(&self, cluster: &ClusterName, service: &Value) -> Vec<AgentFacts> {
        if self.ignores == Ignores::RemoteBackends {
            return Vec::new();
        }
        let name = &service["metadata"]["name"];
        let is_shared = |service: &Value| {
            self.ignores == Ignores::SharedAnnotation
                || service["metadata"]["annotations"]["service.cilium.io/shared"] != "false"
        };
        let others = self.ask.facts().clusters.iter().map(|c| &c.name);
        let by_cluster: Vec<Vec<AgentFacts>> = others
            .filter(|other| *other != cluster)
            .filter_map(|other| {
                let service = self.find(other, |service| service["metadata"]["name"] == *name)?;
                (self.is_global(&service) && is_shared(&service)).then(|| self.backends(other, &service))
            })
            .collect();
        // In turns, too: few requests meet every cluster.
        let most = by_cluster.iter().map(Vec::len).max().unwrap_or(0);
        let turns = (0..most).flat_map(|at| by_cluster.iter().filter_map(move |pods| pods.get(at)));
        turns.cloned().collect()
    }

    /// The pods of a Service without selector, by its own EndpointSlices.
    fn of_slices(&self, cluster: &ClusterName, service: &Value) -> Vec<AgentFacts> {
        let slices = self.ask.objects(cluster, "EndpointSlice");
        let label = |slice: &Value| slice["metadata"]["labels"]["kubernetes.io/service-name"].clone();
        let of_service = slices
            .iter()
            .filter(|slice| label(slice) == service["metadata"]["name"]);
        let has = |agent: &&AgentFacts| {
            let mut slices = of_service.clone();
            slices.any(|slice| slice["endpoints"][0]["addresses"][0] == agent.address.to_string().as_str())
        };
        self.ask.facts().agents.iter().filter(has).cloned().collect()
    }

    /// The ready pods that a Service selects in its own cluster.
    fn backends(&self, cluster: &ClusterName, service: &Value) -> Vec<AgentFacts> {
        let Some(workload) = service["spec"]["selector"][WORKLOAD].as_str() else {
            return self.of_slices(cluster, service);
        };
        let is_scaled_down = |deployment: &Value| {
            deployment["metadata"]["labels"][WORKLOAD] == workload && deployment["spec"]["replicas"] == 0
        };
        if self.ask.objects(cluster, "Deployment").iter().any(is_scaled_down) {
            return Vec::new();
        }
        let pods = self.ask.objects(cluster, "Pod");
        let is_unready = |agent: &AgentFacts| {
            let mut pods = pods
                .iter()
                .filter(|pod| pod["metadata"]["name"] == agent.id.pod.as_str());
            pods.any(|pod| pod["status"]["conditions"][0]["status"] == "False")
        };
        let agents = self.ask.facts().agents_of(cluster, workload).into_iter();
        let agents = agents.filter(|agent| agent.scenario == "service");
        agents
            .filter(|agent| self.ignores == Ignores::Readiness || !is_unready(agent))
            .cloned()
            .collect()
    }
}
