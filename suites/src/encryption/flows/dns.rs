//! Questions to cluster DNS whose name is the marker.

use super::{
    super::flow::{Flow, marker},
    DEADLINE, node,
};
use meshproof_contract::{
    Action, AgentFacts, ClusterName, DnsReplica, Facts, Needle, NodeName, Outcome, Probe, RecordType, Search,
    Transport, Verdict,
};
use std::net::{IpAddr, SocketAddr};

/// Who is asked.
struct Server {
    name: String,
    address: SocketAddr,
    /// The node that it is on; none if only the answer says so.
    node: Option<NodeName>,
    /// The pods that may answer.
    pods: Vec<IpAddr>,
}

/// From every talker: to each replica of cluster DNS on another node and, if all replicas are pods, to the Service.
pub fn questions(facts: &Facts, cluster: &ClusterName, talkers: &[&AgentFacts]) -> Result<Vec<Flow>, Verdict> {
    let Some(dns) = facts.cluster(cluster).and_then(|c| c.dns.as_ref()) else {
        return Err(Verdict::inconclusive(format!("cluster DNS was not found in {cluster}")));
    };
    // What goes to a node's own address is encrypted only with node encryption.
    let nodes = facts.cluster(cluster).into_iter().flat_map(|c| &c.nodes);
    let nodes: Vec<IpAddr> = nodes.flat_map(|node| node.addresses.iter().copied()).collect();
    let (of_nodes, pods): (Vec<&DnsReplica>, Vec<&DnsReplica>) = dns
        .replicas
        .iter()
        .partition(|replica| nodes.contains(&replica.address));
    let mut flows = Vec::new();
    for talker in talkers {
        let elsewhere = pods
            .iter()
            .filter(|replica| replica.node.as_ref().is_some_and(|node| *node != talker.node));
        let mut servers: Vec<Server> = elsewhere.map(|replica| server(replica)).collect();
        if of_nodes.is_empty() {
            servers.push(Server {
                name: "DNS Service".to_owned(),
                address: SocketAddr::new(dns.address, 53),
                node: None,
                pods: pods.iter().map(|replica| replica.address).collect(),
            });
        }
        for transport in [Transport::Udp, Transport::Tcp] {
            let asked = servers.iter();
            flows.extend(asked.map(|server| question(talker, server, transport, &dns.domain)));
        }
    }
    Ok(flows)
}

fn server(replica: &DnsReplica) -> Server {
    let node = replica.node.as_ref();
    Server {
        name: format!(
            "DNS replica on {}",
            node.map_or("an unknown node", |node| node.as_str())
        ),
        address: SocketAddr::new(replica.address, replica.port),
        node: replica.node.clone(),
        pods: vec![replica.address],
    }
}

fn question(talker: &AgentFacts, server: &Server, transport: Transport, domain: &str) -> Flow {
    let marker = marker();
    let action = Action::Dns {
        name: format!("{marker}.{}.svc.{domain}.", talker.namespace),
        record: RecordType::A,
        server: Some(server.address),
        transport,
        search: Search::Absolute,
    };
    Flow {
        name: format!("{} -> {}, {transport}", node(talker), server.name),
        from: talker.clone(),
        to: server.node.clone().map(|node| (talker.id.cluster.clone(), node)),
        others: server.pods.clone(),
        probe: Probe::once(action, DEADLINE),
        needle: Some(Needle::text(marker)),
        bytes: 32,
        arrived: resolved,
        withheld: false,
    }
}

fn resolved(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Dns { .. })
}
