//! Pods reach nodes and nodes reach pods: what kubelets, host-network pods and node-local services depend on.

use crate::kit::{
    matrix::{self, Attempt, Cell, Deviation, Locality, Path, Paths, Wording, WorkloadPair},
    path_check::PathProbe,
    probes,
    recent::{self, Age},
};
use async_trait::async_trait;
use meshproof_contract::{CheckContext, CheckId, CheckText, ClusterName, NodeName, Outcome, Probe, Verdict};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::{Mutex, PoisonError},
};

/// Paths of which one end is a node itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Host {
    /// Pods probe nodes.
    FromPods,
    /// Nodes probe pods.
    ToPods,
}

const ANSWER: &str = "an answer from exactly the agent asked within 1000 ms, or on retry within 3500 ms";
const SOURCE: &str = "the pod sees an address of the asking node as the source";

/// The addresses of a cluster's nodes: InternalIPs, and those that Cilium gave them, from which a node speaks to pods
/// in most modes.
struct NodeAddresses {
    known: BTreeMap<NodeName, BTreeSet<IpAddr>>,
    /// Whether Cilium's own could be read: without them a strange source cannot be judged.
    complete: Result<(), String>,
}

impl NodeAddresses {
    async fn read(context: &CheckContext, cluster: &ClusterName) -> Self {
        let facts = context.environment.facts();
        let mut known: BTreeMap<NodeName, BTreeSet<IpAddr>> = BTreeMap::new();
        let Some(facts) = facts.cluster(cluster) else {
            return Self {
                known,
                complete: Ok(()),
            };
        };
        for node in &facts.nodes {
            known.entry(node.name.clone()).or_default().extend(&node.addresses);
        }
        if facts.cilium.is_none() {
            return Self {
                known,
                complete: Ok(()),
            };
        }
        // Addresses of nodes do not change while checks run.
        let listed = recent::cilium_nodes(context, cluster, Age::OfThisRun).await;
        let complete = listed.as_ref().map(|_| ()).map_err(ToString::to_string);
        for node in listed.iter().flat_map(|nodes| nodes.iter()) {
            let name = node["metadata"]["name"].as_str().unwrap_or_default();
            let addresses = node["spec"]["addresses"].as_array().into_iter().flatten();
            let addresses = addresses.filter_map(|a| a["ip"].as_str()?.parse::<IpAddr>().ok());
            known.entry(NodeName::from(name)).or_default().extend(addresses);
        }
        Self { known, complete }
    }

    fn judge(&self, path: &Path, source: Option<IpAddr>, cell: Cell) -> Cell {
        let Some(source) = source.map(|s| s.to_canonical()) else {
            return Cell::Unknown("the server did not report which source address it saw".to_owned());
        };
        if source == path.from.address || self.known.get(&path.from.node).is_some_and(|own| own.contains(&source)) {
            return cell;
        }
        if let Err(why) = &self.complete {
            return Cell::Unknown(format!(
                "source {source} may be one that Cilium gave the node, and CiliumNodes could not be read: {why}"
            ));
        }
        let owner = self.known.iter().find(|(_, own)| own.contains(&source));
        let owner = owner
            .map(|(node, _)| format!(", an address of node {node}"))
            .unwrap_or_default();
        Cell::Mismatch(
            Deviation::new(SOURCE, "the source address does not belong to the asking node")
                .with_detail(format!("the pod saw {source}{owner}")),
        )
    }
}

/// One GET and three datagrams, or five of each.
fn probes(path: &Path, attempt: Attempt) -> Vec<Probe> {
    let mut probes = vec![probes::http_get(path); attempt.by(1, 5)];
    probes.extend(vec![probes::udp_echo(path, 64); attempt.by(3, 5)]);
    probes
}

impl Host {
    fn wording(self) -> Wording {
        let (what, ok) = match self {
            Host::FromPods => ("pod to host", "answered, each by the node asked"),
            Host::ToPods => (
                "host to pod",
                "answered, each by the pod asked, with the node as source",
            ),
        };
        Wording { what, ok, figure: None }
    }
}

#[async_trait]
impl PathProbe for Host {
    fn id(&self, locality: Locality) -> CheckId {
        CheckId::from(match self {
            Host::FromPods => locality.by(
                "connectivity::pod_to_own_host",
                "connectivity::pod_to_other_host",
                "connectivity::pod_to_other_cluster_host",
            ),
            Host::ToPods => locality.by(
                "connectivity::host_to_own_pod",
                "connectivity::host_to_other_pod",
                "connectivity::host_to_other_cluster_pod",
            ),
        })
    }

    fn text(&self, locality: Locality) -> CheckText {
        CheckText {
            title: match self {
                Host::FromPods => locality.by(
                    "Pods reach their own node",
                    "Pods reach the other nodes of their cluster",
                    "Pods reach the nodes of the other cluster",
                ),
                Host::ToPods => locality.by(
                    "Nodes reach their own pods",
                    "Nodes reach pods on other nodes",
                    "Nodes reach pods of the other cluster",
                ),
            },
            proves: match self {
                Host::FromPods => {
                    "Pods reach host-network services: metrics ports, node-local daemons, the API server of a control \
                     plane node."
                }
                Host::ToPods => {
                    "Host-network clients (kubelet probes, the API server calling webhooks, ingress on the host \
                     network) reach pods, and pods see the node as the source."
                }
            },
            how: match self {
                Host::FromPods => {
                    "Every client pod sends GET and three datagrams to the host-network agent on every node of the \
                     locality, which answers with its identity. The source address that the node saw is recorded and \
                     not judged, since routing and masquerading decide whether a pod's address is kept towards nodes. \
                     A pair without an answer gets five more probes of each protocol, and five again a second later, \
                     with 3.5 s each."
                }
                Host::ToPods => {
                    "The host-network agent of every node sends GET and three datagrams to every server pod of the \
                     locality, which answers with its identity and the source address that it saw. That must be an \
                     address of the node: an InternalIP, or one that its CiliumNode lists (cilium_host). A pair \
                     without an answer gets five more probes of each protocol, and five again a second later, with \
                     3.5 s each."
                }
            },
            control: "Only an answer with the right identity counts. If Cilium's own node addresses cannot be read, \
                      an unknown source address is inconclusive.",
            when_red: "`kubectl --context CONTEXT -n kube-system exec AGENT_POD -c cilium-agent -- cilium-dbg status \
                       | grep -i 'host'` (host firewall, host routing) and `hubble observe --last 200 --from-ip A \
                       --to-ip B` on both nodes. Then check the node's own firewall (nftables, cloud security \
                       groups): the agents listen on ports 28080 to 28082 of the node.",
        }
    }

    fn faults(&self, locality: Locality) -> &'static [&'static str] {
        match self {
            Host::FromPods => locality.by(
                &["pod-to-host-dropped", "host-unreachable"],
                &["pod-to-host-dropped", "host-unreachable"],
                &["pod-to-host-dropped", "host-unreachable-mesh"],
            ),
            Host::ToPods => locality.by(
                &["host-to-pod-dropped"],
                &["node-pair-blackhole"],
                &["one-way-blackhole", "other-cluster-blackhole"],
            ),
        }
    }

    fn workloads(&self) -> WorkloadPair {
        match self {
            Host::FromPods => WorkloadPair::POD_TO_HOST,
            Host::ToPods => WorkloadPair::HOST_TO_POD,
        }
    }

    async fn run(&self, context: &CheckContext, paths: &Paths) -> Verdict {
        let addresses = match self {
            Host::ToPods => Some(NodeAddresses::read(context, &paths.from).await),
            Host::FromPods => None,
        };
        // The tries of a path say the same, and once is enough.
        let translated = Mutex::new(BTreeSet::new());
        let judge = |path: &Path, outcome: &Outcome| -> Cell {
            let cell = matrix::answered_by(path, outcome, ANSWER);
            let (Cell::Ok(_), Outcome::Answered { source, .. }) = (&cell, outcome) else {
                return cell;
            };
            match (&addresses, source) {
                (Some(addresses), source) => addresses.judge(path, *source, cell),
                (None, Some(source)) if source.to_canonical() != path.from.address => {
                    let pod = path.from.address;
                    let note = format!("{path}: the node saw source address {source} instead of the pod's {pod}");
                    translated.lock().unwrap_or_else(PoisonError::into_inner).insert(note);
                    cell
                }
                (None, _) => cell,
            }
        };
        let verdict = matrix::probe_and_conclude(context, paths, self.wording(), probes, |path, attempt, outcomes| {
            matrix::judge_both(outcomes, attempt.by(1, 5), |outcome| judge(path, outcome))
        })
        .await;
        for note in translated.into_inner().unwrap_or_else(PoisonError::into_inner) {
            context.note(note);
        }
        verdict
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        kit::path_check::PathCheck,
        testing::{Fake, identity_of, infra, instance_of, timeout},
    };
    use meshproof_contract::Action;

    fn all() -> impl Iterator<Item = PathCheck<Host>> {
        [Host::FromPods, Host::ToPods].into_iter().flat_map(PathCheck::all)
    }

    #[tokio::test(start_paused = true)]
    async fn a_healthy_network_is_green() {
        for check in all() {
            Fake::healthy().expect(&check, instance_of(&check), "pass").await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn silence_over_either_protocol_is_red() {
        for udp in [true, false] {
            for check in all() {
                let fake =
                    Fake::healthy().rule(move |p| (matches!(p.action, Action::UdpEcho { .. }) == udp).then(timeout));
                fake.expect(&check, instance_of(&check), "fail").await;
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_wrong_server_is_red() {
        for check in all() {
            let fake = Fake::healthy().rule(|p| Some(p.answered_as(identity_of("apps", "apps-9", "stranger"))));
            fake.expect(&check, instance_of(&check), "fail").await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_node_may_speak_from_the_address_that_cilium_gave_it() {
        let fake = || Fake::healthy().rule(|p| Some(p.answered_from("10.244.1.1".parse().expect("address"))));
        let node = |name: &str, ip: &str| {
            serde_json::json!({"apiVersion": "cilium.io/v2", "kind": "CiliumNode", "metadata": {"name": name},
                "spec": {"addresses": [{"ip": ip, "type": "CiliumInternalIP"}]}})
        };
        let with_node_1 = fake().object("infra", node("infra-1", "10.244.1.1"));
        let text = with_node_1
            .expect(&PathCheck::same_node(Host::ToPods), infra(), "fail")
            .await;
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
            .expect(&PathCheck::same_node(Host::ToPods), infra(), "inconclusive")
            .await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_missing_host_agent_is_inconclusive() {
        for check in all() {
            let fake = Fake::healthy().missing("node", "infra-1").missing("node", "apps-1");
            fake.expect(&check, instance_of(&check), "inconclusive").await;
        }
    }
}
