//! A pod's `hostPort` is served at its node's address: to pods and hosts of the cluster, and to other clusters' hosts.

use super::{
    NEEDS,
    at_nodes::{Asked, Seen, Served},
    side::{Side, pods},
    steady::while_steady,
    test_service::NodePorts,
};
use crate::kit::{next_steps, probes};
use async_trait::async_trait;
use futures::future::join_all;
use meshproof_contract::{
    AgentFacts, Check, CheckContext, CheckId, CheckText, ClaimKind, ClusterName, Facts, Needs, Outcome, Scope, Tally,
    Target, Verdict, facts::MissingAgent, port,
};
use std::{net::IpAddr, ops::RangeInclusive};

/// `hostPort` of pods.
pub struct HostPort;

/// The workload whose pods have `hostPort`s, one on every node.
const EXPOSED: &str = "exposed";
/// The ports at the node's address.
const PORTS: NodePorts = NodePorts {
    http: port::HTTP + port::HOST_PORT_OFFSET,
    udp: port::UDP + port::HOST_PORT_OFFSET,
};
/// Tries to reach a host of the cluster by the address that its `hostPort` is asked at.
const TRIES: usize = 2;

#[async_trait]
impl Check for HostPort {
    fn id(&self) -> CheckId {
        CheckId::from("service::host_port")
    }
    fn text(&self) -> CheckText {
        CheckText {
            title: "A pod's hostPort is served over TCP and UDP at its node's address, and leads to that pod",
            proves: "Every node serves the hostPorts of its pods to pods of every node and to the processes of the \
                     other nodes of its cluster, and to hosts of another cluster that reach the node.",
            how: "A pod on every node has the hostPorts 27080 (HTTP) and 27082 (UDP echo). The client on every node \
                  sends GETs and datagrams to them at every node's address, the host-network agent to those of the \
                  other nodes (with more than 16 nodes to a sample of them); all 12 of 12 must be answered by the pod \
                  on that node, twice in a row, within `thresholds.propagation` (default 10 s). So do hosts of \
                  another cluster that reach the nodes.",
            control: "Each answer names the pod that gave it. A host of another cluster takes part only if every \
                      node's host-network agent answers it at the same address.",
            when_red: "`kubectl --context CONTEXT -n kube-system exec AGENT_POD -c cilium-agent -- cilium-dbg service \
                       list` on the node named: is the port there with type HostPort and the pod as backend? `ss \
                       -lntu` on the node: does a process of its own listen on that port?",
        }
    }
    fn scope(&self) -> Scope {
        Scope::Cluster
    }
    fn needs(&self) -> Needs {
        NEEDS
    }
    fn faults(&self) -> &'static [&'static str] {
        &["host-port-missing-on-node", "host-port-udp-missing"]
    }

    async fn run(&self, context: &CheckContext) -> Verdict {
        while_steady(context, observe(context)).await
    }
}

async fn observe(context: &CheckContext) -> Result<Verdict, Verdict> {
    let cluster = context.instance.from();
    let side = Side::of(context, cluster)?;
    is_served(&side.facts, cluster)?;
    let missing = side
        .facts
        .missing_agents
        .iter()
        .filter(|m| &m.cluster == cluster && m.workload == EXPOSED);
    let missing: Vec<&MissingAgent> = missing.collect();
    let backends = exposed(&side, &missing)?;
    let mut tally = Tally::new();
    side.report_missing(&mut tally);
    for one in &missing {
        let node = one.node.as_ref().map(|node| format!(" on {node}")).unwrap_or_default();
        tally.unknown(format!("no pod with a hostPort{node} in {cluster}: {}", one.state));
    }
    let inside = side.clients.iter().cloned().chain(side.hosts());
    let clients: Vec<AgentFacts> = inside.chain(routed(context, &side, &backends).await).collect();
    let asked = Asked {
        near: &side,
        clients: &clients,
        cluster,
        backends: &backends,
        served: Served::HostPort,
        ports: PORTS,
    };
    for seen in asked.seen(context).await {
        judge(context, &asked, &seen, &mut tally);
    }
    Ok(tally.verdict())
}

fn judge(context: &CheckContext, asked: &Asked<'_>, seen: &Seen, tally: &mut Tally) {
    seen.judge(context, asked, tally);
    if tally.has_findings() {
        let (facts, cluster) = (&asked.near.facts, asked.cluster);
        context.suggest(next_steps::in_agent(facts, cluster, None, "cilium-dbg service list"));
    }
}

/// Skipped where nothing in the cluster is known to serve `hostPort`s, or Cilium ignores these.
fn is_served(facts: &Facts, cluster: &ClusterName) -> Result<(), Verdict> {
    let cilium = facts.cluster(cluster).and_then(|c| c.cilium.as_ref());
    let value = |key: &str| cilium.and_then(|c| c.setting(key));
    let chained = value("cni-chaining-mode") == Some("portmap");
    if facts.claim(cluster, ClaimKind::KubeProxyReplacement).is_none() && !chained {
        return Err(Verdict::skipped(format!(
            "no claim that anything in {cluster} serves hostPorts: Cilium does with kubeProxyReplacement, and with the \
             CNI plugin portmap (cni.chainingMode)"
        )));
    }
    let range = value("node-port-range").and_then(node_ports);
    if let Some(range) = range.filter(|range| range.contains(&PORTS.http) || range.contains(&PORTS.udp)) {
        return Err(Verdict::skipped(format!(
            "the hostPorts {} and {} are within the NodePorts of {cluster}, {} to {}, where Cilium ignores them",
            PORTS.http,
            PORTS.udp,
            range.start(),
            range.end()
        )));
    }
    Ok(())
}

/// `30000,32767`, as cilium-config has it.
fn node_ports(text: &str) -> Option<RangeInclusive<u16>> {
    let (first, last) = text.split_once(',')?;
    Some(first.trim().parse().ok()?..=last.trim().parse().ok()?)
}

/// The pods with `hostPort`s; skipped where the cluster admits none.
fn exposed(side: &Side, missing: &[&MissingAgent]) -> Result<Vec<AgentFacts>, Verdict> {
    let found = pods(&side.facts, &side.cluster, EXPOSED);
    if !found.is_empty() {
        return Ok(found);
    }
    let refused = missing
        .iter()
        .find(|m| m.state.contains("forbidden") || m.state.contains("denied"));
    Err(match (refused, missing.first()) {
        (Some(refused), _) => Verdict::skipped(format!(
            "{} admits no pod with a hostPort, so none is served: {}",
            side.cluster, refused.state
        )),
        (None, Some(first)) => Verdict::inconclusive(format!(
            "no pod with a hostPort runs in {}: {}",
            side.cluster, first.state
        )),
        (None, None) => Verdict::inconclusive(format!("no pod with a hostPort was found in {}", side.cluster)),
    })
}

/// Hosts of another cluster that reach every node which has such a pod.
async fn routed(context: &CheckContext, side: &Side, backends: &[AgentFacts]) -> Vec<AgentFacts> {
    let facts = &side.facts;
    let mut others = facts
        .clusters
        .iter()
        .map(|c| &c.name)
        .filter(|other| **other != side.cluster);
    let Some(other) = others.next() else {
        return Vec::new();
    };
    let nodes = facts.cluster(&side.cluster).into_iter().flat_map(|c| &c.nodes);
    let nodes = nodes.filter(|node| backends.iter().any(|pod| pod.node == node.name));
    let addresses: Vec<IpAddr> = nodes.filter_map(|node| node.addresses.first().copied()).collect();
    let hosts = pods(facts, other, "host");
    let asked = join_all(hosts.iter().map(|host| reaches(context, host, &addresses))).await;
    let (routed, others): (Vec<_>, Vec<_>) = hosts.iter().zip(asked).partition(|(_, reaches)| *reaches);
    if !others.is_empty() {
        let nodes: Vec<&str> = others.iter().map(|(host, _)| host.node.as_str()).collect();
        context.note(format!(
            "hosts of {other} that were not asked, since they do not reach every node of {}: {}",
            side.cluster,
            nodes.join(", ")
        ));
    }
    routed.into_iter().map(|(host, _)| host.clone()).collect()
}

/// Whether the host-network agents at these addresses answer the host.
async fn reaches(context: &CheckContext, host: &AgentFacts, addresses: &[IpAddr]) -> bool {
    let to = |address: &IpAddr| probes::http_get_from(Target::new(address.to_string(), host.port(port::HTTP)));
    let batch = addresses
        .iter()
        .flat_map(|address| vec![probes::patient(to(address)); TRIES]);
    let Ok(outcomes) = context.environment.probe(&host.id, batch.collect()).await else {
        return false;
    };
    let answered = |tries: &[Outcome]| tries.iter().any(Outcome::is_success);
    outcomes.len() == addresses.len() * TRIES && outcomes.chunks(TRIES).all(answered)
}

#[cfg(test)]
mod tests {
    use super::{
        super::tests::{
            mesh::complete,
            world::{exposed_answer, exposed_at, healthy_but},
        },
        *,
    };
    use crate::testing::{Ask, Fake, infra, timeout};
    use meshproof_contract::{Action, Claim};

    /// Healthy but for what is answered at `hostPort`s.
    fn world(rule: impl Fn(&Ask<'_>, &Target) -> Option<Outcome> + Send + Sync + 'static) -> Fake {
        let fake = healthy_but(move |ask| {
            let (Action::Http { to, .. } | Action::UdpEcho { to, .. }) = ask.action else {
                return None;
            };
            rule(ask, to)
        });
        fake.rule(exposed_answer).facts(|facts| {
            let kind = ClaimKind::KubeProxyReplacement;
            let claims: Vec<Claim> = facts
                .claims
                .iter()
                .cloned()
                .map(|claim| Claim { kind, ..claim })
                .collect();
            facts.claims.extend(claims);
        })
    }

    #[tokio::test(start_paused = true)]
    async fn each_node_serves_its_own_pod_to_pods_and_hosts_of_both_clusters() {
        let text = complete().expect(&HostPort, infra(), "pass").await;
        assert!(
            text.contains("hostPort over UDP: backends answered 8 clients"),
            "{text}"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_node_that_serves_none_is_red_and_named() {
        let silent = world(|_, to| (to.port > 27_000 && to.port < 28_000 && to.host == "10.25.11.12").then(timeout));
        let text = silent.expect(&HostPort, infra(), "fail").await;
        assert!(
            text.contains("hostPort 10.25.11.12:27080 of infra-2 from infra-1") && !text.contains("of infra-1 from"),
            "{text}"
        );
        let no_datagrams = world(|_, to| (to.port == PORTS.udp).then(timeout));
        let text = no_datagrams.expect(&HostPort, infra(), "fail").await;
        assert!(
            text.contains("hostPort over UDP") && !text.contains("hostPort 10.25"),
            "{text}"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn the_pod_of_another_node_must_not_answer() {
        let other = world(|ask, to| {
            let address = if to.host == "10.25.11.11" {
                "10.25.11.12"
            } else {
                return None;
            };
            let is_host_port = to.port == PORTS.http;
            is_host_port.then(|| exposed_at(ask, address)).flatten()
        });
        let text = other.expect(&HostPort, infra(), "fail").await;
        assert!(text.contains("unexpected answers"), "{text}");
    }

    #[tokio::test(start_paused = true)]
    async fn hosts_without_a_route_are_left_out() {
        let unrouted = world(|ask, to| {
            let crosses = ask.from.id.cluster.as_str() == "apps" && to.host.starts_with("10.25.11.1");
            crosses.then(timeout)
        });
        let text = unrouted.expect(&HostPort, infra(), "pass").await;
        assert!(text.contains("hosts of apps that were not asked"), "{text}");
    }

    #[tokio::test(start_paused = true)]
    async fn where_nothing_serves_or_admits_them_it_is_skipped() {
        let unclaimed = world(|_, _| None).facts(|facts| facts.claims.clear());
        let text = unclaimed.expect(&HostPort, infra(), "skipped").await;
        assert!(text.contains("kubeProxyReplacement"), "{text}");
        let without = |state: &'static str| {
            world(|_, _| None).facts(move |facts| {
                facts.agents.retain(|agent| agent.workload != EXPOSED);
                facts.missing_agents.push(MissingAgent {
                    cluster: "infra".into(),
                    node: None,
                    workload: EXPOSED.to_owned(),
                    state: state.to_owned(),
                });
            })
        };
        let refused =
            without("no pod was created for it (FailedCreate: pods \"x\" is forbidden: violates PodSecurity)");
        let text = refused.expect(&HostPort, infra(), "skipped").await;
        assert!(text.contains("violates PodSecurity"), "{text}");
        without("Pending").expect(&HostPort, infra(), "inconclusive").await;
        let in_range = world(|_, _| None).facts(|facts| {
            let cilium = facts.clusters[0].cilium.as_mut().expect("Cilium");
            cilium
                .config
                .insert("node-port-range".to_owned(), "20000,32767".to_owned());
        });
        in_range.expect(&HostPort, infra(), "skipped").await;
    }
}
