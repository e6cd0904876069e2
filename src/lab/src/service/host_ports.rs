//! The `hostPort`s of a node's pods, as its agent serves them at the node's address: a service each, for which the pod
//! alone answers, on no other node (Cilium's `pkg/loadbalancer/reflectors/k8s.go`, semantics B13, B14).

use super::frontends::{port_number, protocol};
use crate::{
    fault::Fault,
    state::{ClusterState, LabState, NodeState},
    topology::NODE_PORTS,
};
use meshproof_apiserver::{Object, resource::names::PODS};
use meshproof_datapath::{Backend, Frontend, Protocol, Service};
use serde_json::Value;
use std::net::{Ipv4Addr, SocketAddrV4};

/// What the names of these services have, which are no Kubernetes Services'.
const MARK: &str = ":host-port:";

/// Whether a service of this name stands for a `hostPort`.
pub(crate) fn is_host_port(name: &str) -> bool {
    name.contains(MARK)
}

/// The services of a node's `hostPort`s; none without kube-proxy replacement.
pub(super) fn of_node(lab: &LabState, cluster: &ClusterState, node: &NodeState) -> Vec<Service> {
    let is_missing = lab.acts_on(Fault::HostPortMissingOnNode, cluster, node.name());
    if !lab.topology.settings().kube_proxy_replacement || is_missing {
        return Vec::new();
    }
    let pods = cluster.store.all(&PODS, None);
    let own = pods.iter().filter(|pod| pod["spec"]["nodeName"] == node.name());
    let mut services: Vec<Service> = own.flat_map(|pod| of_pod(pod, node.spec.address)).collect();
    if lab.acts_in(Fault::HostPortUdpMissing, cluster.name()) {
        services.retain(|service| service.frontend.protocol() != Protocol::Udp);
    }
    services
}

fn of_pod(pod: &Object, node: Ipv4Addr) -> Vec<Service> {
    let has_ended = matches!(pod["status"]["phase"].as_str(), Some("Succeeded" | "Failed"));
    let address = pod["status"]["podIP"].as_str().and_then(|ip| ip.parse().ok());
    let Some(address) = address.filter(|_| pod["spec"]["hostNetwork"] != true && !has_ended) else {
        return Vec::new();
    };
    let containers = pod["spec"]["containers"].as_array().into_iter().flatten();
    let ports = containers.flat_map(|container| container["ports"].as_array().into_iter().flatten());
    ports.filter_map(|port| of_port(pod, port, address, node)).collect()
}

fn of_port(pod: &Object, port: &Value, address: Ipv4Addr, node: Ipv4Addr) -> Option<Service> {
    // In the range of NodePorts it is ignored.
    let number = port_number(&port["hostPort"]).filter(|number| !NODE_PORTS.contains(number))?;
    let at = match port["hostIP"].as_str() {
        None | Some("" | "0.0.0.0") => node,
        Some(named) => named.parse().ok()?,
    };
    let frontend = Frontend::Address {
        address: SocketAddrV4::new(at, number),
        protocol: protocol(&port["protocol"])?,
    };
    let name = format!(
        "{}/{}{MARK}{number}:{}",
        pod.namespace().unwrap_or_default(),
        pod.name(),
        pod.uid()
    );
    let backend = Backend::active(address, port_number(&port["containerPort"])?);
    Some(Service::new(name, frontend, vec![backend]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use meshproof_apiserver::Store;
    use serde_json::json;

    /// The frontends of a pod with these ports.
    fn frontends(ports: Value, network: Value) -> Vec<Frontend> {
        let store = Store::new();
        let container = json!({"name": "c", "image": "i", "ports": ports});
        let pod = json!({
            "metadata": {"name": "web", "namespace": "default"},
            "spec": {"hostNetwork": network, "containers": [container]},
        });
        let created = store.create(&PODS, pod).expect("a pod");
        let mut value = created.clone();
        store
            .modify_status(&PODS, Some("default"), "web", |stored| {
                stored["status"]["podIP"] = json!("10.244.1.9")
            })
            .map(|stored| value = stored)
            .expect("its status");
        let services = of_pod(&value, Ipv4Addr::new(10, 25, 11, 11));
        services.into_iter().map(|service| service.frontend).collect()
    }

    #[test]
    fn ports_are_served_at_the_nodes_address_unless_node_ports_could_be_meant() {
        let node = Ipv4Addr::new(10, 25, 11, 11);
        let ports = json!([
            {"containerPort": 80, "hostPort": 8080},
            {"containerPort": 53, "hostPort": 5353, "protocol": "UDP"},
            {"containerPort": 81, "hostPort": 30081},
            {"containerPort": 82},
        ]);
        let found = frontends(ports, json!(false));
        assert_eq!(found, [Frontend::tcp(node, 8080), Frontend::udp(node, 5353)]);
        let own = json!([{"containerPort": 80, "hostPort": 80}]);
        assert_eq!(frontends(own, json!(true)), [], "the pod has the node's own ports");
    }
}
