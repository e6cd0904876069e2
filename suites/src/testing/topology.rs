//! Clusters addressed as in the mission: two of three nodes, or any shape that a simulation asks for.

use meshproof_contract::claim::{Claim, ClaimKind, ClaimSource};
use meshproof_contract::facts::{CiliumFacts, PodNetwork};
use meshproof_contract::{AgentFacts, AgentId, ClusterFacts, DnsFacts, DnsReplica, Facts, NodeFacts, ServiceFacts};
use std::collections::BTreeMap;
use std::net::IpAddr;

/// How many clusters of how many nodes each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    pub clusters: usize,
    pub nodes: u8,
}

/// The mission's: infra and apps, three nodes each.
pub const MISSION: Shape = Shape { clusters: 2, nodes: 3 };

/// Names in the order of the clusters' ids, which begin with 1.
const NAMES: [&str; 5] = ["infra", "apps", "edge", "west", "east"];

/// One cluster of a shape.
#[derive(Clone, Copy, Debug)]
pub struct Site {
    pub name: &'static str,
    /// Its cluster id.
    pub id: u8,
    shape: Shape,
}

impl Shape {
    pub fn sites(self) -> Vec<Site> {
        let shape = self;
        let names = NAMES.into_iter().zip(1..).take(self.clusters);
        names.map(|(name, id)| Site { name, id, shape }).collect()
    }
    /// The names of the other clusters than this.
    pub fn others(self, cluster: &str) -> Vec<&'static str> {
        let names = self.sites().into_iter().map(|site| site.name);
        names.filter(|name| *name != cluster).collect()
    }
}

impl Site {
    pub fn nodes(self) -> std::ops::RangeInclusive<u8> {
        1..=self.shape.nodes
    }
    /// The name of a node.
    pub fn node(self, n: u8) -> String {
        format!("{}-{n}", self.name)
    }
    pub fn node_address(self, n: u8) -> IpAddr {
        match (self.shape, self.id) {
            (MISSION, id) => [10, 25, 11, 8 + 3 * id + n - 1].into(),
            (_, id) => [10, 25, 20 + id, n].into(),
        }
    }
    pub fn pod_address(self, n: u8, last: u8) -> IpAddr {
        [10, 242 + 2 * self.id, n, last].into()
    }
    pub fn service_address(self, block: u8, last: u8) -> IpAddr {
        [10, 95 + self.id, block, last].into()
    }
}

/// The second byte of the addresses of a cluster's Services.
pub fn service_net(cluster: &str) -> u8 {
    let known = NAMES.into_iter().zip(96..).find(|(name, _)| *name == cluster);
    known.map_or(97, |(_, net)| net)
}

pub fn facts(shape: Shape) -> Facts {
    let mut facts = Facts::default();
    for site in shape.sites() {
        facts.clusters.push(cluster(site));
        for n in site.nodes() {
            let node = site.node(n);
            for (workload, network, address) in [
                ("client", PodNetwork::Pod, site.pod_address(n, 10)),
                ("server", PodNetwork::Pod, site.pod_address(n, 11)),
                ("node", PodNetwork::Host, site.node_address(n)),
            ] {
                facts.agents.push(AgentFacts {
                    id: AgentId {
                        cluster: site.name.into(),
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
                    address,
                    network,
                });
            }
        }
        for (name, address) in [("server", Some(site.service_address(0, 50))), ("server-headless", None)] {
            facts.services.push(ServiceFacts {
                cluster: site.name.into(),
                scenario: "connectivity".to_owned(),
                namespace: "meshproof".to_owned(),
                name: name.to_owned(),
                address,
                ports: BTreeMap::from([
                    ("http".to_owned(), 8080),
                    ("tcp".to_owned(), 8081),
                    ("udp".to_owned(), 8082),
                ]),
                workload: "server".to_owned(),
            });
        }
        facts.claims.push(Claim {
            cluster: site.name.into(),
            kind: ClaimKind::ClusterMesh,
            value: "true".to_owned(),
            source: ClaimSource::Live {
                object: "Secret kube-system/cilium-clustermesh".to_owned(),
            },
        });
    }
    facts
}

fn cluster(site: Site) -> ClusterFacts {
    let name = site.name;
    let nodes: Vec<NodeFacts> = site
        .nodes()
        .map(|n| NodeFacts {
            name: site.node(n).into(),
            addresses: vec![site.node_address(n)],
            pod_cidrs: vec![format!("10.{}.{n}.0/24", 242 + 2 * site.id)],
            ready: true,
            kernel: "6.18.0".to_owned(),
        })
        .collect();
    let replica = |n: u8| DnsReplica {
        pod: format!("coredns-{n}"),
        address: site.pod_address(n, 3),
        port: 53,
        node: Some(site.node(n).into()),
    };
    ClusterFacts {
        name: name.into(),
        context: format!("admin@{name}"),
        version: "v1.36.0".to_owned(),
        cilium: Some(CiliumFacts {
            version: "1.18.3".to_owned(),
            config: BTreeMap::from([
                ("cluster-name".to_owned(), name.to_owned()),
                ("cluster-id".to_owned(), site.id.to_string()),
                ("max-connected-clusters".to_owned(), "255".to_owned()),
            ]),
            agents: nodes
                .iter()
                .map(|n| (n.name.clone(), format!("cilium-{}", n.name)))
                .collect(),
            remotes: Some(site.shape.others(name).into_iter().map(str::to_owned).collect()),
            kvstoremesh: true,
        }),
        nodes,
        dns: Some(DnsFacts {
            service: ("kube-system".to_owned(), "kube-dns".to_owned()),
            address: site.service_address(0, 10),
            replicas: vec![replica(1), replica(2)],
            domain: "cluster.local".to_owned(),
        }),
    }
}
