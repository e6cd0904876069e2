//! Pods reach nodes and nodes reach pods: what kubelets, host-network pods and node-local services live on.

use super::NEEDS;
use crate::kit::matrix::{self, Cell, Deviation, Locality, Path, Paths, Wording, WorkloadPair};
use crate::kit::probes;
use async_trait::async_trait;
use meshproof_contract::{
    Check, CheckContext, CheckId, CheckText, ClusterName, Needs, NodeName, Outcome, Scope, Tally, Verdict,
};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

/// One direction between pods and hosts over one locality of paths.
pub struct Host {
    way: Way,
    locality: Locality,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    ToHost,
    FromHost,
}

/// A pod to its own node.
pub const TO_OWN_HOST: Host = host(Way::ToHost, Locality::SameNode);
/// A pod to the other nodes of its cluster.
pub const TO_OTHER_HOST: Host = host(Way::ToHost, Locality::OtherNode);
/// A pod to the nodes of the other cluster.
pub const TO_OTHER_CLUSTER_HOST: Host = host(Way::ToHost, Locality::OtherCluster);
/// A node to its own pods.
pub const FROM_OWN_HOST: Host = host(Way::FromHost, Locality::SameNode);
/// A node to the pods on other nodes of its cluster.
pub const FROM_OTHER_HOST: Host = host(Way::FromHost, Locality::OtherNode);
/// A node to the pods of the other cluster.
pub const FROM_OTHER_CLUSTER_HOST: Host = host(Way::FromHost, Locality::OtherCluster);

const fn host(way: Way, locality: Locality) -> Host {
    Host { way, locality }
}

const ANSWER: &str = "an answer from exactly the agent asked, within 1000 ms, at the second look at the latest";
const SOURCE: &str = "the pod sees an address of the asking node as the source";

/// The addresses of a cluster's nodes: InternalIPs, and those that Cilium gave them, from which a node speaks to pods in most modes.
struct NodeAddresses {
    known: BTreeMap<NodeName, BTreeSet<IpAddr>>,
    /// Whether Cilium's own could be read: without them a strange source cannot be judged.
    complete: Result<(), String>,
}

impl NodeAddresses {
    async fn read(context: &CheckContext, cluster: &ClusterName) -> Self {
        let facts = context.environment.facts();
        let mut known: BTreeMap<NodeName, BTreeSet<IpAddr>> = BTreeMap::new();
        let mut complete = Ok(());
        if let Some(facts) = facts.cluster(cluster) {
            for node in &facts.nodes {
                known.entry(node.name.clone()).or_default().extend(&node.addresses);
            }
            if facts.cilium.is_some() {
                match context
                    .environment
                    .list(cluster, "cilium.io/v2", "CiliumNode", None)
                    .await
                {
                    Ok(nodes) => {
                        for node in &nodes {
                            let name = node
                                .pointer("/metadata/name")
                                .and_then(Value::as_str)
                                .unwrap_or_default();
                            let addresses = node.pointer("/spec/addresses").and_then(Value::as_array);
                            let addresses = addresses
                                .into_iter()
                                .flatten()
                                .filter_map(|a| a.get("ip")?.as_str()?.parse::<IpAddr>().ok());
                            known.entry(NodeName::from(name)).or_default().extend(addresses);
                        }
                    }
                    Err(error) => complete = Err(error.to_string()),
                }
            }
        }
        Self { known, complete }
    }

    fn judge(&self, path: &Path, source: Option<IpAddr>, cell: Cell) -> Cell {
        let Some(source) = source.map(|s| s.to_canonical()) else {
            return Cell::Unknown("the server did not tell which source address it saw".to_owned());
        };
        if source == path.from.address || self.known.get(&path.from.node).is_some_and(|own| own.contains(&source)) {
            return cell;
        }
        if let Err(why) = &self.complete {
            return Cell::Unknown(format!(
                "source {source} may be one that Cilium gave the node, which could not be read: {why}"
            ));
        }
        let owner = self.known.iter().find(|(_, own)| own.contains(&source));
        let owner = owner
            .map(|(node, _)| format!(", an address of node {node}"))
            .unwrap_or_default();
        Cell::Mismatch(
            Deviation::new(SOURCE, "the source is no address of the asking node")
                .with_detail(format!("the pod saw {source}{owner}")),
        )
    }
}

#[async_trait]
impl Check for Host {
    fn id(&self) -> CheckId {
        CheckId::from(match self.way {
            Way::ToHost => self.locality.by(
                "connectivity::pod_to_own_host",
                "connectivity::pod_to_other_host",
                "connectivity::pod_to_other_cluster_host",
            ),
            Way::FromHost => self.locality.by(
                "connectivity::host_to_own_pod",
                "connectivity::host_to_other_pod",
                "connectivity::host_to_other_cluster_pod",
            ),
        })
    }

    fn text(&self) -> CheckText {
        CheckText {
            title: match self.way {
                Way::ToHost => self.locality.by(
                    "Pods reach their own node",
                    "Pods reach the other nodes of their cluster",
                    "Pods reach the nodes of the other cluster",
                ),
                Way::FromHost => self.locality.by(
                    "Nodes reach their own pods",
                    "Nodes reach pods on other nodes",
                    "Nodes reach pods of the other cluster",
                ),
            },
            proves: match self.way {
                Way::ToHost => {
                    "Host-network services (metrics ports, node-local daemons, the API server of a control plane node) are within reach of pods."
                }
                Way::FromHost => {
                    "Host-network clients (kubelet probes, the API server calling webhooks, ingress on the host network) reach pods, and pods see the node as the source."
                }
            },
            how: match self.way {
                Way::ToHost => {
                    "Every client pod sends GET and three datagrams to the host-network agent on every node of the locality, which answers with its \
                     identity. The source address that the node saw is left as evidence and not judged, since whether a pod's address is kept \
                     towards nodes depends on routing and masquerading. A silent pair is asked again, five times at once."
                }
                Way::FromHost => {
                    "The host-network agent of every node sends GET and three datagrams to every server pod of the locality, which answers with its \
                     identity and the source address that it saw: it must be an address of that node, an InternalIP or one that its CiliumNode \
                     lists (cilium_host). A silent pair is asked again, five times at once."
                }
            },
            control: "Only an answer with the right identity counts. If Cilium's own node addresses cannot be read, a strange source is inconclusive.",
            when_red: "`kubectl --context CONTEXT -n kube-system exec POD -c cilium-agent -- cilium-dbg status | grep -i 'host'` (host firewall, host routing), \
                       `hubble observe --last 200 --from-ip A --to-ip B` on both nodes, and the node's own firewall (nftables, cloud security \
                       groups): the agents listen on ports 28080 to 28082 of the node.",
        }
    }

    fn scope(&self) -> Scope {
        self.locality.scope()
    }
    fn needs(&self) -> Needs {
        NEEDS
    }
    fn faults(&self) -> &'static [&'static str] {
        match self.way {
            Way::ToHost => self.locality.by(
                &["pod-to-host-dropped", "host-unreachable"],
                &["pod-to-host-dropped", "host-unreachable"],
                &["pod-to-host-dropped", "host-unreachable-mesh"],
            ),
            Way::FromHost => self.locality.by(
                &["host-to-pod-dropped"],
                &["node-pair-blackhole"],
                &["one-way-blackhole", "other-cluster-blackhole"],
            ),
        }
    }

    async fn run(&self, context: &CheckContext) -> Verdict {
        let facts = context.environment.facts();
        let (workloads, what, right) = match self.way {
            Way::ToHost => (
                WorkloadPair::POD_TO_HOST,
                "pod to host",
                "answered, each by the node asked",
            ),
            Way::FromHost => (
                WorkloadPair::HOST_TO_POD,
                "host to pod",
                "answered, each by the pod asked, with the node as source",
            ),
        };
        let paths = match Paths::of(&facts, &context.instance, self.locality, workloads) {
            Ok(paths) => paths,
            Err(verdict) => return verdict,
        };
        let addresses = NodeAddresses::read(context, &paths.from).await;
        let probes = |path: &Path, http: usize, udp: usize| {
            let mut probes = vec![probes::http_get(path); http];
            probes.extend(vec![probes::udp_echo(path, 64); udp]);
            probes
        };
        // The tries of a path say the same, and once is enough.
        let translated = Mutex::new(BTreeSet::new());
        let one = |path: &Path, outcome: &Outcome| -> Cell {
            let cell = matrix::answered_by(path, outcome, ANSWER);
            match (self.way, &cell, outcome) {
                (Way::FromHost, Cell::Ok(_), Outcome::Answered { source, .. }) => addresses.judge(path, *source, cell),
                (
                    Way::ToHost,
                    Cell::Ok(_),
                    Outcome::Answered {
                        source: Some(source), ..
                    },
                ) if source.to_canonical() != path.from.address => {
                    let line = format!(
                        "{path}: the node saw {source} instead of the pod's {}",
                        path.from.address
                    );
                    translated.lock().unwrap_or_else(PoisonError::into_inner).insert(line);
                    cell
                }
                _ => cell,
            }
        };
        let judged = matrix::probe_with_retry(
            context,
            &paths.list,
            |path| probes(path, 1, 3),
            |path| probes(path, 5, 5),
            |path, outcomes| {
                let http = if outcomes.len() > 4 { 5 } else { 1 };
                let (http, udp) = outcomes.split_at(http.min(outcomes.len()));
                match matrix::judge_tries(http, |o| one(path, o)) {
                    right @ Cell::Ok(_) => match matrix::judge_tries(udp, |o| one(path, o)) {
                        Cell::Ok(_) => right,
                        other => other,
                    },
                    other => other,
                }
            },
        )
        .await;
        for line in translated.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            context.note(line);
        }
        let mut tally = Tally::new();
        let wording = Wording {
            what,
            right,
            figure: None,
        };
        matrix::conclude(context, &paths, wording, &judged, &mut tally).await;
        tally.verdict()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Fake, identity_of, infra, infra_to_apps, timeout};
    use meshproof_contract::{Action, Instance};

    fn all() -> [(Host, Instance); 6] {
        [
            (TO_OWN_HOST, infra()),
            (TO_OTHER_HOST, infra()),
            (TO_OTHER_CLUSTER_HOST, infra_to_apps()),
            (FROM_OWN_HOST, infra()),
            (FROM_OTHER_HOST, infra()),
            (FROM_OTHER_CLUSTER_HOST, infra_to_apps()),
        ]
    }

    #[tokio::test]
    async fn a_healthy_network_is_green() {
        for (check, instance) in all() {
            Fake::healthy().expect(&check, instance, "pass").await;
        }
    }

    #[tokio::test]
    async fn silence_over_either_protocol_is_red() {
        for udp in [true, false] {
            for (check, instance) in all() {
                let fake =
                    Fake::healthy().rule(move |p| (matches!(p.action, Action::UdpEcho { .. }) == udp).then(timeout));
                fake.expect(&check, instance, "fail").await;
            }
        }
    }

    #[tokio::test]
    async fn a_wrong_server_is_red() {
        for (check, instance) in all() {
            let fake = Fake::healthy().rule(|p| Some(p.answered_as(identity_of("apps", "apps-9", "stranger"))));
            fake.expect(&check, instance, "fail").await;
        }
    }

    #[tokio::test]
    async fn the_node_may_speak_from_the_address_that_cilium_gave_it() {
        let fake = || Fake::healthy().rule(|p| Some(p.answered_from("10.244.1.1".parse().expect("address"))));
        let node = |name: &str, ip: &str| {
            serde_json::json!({"apiVersion": "cilium.io/v2", "kind": "CiliumNode", "metadata": {"name": name},
                "spec": {"addresses": [{"ip": ip, "type": "CiliumInternalIP"}]}})
        };
        let with_node_1 = fake().object("infra", node("infra-1", "10.244.1.1"));
        let text = with_node_1.expect(&FROM_OWN_HOST, infra(), "fail").await;
        assert!(
            text.contains("from infra-2") || text.contains("infra-2 (host)"),
            "{text}"
        );
        assert!(
            !text.contains("from infra-1 (host)") && text.contains("an address of node infra-1"),
            "{text}"
        );
        fake()
            .list_refused("CiliumNode")
            .expect(&FROM_OWN_HOST, infra(), "inconclusive")
            .await;
    }

    #[tokio::test]
    async fn what_the_harness_could_not_see_is_inconclusive() {
        for (check, instance) in all() {
            Fake::healthy()
                .local_errors()
                .expect(&check, instance.clone(), "inconclusive")
                .await;
            Fake::healthy()
                .agents_gone()
                .expect(&check, instance.clone(), "inconclusive")
                .await;
            Fake::healthy()
                .missing("node", "infra-1")
                .missing("node", "apps-1")
                .expect(&check, instance.clone(), "inconclusive")
                .await;
            Fake::healthy()
                .without_agents()
                .expect(&check, instance, "inconclusive")
                .await;
        }
    }
}
