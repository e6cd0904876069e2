//! Session affinity: a client stays with the pod that answered it first.

use super::{
    NEEDS,
    ask::{Answers, Exchange, ask, is_pod},
    side::{Side, pods},
    steady::while_steady,
};
use async_trait::async_trait;
use futures::future::join_all;
use meshproof_contract::{
    AgentFacts, AgentId, Check, CheckContext, CheckId, CheckText, Needs, NodeLabel, Scope, Tally, Verdict,
};
use std::collections::{BTreeMap, BTreeSet};

/// `sessionAffinity: ClientIP`.
pub struct SessionAffinity;

/// Each port is remembered by itself.
const PORTS: [(&str, Exchange); 3] = [("http", Exchange::Http), ("tcp", Exchange::Tcp), ("udp", Exchange::Udp)];
/// Requests of each client by which at least two pods answer it where nothing keeps it with one: with two pods the
/// chance that one never answers is 5e-10.
const SAMPLE: u32 = 32;
/// Requests of each client to each port after the first: with two pods the probability that all go to one by chance is
/// 1e-12.
const MORE: u32 = 40;

#[async_trait]
impl Check for SessionAffinity {
    fn id(&self) -> CheckId {
        CheckId::from("service::session_affinity")
    }
    fn text(&self) -> CheckText {
        CheckText {
            title: "With session affinity a client stays with its pod",
            proves: "Every node applies `sessionAffinity: ClientIP`: all connections and datagrams of a client to a \
                     port reach the pod that answered its first one, also where that is another cluster's pod behind \
                     a global Service.",
            how: "The client and the host-network agent on every node, and the pods `backend`, send one request to \
                  each port of the global Service `svc-sticky` (GET, TCP echo, datagram) and then 40 more, each over a \
                  new connection or socket. The pod that answered the first must answer all.",
            control: "At `svc-plain`, which has the same backends of this cluster without session affinity, at least \
                      two pods answer the same client; otherwise the check is inconclusive. The report says how many \
                      requests stayed with pods of other clusters, and notes if none did.",
            when_red: "`kubectl --context CONTEXT -n NAMESPACE get service svc-sticky -o yaml` (sessionAffinity), \
                       then `kubectl --context CONTEXT -n kube-system exec AGENT_POD -c cilium-agent -- cilium-dbg \
                       status --verbose` (Session Affinity).",
        }
    }
    fn scope(&self) -> Scope {
        Scope::Cluster
    }
    fn needs(&self) -> Needs {
        NEEDS
    }
    fn faults(&self) -> &'static [&'static str] {
        &["session-affinity-ignored", "session-affinity-local-only"]
    }
    // Where a node has two backends, it is left with one.
    fn dimmed_by(&self) -> &'static [&'static str] {
        &[
            "hairpin-dropped",
            "host-service-dropped",
            "service-backend-missing-on-node",
        ]
    }

    async fn run(&self, context: &CheckContext) -> Verdict {
        while_steady(context, observe(context)).await
    }
}

async fn observe(context: &CheckContext) -> Result<Verdict, Verdict> {
    let side = Side::of(context, context.instance.from())?;
    let plain = side.target("svc-plain", "http")?;
    let backends = side.pods("backend")?;
    if backends.len() < 2 {
        return Err(Verdict::inconclusive(format!(
            "{} has fewer than two backends, so session affinity cannot be observed",
            side.cluster
        )));
    }
    let clusters = side.mesh().unwrap_or_else(|_| vec![side.cluster.clone()]);
    let all: Vec<AgentFacts> = clusters.iter().flat_map(|c| pods(&side.facts, c, "backend")).collect();
    let mut tally = Tally::new();
    side.report_missing(&mut tally);
    let clients: Vec<AgentFacts> = [side.clients.clone(), backends, side.hosts()].concat();
    let control = ask(context, &clients, &plain, Exchange::Http, SAMPLE).await;
    let able = control.iter().filter(|control| is_spread(control, &mut tally));
    let able: BTreeSet<&AgentId> = able.map(|control| &control.client.id).collect();
    let clients: Vec<AgentFacts> = clients.iter().filter(|one| able.contains(&one.id)).cloned().collect();
    let mut kept = Kept::default();
    let ports = PORTS.map(|(port, exchange)| side.target("svc-sticky", port).map(|target| (port, exchange, target)));
    let ports = ports.into_iter().collect::<Result<Vec<_>, _>>()?;
    let asking = ports.iter().map(|(port, exchange, target)| {
        let clients = &clients;
        async move {
            let first = ask(context, clients, target, *exchange, 1).await;
            (port, first, ask(context, clients, target, *exchange, MORE).await)
        }
    });
    for (port, first, more) in join_all(asking).await {
        for (first, more) in first.iter().zip(&more) {
            judge(port, (first, more), &all, &mut kept, &mut tally);
        }
    }
    let elsewhere = kept
        .by_cluster
        .iter()
        .filter(|(cluster, _)| **cluster != side.cluster.as_str());
    let elsewhere: u32 = elsewhere.map(|(_, times)| times).sum();
    if kept.requests > 0 {
        tally.witness(format!(
            "{} requests of {} clients of {} were answered by the pod of the client's first one at that port, \
             {elsewhere} of them by pods of other clusters, while several pods answered the same clients at svc-plain",
            kept.requests,
            clients.len(),
            side.cluster
        ));
        if clusters.len() > 1 && elsewhere == 0 {
            context.note(
                "no pod of another cluster was any client's, so nothing is known of remote backends; see \
                 service::global_spread",
            );
        }
    }
    Ok(tally.verdict())
}

/// What stayed where it must.
#[derive(Default)]
struct Kept {
    requests: u32,
    by_cluster: BTreeMap<String, u32>,
}

/// The control: several pods answer this client where nothing keeps it with one.
fn is_spread(control: &Answers, tally: &mut Tally) -> bool {
    let from = NodeLabel::from(&control.client);
    if let Some(why) = &control.unknown {
        tally.unknown(format!("from {from}: {why}"));
    } else if control.servers.len() < 2 {
        tally.unknown(format!(
            "control, from {from}: fewer than two pods answered at svc-plain: {}",
            control.describe()
        ));
    } else {
        return true;
    }
    false
}

fn judge(port: &str, (first, more): (&Answers, &Answers), all: &[AgentFacts], kept: &mut Kept, tally: &mut Tally) {
    let client = &first.client;
    let who = if client.workload == "backend" {
        "backend"
    } else {
        "client"
    };
    let at = format!("svc-sticky port {port} from the {who} on {}", NodeLabel::from(client));
    if let Some(why) = [first, more].iter().find_map(|answers| answers.unknown.clone()) {
        return tally.unknown(format!("{at}: {why}"));
    }
    match wrong(first, more) {
        None => {
            kept.requests += more.answered();
            for (server, times) in &more.servers {
                *kept.by_cluster.entry(server.cluster.clone()).or_default() += times;
            }
        }
        Some(observed) => tally.finding(
            &at,
            "every request answered by the pod that answered the client's first one",
            observed,
        ),
    }
    for (server, _) in more.servers.iter().filter(|(s, _)| !all.iter().any(|p| is_pod(s, p))) {
        tally.finding(
            &at,
            "answers from the backends of the Service only",
            format!("answered by {server}"),
        );
    }
}

/// How a client was answered otherwise than it must be.
fn wrong(first: &Answers, more: &Answers) -> Option<String> {
    let Some((chosen, _)) = first.servers.first() else {
        return Some(format!("the first request was not answered: {}", first.describe()));
    };
    if !more.failures.is_empty() {
        return Some(more.describe());
    }
    let others: u32 = more.servers.iter().filter(|(s, _)| s != chosen).map(|(_, n)| n).sum();
    (others > 0).then(|| {
        format!(
            "{others} of {} requests were answered by another pod than {}",
            more.answered(),
            chosen.pod
        )
    })
}
