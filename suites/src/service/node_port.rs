//! A NodePort is served at every node's address: to clients outside of the cluster, and to its own pods and hosts.

use super::{
    NEEDS,
    at_nodes::{Asked, Seen, Served},
    side::Side,
    steady::while_steady,
    test_service::TestService,
};
use crate::kit::{cilium::dsr, known_fault::DSR_WITH_WIREGUARD, next_steps};
use async_trait::async_trait;
use meshproof_contract::{
    AgentFacts, Check, CheckContext, CheckId, CheckText, ClaimKind, ClusterName, Needs, Scope, Tally, Verdict,
};

/// NodePorts of one cluster.
pub enum NodePort {
    /// With clients in another cluster.
    Outside,
    /// With pods and hosts of the cluster itself.
    Inside,
}

const WHEN_RED: &str = "Answers only from backends on the node that was asked: DSR with WireGuard loses the others; \
                        see `bpf-lb-mode` in cilium-config, and set `loadBalancer.mode: snat`. One node: does \
                        KubeProxyReplacement in `kubectl --context CONTEXT -n kube-system exec AGENT_POD -c \
                        cilium-agent -- cilium-dbg status --verbose` list the device with the node's address?";

#[async_trait]
impl Check for NodePort {
    fn id(&self) -> CheckId {
        CheckId::from(match self {
            NodePort::Outside => "service::node_port",
            NodePort::Inside => "service::node_port_inside",
        })
    }
    fn text(&self) -> CheckText {
        match self {
            NodePort::Outside => CheckText {
                title: "A NodePort is served over TCP and UDP at the address of every node, for other clusters",
                proves: "Every node forwards requests from outside the cluster to a pod behind the Service, on any \
                         node, and returns the answer, also where the other cluster uses the same NodePorts.",
                how: "A Service of type NodePort with a random name is created for the pods `backend` of the other \
                      cluster, and here one with the same name, NodePorts and pods of its own. The client on every \
                      node here sends GETs and datagrams to the ports at every node's address there (with more than 16 \
                      nodes in a cluster to a sample of them, so that every node asks and is asked); all 12 of 12 must \
                      be answered by pods there, twice in a row, within `thresholds.propagation` (default 10 s).",
                control: "Each answer names the pod that gave it. If no request to any node is answered or refused, a \
                          firewall between the clusters is possible, and the check is inconclusive.",
                when_red: "Answers only from backends on the node that was asked: DSR with WireGuard loses the others; \
                           see `bpf-lb-mode` in cilium-config, and set `loadBalancer.mode: snat`. One node: does \
                           KubeProxyReplacement in `kubectl --context CONTEXT -n kube-system exec AGENT_POD -c \
                           cilium-agent -- cilium-dbg status --verbose` list the device with the node's address? One \
                           client: see connectivity::pod_to_host_other_cluster.",
            },
            NodePort::Inside => CheckText {
                title: "A NodePort is served over TCP and UDP to the cluster's own pods and hosts",
                proves: "Pods reach a Service at the NodePort of every node of their own cluster, their own node among \
                         them, and processes of a node at those of the other nodes.",
                how: "A Service of type NodePort with a random name is created for the pods `backend`. The client on \
                      every node sends GETs and datagrams to the ports at every node's address, the host-network agent \
                      to those of the other nodes (with more than 16 nodes to a sample of them); all 12 of 12 must be \
                      answered by those pods, twice in a row, within `thresholds.propagation` (default 10 s).",
                control: "Each answer names the pod that gave it.",
                when_red: WHEN_RED,
            },
        }
    }
    fn scope(&self) -> Scope {
        match self {
            NodePort::Outside => Scope::Direction,
            NodePort::Inside => Scope::Cluster,
        }
    }
    fn needs(&self) -> Needs {
        Needs {
            claim: Some(ClaimKind::KubeProxyReplacement),
            mutates: true,
            ..NEEDS
        }
    }
    fn faults(&self) -> &'static [&'static str] {
        match self {
            NodePort::Outside => &[
                "node-port-missing",
                "node-port-missing-on-node",
                "node-port-of-other-cluster",
                "node-port-udp-missing",
            ],
            NodePort::Inside => &[
                "node-port-missing",
                "node-port-missing-on-node",
                "node-port-udp-missing",
            ],
        }
    }

    async fn run(&self, context: &CheckContext) -> Verdict {
        match self {
            NodePort::Outside => while_steady(context, outside(context)).await,
            NodePort::Inside => while_steady(context, inside(context)).await,
        }
    }
}

fn not_created(cluster: &ClusterName) -> impl Fn(meshproof_contract::EnvironmentError) -> Verdict {
    move |error| {
        Verdict::inconclusive(format!(
            "cannot create the Service of type NodePort in {cluster}: {error}"
        ))
    }
}

async fn outside(context: &CheckContext) -> Result<Verdict, Verdict> {
    let (from, to) = (context.instance.from(), context.instance.to());
    let (near, far) = (Side::of(context, from)?, Side::of(context, to)?);
    let backends = far.pods("backend")?;
    let service = TestService::named_at_random(context, &far, &[]).await?;
    let verdict = async {
        let ports = service.create_node_port(to, None).await.map_err(not_created(to))?;
        if let Err(error) = service.create_node_port(from, Some(ports)).await {
            context.note(format!(
                "no Service with the same NodePorts was created in {from}, so that they could be confused: {error}"
            ));
        }
        let asked = Asked {
            near: &near,
            clients: &near.clients,
            cluster: to,
            backends: &backends,
            served: Served::NodePort,
            ports,
        };
        Ok(conclude(context, &asked, asked.seen(context).await))
    };
    let verdict = verdict.await;
    service.delete(&[from, to]).await;
    verdict
}

async fn inside(context: &CheckContext) -> Result<Verdict, Verdict> {
    let cluster = context.instance.from();
    let side = Side::of(context, cluster)?;
    let backends = side.pods("backend")?;
    let clients: Vec<AgentFacts> = side.clients.iter().cloned().chain(side.hosts()).collect();
    let service = TestService::named_at_random(context, &side, &[]).await?;
    let verdict = async {
        let ports = service
            .create_node_port(cluster, None)
            .await
            .map_err(not_created(cluster))?;
        let asked = Asked {
            near: &side,
            clients: &clients,
            cluster,
            backends: &backends,
            served: Served::NodePort,
            ports,
        };
        Ok(conclude(context, &asked, asked.seen(context).await))
    };
    let verdict = verdict.await;
    service.delete(&[cluster]).await;
    verdict
}

/// Judges what the clients saw over both protocols.
fn conclude(context: &CheckContext, asked: &Asked<'_>, seen: [Seen; 2]) -> Verdict {
    let mut tally = Tally::new();
    asked.near.report_missing(&mut tally);
    let is_outside = asked.cluster != &asked.near.cluster;
    for of_protocol in &seen {
        if is_outside && of_protocol.is_silent() {
            tally.unknown(format!(
                "no request from {} to any {} of {} was answered or refused: a firewall between the clusters is \
                 possible",
                asked.near.cluster,
                of_protocol.what(),
                asked.cluster
            ));
        } else {
            of_protocol.judge(context, asked, &mut tally);
        }
    }
    if tally.has_findings() {
        let only_own = seen.iter().all(|one| one.only_own_backends(asked.backends));
        if dsr::loses_replies(&asked.near.facts, asked.cluster) && only_own {
            DSR_WITH_WIREGUARD.tell(context, asked.cluster);
        }
        let facts = &asked.near.facts;
        context.suggest(next_steps::in_agent(
            facts,
            asked.cluster,
            None,
            "cilium-dbg bpf lb list",
        ));
    }
    tally.verdict()
}
