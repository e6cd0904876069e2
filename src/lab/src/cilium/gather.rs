//! Takes an [`AgentView`] from the lab's state. What an agent does not know yet, or no longer knows, it does not get
//! here.

mod addresses;
mod configuration;
mod endpoints;
mod remote;
mod services;

use super::{
    agent::{Agent, known_nodes},
    ghost,
    pods::CiliumPods,
    view::{AgentView, ApiServerView, EncryptionView, FlowView, NodeEncryption, NodeSource, NodeView, PolicyView},
};
use crate::{enforcement::PolicyState, fault::Fault, mesh::KeyKind, system::SystemContainer};
use meshproof_apiserver::{ListOptions, Object, Resource, resource::names::NODES};
use meshproof_datapath::Encryption;
use std::{collections::BTreeSet, time::SystemTime};

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
    pub(super) pods: &'a CiliumPods,
    pub(super) container: &'a SystemContainer,
    pub(super) agent: &'a Agent,
}

impl Gatherer<'_> {
    pub(super) async fn view(&self) -> AgentView {
        let (lab, cluster, node) = (&self.container.lab, &self.container.cluster, &self.container.node);
        let announced: BTreeSet<String> = self
            .of_remotes(KeyKind::Node)
            .into_iter()
            .map(|(name, _)| name)
            .collect();
        let mut nodes = known_nodes(lab, cluster.name(), node.name());
        nodes.extend(ghost::known(lab, cluster, NodeSource::CustomResource));
        let others = lab.others(cluster.name());
        nodes.extend(others.flat_map(|other| ghost::known(lab, other, NodeSource::ClusterMesh)));
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
            settings: lab.topology.settings(),
            native_range: lab.topology.stated_native_range(&cluster.spec),
            encryption: self.encryption().await,
            mutual_authentication: cluster.spec.mutual_authentication,
            endpoints: self.endpoints(&own),
            services: self.services(),
            identities: self.identities(),
            addresses: self.addresses(&nodes),
            remotes: self.remotes(),
            global_services: self.global_services(),
            configuration: self.configuration(),
            replaces_kube_proxy: lab.topology.settings().kube_proxy_replacement
                && !self.acts(Fault::KubeProxyReplacementOff),
            api_server: self.api_server(),
            is_forbidden: self.acts(Fault::AgentForbidden),
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
                nodes: self.node_encryption(),
            },
        }
    }

    fn node_encryption(&self) -> NodeEncryption {
        match self.container.lab.topology.settings().node_encryption {
            false => NodeEncryption::Disabled,
            true if self.acts(Fault::NodeEncryptionOff) => NodeEncryption::Disabled,
            true if self.acts(Fault::NodeEncryptionOptedOut) => NodeEncryption::OptedOut,
            true => NodeEncryption::Enabled,
        }
    }
}
