//! Objects of the API, reduced to what agents make of them.

use ipnet::IpNet;
use jiff::{SignedDuration, Timestamp};
use meshproof_contract::NodeName;
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

/// How long a new node may take until Cilium runs there.
const JOINING: SignedDuration = SignedDuration::from_mins(5);

/// Namespace and name.
pub type Name = (String, String);

/// A pod.
#[derive(Clone, Debug)]
pub struct Pod {
    /// Namespace and name.
    pub name: Name,
    /// Its uid.
    pub uid: String,
    /// Its node, once it has one.
    pub node: Option<NodeName>,
    /// Its addresses.
    pub addresses: BTreeSet<IpAddr>,
    /// The addresses of its node, as the kubelet says.
    pub hosts: BTreeSet<IpAddr>,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// It runs and is not on its way out.
    pub is_up: bool,
    /// The same, with a network of its own.
    pub runs: bool,
    /// Whether it is ready, and since when, as far as it says.
    pub ready: Option<(bool, String)>,
}

/// A CiliumEndpoint.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// Namespace and name, which are the pod's.
    pub name: Name,
    /// Its addresses.
    pub addresses: BTreeSet<IpAddr>,
    /// The address of its node.
    pub node: Option<IpAddr>,
    /// Its identity, once it has one.
    pub identity: Option<u64>,
    /// The labels of that.
    pub labels: BTreeSet<String>,
    /// The key by which what is for it is encrypted; none where nothing is.
    pub key: Option<u64>,
}

/// A CiliumNode.
#[derive(Clone, Debug)]
pub struct CiliumNode {
    /// Its name.
    pub name: String,
    /// Its addresses on the network between nodes.
    pub addresses: BTreeSet<IpAddr>,
    /// Those out of the pods' ranges that are the node's: router, health endpoint, ingress.
    pub reserved: BTreeSet<IpAddr>,
    /// Of those the router's: the node speaks to pods from them.
    pub routers: BTreeSet<IpAddr>,
    /// Of those the health endpoint's.
    pub health: BTreeSet<IpAddr>,
    /// The ranges of its pods, as far as it says.
    pub pod_ranges: Vec<IpNet>,
    /// Its WireGuard key.
    pub key: Option<String>,
    /// Whether its operators keep it although no Node has its name (`cilium.io/do-not-gc`).
    pub kept: bool,
}

/// A Node.
#[derive(Clone, Debug)]
pub struct Node {
    /// Its name.
    pub name: String,
    /// Its addresses of all types.
    pub addresses: BTreeSet<IpAddr>,
    /// Why it is not ready; none if it is, or does not say.
    pub unready: Option<String>,
    /// It joined so lately that its agent may still be on its way.
    pub joins: bool,
}

/// Reads a Pod.
pub fn pod(object: &Value) -> Pod {
    let (spec, status) = (&object["spec"], &object["status"]);
    let listed = list(&status["podIPs"]).map(|entry| &entry["ip"]);
    let addresses = listed.chain([&status["podIP"]]).filter_map(address).collect();
    let hosts = list(&status["hostIPs"]).map(|entry| &entry["ip"]);
    let is_up = status["phase"] == "Running" && object["metadata"]["deletionTimestamp"].is_null();
    let ready = list(&status["conditions"]).find(|condition| condition["type"] == "Ready");
    Pod {
        name: name(object),
        uid: text(&object["metadata"]["uid"]),
        node: spec["nodeName"].as_str().map(|node| NodeName::new(node.to_owned())),
        addresses,
        hosts: hosts.chain([&status["hostIP"]]).filter_map(address).collect(),
        labels: texts(&object["metadata"]["labels"]),
        is_up,
        runs: is_up && spec["hostNetwork"] != true,
        ready: ready.map(|ready| (ready["status"] == "True", text(&ready["lastTransitionTime"]))),
    }
}

/// Reads a CiliumEndpoint.
pub fn endpoint(object: &Value) -> Endpoint {
    let status = &object["status"];
    let pairs = list(&status["networking"]["addressing"]);
    Endpoint {
        name: name(object),
        addresses: pairs
            .flat_map(|pair| [&pair["ipv4"], &pair["ipv6"]])
            .filter_map(address)
            .collect(),
        node: address(&status["networking"]["node"]),
        identity: status["identity"]["id"].as_u64().filter(|id| *id > 0),
        labels: list(&status["identity"]["labels"]).map(text).collect(),
        key: status["encryption"]["key"].as_u64().filter(|key| *key > 0),
    }
}

/// Reads a CiliumNode.
pub fn cilium_node(object: &Value) -> CiliumNode {
    let (metadata, spec) = (&object["metadata"], &object["spec"]);
    let of_type = |wanted: &str| -> BTreeSet<IpAddr> {
        let of_type = list(&spec["addresses"]).filter(|entry| entry["type"] == wanted);
        of_type.filter_map(|entry| address(&entry["ip"])).collect()
    };
    let at = |path: &str| address(spec.pointer(path)?);
    let routers = of_type("CiliumInternalIP");
    let health: BTreeSet<IpAddr> = ["/health/ipv4", "/health/ipv6"].into_iter().filter_map(at).collect();
    let ingress = ["/ingress/ipv4", "/ingress/ipv6"].into_iter().filter_map(at);
    let ranges = list(&spec["ipam"]["podCIDRs"]);
    // IPAM by several pools (`multi-pool`) has them there.
    let pools = list(&spec["ipam"]["pools"]["allocated"]).flat_map(|pool| list(&pool["cidrs"]));
    let ranges = ranges.chain(pools).filter_map(|range| range.as_str()?.parse().ok());
    let keys = crate::kit::cilium::nodes::PUBLIC_KEY;
    let key = keys.iter().find_map(|key| metadata["annotations"][key].as_str());
    CiliumNode {
        name: text(&metadata["name"]),
        addresses: of_type("InternalIP"),
        reserved: routers.iter().chain(&health).copied().chain(ingress).collect(),
        routers,
        health,
        pod_ranges: ranges.collect(),
        key: key.filter(|key| !key.is_empty()).map(str::to_owned),
        kept: metadata["annotations"]["cilium.io/do-not-gc"] == "true",
    }
}

/// Reads a Node.
pub fn node(object: &Value) -> Node {
    let ready = list(&object["status"]["conditions"]).find(|condition| condition["type"] == "Ready");
    let unready = ready.filter(|ready| ready["status"] != "True");
    let created = object["metadata"]["creationTimestamp"]
        .as_str()
        .and_then(|at| at.parse::<Timestamp>().ok());
    Node {
        name: text(&object["metadata"]["name"]),
        addresses: list(&object["status"]["addresses"])
            .filter_map(|entry| address(&entry["address"]))
            .collect(),
        joins: created.is_some_and(|created| Timestamp::now().duration_since(created) < JOINING),
        unready: unready.map(|ready| {
            let since = ready["lastTransitionTime"].as_str().unwrap_or("an unknown time");
            format!(
                "not Ready since {since}: {}",
                ready["message"].as_str().unwrap_or("no reason given")
            )
        }),
    }
}

/// Namespace and name of an object.
pub fn name(object: &Value) -> Name {
    let metadata = &object["metadata"];
    (text(&metadata["namespace"]), text(&metadata["name"]))
}

/// A text; empty where there is none.
pub fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// The items of a list; none where it is missing.
pub fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

/// An address.
pub fn address(value: &Value) -> Option<IpAddr> {
    value.as_str()?.parse().ok()
}

/// Texts by key.
pub fn texts(value: &Value) -> BTreeMap<String, String> {
    let all = value.as_object().into_iter().flatten();
    all.filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())))
        .collect()
}
