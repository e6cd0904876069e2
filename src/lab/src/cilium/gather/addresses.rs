//! What an agent knows of identities, and of the addresses that have them.

use super::{Gatherer, RESERVED};
use crate::{
    cilium::{
        agent::HEALTH_IDENTITY,
        view::{AddressView, NodeEncryption, NodeSource, NodeView},
    },
    crd::{CILIUM_ENDPOINTS, CILIUM_IDENTITIES},
    fault::Fault,
    ipcache::{self, Distortion},
    mesh::KeyKind,
    profile::EncryptionMode,
};
use ipnet::Ipv4Net;
use meshproof_datapath::Identity;
use serde_json::Value;
use std::{collections::BTreeMap, net::Ipv4Addr};

impl Gatherer<'_> {
    pub(super) fn identities(&self) -> Vec<(u32, Vec<String>)> {
        let mut found: BTreeMap<u32, Vec<String>> = RESERVED
            .iter()
            .map(|(id, labels)| (*id, labels.iter().map(|label| (*label).to_owned()).collect()))
            .collect();
        for object in self.list(&CILIUM_IDENTITIES) {
            if let Ok(id) = object.name().parse() {
                found.insert(id, security_labels(&object["security-labels"]));
            }
        }
        for (id, labels) in self.of_remotes(KeyKind::Identity) {
            if let Ok(id) = id.parse() {
                found.insert(id, security_labels(&labels));
            }
        }
        let (lab, cluster, node) = (&self.container.lab, &self.container.cluster, &self.container.node);
        if let Some(unknown) = ipcache::unknown_identity(lab, cluster, node) {
            found.remove(&unknown.0);
        }
        found.into_iter().collect()
    }

    pub(super) fn addresses(&self, nodes: &[NodeView]) -> Vec<AddressView> {
        let settings = self.container.lab.topology.settings();
        let encrypted = settings.encryption == EncryptionMode::WireGuard;
        let nodes_encrypted = encrypted && self.node_encryption() == NodeEncryption::Enabled;
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
            let host = nodes_encrypted.then_some(node.address);
            let of_node = ipcache::of_node(&self.container.cluster, node.address, local).0;
            found.push(entry(host_net(node.address), of_node, host, nodes_encrypted));
            let router = entry(host_net(node.router), identity, Some(node.address), nodes_encrypted);
            found.push(router);
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
        let (lab, cluster, node) = (&self.container.lab, &self.container.cluster, &self.container.node);
        let knows_remote_pods = ipcache::knows_remote_pods(lab, cluster, node.name());
        let own = node.spec.address.to_string();
        // Its own pods are endpoints of the agent itself, whatever the API has of them.
        let endpoints = node.pods().into_iter().filter(|pod| pod.identity() != Identity::HOST);
        found.extend(endpoints.map(|local| AddressView {
            cidr: host_net(local.address),
            identity: local.identity().0,
            host: Some(node.spec.address),
            encrypted,
            pod: Some((local.namespace, local.name, "custom-resource")),
        }));
        for object in self.list(&CILIUM_ENDPOINTS) {
            let status = &object["status"];
            let networking = &status["networking"];
            let (ip, host) = (&networking["addressing"][0]["ipv4"], &networking["node"]);
            if *host == own.as_str() || !knows_remote_pods {
                continue;
            }
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
        for (_, value) in self
            .of_remotes(KeyKind::Endpoint)
            .into_iter()
            .filter(|_| knows_remote_pods)
        {
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
        let distortion = Distortion::of(lab, cluster, node);
        found.retain(|entry| !distortion.lacks(entry.cidr));
        let lacks_key = self.acts(Fault::IpcacheKeyMissing);
        let keyless = ipcache::keyless(lab, cluster, node).filter(|_| lacks_key);
        for entry in &mut found {
            entry.encrypted &= keyless.is_none_or(|address| entry.cidr != host_net(address));
            entry.identity = distortion.seen(entry.cidr, Identity(entry.identity)).0;
        }
        found.extend(distortion.extra().map(|(cidr, identity)| {
            let home = nodes.iter().find(|node| node.pod_cidr.contains(&cidr));
            entry(cidr, identity.0, home.map(|home| home.address), encrypted)
        }));
        found.sort_by_key(|entry| (entry.cidr.prefix_len(), entry.cidr.network()));
        found.dedup_by_key(|entry| entry.cidr);
        found
    }
}

fn security_labels(labels: &Value) -> Vec<String> {
    let labels = labels.as_object().into_iter().flatten();
    labels
        .map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default()))
        .collect()
}
