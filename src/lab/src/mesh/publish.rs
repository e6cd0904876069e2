//! What a cluster publishes: from its objects to keys and values. A pure function.

use super::{
    global,
    keyspace::{KeyKind, Snapshot},
};
use meshproof_apiserver::Object;
use serde_json::{Value, json};
use std::{collections::BTreeMap, sync::Arc};

/// The objects that a cluster publishes from.
pub struct Published<'a> {
    /// The cluster's name.
    pub cluster: &'a str,
    /// Its id.
    pub id: u8,
    /// CiliumNodes.
    pub nodes: &'a [Object],
    /// CiliumIdentities.
    pub identities: &'a [Object],
    /// CiliumEndpoints.
    pub endpoints: &'a [Object],
    /// Services.
    pub services: &'a [Object],
    /// EndpointSlices.
    pub slices: &'a [Object],
    /// By a fault, whether backends that are not ready are announced.
    pub unready: bool,
}

impl Published<'_> {
    /// Everything that other clusters may see. `shows` decides about services.
    pub fn snapshot(&self, shows: impl Fn(&Object) -> bool) -> Snapshot {
        let mut all = Snapshot::new();
        let mut put = |kind: KeyKind, rest: String, value: Value| all.insert(kind.key(&rest), Arc::new(value));
        for node in self.nodes {
            put(
                KeyKind::Node,
                format!("{}/{}", self.cluster, node.name()),
                self.node(node),
            );
        }
        for identity in self.identities {
            let labels = identity["security-labels"].clone();
            put(KeyKind::Identity, identity.name().to_owned(), labels);
        }
        for endpoint in self.endpoints {
            for address in endpoint["status"]["networking"]["addressing"]
                .as_array()
                .into_iter()
                .flatten()
            {
                if let Some(ip) = address["ipv4"].as_str() {
                    put(KeyKind::Endpoint, ip.to_owned(), self.endpoint(endpoint, ip));
                }
            }
        }
        let mut slices: BTreeMap<_, Vec<&Object>> = BTreeMap::new();
        for slice in self.slices {
            let service = slice.label("kubernetes.io/service-name").unwrap_or_default();
            slices.entry((slice.namespace(), service)).or_default().push(slice);
        }
        for service in self.services.iter().filter(|service| shows(service)) {
            let namespace = service.namespace().unwrap_or_default();
            let slices = slices
                .get(&(service.namespace(), service.name()))
                .map_or(&[][..], Vec::as_slice);
            let value = global::published(self.cluster, self.id, service, slices, self.unready);
            put(
                KeyKind::Service,
                format!("{}/{namespace}/{}", self.cluster, service.name()),
                value,
            );
        }
        all
    }

    /// `pkg/node/types.Node` of Cilium, as far as the lab has it.
    fn node(&self, node: &Object) -> Value {
        let spec = &node["spec"];
        let addresses = spec["addresses"].as_array().into_iter().flatten();
        let addresses: Vec<_> = addresses.map(|a| json!({"Type": a["type"], "IP": a["ip"]})).collect();
        let ipv4 = |index: usize| spec["ipam"]["podCIDRs"][index].clone();
        json!({
            "Name": node.name(),
            "Cluster": self.cluster,
            "ClusterID": self.id,
            "IPAddresses": addresses,
            "IPv4AllocCIDR": ipv4(0),
            "IPv4HealthIP": spec["health"]["ipv4"],
            "EncryptionKey": spec["encryption"]["key"],
            "Labels": node["metadata"]["labels"],
            "WireguardPubKey": node.annotation("network.cilium.io/wg-pub-key"),
        })
    }

    /// `pkg/identity.IPIdentityPair` of Cilium.
    fn endpoint(&self, endpoint: &Object, ip: &str) -> Value {
        let status = &endpoint["status"];
        json!({
            "IP": ip,
            "HostIP": status["networking"]["node"],
            "ID": status["identity"]["id"],
            "Key": status["encryption"]["key"],
            "K8sNamespace": endpoint.namespace(),
            "K8sPodName": endpoint.name(),
        })
    }
}
