//! A NodePort is served at every node's address, to clients from outside of the cluster.

use super::{
    NEEDS, POLL,
    ask::{Answers, ask_until, is_pod},
    changed_within,
    side::Side,
    steady::while_steady,
    test_service::TestService,
};
use crate::kit::{
    cilium::dsr,
    known_fault::DSR_WITH_WIREGUARD,
    next_steps,
    paths::sample::{self, End},
};
use async_trait::async_trait;
use futures::future::join_all;
use meshproof_contract::{
    AgentFacts, Check, CheckContext, CheckId, CheckText, ClaimKind, Evidence, Needs, NodeLabel, Outcome, Scope, Tally,
    Target, Verdict,
    evidence::{Cell, CellOutcome, Row},
};
use std::{collections::BTreeMap, time::Duration};

/// NodePorts of one cluster, with clients in the other.
pub struct NodePort;

#[async_trait]
impl Check for NodePort {
    fn id(&self) -> CheckId {
        CheckId::from("service::node_port")
    }
    fn text(&self) -> CheckText {
        CheckText {
            title: "A NodePort is served at the address of every node",
            proves: "Every node forwards requests from outside the cluster to a pod behind the Service, on any node, \
                     and returns the answer.",
            how: "A Service of type NodePort with a random name is created for the pods `backend` of the other \
                  cluster. The client on every node here sends GETs to the port at every node's address there (with \
                  more than 16 nodes in a cluster to a sample of them, so that every node asks and is asked); all 12 \
                  of 12 must be answered by those pods, twice in a row, within `thresholds.propagation` (default 10 \
                  s).",
            control: "Each answer names the pod that gave it. If no request to any node is answered or refused, a \
                      firewall between the clusters is possible, and the check is inconclusive.",
            when_red: "Answers only from backends on the node that was asked: DSR with WireGuard loses the others; see \
                       `bpf-lb-mode` in cilium-config, and set `loadBalancer.mode: snat`. One node: does \
                       KubeProxyReplacement in `kubectl --context CONTEXT -n kube-system exec AGENT_POD -c \
                       cilium-agent -- cilium-dbg status --verbose` list the device with the node's address? One \
                       client: see connectivity::pod_to_host_other_cluster.",
        }
    }
    fn scope(&self) -> Scope {
        Scope::Direction
    }
    fn needs(&self) -> Needs {
        Needs {
            claim: Some(ClaimKind::KubeProxyReplacement),
            mutates: true,
            ..NEEDS
        }
    }
    fn faults(&self) -> &'static [&'static str] {
        &["node-port-missing"]
    }

    async fn run(&self, context: &CheckContext) -> Verdict {
        while_steady(context, observe(context)).await
    }
}

async fn observe(context: &CheckContext) -> Result<Verdict, Verdict> {
    let (from, to) = (context.instance.from(), context.instance.to());
    let (near, far) = (Side::of(context, from)?, Side::of(context, to)?);
    let backends = far.pods("backend")?;
    let service = TestService::named_at_random(context, &far, &[]).await?;
    let port = service.create_node_port(to).await;
    let verdict = match port {
        Ok(port) => probe(context, (&near, &far), &backends, port).await,
        Err(error) => Verdict::inconclusive(format!("cannot create the Service of type NodePort in {to}: {error}")),
    };
    service.delete(&[to]).await;
    Ok(verdict)
}

/// A node of the far cluster, and what the clients saw there: the time until all were answered, else the last answers.
struct Node {
    label: NodeLabel,
    target: Target,
    clients: Vec<AgentFacts>,
    seen: Result<Duration, Vec<Answers>>,
}

async fn probe(context: &CheckContext, (near, far): (&Side, &Side), backends: &[AgentFacts], port: u16) -> Verdict {
    let mut tally = Tally::new();
    near.report_missing(&mut tally);
    let nodes = near.facts.cluster(&far.cluster).into_iter().flat_map(|c| &c.nodes);
    let nodes: Vec<_> = nodes.filter_map(|node| Some((node, node.addresses.first()?))).collect();
    let asking: Vec<End<'_>> = near
        .clients
        .iter()
        .map(|client| (&client.id.cluster, &client.node))
        .collect();
    let asked: Vec<End<'_>> = nodes.iter().map(|(node, _)| (&far.cluster, &node.name)).collect();
    let (pairs, sample) = sample::positions(&near.facts, &asking, &asked, |_, _| true);
    if let Some(sample) = sample {
        context.note(sample.to_string());
    }
    let clients_of = |node: usize| {
        let of_node = pairs.iter().filter(move |(_, asked)| *asked == node);
        of_node
            .map(|(client, _)| near.clients[*client].clone())
            .collect::<Vec<_>>()
    };
    let by_backends = |answers: &Answers| {
        let mut servers = answers.servers.iter();
        servers.all(|(server, _)| backends.iter().any(|pod| is_pod(server, pod)))
    };
    let probing = nodes.iter().enumerate().map(|(at, (node, address))| {
        let clients = clients_of(at);
        let target = Target::new(address.to_string(), port);
        let label = NodeLabel::pod(&far.cluster, &node.name);
        async move {
            let wanted = |answers: &Answers| answers.is_complete() && by_backends(answers);
            let within = changed_within(context);
            let seen = ask_until(context, &clients, &target, POLL, within, wanted).await;
            Node {
                label,
                target,
                clients,
                seen,
            }
        }
    });
    let nodes = join_all(probing).await;
    if nodes.iter().all(is_silent) {
        tally.unknown(format!(
            "no request from {} to any NodePort of {} was answered or refused: a firewall between the clusters is \
             possible",
            near.cluster, far.cluster
        ));
        return tally.verdict();
    }
    let mut rows: BTreeMap<NodeLabel, Vec<Cell>> = BTreeMap::new();
    for node in &nodes {
        match &node.seen {
            Ok(after) => tally.witness(format!(
                "backends answered the clients on {} nodes of {} at {} of {} after {} ms",
                node.clients.len(),
                near.cluster,
                node.target,
                node.label,
                after.as_millis()
            )),
            Err(last) => {
                for answers in last {
                    judge(node, answers, by_backends(answers), &mut tally);
                }
            }
        }
        for (client, cell) in cells(node, by_backends) {
            rows.entry(client).or_default().push(cell);
        }
    }
    for (from, cells) in rows {
        let what = "NodePort".to_owned();
        context.evidence(Evidence::Row(Row { what, from, cells }));
    }
    if tally.has_findings() {
        if dsr::loses_replies(&far.facts, &far.cluster) && nodes.iter().all(|node| only_own_backends(node, backends)) {
            DSR_WITH_WIREGUARD.tell(context, &far.cluster);
        }
        let command = next_steps::in_agent(&far.facts, &far.cluster, None, "cilium-dbg bpf lb list");
        context.suggest(command);
    }
    tally.verdict()
}

/// Whether the node answered for backends of its own only, and lost the other requests.
fn only_own_backends(node: &Node, backends: &[AgentFacts]) -> bool {
    let own = |answers: &Answers| {
        let timeouts = answers.failures.iter();
        let mut servers = answers.servers.iter();
        timeouts
            .clone()
            .all(|failure| matches!(failure, Outcome::Timeout { .. }))
            && servers.all(|(server, _)| {
                let mut here = backends.iter().filter(|pod| pod.node == node.label.node);
                here.any(|pod| is_pod(server, pod))
            })
    };
    node.seen.as_ref().is_err_and(|last| last.iter().all(own))
}

/// Whether nothing came back from the node at all.
fn is_silent(node: &Node) -> bool {
    let no_answer = |answers: &Answers| {
        let mut failures = answers.failures.iter();
        answers.answered() == 0 && failures.all(|failure| matches!(failure, Outcome::Timeout { .. }))
    };
    node.seen.as_ref().is_err_and(|last| last.iter().all(no_answer))
}

/// What one client saw last at a node where not all were answered as wanted.
fn judge(node: &Node, answers: &Answers, by_backends: bool, tally: &mut Tally) {
    let (from, target) = (NodeLabel::from(&answers.client), &node.target);
    if let Some(why) = &answers.unknown {
        return tally.unknown(format!("{target} from {from}: {why}"));
    }
    let expected = "every request answered by a backend of the Service";
    let at = format!("NodePort {target} of {} from {from}", node.label);
    if !answers.failures.is_empty() {
        tally.finding(at, expected, answers.describe());
    } else if !by_backends {
        tally.finding(at, expected, format!("unexpected answers: {}", answers.describe()));
    }
}

/// What each client saw at a node, as cells of the clients' rows.
fn cells(node: &Node, by_backends: impl Fn(&Answers) -> bool) -> Vec<(NodeLabel, Cell)> {
    let cell = |client: &AgentFacts, outcome, detail| {
        let cell = Cell {
            to: node.label.clone(),
            outcome,
            value: None,
            unit: None,
            detail,
        };
        (NodeLabel::from(client), cell)
    };
    match &node.seen {
        Ok(_) => {
            let clients = node.clients.iter();
            clients.map(|client| cell(client, CellOutcome::Ok, None)).collect()
        }
        Err(last) => {
            let seen = |answers: &Answers| {
                let (outcome, detail) = if answers.unknown.is_some() {
                    (CellOutcome::Unknown, Some(answers.describe()))
                } else if !answers.failures.is_empty() {
                    (CellOutcome::NoAnswer, Some(answers.describe()))
                } else if !by_backends(answers) {
                    (CellOutcome::Mismatch, Some(answers.describe()))
                } else {
                    (CellOutcome::Ok, None)
                };
                cell(&answers.client, outcome, detail)
            };
            last.iter().map(seen).collect()
        }
    }
}
