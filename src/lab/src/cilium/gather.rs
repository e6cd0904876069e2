//! Takes an [`AgentView`] from the lab's state. What an agent does not know yet, or no longer knows, it does not get here.

mod remote;

use super::{
    agent::{Agent, HEALTH_IDENTITY, known_nodes},
    module::CiliumModule,
    object::label_list,
    view::{
        AddressView, AgentView, ApiServerView, BackendView, EncryptionView, EndpointKind, EndpointPolicy, EndpointView,
        FlowView, NameView, NodeSource, NodeView, PolicyEnabled, PolicyView, ServiceView,
    },
};
use crate::{
    crd::{CILIUM_ENDPOINTS, CILIUM_IDENTITIES},
    enforcement::PolicyState,
    fault::Fault,
    mesh::Kind,
    object::named_ports,
    state::{ClusterState, PodNetwork, PodState},
    system::SystemContainer,
    topology::EncryptionMode,
};
use ipnet::Ipv4Net;
use meshproof_apiserver::{
    ListOptions, Object, Resource,
    resource::names::{NODES, PODS, REPLICA_SETS, SERVICES},
};
use meshproof_datapath::{Direction, Encryption, Frontend, Identity, Service};
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv4Addr,
    time::SystemTime,
};

/// The reserved identities and their labels (`pkg/identity/reserved.go`).
const RESERVED: [(u32, &[&str]); 10] = [
    (1, &["reserved:host"]),
    (2, &["reserved:world"]),
    (3, &["reserved:unmanaged"]),
    (4, &["reserved:health"]),
    (5, &["reserved:init"]),
    (6, &["reserved:remote-node"]),
    (7, &["reserved:kube-apiserver", "reserved:remote-node"]),
    (8, &["reserved:ingress"]),
    (9, &["reserved:world-ipv4"]),
    (10, &["reserved:world-ipv6"]),
];

/// Gathers for one agent.
pub(super) struct Gatherer<'a> {
    pub(super) module: &'a CiliumModule,
    pub(super) container: &'a SystemContainer,
    pub(super) agent: &'a Agent,
}

impl Gatherer<'_> {
    pub(super) async fn view(&self) -> AgentView {
        let (lab, cluster, node) = (&self.container.lab, &self.container.cluster, &self.container.node);
        let announced: BTreeSet<String> = self.of_remotes(Kind::Node).into_iter().map(|(name, _)| name).collect();
        let mut nodes = known_nodes(lab, cluster.name(), node.name());
        nodes.retain(|node| node.source != NodeSource::ClusterMesh || announced.contains(&node.full_name()));
        let own = nodes
            .iter()
            .find(|n| n.source == NodeSource::Local)
            .cloned()
            .unwrap_or_else(|| NodeView {
                cluster: cluster.name().to_owned(),
                name: node.name().to_owned(),
                address: node.spec.address,
                router: node.handle.config().router,
                health: node.spec.health_address(),
                pod_cidr: node.spec.pod_cidr,
                source: NodeSource::Local,
            });
        let policy = PolicyState::of(node);
        AgentView {
            now: SystemTime::now(),
            started: self.agent.started,
            routing: lab.topology.routing,
            encryption: self.encryption().await,
            mutual_authentication: cluster.spec.mutual_authentication,
            endpoints: self.endpoints(&own),
            services: self.services(),
            identities: self.identities(),
            addresses: self.addresses(&nodes),
            remotes: self.remotes(),
            global_services: self.global_services(),
            replaces_kube_proxy: !self.acts(Fault::KubeProxyReplacementOff),
            api_server: self.api_server(),
            health: self.agent.findings.report(),
            counters: node.handle.counters().await,
            flow_capacity: node.handle.config().flow_capacity,
            policy: PolicyView {
                revision: policy.revision(),
                rules: policy.shown(),
                names: self.names(),
            },
            device: if self.acts(Fault::CaptureWrongDevice) {
                "lo"
            } else {
                "eth0"
            },
            node: own,
            nodes,
        }
    }

    fn api_server(&self) -> ApiServerView {
        if self.acts(Fault::AgentApiServerLost) {
            ApiServerView::Lost
        } else {
            ApiServerView::Reached
        }
    }

    /// Whether a fault is in force and acts on this agent.
    fn acts(&self, fault: Fault) -> bool {
        let container = self.container;
        container.lab.acts_on(fault, &container.cluster, container.node.name())
    }

    pub(super) async fn flows(&self) -> FlowView {
        let (cluster, node) = (&self.container.cluster, &self.container.node);
        let nodes = known_nodes(&self.container.lab, cluster.name(), node.name());
        let own = nodes.iter().find(|n| n.source == NodeSource::Local).cloned();
        FlowView {
            node: format!("{}/{}", cluster.name(), node.name()),
            node_labels: self.node_labels(),
            events: node.handle.flows(0).await,
            addresses: self.addresses(&nodes),
            identities: self.identities(),
            endpoints: own.map(|own| self.endpoints(&own)).unwrap_or_default(),
        }
    }

    fn list(&self, resource: &Resource) -> Vec<Object> {
        let store = &self.container.cluster.store;
        store
            .list(resource, None, &ListOptions::default())
            .map(|list| list.items)
            .unwrap_or_default()
    }

    fn node_labels(&self) -> Vec<String> {
        let node = self
            .container
            .cluster
            .store
            .find(&NODES, None, self.container.node.name());
        let labels = node.map(|node| {
            node.labels()
                .iter()
                .map(|(key, value)| format!("{key}={value}"))
                .collect()
        });
        labels.unwrap_or_default()
    }

    async fn encryption(&self) -> EncryptionView {
        let handle = &self.container.node.handle;
        let is_off = self.acts(Fault::EncryptionOff);
        match handle.config().encryption {
            Encryption::WireGuard { .. } if is_off => EncryptionView::Disabled,
            Encryption::None => EncryptionView::Disabled,
            Encryption::WireGuard { port } => EncryptionView::WireGuard {
                public_key: handle.public_key().to_string(),
                port,
                peers: handle.peers().await,
            },
        }
    }

    fn endpoints(&self, own: &NodeView) -> Vec<EndpointView> {
        let known = PolicyState::of(&self.container.node);
        let policy = |identity: Identity| {
            let enforces = |direction| known.enforces(identity, direction);
            EndpointPolicy {
                revision: if self.acts(Fault::PolicyEndpointsBehind) {
                    0
                } else {
                    known.realized()
                },
                enabled: match (enforces(Direction::Ingress), enforces(Direction::Egress)) {
                    (true, true) => PolicyEnabled::Both,
                    (true, false) => PolicyEnabled::Ingress,
                    (false, true) => PolicyEnabled::Egress,
                    (false, false) => PolicyEnabled::None,
                },
            }
        };
        let reserved = |kind: EndpointKind, key: &str, identity: Identity, address: Option<Ipv4Addr>| EndpointView {
            id: self.agent.endpoint_id(key),
            labels: RESERVED[identity.0 as usize - 1]
                .1
                .iter()
                .map(|label| (*label).to_owned())
                .collect(),
            kind,
            identity: identity.0,
            derived: Vec::new(),
            address,
            named_ports: Vec::new(),
            created: self.agent.started,
            policy: policy(identity),
        };
        let mut found = vec![
            reserved(EndpointKind::Host, "host", Identity::HOST, None),
            reserved(EndpointKind::Health, "health", HEALTH_IDENTITY, Some(own.health)),
        ];
        let pods = self.container.node.pods();
        found.extend(
            pods.iter()
                .filter_map(|pod| self.pod_endpoint(pod, policy(pod.identity()))),
        );
        found.sort_by_key(|endpoint| endpoint.id);
        found
    }

    fn pod_endpoint(&self, state: &PodState, policy: EndpointPolicy) -> Option<EndpointView> {
        let PodNetwork::Own { identity, .. } = &state.network else {
            return None;
        };
        let cluster = &self.container.cluster;
        let labels = cluster
            .identities
            .labels(*identity)
            .map(|labels| label_list(&labels))
            .unwrap_or_default();
        let pod = cluster.store.find(&PODS, Some(&state.namespace), &state.name);
        let of_pod = pod.as_ref().map(|pod| pod.labels()).unwrap_or_default();
        let derived = of_pod.iter().map(|(key, value)| format!("k8s:{key}={value}"));
        Some(EndpointView {
            id: self.agent.endpoint_id(&state.uid),
            derived: derived.filter(|label| !labels.contains(label)).collect(),
            kind: EndpointKind::Pod {
                namespace: state.namespace.clone(),
                name: state.name.clone(),
                uid: state.uid.clone(),
                workload: pod.as_ref().and_then(|pod| workload(cluster, pod)),
            },
            identity: identity.0,
            labels,
            address: Some(state.address),
            named_ports: pod.as_ref().map(|pod| named_ports(pod)).unwrap_or_default(),
            created: state.created,
            policy,
        })
    }

    fn names(&self) -> Vec<NameView> {
        let pods = self.container.node.pods();
        let known = PolicyState::of(&self.container.node)
            .names()
            .all()
            .into_iter()
            .filter_map(|known| {
                let pod = pods.iter().find(|pod| pod.address == known.client)?;
                Some(NameView {
                    endpoint: self.agent.endpoint_id(&pod.uid),
                    name: known.name,
                    address: known.address,
                    looked_up: known.at,
                    ttl: known.ttl,
                })
            });
        known.collect()
    }

    fn services(&self) -> Vec<ServiceView> {
        let objects = self.list(&SERVICES);
        let nodes: BTreeMap<Ipv4Addr, String> = self
            .container
            .cluster
            .nodes()
            .iter()
            .flat_map(|node| node.pods().into_iter().map(|pod| (pod.address, node.name().to_owned())))
            .collect();
        let mut served: Vec<Service> = self.container.cluster.services.borrow().clone();
        served.sort_by(|a, b| (&a.name, a.frontend).cmp(&(&b.name, b.frontend)));
        let views = served.iter().zip(1..).map(|(service, id)| {
            let (namespace, name) = service
                .name
                .as_str()
                .split_once('/')
                .unwrap_or(("", service.name.as_str()));
            let object = objects
                .iter()
                .find(|o| o.namespace() == Some(namespace) && o.name() == name);
            let spec = object.map_or(&Value::Null, |object| &object["spec"]);
            let (address, port) = match service.frontend {
                Frontend::Address { address, .. } => (*address.ip(), address.port()),
                Frontend::NodePort { port, .. } => (Ipv4Addr::UNSPECIFIED, port),
            };
            ServiceView {
                id,
                namespace: namespace.to_owned(),
                name: name.to_owned(),
                kind: kind_of(&service.frontend, spec),
                address,
                port,
                protocol: service.frontend.protocol(),
                external_policy: policy_of(&spec["externalTrafficPolicy"]),
                internal_policy: policy_of(&spec["internalTrafficPolicy"]),
                backends: service
                    .backends
                    .iter()
                    .map(|backend| BackendView {
                        address: *backend.address.ip(),
                        port: backend.address.port(),
                        state: backend.state,
                        node: nodes.get(backend.address.ip()).cloned(),
                        zone: None,
                    })
                    .collect(),
            }
        });
        views.collect()
    }

    fn identities(&self) -> Vec<(u32, Vec<String>)> {
        let mut found: BTreeMap<u32, Vec<String>> = RESERVED
            .iter()
            .map(|(id, labels)| (*id, labels.iter().map(|label| (*label).to_owned()).collect()))
            .collect();
        for object in self.list(&CILIUM_IDENTITIES) {
            if let Ok(id) = object.name().parse() {
                found.insert(id, security_labels(&object["security-labels"]));
            }
        }
        for (id, labels) in self.of_remotes(Kind::Identity) {
            if let Ok(id) = id.parse() {
                found.insert(id, security_labels(&labels));
            }
        }
        found.into_iter().collect()
    }

    fn addresses(&self, nodes: &[NodeView]) -> Vec<AddressView> {
        let encrypted = self.container.lab.topology.encryption == EncryptionMode::WireGuard;
        let host_net = |address: Ipv4Addr| Ipv4Net::from(address);
        let entry = |cidr, identity, host, encrypted| AddressView {
            cidr,
            identity,
            host,
            encrypted,
            pod: None,
        };
        let mut found = vec![entry(Ipv4Net::default(), Identity::WORLD.0, None, false)];
        for node in nodes {
            let local = node.source == NodeSource::Local;
            let identity = if local { Identity::HOST } else { Identity::REMOTE_NODE }.0;
            if !local {
                found.push(entry(node.pod_cidr, Identity::WORLD.0, Some(node.address), encrypted));
            }
            found.push(entry(host_net(node.address), identity, None, false));
            found.push(entry(host_net(node.router), identity, Some(node.address), false));
            found.push(entry(
                host_net(node.health),
                HEALTH_IDENTITY.0,
                Some(node.address),
                encrypted,
            ));
        }
        let pod = |ip: &Value, host: &Value, id: &Value, namespace: &str, name: &str, source| {
            Some(AddressView {
                cidr: host_net(ip.as_str()?.parse().ok()?),
                identity: u32::try_from(id.as_u64()?).ok()?,
                host: host.as_str().and_then(|host| host.parse().ok()),
                encrypted,
                pod: Some((namespace.to_owned(), name.to_owned(), source)),
            })
        };
        for object in self.list(&CILIUM_ENDPOINTS) {
            let status = &object["status"];
            let networking = &status["networking"];
            let (ip, host) = (&networking["addressing"][0]["ipv4"], &networking["node"]);
            let namespace = object.namespace().unwrap_or_default();
            found.extend(pod(
                ip,
                host,
                &status["identity"]["id"],
                namespace,
                object.name(),
                "custom-resource",
            ));
        }
        for (_, value) in self.of_remotes(Kind::Endpoint) {
            let text = |field: &str| value[field].as_str().unwrap_or_default();
            let (namespace, name) = (text("K8sNamespace"), text("K8sPodName"));
            found.extend(pod(
                &value["IP"],
                &value["HostIP"],
                &value["ID"],
                namespace,
                name,
                "clustermesh",
            ));
        }
        found.sort_by_key(|entry| (entry.cidr.prefix_len(), entry.cidr.network()));
        found
    }
}

fn security_labels(labels: &Value) -> Vec<String> {
    let labels = labels.as_object().into_iter().flatten();
    labels
        .map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default()))
        .collect()
}

fn kind_of(frontend: &Frontend, spec: &Value) -> &'static str {
    match frontend {
        Frontend::NodePort { .. } => "NodePort",
        Frontend::Address { address, .. } => {
            let address = address.ip().to_string();
            let external = spec["externalIPs"].as_array().into_iter().flatten();
            match () {
                () if spec["clusterIP"] == address.as_str() || spec.is_null() => "ClusterIP",
                () if external.into_iter().any(|ip| *ip == address.as_str()) => "ExternalIPs",
                () => "LoadBalancer",
            }
        }
    }
}

fn policy_of(value: &Value) -> &'static str {
    if value == "Local" { "Local" } else { "Cluster" }
}

/// Name and kind of what made a pod: a ReplicaSet stands for its Deployment.
fn workload(cluster: &ClusterState, pod: &Object) -> Option<(String, String)> {
    let owner = |object: &Object| {
        let owner = &object["metadata"]["ownerReferences"][0];
        Some((owner["name"].as_str()?.to_owned(), owner["kind"].as_str()?.to_owned()))
    };
    let (name, kind) = owner(pod)?;
    if kind != "ReplicaSet" {
        return Some((name, kind));
    }
    let set = cluster.store.find(&REPLICA_SETS, pod.namespace(), &name);
    set.and_then(|set| owner(&set)).or(Some((name, kind)))
}
