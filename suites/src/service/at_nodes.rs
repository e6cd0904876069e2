//! What clients see at ports of the addresses of a cluster's nodes: NodePorts, and `hostPort`s of pods.

use crate::{
    kit::paths::sample::{self, End},
    service::{
        POLL,
        ask::{Answers, Exchange, ask_by_until, is_pod},
        changed_within,
        side::Side,
        test_service::NodePorts,
    },
};
use futures::future::{join, join_all};
use meshproof_contract::{
    AgentFacts, CheckContext, ClusterName, Evidence, NodeLabel, NodeName, Outcome, Tally, Target,
    evidence::{Cell, CellOutcome, Row},
    facts::PodNetwork,
};
use std::{collections::BTreeMap, time::Duration};

/// What is served at nodes' addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Served {
    /// NodePorts of a Service: at every node, by any backend.
    NodePort,
    /// `hostPort`s of pods: at the nodes that have such a pod, by that pod.
    HostPort,
}

/// Who asks whom.
pub struct Asked<'a> {
    /// The clients' cluster.
    pub near: &'a Side,
    /// The clients.
    pub clients: &'a [AgentFacts],
    /// The cluster whose nodes are asked.
    pub cluster: &'a ClusterName,
    /// Who must answer.
    pub backends: &'a [AgentFacts],
    /// What is asked.
    pub served: Served,
    /// Where.
    pub ports: NodePorts,
}

/// A node, and what the clients saw there: the time until all were answered, else the last answers.
struct Node {
    label: NodeLabel,
    target: Target,
    clients: Vec<AgentFacts>,
    seen: Result<Duration, Vec<Answers>>,
}

/// What was seen over one protocol.
pub struct Seen {
    served: Served,
    exchange: Exchange,
    nodes: Vec<Node>,
}

impl Asked<'_> {
    /// Asks over TCP and UDP.
    pub async fn seen(&self, context: &CheckContext) -> [Seen; 2] {
        let http = self.over(context, Exchange::Http, self.ports.http);
        let udp = self.over(context, Exchange::Udp, self.ports.udp);
        join(http, udp).await.into()
    }

    async fn over(&self, context: &CheckContext, exchange: Exchange, port: u16) -> Seen {
        let facts = &self.near.facts;
        let nodes = facts.cluster(self.cluster).into_iter().flat_map(|c| &c.nodes);
        let nodes: Vec<_> = nodes
            .filter(|node| self.backends.iter().any(|pod| self.may_answer(pod, &node.name)))
            .filter_map(|node| Some((node, node.addresses.first()?)))
            .collect();
        let asking: Vec<End<'_>> = self.clients.iter().map(|c| (&c.id.cluster, &c.node)).collect();
        let asked: Vec<End<'_>> = nodes.iter().map(|(node, _)| (self.cluster, &node.name)).collect();
        let (pairs, sample) = sample::positions(facts, &asking, &asked, |client, node| {
            // What a host sends to its own address stays on its loopback device, which only sockets' balancing sees.
            let client = &self.clients[client];
            client.network == PodNetwork::Pod || client.node != nodes[node].0.name
        });
        if let Some(sample) = sample.filter(|_| exchange == Exchange::Http) {
            context.note(sample.to_string());
        }
        let clients_of = |node: usize| {
            let of_node = pairs.iter().filter(move |(_, asked)| *asked == node);
            of_node
                .map(|(client, _)| self.clients[*client].clone())
                .collect::<Vec<_>>()
        };
        let probing = nodes.iter().enumerate().map(|(at, (node, address))| {
            let clients = clients_of(at);
            let target = Target::new(address.to_string(), port);
            let label = NodeLabel::pod(self.cluster, &node.name);
            async move {
                let wanted = |answers: &Answers| answers.is_complete() && self.by_backends(answers, &node.name);
                let within = changed_within(context);
                let seen = ask_by_until(context, &clients, (&target, exchange), POLL, within, wanted).await;
                Node {
                    label,
                    target,
                    clients,
                    seen,
                }
            }
        });
        let nodes = join_all(probing).await;
        Seen {
            served: self.served,
            exchange,
            nodes,
        }
    }

    /// Whether the pod may answer what is asked at the node.
    fn may_answer(&self, pod: &AgentFacts, node: &NodeName) -> bool {
        self.served == Served::NodePort || pod.node == *node
    }

    fn by_backends(&self, answers: &Answers, node: &NodeName) -> bool {
        let backends = self.backends.iter().filter(|pod| self.may_answer(pod, node));
        let mut servers = answers.servers.iter();
        servers.all(|(server, _)| backends.clone().any(|pod| is_pod(server, pod)))
    }
}

impl Seen {
    /// The port, for people.
    pub fn what(&self) -> &'static str {
        let is_datagram = matches!(self.exchange, Exchange::Udp | Exchange::Fragments);
        match (self.served, is_datagram) {
            (Served::NodePort, true) => "NodePort over UDP",
            (Served::NodePort, false) => "NodePort",
            (Served::HostPort, true) => "hostPort over UDP",
            (Served::HostPort, false) => "hostPort",
        }
    }

    /// Whether nothing came back from any node at all.
    pub fn is_silent(&self) -> bool {
        self.nodes.iter().all(Node::is_silent)
    }

    /// Whether every node answered for backends of its own only, and lost the other requests.
    pub fn only_own_backends(&self, backends: &[AgentFacts]) -> bool {
        self.nodes.iter().all(|node| node.only_own_backends(backends))
    }

    /// Concludes, and leaves the clients' rows.
    pub fn judge(&self, context: &CheckContext, asked: &Asked<'_>, tally: &mut Tally) {
        let mut rows: BTreeMap<NodeLabel, Vec<Cell>> = BTreeMap::new();
        for node in &self.nodes {
            let by_backends = |answers: &Answers| asked.by_backends(answers, &node.label.node);
            match &node.seen {
                Ok(after) => tally.witness(format!(
                    "{}: backends answered {} clients of {} at {} of {} after {} ms",
                    self.what(),
                    node.clients.len(),
                    asked.near.cluster,
                    node.target,
                    node.label,
                    after.as_millis()
                )),
                Err(last) => {
                    for answers in last {
                        node.judge(self, answers, by_backends(answers), tally);
                    }
                }
            }
            for (client, cell) in node.cells(by_backends) {
                rows.entry(client).or_default().push(cell);
            }
        }
        for (from, cells) in rows {
            let what = self.what().to_owned();
            context.evidence(Evidence::Row(Row { what, from, cells }));
        }
    }
}

impl Node {
    fn only_own_backends(&self, backends: &[AgentFacts]) -> bool {
        let own = |answers: &Answers| {
            let mut timeouts = answers.failures.iter();
            let mut servers = answers.servers.iter();
            timeouts.all(|failure| matches!(failure, Outcome::Timeout { .. }))
                && servers.all(|(server, _)| {
                    let mut here = backends.iter().filter(|pod| pod.node == self.label.node);
                    here.any(|pod| is_pod(server, pod))
                })
        };
        self.seen.as_ref().is_err_and(|last| last.iter().all(own))
    }

    fn is_silent(&self) -> bool {
        let no_answer = |answers: &Answers| {
            let mut failures = answers.failures.iter();
            answers.answered() == 0 && failures.all(|failure| matches!(failure, Outcome::Timeout { .. }))
        };
        self.seen.as_ref().is_err_and(|last| last.iter().all(no_answer))
    }

    /// What one client saw last, where not all were answered as wanted.
    fn judge(&self, seen: &Seen, answers: &Answers, by_backends: bool, tally: &mut Tally) {
        let (from, target) = (NodeLabel::from(&answers.client), &self.target);
        if let Some(why) = &answers.unknown {
            return tally.unknown(format!("{target} from {from}: {why}"));
        }
        let expected = match seen.served {
            Served::NodePort => "every request answered by a backend of the Service",
            Served::HostPort => "every request answered by the pod on that node that has the hostPort",
        };
        let what = seen.what();
        let at = format!("{what} {target} of {} from {from}", self.label);
        if !answers.failures.is_empty() {
            tally.finding(at, expected, answers.describe());
        } else if !by_backends {
            tally.finding(at, expected, format!("unexpected answers: {}", answers.describe()));
        }
    }

    /// What each client saw, as cells of the clients' rows.
    fn cells(&self, by_backends: impl Fn(&Answers) -> bool) -> Vec<(NodeLabel, Cell)> {
        let cell = |client: &AgentFacts, outcome, detail| {
            let cell = Cell {
                to: self.label.clone(),
                outcome,
                value: None,
                unit: None,
                detail,
            };
            (NodeLabel::from(client), cell)
        };
        match &self.seen {
            Ok(_) => {
                let clients = self.clients.iter();
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
}
