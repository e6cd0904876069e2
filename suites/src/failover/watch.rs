//! `meshproof watch`: streams run through what somebody else does, and each gap is told with what changed near it.

mod changes;
mod clock;
mod judge;
mod lane;
mod track;

#[cfg(test)]
mod tests;

use super::{
    SCENARIO,
    participants::Service,
    stream::{Stream, TESTED},
};
use async_trait::async_trait;
use changes::Course;
use futures::future::join_all;
use lane::{Lane, Path};
use meshproof_contract::{
    Admission, AgentFacts, Check, CheckContext, CheckId, CheckText, ClaimKind, ClusterName, Needs, Scope, Suite, Tally,
    Verdict, watching::Watching,
};
use std::{collections::BTreeSet, time::Duration};
use tokio::time::{Instant, sleep};

/// What `meshproof watch` runs; no suite of a run.
pub const WATCH: Suite = Suite {
    name: "watch",
    about: "Streams that run for as long as somebody works on the clusters. Each gap is told with its time, its length \
            and what changed in the clusters near it.",
    checks: &[&Watch(Scope::Cluster), &Watch(Scope::Direction)],
};

/// A watch within each cluster, or from each to each other.
pub struct Watch(Scope);

/// Between two collections of the streams.
const TICK: Duration = Duration::from_millis(500);
/// Between two looks at the clusters' objects.
const LOOK: Duration = Duration::from_secs(5);
/// At most so many clients carry the streams of a cluster, each on another node.
const CLIENTS: usize = 2;

#[async_trait]
impl Check for Watch {
    fn id(&self) -> CheckId {
        CheckId::from(match self.0 {
            Scope::Direction => "watch::across",
            _ => "watch::within",
        })
    }
    fn text(&self) -> CheckText {
        CheckText {
            title: match self.0 {
                Scope::Direction => "Streams to the other cluster go on while the clusters are worked on",
                _ => "Streams within the cluster go on while the clusters are worked on",
            },
            proves: "While this watched, applications lost no more requests than `availability` of the thresholds \
                     allows, and were never without an answer for longer than `recovery`.",
            how: "Clients on up to two nodes send probes at a fixed rate: new TCP connections, one long-lived TCP \
                  connection, HTTP keep-alive, UDP and DNS to a Service, and new TCP connections to a pod. Every 5 s \
                  pods of the system and of the probes, Nodes and cilium-config are read: what changed within 30 s of \
                  a gap is told with it.",
            control: "Each stream must have been answered, and must have been observed until the end; otherwise the \
                      check is inconclusive. Losses while the client itself was not scheduled are not counted.",
            when_red: "The evidence has each gap with what changed near it. `kubectl --context CONTEXT get events -A \
                       --sort-by=.lastTimestamp` shows more of that time.",
        }
    }
    fn scope(&self) -> Scope {
        self.0
    }
    fn needs(&self) -> Needs {
        Needs {
            scenario: Some(SCENARIO),
            claim: (self.0 == Scope::Direction).then_some(ClaimKind::ClusterMesh),
            admission: Admission::Shared,
            mutates: false,
        }
    }
    fn faults(&self) -> &'static [&'static str] {
        match self.0 {
            Scope::Direction => &["other-cluster-blackhole"],
            _ => &["udp-dropped"],
        }
    }

    async fn run(&self, context: &CheckContext) -> Verdict {
        let (Ok(verdict) | Err(verdict)) = watch(context).await;
        verdict
    }
}

async fn watch(context: &CheckContext) -> Result<Verdict, Verdict> {
    let watching = context.shared.of::<Watching>();
    let (from, to) = (context.instance.from(), context.instance.to());
    let clusters: BTreeSet<ClusterName> = [from.clone(), to.clone()].into();
    let clients = clients(context, from).await?;
    let mut lanes: Vec<Lane> = Vec::new();
    for path in paths(context, &clients).await? {
        lanes.push(Lane::start(context, path, watching.spacing()).await);
    }
    let mut course = Course::begin(context, &clusters, namespaces(context)).await;
    let mut looked = Instant::now();
    while !watching.is_over() {
        sleep(TICK).await;
        join_all(lanes.iter_mut().map(|lane| lane.collect(context))).await;
        if looked.elapsed() >= LOOK {
            course.look(context).await;
            let pods = context
                .environment
                .agents(to, SCENARIO, "neighbour")
                .await
                .unwrap_or_default();
            join_all(lanes.iter_mut().map(|lane| lane.follow(context, &pods))).await;
            looked = Instant::now();
        }
    }
    join_all(lanes.iter_mut().map(|lane| lane.end(context))).await;
    course.look(context).await;
    let mut tally = Tally::new();
    judge::judge(context, &lanes, &course, &mut tally);
    Ok(tally.verdict())
}

/// Clients on different nodes.
async fn clients(context: &CheckContext, cluster: &ClusterName) -> Result<Vec<AgentFacts>, Verdict> {
    let found = context.environment.agents(cluster, SCENARIO, "client").await;
    let mut found = found.map_err(|error| Verdict::inconclusive(error.to_string()))?;
    let mut nodes = BTreeSet::new();
    found.retain(|client| nodes.insert(client.node.clone()));
    found.truncate(CLIENTS);
    if found.is_empty() {
        return Err(Verdict::inconclusive(format!("no client of {cluster} is ready")));
    }
    Ok(found)
}

/// All streams of the instance.
async fn paths(context: &CheckContext, clients: &[AgentFacts]) -> Result<Vec<Path>, Verdict> {
    let (from, to) = (context.instance.from(), context.instance.to());
    let is_local = from == to;
    let service = Service::of(
        &context.environment.facts(),
        from,
        if is_local { "failover-local" } else { "failover-remote" },
    )?;
    let neighbours = context.environment.agents(to, SCENARIO, "neighbour").await;
    let neighbours = neighbours.map_err(|error| Verdict::inconclusive(error.to_string()))?;
    let mut paths = Vec::new();
    for client in clients {
        // Names resolve in the client's own cluster whatever the other one does.
        let tested = TESTED.into_iter().filter(|stream| is_local || *stream != Stream::Dns);
        paths.extend(tested.map(|stream| Path {
            stream,
            client: client.clone(),
            to: service.address,
            name: service.dns_name.clone(),
            what: format!("Service {}", service.name),
            pod_on: None,
        }));
        let other = neighbours.iter().find(|other| !is_local || other.node != client.node);
        paths.extend(other.map(|other| Path {
            stream: Stream::NewTcp,
            client: client.clone(),
            to: other.address,
            name: String::new(),
            what: format!("pod on {}", other.node),
            pod_on: Some(other.node.clone()),
        }));
    }
    Ok(paths)
}

/// Where pods are whose comings and goings may explain a gap: Cilium's and cluster DNS's, and the probes'.
fn namespaces(context: &CheckContext) -> BTreeSet<String> {
    let facts = context.environment.facts();
    let own = facts.services.iter().map(|service| service.namespace.clone());
    own.chain(["kube-system".to_owned()]).collect()
}
