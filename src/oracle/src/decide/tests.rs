//! The rules of the documentation, and the recorded behaviour of 1.18.3, one by one.

mod deny;
mod kinds;
mod peers;
mod ports;
mod properties;

use super::*;
use crate::{
    CidrMatch, DnsRefusal, EgressDenial, Semantics, UnnamedCluster,
    endpoint::{Endpoint, NamedPorts},
    flow::{HttpRequest, Protocol, Request},
    parse,
};
use serde_json::{Value, json};
use std::collections::BTreeMap;

const UP_TO_1_18: Semantics = Semantics {
    unnamed_cluster: UnnamedCluster::Any,
    cidr_matches_nodes: CidrMatch::WorldOnly,
    dns_refusal: DnsRefusal::Refused,
    egress_denial: EgressDenial::Silent,
};
const SINCE_1_19: Semantics = Semantics {
    unnamed_cluster: UnnamedCluster::Local,
    ..UP_TO_1_18
};

fn pod_in(cluster: &str, namespace: &str, app: &str) -> Party {
    Party::Endpoint(Endpoint {
        cluster: cluster.into(),
        namespace: namespace.into(),
        namespace_labels: BTreeMap::from([("kubernetes.io/metadata.name".into(), namespace.into())]),
        service_account: "default".into(),
        labels: BTreeMap::from([("app".into(), app.into())]),
        node: format!("{cluster}-1"),
        named_ports: BTreeMap::from([("web".into(), (Protocol::Tcp, 8080))]),
    })
}

fn pod(app: &str) -> Party {
    pod_in("infra", "demo", app)
}

fn world(address: &str, name: &str) -> Party {
    Party::World {
        address: address.parse().expect("an address"),
        names: vec![name.into()],
        serves_api: false,
    }
}

fn node(name: &str) -> Party {
    Party::Node {
        cluster: "infra".into(),
        name: name.into(),
        address: "10.25.11.11".parse().expect("an address"),
        serves_api: false,
    }
}

fn tcp(from: Party, to: Party, port: u16) -> Flow {
    Flow {
        from,
        to,
        protocol: Protocol::Tcp,
        port,
        request: Request::Opaque,
    }
}

fn cnp(spec: Value) -> Value {
    let metadata = json!({"namespace": "demo", "name": "p"});
    json!({"apiVersion": "cilium.io/v2", "kind": "CiliumNetworkPolicy", "metadata": metadata, "spec": spec})
}

fn expected_with(semantics: Semantics, objects: &[Value], flow: &Flow) -> Expected {
    let policies: Vec<_> = objects
        .iter()
        .flat_map(|o| parse(o, "infra").expect("a valid policy"))
        .collect();
    let surroundings = Surroundings {
        semantics,
        named_ports: NamedPorts::default(),
    };
    decide(&policies, &surroundings, flow)
        .expect("the policies do not contradict")
        .expected
}

fn expected(spec: Value, flow: &Flow) -> Expected {
    expected_with(UP_TO_1_18, &[cnp(spec)], flow)
}

fn echo(rules: Value) -> Value {
    json!({"endpointSelector": {"matchLabels": {"app": "echo"}}, "ingress": rules})
}
