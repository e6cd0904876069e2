//! Services and EndpointSlices, reduced to what agents make of them.

use super::object::{Name, address, list, name, text, texts};
use meshproof_contract::NodeName;
use serde_json::Value;
use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
};

const MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";
/// Who makes slices of Services with a selector.
const SELECTING: &str = "endpointslice-controller.k8s.io";
/// The operator's own copies of other clusters' endpoints, which agents know already.
const MIRRORED: &str = "endpointslice-mesh-controller.cilium.io";
/// What stands for Envoy in slices of Ingress and Gateway; it is never asked.
const DUMMY: [u8; 4] = [192, 192, 192, 192];

/// A port of a Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port {
    /// Its name; empty where it has none.
    pub name: String,
    /// TCP, UDP or SCTP.
    pub protocol: String,
    /// Its number.
    pub number: u16,
    /// The node's port.
    pub node_port: Option<u16>,
}

/// A Service.
#[derive(Clone, Debug)]
pub struct Service {
    /// Namespace and name.
    pub name: Name,
    /// Changes when it does.
    pub version: String,
    /// Cluster IPs.
    pub cluster_ips: Vec<IpAddr>,
    /// Its ports.
    pub ports: Vec<Port>,
    /// `internalTrafficPolicy: Local`.
    pub internal_local: bool,
    /// `externalTrafficPolicy: Local`.
    pub external_local: bool,
    /// Somebody else than Cilium serves it, or only on some nodes or in part.
    pub special: bool,
    /// The labels of its pods; empty where it has no selector.
    pub selector: BTreeMap<String, String>,
    /// Pods that are not ready count as well.
    pub publishes_unready: bool,
    annotations: BTreeMap<String, String>,
}

/// An endpoint of a slice.
#[derive(Clone, Debug)]
pub struct Backend {
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
    /// Takes new connections.
    pub ready: bool,
    /// Still answers, as one that terminates.
    pub serving: bool,
    /// On its way out: new connections go there only if there is no other.
    pub terminating: bool,
    /// Its node.
    pub node: Option<NodeName>,
}

/// An EndpointSlice.
#[derive(Clone, Debug)]
pub struct Slice {
    /// Namespace and name of its Service.
    pub service: Name,
    /// Changes when it does.
    pub version: String,
    /// A copy of another cluster's.
    pub mirrored: bool,
    /// Written by Kubernetes' own controller, from the Service's selector.
    pub selected: bool,
    /// Name, protocol and number of its ports.
    pub ports: Vec<(String, String, u16)>,
    /// Its endpoints.
    pub backends: Vec<Backend>,
}

/// Which side is preferred (`service.cilium.io/affinity`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Affinity {
    /// None: both count. Also where it is not written.
    None,
    /// None, written out: 1.18 takes no remote backends then (semantics B9).
    WrittenNone,
    /// The own cluster.
    Local,
    /// The other clusters.
    Remote,
    /// A text that means nothing.
    Unknown,
}

impl Service {
    /// Reads one.
    pub fn of(object: &Value) -> Self {
        let (metadata, spec) = (&object["metadata"], &object["spec"]);
        let annotations = texts(&metadata["annotations"]);
        let labels = &metadata["labels"];
        let labelled = [
            "service.kubernetes.io/service-proxy-name",
            "service.kubernetes.io/headless",
        ];
        let annotated = [
            "service.cilium.io/type",
            "service.cilium.io/node",
            "service.cilium.io/node-selector",
        ];
        let special = labelled.iter().any(|label| !labels[label].is_null())
            || annotated.iter().any(|name| annotations.contains_key(*name));
        let ips = list(&spec["clusterIPs"]).chain([&spec["clusterIP"]]);
        let mut cluster_ips: Vec<IpAddr> = ips.filter_map(address).collect();
        cluster_ips.sort_unstable();
        cluster_ips.dedup();
        Self {
            name: name(object),
            version: text(&metadata["resourceVersion"]),
            cluster_ips,
            ports: list(&spec["ports"]).filter_map(port).collect(),
            internal_local: spec["internalTrafficPolicy"] == "Local",
            external_local: spec["externalTrafficPolicy"] == "Local",
            special,
            selector: match spec["type"] == "ExternalName" {
                true => BTreeMap::new(),
                false => texts(&spec["selector"]),
            },
            publishes_unready: spec["publishNotReadyAddresses"] == true,
            annotations,
        }
    }

    fn annotation(&self, name: &str, legacy: &str) -> Option<&str> {
        let found = self.annotations.get(name).or(self.annotations.get(legacy));
        found.map(String::as_str)
    }

    /// Whether it is merged with those of other clusters.
    pub fn is_global(&self) -> bool {
        let value = self.annotation("service.cilium.io/global", "io.cilium/global-service");
        value.is_some_and(|value| value.eq_ignore_ascii_case("true"))
    }

    /// Whether a global one gives its backends to others.
    pub fn is_shared(&self) -> bool {
        let value = self.annotation("service.cilium.io/shared", "io.cilium/shared-service");
        value.is_none_or(|value| value.eq_ignore_ascii_case("true"))
    }

    /// Which side it prefers.
    pub fn affinity(&self) -> Affinity {
        match self.annotation("service.cilium.io/affinity", "io.cilium/service-affinity") {
            None | Some("") => Affinity::None,
            Some("none") => Affinity::WrittenNone,
            Some("local") => Affinity::Local,
            Some("remote") => Affinity::Remote,
            Some(_) => Affinity::Unknown,
        }
    }
}

fn port(port: &Value) -> Option<Port> {
    Some(Port {
        name: text(&port["name"]),
        protocol: port["protocol"].as_str().unwrap_or("TCP").to_owned(),
        number: number(&port["port"])?,
        node_port: number(&port["nodePort"]),
    })
}

impl Slice {
    /// Reads one.
    pub fn of(object: &Value) -> Self {
        let metadata = &object["metadata"];
        let labels = &metadata["labels"];
        let ports = list(&object["ports"]).filter_map(|port| {
            let protocol = port["protocol"].as_str().unwrap_or("TCP").to_owned();
            Some((text(&port["name"]), protocol, number(&port["port"])?))
        });
        let backends = list(&object["endpoints"]).map(|endpoint| {
            let conditions = &endpoint["conditions"];
            let is = |name: &str, default: bool| conditions[name].as_bool().unwrap_or(default);
            let ready = is("ready", true);
            let addresses = list(&endpoint["addresses"]).filter_map(address);
            Backend {
                addresses: addresses.filter(|address| *address != IpAddr::from(DUMMY)).collect(),
                ready,
                serving: is("serving", ready),
                terminating: is("terminating", false),
                node: endpoint["nodeName"].as_str().map(|node| NodeName::new(node.to_owned())),
            }
        });
        Self {
            service: (
                text(&metadata["namespace"]),
                text(&labels["kubernetes.io/service-name"]),
            ),
            version: format!("{}@{}", text(&metadata["name"]), text(&metadata["resourceVersion"])),
            selected: labels[MANAGED_BY] == SELECTING,
            mirrored: labels[MANAGED_BY] == MIRRORED,
            ports: ports.collect(),
            backends: backends.collect(),
        }
    }

    /// Its backends at the ports that fit, each with its addresses.
    pub fn at<'a>(&'a self, fits: impl Fn(&str, &str) -> bool + 'a) -> impl Iterator<Item = (SocketAddr, &'a Backend)> {
        let ports = self
            .ports
            .iter()
            .filter(move |(name, protocol, _)| fits(name, protocol));
        ports.flat_map(|(_, _, number)| {
            self.backends.iter().flat_map(move |backend| {
                let addresses = backend.addresses.iter();
                addresses.map(move |address| (SocketAddr::new(*address, *number), backend))
            })
        })
    }
}

fn number(value: &Value) -> Option<u16> {
    value.as_u64()?.try_into().ok().filter(|number| *number > 0)
}
