//! What an agent knows of services.

use super::Gatherer;
use crate::{
    cilium::view::{BackendView, ServiceView},
    service::{is_host_port, on_node},
};
use meshproof_apiserver::resource::names::SERVICES;
use meshproof_datapath::Frontend;
use serde_json::Value;
use std::{collections::BTreeMap, net::Ipv4Addr};

impl Gatherer<'_> {
    pub(super) fn services(&self) -> Vec<ServiceView> {
        let objects = self.list(&SERVICES);
        let nodes: BTreeMap<Ipv4Addr, String> = self
            .container
            .cluster
            .nodes()
            .iter()
            .flat_map(|node| node.pods().into_iter().map(|pod| (pod.address, node.name().to_owned())))
            .collect();
        let (lab, cluster, node) = (&self.container.lab, &self.container.cluster, &self.container.node);
        let mut served = on_node(lab, cluster, node, cluster.services.borrow().clone());
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
                // As NodePorts, they are listed for all of the node's addresses.
                Frontend::Address { address, .. } if is_host_port(name) => (Ipv4Addr::UNSPECIFIED, address.port()),
                Frontend::Address { address, .. } => (*address.ip(), address.port()),
                Frontend::NodePort { port, .. } => (Ipv4Addr::UNSPECIFIED, port),
            };
            ServiceView {
                id,
                namespace: namespace.to_owned(),
                name: name.to_owned(),
                kind: if is_host_port(name) {
                    "HostPort"
                } else {
                    kind_of(&service.frontend, spec)
                },
                address,
                port,
                protocol: service.frontend.protocol(),
                external_policy: policy_of(&spec["externalTrafficPolicy"]),
                internal_policy: policy_of(&spec["internalTrafficPolicy"]),
                backends: service
                    .backends
                    .iter()
                    // What the frontend has in its external scope.
                    .filter(|backend| {
                        service
                            .outside
                            .as_ref()
                            .is_none_or(|some| some.contains(&backend.address))
                    })
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
}

fn kind_of(frontend: &Frontend, spec: &Value) -> &'static str {
    match frontend {
        Frontend::NodePort { .. } => "NodePort",
        Frontend::Address { address, .. } => {
            let address = address.ip().to_string();
            let external = spec["externalIPs"].as_array().into_iter().flatten();
            if spec["clusterIP"] == address.as_str() || spec.is_null() {
                "ClusterIP"
            } else if external.into_iter().any(|ip| *ip == address.as_str()) {
                "ExternalIPs"
            } else {
                "LoadBalancer"
            }
        }
    }
}

fn policy_of(value: &Value) -> &'static str {
    if value == "Local" { "Local" } else { "Cluster" }
}
