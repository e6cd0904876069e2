//! Datagrams that need several packets: IP fragments, pod to pod and through a Service.

use super::{
    NEEDS,
    ask::{Answers, Exchange, FRAGMENTED, ask},
    judge::{Expected, judge},
    side::{Side, pods},
    steady::while_steady,
};
use crate::kit::{next_steps, probes};
use async_trait::async_trait;
use futures::future::{join, join_all};
use meshproof_contract::{
    Action, AgentFacts, Check, CheckContext, CheckId, CheckText, Evidence, Needs, NodeLabel, Outcome, Probe, Scope,
    Tally, Target, Verdict,
    evidence::{Cell, CellOutcome, Row},
    port,
};
use std::collections::BTreeMap;

/// UDP in fragments.
pub struct Fragments;

/// Datagrams to each pod: one is lost now and then, and fragments that are dropped are dropped for good.
const TRIES: usize = 3;
/// Datagrams of each client to the Service.
const REQUESTS: u32 = 24;

#[async_trait]
impl Check for Fragments {
    fn id(&self) -> CheckId {
        CheckId::from("service::udp_fragments")
    }
    fn text(&self) -> CheckText {
        CheckText {
            title: "Datagrams that need IP fragments come back, pod to pod and through a Service",
            proves: "Fragments of UDP packets pass between the nodes of all joined clusters and through load \
                     balancing: what large DNS answers, RADIUS and SIP depend on.",
            how: "The client and the host-network agent on every node send 3 datagrams of 4,000 B to every pod \
                  `backend` of the joined clusters, and 24 to the UDP port of `svc-global`; each must come back \
                  whole. A pod that none came back from is asked again, with more time.",
            control: "In the same batch a datagram of 64 B and 4,000 B over TCP must come back from the same pod. \
                      Where they do not, the path is broken and not the fragments, and the check is inconclusive.",
            when_red: "A firewall or a security group between the nodes drops IP fragments, or `kubectl --context \
                       CONTEXT -n kube-system exec AGENT_POD -c cilium-agent -- cilium-dbg config --all` shows \
                       EnableIPv4FragmentsTracking false. `cilium-dbg monitor --type drop` on the node named shows \
                       who drops them. Applications can avoid fragments with smaller datagrams or TCP.",
        }
    }
    fn scope(&self) -> Scope {
        Scope::Cluster
    }
    fn needs(&self) -> Needs {
        NEEDS
    }
    fn faults(&self) -> &'static [&'static str] {
        &["udp-fragments-dropped"]
    }

    async fn run(&self, context: &CheckContext) -> Verdict {
        while_steady(context, observe(context)).await
    }
}

async fn observe(context: &CheckContext) -> Result<Verdict, Verdict> {
    let side = Side::of(context, context.instance.from())?;
    let clusters = side.mesh().unwrap_or_else(|_| vec![side.cluster.clone()]);
    let backends: Vec<AgentFacts> = clusters.iter().flat_map(|c| pods(&side.facts, c, "backend")).collect();
    let target = side.target("svc-global", "udp")?;
    let clients: Vec<AgentFacts> = side.clients.iter().cloned().chain(side.hosts()).collect();
    let mut tally = Tally::new();
    side.report_missing(&mut tally);
    let direct = join_all(clients.iter().map(|client| look(context, client, &backends)));
    let (direct, through) = join(direct, ask(context, &clients, &target, Exchange::Fragments, REQUESTS)).await;
    let is_broken = direct.iter().flatten().any(|seen| seen.is_broken());
    for (client, paths) in clients.iter().zip(direct) {
        let from = NodeLabel::from(client);
        let mut cells = BTreeMap::new();
        for (pod, seen) in backends.iter().zip(paths) {
            cells.insert(NodeLabel::from(pod), seen.cell(NodeLabel::from(pod)));
            seen.judge(&format!("{from} -> pod {} on {}", pod.id.pod, pod.node), &mut tally);
        }
        context.evidence(Evidence::Row(Row {
            what: "datagrams of 4,000 B, pod to pod".to_owned(),
            from,
            cells: cells.into_values().collect(),
        }));
    }
    let what = "svc-global, datagrams of 4,000 B";
    if !is_broken {
        judge(
            context,
            &side,
            what,
            &through,
            Expected::Clusters(&clusters),
            &mut tally,
        );
    }
    if tally.has_findings() {
        let lost = |answers: &&Answers| !answers.failures.is_empty();
        let node = through.iter().find(lost).map(|answers| &answers.client.node);
        let command = "cilium-dbg monitor --type drop";
        context.suggest(next_steps::in_agent(&side.facts, &side.cluster, node, command));
    }
    Ok(tally.verdict())
}

/// What came back from one pod.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Seen {
    fragments: bool,
    small: bool,
    tcp: bool,
    unable: bool,
}

/// What comes back from each pod, asked again where only the fragments are missing.
async fn look(context: &CheckContext, client: &AgentFacts, backends: &[AgentFacts]) -> Vec<Seen> {
    let mut seen = once(context, client, backends, |probe| probe).await;
    let again: Vec<usize> = (0..seen.len()).filter(|at| !seen[*at].fragments).collect();
    if !again.is_empty() {
        let pods: Vec<AgentFacts> = again.iter().map(|at| backends[*at].clone()).collect();
        let second = once(context, client, &pods, probes::patient).await;
        for (at, second) in again.into_iter().zip(second) {
            seen[at] = second;
        }
    }
    seen
}

async fn once(
    context: &CheckContext,
    client: &AgentFacts,
    backends: &[AgentFacts],
    limit: fn(Probe) -> Probe,
) -> Vec<Seen> {
    let udp = |pod: &AgentFacts, payload| Action::UdpEcho {
        to: Target::new(pod.address.to_string(), pod.port(port::UDP)),
        payload,
    };
    let probes = |pod: &AgentFacts| {
        let tcp = Action::TcpEcho {
            to: Target::new(pod.address.to_string(), pod.port(port::TCP)),
            payload: FRAGMENTED,
        };
        let mut actions = vec![tcp];
        actions.extend(vec![udp(pod, 64); TRIES]);
        actions.extend(vec![udp(pod, FRAGMENTED); TRIES]);
        actions
            .into_iter()
            .map(|action| limit(Probe::once(action, probes::DEADLINE)))
    };
    let of_each = 1 + 2 * TRIES;
    let batch: Vec<Probe> = backends.iter().flat_map(probes).collect();
    let outcomes = context.environment.probe(&client.id, batch).await.unwrap_or_default();
    let unable = Seen {
        unable: true,
        ..Seen::default()
    };
    let seen = |at: usize| {
        let of_pod = outcomes.get(at * of_each..(at + 1) * of_each)?;
        let came = |outcomes: &[Outcome], bytes: u32| {
            outcomes.iter().any(|outcome| {
                matches!(outcome, Outcome::Answered { bytes: back, .. } if *back >= u64::from(bytes))
                    && outcome.is_success()
            })
        };
        Some(Seen {
            tcp: came(&of_pod[..1], FRAGMENTED),
            small: came(&of_pod[1..=TRIES], 64),
            fragments: came(&of_pod[1 + TRIES..], FRAGMENTED),
            unable: of_pod.iter().any(Outcome::is_local_error),
        })
    };
    (0..backends.len()).map(|at| seen(at).unwrap_or(unable)).collect()
}

impl Seen {
    /// Whether more than fragments is lost, or nothing is known.
    fn is_broken(self) -> bool {
        !self.fragments && (self.unable || !self.small || !self.tcp)
    }

    fn judge(self, path: &str, tally: &mut Tally) {
        match self {
            Seen { fragments: true, .. } => tally.witness(format!("{path}: datagrams of {FRAGMENTED} B come back")),
            Seen { unable: true, .. } => tally.unknown(format!("{path}: the agent could not try")),
            Seen {
                small: true, tcp: true, ..
            } => tally.finding(
                path,
                "datagrams of 4,000 B come back, as those of 64 B and 4,000 B over TCP do",
                "IP fragments are dropped: no datagram of 4,000 B comes back, while 64 B over UDP and 4,000 B over TCP \
                 do",
            ),
            Seen { small, tcp, .. } => tally.unknown(format!(
                "{path}: no datagram of 4,000 B comes back, but the path has other losses ({}), so it need not be \
                 fragments; see suite connectivity",
                match (small, tcp) {
                    (false, true) => "64 B over UDP",
                    (true, false) => "4,000 B over TCP",
                    _ => "64 B over UDP and 4,000 B over TCP",
                }
            )),
        }
    }

    fn cell(self, to: NodeLabel) -> Cell {
        let outcome = match self {
            Seen { fragments: true, .. } => CellOutcome::Ok,
            Seen {
                unable: false,
                small: true,
                tcp: true,
                ..
            } => CellOutcome::NoAnswer,
            _ => CellOutcome::Unknown,
        };
        Cell {
            to,
            outcome,
            value: None,
            unit: None,
            detail: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::tests::world::{healthy, healthy_but},
        *,
    };
    use crate::testing::{infra, timeout};

    fn is_large(action: &Action) -> bool {
        matches!(action, Action::UdpEcho { payload, .. } if *payload == FRAGMENTED)
    }

    #[tokio::test(start_paused = true)]
    async fn fragments_that_are_lost_are_told_from_a_path_that_is() {
        healthy().expect(&Fragments, infra(), "pass").await;
        let lost = healthy_but(|p| (is_large(p.action) && p.from.node.as_str() == "infra-2").then(timeout));
        let text = lost.expect(&Fragments, infra(), "fail").await;
        assert!(
            text.contains("infra-2 -> pod")
                && text.contains("IP fragments are dropped")
                && !text.contains("infra-1 -> pod"),
            "{text}"
        );
        let path = healthy_but(|p| matches!(p.action, Action::UdpEcho { .. }).then(timeout));
        let text = path.expect(&Fragments, infra(), "inconclusive").await;
        assert!(text.contains("need not be fragments"), "{text}");
    }
}
