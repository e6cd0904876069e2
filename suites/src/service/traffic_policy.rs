//! Traffic policy Local: requests are answered on nodes with a backend only, and the backend sees the client's address.

use super::{
    NEEDS, POLL,
    ask::{Answers, Exchange, ask_by_until, ask_until},
    changed_within,
    judge::suggest,
    side::Side,
    steady::while_steady,
    test_service::{NodePorts, TestService},
};
use crate::kit::probes;
use async_trait::async_trait;
use futures::future::{join, join_all};
use meshproof_contract::{
    AgentFacts, Check, CheckContext, CheckId, CheckText, ClaimKind, EnvironmentError, Needs, NodeLabel, Outcome, Scope,
    Tally, Target, Verdict, facts::NodeFacts, port,
};
use std::net::IpAddr;

/// `externalTrafficPolicy: Local` and `internalTrafficPolicy: Local`.
pub struct TrafficPolicy;

/// Requests of each client where none may be answered: each that is not takes its whole time limit.
const FEW: u32 = 4;
/// How often the source of a request is asked for before it counts as unknown.
const TRIES: usize = 3;

#[async_trait]
impl Check for TrafficPolicy {
    fn id(&self) -> CheckId {
        CheckId::from("service::traffic_policy_local")
    }
    fn text(&self) -> CheckText {
        CheckText {
            title: "With traffic policy Local only nodes with a backend answer, and the client's address is kept",
            proves: "A node without a backend of a Service with externalTrafficPolicy Local answers nobody outside, \
                     one with a backend shows it the client's own address, and internalTrafficPolicy Local keeps \
                     requests from inside on their node. A Service without selector leads to the addresses of its own \
                     EndpointSlice.",
            how: "A Service of type NodePort with a random name, externalTrafficPolicy Local and no selector is \
                  created with an EndpointSlice that has one pod `backend`. Pods and hosts of this cluster are \
                  answered at its cluster IP on every node. Pods and hosts of another cluster send GETs and datagrams \
                  to every node's NodePorts: on the pod's node all are answered, and the pod must see the same source \
                  address as the host-network agent of that node does; elsewhere none may be. Then \
                  internalTrafficPolicy becomes Local, and only clients on the pod's node may be answered. Each \
                  change has `thresholds.propagation` (default 10 s).",
            control: "The same clients are answered before the policy changes, and at the pod's node. Without an \
                      answer there, silence elsewhere proves nothing, and the check is inconclusive.",
            when_red: "`kubectl --context CONTEXT -n kube-system exec AGENT_POD -c cilium-agent -- cilium-dbg service \
                       list` on the node named: outside the pod's node the NodePort must have no backend. The source \
                       is a node's address: something before Cilium translates it, or `bpf-lb-mode` in cilium-config \
                       sends requests through another node.",
        }
    }
    fn scope(&self) -> Scope {
        Scope::Cluster
    }
    fn needs(&self) -> Needs {
        Needs {
            claim: Some(ClaimKind::KubeProxyReplacement),
            mutates: true,
            ..NEEDS
        }
    }
    fn faults(&self) -> &'static [&'static str] {
        &[
            "external-traffic-policy-ignored",
            "internal-traffic-policy-ignored",
            "node-port-source-hidden",
        ]
    }

    async fn run(&self, context: &CheckContext) -> Verdict {
        while_steady(context, observe(context)).await
    }
}

async fn observe(context: &CheckContext) -> Result<Verdict, Verdict> {
    let cluster = context.instance.from();
    let side = Side::of(context, cluster)?;
    let backends = side.pods("backend")?;
    let nodes = side.facts.cluster(cluster).map_or(0, |found| found.nodes.len());
    let Some(backend) = backends.first().filter(|_| nodes > 1) else {
        return Err(Verdict::skipped(format!(
            "{cluster} has one node only, so there is none without a backend"
        )));
    };
    let service = TestService::named_at_random(context, &side, &[]).await?;
    let verdict = of_service(context, &side, &service, backend).await;
    service.delete(&[cluster]).await;
    verdict
}

/// One Service in front of one pod.
struct Local<'a> {
    context: &'a CheckContext,
    side: &'a Side,
    backend: &'a AgentFacts,
}

async fn of_service(
    context: &CheckContext,
    side: &Side,
    service: &TestService<'_>,
    backend: &AgentFacts,
) -> Result<Verdict, Verdict> {
    let cluster = &side.cluster;
    let unable = |error: EnvironmentError| {
        Verdict::inconclusive(format!(
            "cannot make the Service with traffic policy Local in {cluster}: {error}"
        ))
    };
    let (target, ports) = service.create_for(cluster, backend).await.map_err(unable)?;
    let local = Local { context, side, backend };
    let mut tally = Tally::new();
    side.report_missing(&mut tally);
    let inside: Vec<AgentFacts> = side.clients.iter().cloned().chain(side.hosts()).collect();
    let is_served = local.without_selector(&inside, &target, &mut tally).await;
    local.outside(ports, &mut tally).await;
    if is_served {
        service.keep_inside(cluster).await.map_err(unable)?;
        local.inside(&inside, &target, &mut tally).await;
    }
    if tally.has_findings() {
        suggest(context, side, Some(backend));
    }
    Ok(tally.verdict())
}

impl Local<'_> {
    /// Whether the pod, and nobody else, answered all.
    fn is_answered(&self, answers: &Answers) -> bool {
        answers.is_complete() && answers.by_pod(self.backend) == answers.answered()
    }

    fn is_near(&self, client: &AgentFacts) -> bool {
        client.node == self.backend.node
    }

    fn pod(&self) -> String {
        format!("pod {} on {}", self.backend.id.pod, self.backend.node)
    }

    /// A Service without selector, from every node. True if all were answered.
    async fn without_selector(&self, clients: &[AgentFacts], target: &Target, tally: &mut Tally) -> bool {
        let wanted = |answers: &Answers| self.is_answered(answers);
        let within = changed_within(self.context);
        let expected = format!("every request answered by {}, which its EndpointSlice has", self.pod());
        match ask_until(self.context, clients, target, POLL, within, wanted).await {
            Ok(after) => {
                tally.witness(format!(
                    "a Service without selector, from {} clients of {}: {expected}, after {} ms",
                    clients.len(),
                    self.side.cluster,
                    after.as_millis()
                ));
                true
            }
            Err(last) => {
                for answers in last.iter().filter(|answers| !self.is_answered(answers)) {
                    let at = format!("a Service without selector from {}", NodeLabel::from(&answers.client));
                    finding(answers, at, &expected, tally);
                }
                false
            }
        }
    }

    /// NodePorts, as another cluster meets them.
    async fn outside(&self, ports: NodePorts, tally: &mut Tally) {
        let mut others = self.side.facts.clusters.iter().map(|c| &c.name);
        let Some(other) = others.find(|other| **other != self.side.cluster) else {
            return self
                .context
                .note("there is no other cluster whose clients could ask from outside");
        };
        let Ok(far) = Side::of(self.context, other) else {
            return tally.unknown(format!("nobody asks from outside: no client in {other} is ready"));
        };
        let clients: Vec<AgentFacts> = far.clients.iter().cloned().chain(far.hosts()).collect();
        let nodes = self
            .side
            .facts
            .cluster(&self.side.cluster)
            .into_iter()
            .flat_map(|c| &c.nodes);
        let addressed = nodes.filter_map(|node| Some((node, *node.addresses.first()?)));
        let (home, elsewhere): (Vec<_>, Vec<_>) = addressed.partition(|(node, _)| node.name == self.backend.node);
        let Some((_, home)) = home.first() else {
            return tally.unknown(format!("no address is known of {}", self.backend.node));
        };
        let over = [(Exchange::Http, ports.http), (Exchange::Udp, ports.udp)].map(|(exchange, port)| {
            let (clients, elsewhere) = (&clients, &elsewhere);
            async move {
                let mut tally = Tally::new();
                if self
                    .at_home(clients, Target::new(home.to_string(), port), exchange, &mut tally)
                    .await
                {
                    self.elsewhere(clients, elsewhere, (exchange, port), &mut tally).await;
                }
                tally
            }
        });
        let source = self.source(&clients, *home, ports.http);
        let (over, source) = join(join_all(over), source).await;
        over.into_iter().chain([source]).for_each(|one| tally.absorb(one));
    }

    /// The pod's node. True if it answered every client.
    async fn at_home(&self, clients: &[AgentFacts], target: Target, exchange: Exchange, tally: &mut Tally) -> bool {
        let wanted = |answers: &Answers| self.is_answered(answers);
        let within = changed_within(self.context);
        let seen = ask_by_until(self.context, clients, (&target, exchange), POLL, within, wanted).await;
        let what = format!(
            "NodePort {target} with externalTrafficPolicy Local ({})",
            over(exchange)
        );
        let Err(last) = seen else {
            tally.witness(format!("{what}: {} answered every client outside", self.pod()));
            return true;
        };
        if last.iter().all(is_silent) {
            tally.unknown(format!(
                "{what}: nothing from outside was answered or refused: a firewall between the clusters is possible"
            ));
            return false;
        }
        for answers in last.iter().filter(|answers| !self.is_answered(answers)) {
            let at = format!("{what} from {}", NodeLabel::from(&answers.client));
            finding(answers, at, &format!("every request answered by {}", self.pod()), tally);
        }
        false
    }

    /// Nodes without a backend: silent, or they refuse.
    async fn elsewhere(
        &self,
        clients: &[AgentFacts],
        nodes: &[(&NodeFacts, IpAddr)],
        (exchange, port): (Exchange, u16),
        tally: &mut Tally,
    ) {
        let asking = nodes.iter().map(|(node, address)| async move {
            let target = Target::new(address.to_string(), port);
            let wanted = |answers: &Answers| is_unanswered(answers);
            let within = changed_within(self.context);
            let seen = ask_by_until(self.context, clients, (&target, exchange), FEW, within, wanted).await;
            (node, target, seen)
        });
        for (node, target, seen) in join_all(asking).await {
            let what = format!(
                "NodePort {target} with externalTrafficPolicy Local ({})",
                over(exchange)
            );
            match seen {
                Ok(_) => tally.witness(format!(
                    "{what}: {} without a backend answers nobody outside",
                    node.name
                )),
                Err(last) => {
                    for answers in last.iter().filter(|answers| !is_unanswered(answers)) {
                        let at = format!("{what} from {}", NodeLabel::from(&answers.client));
                        let expected = format!("no answer, since {} has no backend of the Service", node.name);
                        finding(answers, at, &expected, tally);
                    }
                }
            }
        }
    }

    /// The address that the pod sees against the one that its node sees.
    async fn source(&self, clients: &[AgentFacts], home: IpAddr, node_port: u16) -> Tally {
        let mut tally = Tally::new();
        let hosts = self.side.hosts();
        let Some(host) = hosts.iter().find(|host| self.is_near(host)) else {
            let node = &self.backend.node;
            tally.unknown(format!(
                "no host-network agent on {node} tells what source address it sees"
            ));
            return tally;
        };
        let by_service = Target::new(home.to_string(), node_port);
        let by_host = Target::new(home.to_string(), host.port(port::HTTP));
        let (by_service, by_host) = (&by_service, &by_host);
        let asking = clients.iter().map(|client| async move {
            let seen = join(self.seen_from(client, by_service), self.seen_from(client, by_host)).await;
            (client, seen)
        });
        for (client, seen) in join_all(asking).await {
            let from = NodeLabel::from(client);
            match seen {
                (Some(service), Some(host)) if service == host => tally.witness(format!(
                    "externalTrafficPolicy Local: {} sees the request from {from} come from {service}",
                    self.pod()
                )),
                (Some(service), Some(host)) => tally.finding(
                    format!("NodePort {by_service} with externalTrafficPolicy Local from {from}"),
                    format!("the pod sees the client's address {host}, as the node does that it is on"),
                    format!("it sees {service}"),
                ),
                // Whether there is an answer at all is judged elsewhere.
                (None, _) => {}
                (_, None) => tally.unknown(format!(
                    "the host-network agent of {} did not tell what source address it sees from {from}",
                    self.backend.node
                )),
            }
        }
        tally
    }

    /// The client's address as the server saw it.
    async fn seen_from(&self, client: &AgentFacts, target: &Target) -> Option<IpAddr> {
        let batch = vec![probes::patient(probes::http_get_from(target.clone())); TRIES];
        let outcomes = self.context.environment.probe(&client.id, batch).await.ok()?;
        outcomes.into_iter().find_map(|outcome| match outcome {
            Outcome::Answered { source, .. } => source,
            _ => None,
        })
    }

    /// Requests from inside, once they have to stay on their node.
    async fn inside(&self, clients: &[AgentFacts], target: &Target, tally: &mut Tally) {
        let right = |answers: &Answers| match self.is_near(&answers.client) {
            true => self.is_answered(answers),
            false => is_unanswered(answers),
        };
        let within = changed_within(self.context);
        match ask_until(self.context, clients, target, FEW, within, right).await {
            Ok(after) => tally.witness(format!(
                "internalTrafficPolicy Local: only clients on {} are answered, after {} ms",
                self.backend.node,
                after.as_millis()
            )),
            Err(last) => {
                for answers in last.iter().filter(|answers| !right(answers)) {
                    let at = format!("internalTrafficPolicy Local from {}", NodeLabel::from(&answers.client));
                    let expected = match self.is_near(&answers.client) {
                        true => format!("every request answered by {}", self.pod()),
                        false => format!("no answer, since the only backend is on {}", self.backend.node),
                    };
                    finding(answers, at, &expected, tally);
                }
            }
        }
    }
}

fn over(exchange: Exchange) -> &'static str {
    match exchange {
        Exchange::Http | Exchange::Tcp => "TCP",
        Exchange::Udp | Exchange::Fragments => "UDP",
    }
}

/// Whether every request failed by the network's doing.
fn is_unanswered(answers: &Answers) -> bool {
    answers.unknown.is_none() && answers.answered() == 0 && !answers.failures.is_empty()
}

fn is_silent(answers: &Answers) -> bool {
    let mut failures = answers.failures.iter();
    is_unanswered(answers) && failures.all(|failure| matches!(failure, Outcome::Timeout { .. }))
}

/// Whatever a client saw otherwise than it must.
fn finding(answers: &Answers, at: String, expected: &str, tally: &mut Tally) {
    match &answers.unknown {
        Some(why) => tally.unknown(format!("{at}: {why}")),
        None => {
            let servers = answers
                .servers
                .iter()
                .map(|(server, times)| format!("{} from {}", times, server.pod));
            let servers: Vec<String> = servers.collect();
            let by = if servers.is_empty() {
                String::new()
            } else {
                format!(" ({})", servers.join(", "))
            };
            tally.finding(at, expected, format!("{}{by}", answers.describe()));
        }
    }
}
