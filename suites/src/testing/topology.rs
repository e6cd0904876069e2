//! Two clusters of three nodes, addressed as in the mission.

use meshproof_contract::claim::{Claim, ClaimKind, ClaimSource};
use meshproof_contract::facts::{CiliumFacts, PodNetwork};
use meshproof_contract::{AgentFacts, AgentId, ClusterFacts, DnsFacts, DnsReplica, Facts, NodeFacts, ServiceFacts};
use std::collections::BTreeMap;
use std::net::IpAddr;

fn address(text: String) -> IpAddr {
    text.parse().expect("an address")
}

/// The other cluster's name.
pub fn other(cluster: &str) -> &'static str {
    if cluster == "infra" { "apps" } else { "infra" }
}

pub fn facts() -> Facts {
    let mut facts = Facts::default();
    for (cluster, id, pods, first_node, services) in [("infra", 1, 244, 11, 96), ("apps", 2, 246, 14, 97)] {
        facts
            .clusters
            .push(self::cluster(cluster, id, pods, first_node, services));
        for n in 1..=3u8 {
            let node = format!("{cluster}-{n}");
            for (workload, network, ip) in [
                ("client", PodNetwork::Pod, format!("10.{pods}.{n}.10")),
                ("server", PodNetwork::Pod, format!("10.{pods}.{n}.11")),
                ("node", PodNetwork::Host, format!("10.25.11.{}", first_node + n - 1)),
            ] {
                facts.agents.push(AgentFacts {
                    id: AgentId {
                        cluster: cluster.into(),
                        pod: format!("{workload}-{node}"),
                    },
                    scenario: "connectivity".to_owned(),
                    workload: workload.to_owned(),
                    namespace: if network == PodNetwork::Host {
                        "meshproof-node"
                    } else {
                        "meshproof"
                    }
                    .to_owned(),
                    node: node.as_str().into(),
                    address: address(ip),
                    network,
                });
            }
        }
        for (name, ip) in [
            ("server", Some(format!("10.{services}.0.50"))),
            ("server-headless", None),
        ] {
            facts.services.push(ServiceFacts {
                cluster: cluster.into(),
                scenario: "connectivity".to_owned(),
                namespace: "meshproof".to_owned(),
                name: name.to_owned(),
                address: ip.map(address),
                ports: BTreeMap::from([
                    ("http".to_owned(), 8080),
                    ("tcp".to_owned(), 8081),
                    ("udp".to_owned(), 8082),
                ]),
                workload: "server".to_owned(),
            });
        }
        facts.claims.push(Claim {
            cluster: cluster.into(),
            kind: ClaimKind::ClusterMesh,
            value: "true".to_owned(),
            source: ClaimSource::Live {
                object: "Secret kube-system/cilium-clustermesh".to_owned(),
            },
        });
    }
    facts
}

fn cluster(name: &str, id: u8, pods: u8, first_node: u8, services: u8) -> ClusterFacts {
    let nodes: Vec<NodeFacts> = (1..=3u8)
        .map(|n| NodeFacts {
            name: format!("{name}-{n}").into(),
            addresses: vec![address(format!("10.25.11.{}", first_node + n - 1))],
            pod_cidrs: vec![format!("10.{pods}.{n}.0/24")],
            ready: true,
            kernel: "6.18.0".to_owned(),
        })
        .collect();
    let replica = |n: u8| DnsReplica {
        pod: format!("coredns-{n}"),
        address: address(format!("10.{pods}.{n}.3")),
        port: 53,
        node: Some(format!("{name}-{n}").into()),
    };
    ClusterFacts {
        name: name.into(),
        context: format!("admin@{name}"),
        version: "v1.36.0".to_owned(),
        cilium: Some(CiliumFacts {
            version: "1.18.3".to_owned(),
            config: BTreeMap::from([
                ("cluster-name".to_owned(), name.to_owned()),
                ("cluster-id".to_owned(), id.to_string()),
                ("max-connected-clusters".to_owned(), "255".to_owned()),
            ]),
            agents: nodes
                .iter()
                .map(|n| (n.name.clone(), format!("cilium-{}", n.name)))
                .collect(),
            remotes: Some(vec![other(name).to_owned()]),
            kvstoremesh: true,
        }),
        nodes,
        dns: Some(DnsFacts {
            service: ("kube-system".to_owned(), "kube-dns".to_owned()),
            address: address(format!("10.{services}.0.10")),
            replicas: vec![replica(1), replica(2)],
            domain: "cluster.local".to_owned(),
        }),
    }
}
