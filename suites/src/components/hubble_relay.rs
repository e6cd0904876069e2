//! Hubble relay has a connection to every node, so that flows of all of them can be asked for in one place.

use super::{
    inventory::{Inventory, text},
    looks::{Look, Seen, conclude},
};
use crate::kit::{
    object::pod,
    recent::{self, Age},
};
use async_trait::async_trait;
use meshproof_contract::{Check, CheckContext, CheckId, CheckText, CiliumQuery, Scope, Verdict};
use serde_json::Value;
use std::net::{Ipv4Addr, SocketAddrV4};

/// Hubble relay and the nodes.
pub struct HubbleRelay;

/// The label of its Service and pods (Cilium's chart).
const LABEL: (&str, &str) = ("k8s-app", "hubble-relay");
/// The port of its Service where it speaks without TLS; with TLS it is 443 (the same chart).
const PLAIN: u64 = 80;

#[async_trait]
impl Check for HubbleRelay {
    fn id(&self) -> CheckId {
        CheckId::from("components::hubble_relay")
    }

    fn text(&self) -> CheckText {
        CheckText {
            title: "Hubble relay is connected to every node of its cluster",
            proves: "Whoever asks Hubble relay, its UI among them, sees the flows of every node: relay reaches the \
                     Hubble server of each (TCP 4244), and both accept each other's certificate.",
            how: "`hubble status --server ADDRESS` in one Cilium agent asks relay at the address of its Service how \
                  many nodes it is connected to, and which are unavailable. A node of another cluster that is \
                  unavailable is reported and not judged, since clusters need not share Hubble's authority. Skipped \
                  without a relay, or where it speaks TLS itself. What is wrong is read again after 10 s.",
            control: "Relay must answer and be connected to at least one node; otherwise the check is inconclusive.",
            when_red: "`kubectl --context CONTEXT -n kube-system logs deploy/hubble-relay` says why a node is \
                       unavailable: a timeout is a blocked port 4244, `x509` a certificate of another authority. \
                       `kubectl --context CONTEXT -n kube-system rollout restart deploy/hubble-relay` connects again.",
        }
    }

    fn scope(&self) -> Scope {
        Scope::Cluster
    }
    fn faults(&self) -> &'static [&'static str] {
        &["hubble-relay-peer-lost"]
    }

    async fn run(&self, context: &CheckContext) -> Verdict {
        let cluster = context.instance.from();
        let mut seen = Seen::default();
        let inventory = Inventory::read(context, Age::STATE, &mut seen).await;
        if let Some(inventory) = &inventory
            && server(&inventory.services) != Server::None
            && !has_ready_pod(inventory)
        {
            return Verdict::skipped(format!(
                "Hubble relay of {cluster} has no ready pod, which is for components::workloads to judge"
            ));
        }
        match inventory.map(|inventory| server(&inventory.services)) {
            Some(Server::None) => Verdict::skipped(format!("{cluster} has no Service of Hubble relay")),
            Some(Server::Tls) => Verdict::skipped(format!(
                "Hubble relay of {cluster} speaks TLS itself, and the agents have no certificate for it"
            )),
            Some(Server::Plain(_)) | None => conclude(context, self).await,
        }
    }
}

fn has_ready_pod(inventory: &Inventory) -> bool {
    let is_relays = |pod: &&Value| pod["metadata"]["labels"][LABEL.0] == LABEL.1;
    inventory.pods.iter().filter(is_relays).any(pod::is_ready)
}

/// Where relay is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Server {
    None,
    Tls,
    Plain(SocketAddrV4),
}

fn server(services: &[Value]) -> Server {
    let is_relays = |service: &&Value| service["spec"]["selector"][LABEL.0] == LABEL.1;
    let Some(spec) = services.iter().find(is_relays).map(|service| &service["spec"]) else {
        return Server::None;
    };
    let Ok(address) = text(&spec["clusterIP"]).parse::<Ipv4Addr>() else {
        return Server::None;
    };
    let ports = spec["ports"].as_array().into_iter().flatten();
    let is_plain = ports.filter_map(|port| port["port"].as_u64()).any(|port| port == PLAIN);
    if is_plain {
        Server::Plain(SocketAddrV4::new(address, PLAIN as u16))
    } else {
        Server::Tls
    }
}

#[async_trait]
impl Look for HubbleRelay {
    async fn look(&self, context: &CheckContext, age: Age) -> Seen {
        let mut seen = Seen::default();
        let cluster = context.instance.from();
        let Some(inventory) = Inventory::read(context, age, &mut seen).await else {
            return seen;
        };
        let Server::Plain(server) = server(&inventory.services) else {
            return seen;
        };
        let facts = context.environment.facts();
        let Some(found) = facts.cluster(cluster) else {
            return seen;
        };
        let asked = found.cilium.iter().flat_map(|cilium| cilium.agents.keys()).next();
        let Some(asked) = asked.cloned() else {
            seen.unknown(format!("{cluster} has no Cilium agent to ask Hubble relay from"));
            return seen;
        };
        let query = CiliumQuery::RelayStatus { server };
        let answers = recent::cilium_on(context, cluster, query, &[asked], age).await;
        let answers = match answers {
            Ok(answers) => answers,
            Err(error) => {
                seen.unknown(format!("Hubble relay of {cluster} cannot be asked: {error}"));
                return seen;
            }
        };
        let output = answers.first().map(|answer| &answer.output);
        let status = match output {
            Some(Ok(output)) => Status::read(text(output)),
            Some(Err(error)) => {
                seen.unknown(format!("Hubble relay of {cluster} cannot be asked: {error}"));
                return seen;
            }
            None => None,
        };
        match status {
            Some(status) => judge(cluster.as_str(), found.nodes.len(), &status, &mut seen),
            None => seen.unknown(format!(
                "Hubble relay of {cluster} does not tell to how many nodes it is connected"
            )),
        }
        seen
    }
}

/// What relay says.
#[derive(Debug, PartialEq, Eq)]
struct Status {
    connected: usize,
    all: usize,
    /// `node`, or `cluster/node` where the cluster has a name.
    unavailable: Vec<String>,
}

impl Status {
    /// `Connected Nodes: 5/6`, and below `Unavailable Nodes: 1` a line each (Cilium's `hubble/pkg/printer`).
    fn read(text: &str) -> Option<Self> {
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix("Connected Nodes:"))?
            .trim();
        let (connected, all) = line.split_once('/').unwrap_or((line, line));
        let listed = text
            .lines()
            .skip_while(|line| !line.starts_with("Unavailable Nodes:"))
            .skip(1);
        let names = listed.map_while(|line| line.trim_start().strip_prefix("- "));
        Some(Self {
            connected: connected.trim().parse().ok()?,
            all: all.trim().parse().ok()?,
            unavailable: names.map(|name| name.trim().to_owned()).collect(),
        })
    }
}

fn judge(cluster: &str, nodes: usize, status: &Status, seen: &mut Seen) {
    let command = "-n kube-system logs deploy/hubble-relay --tail=50";
    let Status { connected, all, .. } = status;
    let of_cluster = |name: &&String| name.split_once('/').is_none_or(|(of, _)| of == cluster);
    let (own, others): (Vec<_>, Vec<_>) = status.unavailable.iter().partition(of_cluster);
    for name in &own {
        seen.deviates(
            format!("Hubble relay of {cluster}, node {name}"),
            "a connection to it",
            format!("relay calls it unavailable; it is connected to {connected} of {all} nodes"),
            command,
        );
    }
    if !others.is_empty() {
        let names: Vec<_> = others.into_iter().map(String::as_str).collect();
        seen.note(format!(
            "Hubble relay of {cluster} shows no flows of nodes of other clusters: {}",
            names.join(", ")
        ));
    }
    if own.is_empty() && *connected < nodes {
        seen.deviates(
            format!("Hubble relay of {cluster}"),
            format!("connections to all {nodes} nodes of the cluster"),
            format!("it is connected to {connected} of {all} nodes"),
            command,
        );
    }
    if *connected > 0 {
        seen.witness(format!(
            "Hubble relay of {cluster} shows flows of {connected} of {all} nodes"
        ));
    } else {
        seen.unknown(format!("Hubble relay of {cluster} is connected to no node"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const HEALTHY: &str = "Healthcheck (via 10.96.0.77:80): Ok\nCurrent/Max Flows: 16,380/16,380 (100.00%)\nFlows/s: \
                           41.20\nConnected Nodes: 6/6\n";

    #[test]
    fn what_relay_says_is_read() {
        let status = Status::read(HEALTHY).expect("a status");
        assert_eq!((status.connected, status.all, status.unavailable.len()), (6, 6, 0));
        let lost = "Connected Nodes: 4/6\nUnavailable Nodes: 2\n  - apps/apps-2\n  - infra/infra-3\n";
        let status = Status::read(lost).expect("a status");
        assert_eq!(status.unavailable, ["apps/apps-2", "infra/infra-3"]);
        assert_eq!(Status::read("Healthcheck (via x): Ok\n"), None);
    }

    #[test]
    fn a_relay_is_found_by_its_service() {
        let service = |port: u64| {
            json!({"spec": {
                "clusterIP": "10.96.0.77", "selector": {"k8s-app": "hubble-relay"}, "ports": [{"port": port}],
            }})
        };
        assert_eq!(server(&[]), Server::None);
        assert_eq!(server(&[service(443)]), Server::Tls);
        let expected = SocketAddrV4::new(Ipv4Addr::new(10, 96, 0, 77), 80);
        assert_eq!(server(&[service(80)]), Server::Plain(expected));
    }
}
