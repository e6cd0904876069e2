//! Pods reach nodes, nodes reach pods, and nodes reach each other: what kubelets, host-network pods, node-local
//! services and Cilium's own components depend on.

mod addresses;
mod exchange;

use crate::kit::{
    matrix::{self, Attempt, Cell, Locality, Path, Paths, Wording, WorkloadPair},
    path_check::PathProbe,
};
use addresses::NodeAddresses;
use async_trait::async_trait;
use exchange::{CiliumPort, Exchange};
use meshproof_contract::{CheckContext, CheckId, CheckText, Outcome, Verdict};
use std::{
    collections::BTreeSet,
    sync::{Mutex, PoisonError},
};

/// Paths of which one end is a node itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Host {
    /// Pods probe nodes.
    FromPods,
    /// Nodes probe pods.
    ToPods,
    /// Nodes probe nodes.
    ToHosts,
}

impl Host {
    fn wording(self) -> Wording {
        let (what, ok) = match self {
            Host::FromPods => ("pod to host", "answered, each by the node asked"),
            Host::ToPods => (
                "host to pod",
                "answered, each by the pod asked, with the node as source",
            ),
            Host::ToHosts => (
                "host to host",
                "answered, each by the node asked, on Cilium's ports too",
            ),
        };
        Wording { what, ok, figure: None }
    }

    /// What is exchanged on every path to that cluster.
    fn exchanges(self, context: &CheckContext, paths: &Paths) -> Vec<Exchange> {
        let facts = context.environment.facts();
        let ports = match self {
            Host::ToHosts => CiliumPort::of(facts.cluster(&paths.to)),
            Host::FromPods | Host::ToPods => Vec::new(),
        };
        let all = [Exchange::Get, Exchange::Datagram, Exchange::Ping].into_iter();
        all.chain(ports.into_iter().map(Exchange::Port)).collect()
    }
}

/// Notes, each once: the tries of a path say the same.
#[derive(Default)]
struct Once(Mutex<BTreeSet<String>>);

impl Once {
    fn add(&self, note: String) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(note);
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
            Host::ToHosts => locality.by(
                "connectivity::host_to_other_host",
                "connectivity::host_to_other_host",
                "connectivity::host_to_other_cluster_host",
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
                Host::ToHosts => locality.by(
                    "Nodes reach themselves, and the ports on which Cilium serves there",
                    "Nodes reach each other, and the ports on which Cilium serves there",
                    "Nodes reach the nodes of the other cluster, and the ports on which Cilium serves there",
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
                Host::ToHosts => {
                    "Nothing between the nodes keeps their own traffic back: not the kubelets', not that of \
                     cilium-health (TCP port 4240) and Hubble (TCP port 4244), and not ICMP."
                }
            },
            how: match self {
                Host::FromPods => {
                    "Every client pod sends GET, three datagrams and three ICMP echo requests to every node of the \
                     locality. The host-network agent there answers the first two with its identity. The source \
                     address that the node saw is recorded and not judged, since routing and masquerading decide \
                     whether a pod's address is kept towards nodes. A pair without an answer gets five more probes of \
                     each kind, and five again a second later, with 3.5 s each."
                }
                Host::ToPods => {
                    "The host-network agent of every node sends GET, three datagrams and three ICMP echo requests to \
                     every server pod of the locality, which answers the first two with its identity and the source \
                     address that it saw. That must be an address of the node: an InternalIP, or one that its \
                     CiliumNode lists (cilium_host). A pair without an answer gets five more probes of each kind, and \
                     five again a second later, with 3.5 s each."
                }
                Host::ToHosts => {
                    "The host-network agent of every node sends GET, three datagrams and three ICMP echo requests to \
                     every node of the locality, and connects to the TCP ports on which cilium-config makes Cilium \
                     serve on nodes: `cluster-health-port`, and that of `hubble-listen-address`. A pair without an \
                     answer gets five more probes of each kind, and five again a second later, with 3.5 s each."
                }
            },
            control: "Only an answer with the right identity counts. If Cilium's own node addresses cannot be read, \
                      an unknown source address is inconclusive. Where an agent may not ping \
                      (net.ipv4.ping_group_range), its pings are left out, and the evidence says so.",
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
                &["pod-to-host-dropped", "host-unreachable", "node-icmp-dropped"],
                &["pod-to-host-dropped", "host-unreachable-mesh"],
            ),
            Host::ToPods => locality.by(
                &["host-to-pod-dropped"],
                &["node-pair-blackhole"],
                &["one-way-blackhole", "other-cluster-blackhole"],
            ),
            Host::ToHosts => locality.by(
                &[],
                &[
                    "health-port-blocked",
                    "hubble-port-blocked",
                    "node-icmp-dropped",
                    "node-pair-blackhole",
                ],
                &["health-port-blocked-mesh", "hubble-port-blocked", "one-way-blackhole"],
            ),
        }
    }

    fn workloads(&self) -> WorkloadPair {
        match self {
            Host::FromPods => WorkloadPair::POD_TO_HOST,
            Host::ToPods => WorkloadPair::HOST_TO_POD,
            Host::ToHosts => WorkloadPair::HOST_TO_HOST,
        }
    }

    async fn run(&self, context: &CheckContext, paths: &Paths) -> Verdict {
        let addresses = match self {
            Host::ToPods => Some(NodeAddresses::read(context, &paths.from).await),
            Host::FromPods | Host::ToHosts => None,
        };
        let exchanges = self.exchanges(context, paths);
        let notes = Once::default();
        let answer = |exchange: &Exchange, path: &Path, outcome: &Outcome| -> Cell {
            let cell = exchange.judge(path, outcome);
            let with_source = matches!(exchange, Exchange::Get | Exchange::Datagram);
            let (Cell::Ok(_), Outcome::Answered { source, .. }, true) = (&cell, outcome, with_source) else {
                return cell;
            };
            match (&addresses, source) {
                (Some(addresses), source) => addresses.judge(path, *source, cell),
                (None, Some(source)) if source.to_canonical() != path.from.address && *self == Host::FromPods => {
                    let pod = path.from.address;
                    notes.add(format!(
                        "{path}: the node saw source address {source} instead of the pod's {pod}"
                    ));
                    cell
                }
                (None, _) => cell,
            }
        };
        let judge = |path: &Path, attempt: Attempt, outcomes: &[Outcome]| -> Cell {
            let (mut rest, mut first) = (outcomes, None);
            for exchange in &exchanges {
                let (tries, others) = rest.split_at(exchange.tries(attempt).min(rest.len()));
                rest = others;
                if exchange.is_forbidden(tries) && first.is_some() {
                    notes.add(format!("{}: its agent may not ping", path.from.node));
                    continue;
                }
                match matrix::judge_tries(tries, |outcome| answer(exchange, path, outcome)) {
                    ok @ Cell::Ok(_) => first = first.or(Some(ok)),
                    other => return other,
                }
            }
            first.unwrap_or_else(|| Cell::Unknown("no probe was sent".to_owned()))
        };
        let probes = |path: &Path, attempt: Attempt| {
            let tries = |exchange: &Exchange| vec![exchange.probe(path); exchange.tries(attempt)];
            exchanges.iter().flat_map(tries).collect()
        };
        let verdict = matrix::probe_and_conclude(context, paths, self.wording(), probes, judge).await;
        for note in notes.0.into_inner().unwrap_or_else(PoisonError::into_inner) {
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
        testing::{Fake, identity_of, infra, instance_of, local_error, timeout},
    };
    use meshproof_contract::Action;

    fn all() -> impl Iterator<Item = PathCheck<Host>> {
        let nodes = [
            PathCheck::other_node(Host::ToHosts),
            PathCheck::other_cluster(Host::ToHosts),
        ];
        [Host::FromPods, Host::ToPods]
            .into_iter()
            .flat_map(PathCheck::all)
            .chain(nodes)
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

    #[tokio::test(start_paused = true)]
    async fn icmp_alone_that_does_not_pass_is_red_and_says_so() {
        for check in all() {
            let fake = Fake::healthy().rule(|p| matches!(p.action, Action::IcmpEcho { .. }).then(timeout));
            let text = fake.expect(&check, instance_of(&check), "fail").await;
            assert!(text.contains("an ICMP echo reply"), "{text}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn where_agents_may_not_ping_the_rest_counts() {
        for check in all() {
            let fake = Fake::healthy().rule(|p| matches!(p.action, Action::IcmpEcho { .. }).then(local_error));
            let text = fake.expect(&check, instance_of(&check), "pass").await;
            assert!(text.contains("may not ping"), "{text}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_port_of_cilium_that_one_node_does_not_reach_is_red_and_names_port_and_pair() {
        let check = PathCheck::other_node(Host::ToHosts);
        let hubble = |fake: Fake| {
            fake.facts(|facts| {
                let cilium = facts.clusters[0].cilium.as_mut().expect("Cilium");
                cilium.config.insert("enable-hubble".into(), "true".into());
                cilium.config.insert("hubble-listen-address".into(), ":4244".into());
            })
        };
        hubble(Fake::healthy()).expect(&check, infra(), "pass").await;
        for port in [4240, 4244] {
            let fake = hubble(Fake::healthy()).rule(move |p| match p.action {
                Action::TcpConnect { to } if to.port == port && p.from.node.as_str() == "infra-1" => {
                    (to.host == "10.25.11.12").then(timeout)
                }
                _ => None,
            });
            let text = fake.expect(&check, infra(), "fail").await;
            assert!(text.contains("infra-1 (host) -> infra-2 (host)"), "{text}");
            assert!(text.contains(&format!("TCP port {port} of the node")), "{text}");
        }
    }
}
