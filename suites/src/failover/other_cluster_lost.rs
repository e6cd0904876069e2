//! The other cluster is gone as a whole, and comes back.

use super::MESH_NEEDS;
use super::cast::{self, Cast, REPLICAS, Service};
use super::now;
use super::observed::{Event, Observed};
use super::patience::{Halt, patiently};
use super::recording::{Plan, Recording, unknown};
use super::stream::{Stream, TESTED};
use async_trait::async_trait;
use meshproof_contract::{
    Action, AgentFacts, Check, CheckContext, CheckId, CheckText, Disruption, EnvironmentError, Needs, Probe, Scope,
    Tally, Target, Unit, Verdict, port,
};
use std::time::{Duration, Instant};

/// Every node of the other cluster is cut.
pub struct OtherClusterLost;

/// How long traffic is watched without the other cluster.
const WATCHED: Duration = Duration::from_millis(2000);
const PATIENCE: Duration = Duration::from_secs(20);
/// How late Cilium notices that another cluster is away: nothing heard for two minutes (recorded: 124 s).
const NOTICED_WITHIN: Duration = Duration::from_secs(150);
/// Questions at a time to the service that prefers the other cluster, and between them.
const QUESTIONS: usize = 8;
const LOOK: Duration = Duration::from_millis(200);
const DEADLINE: Duration = Duration::from_millis(250);

#[async_trait]
impl Check for OtherClusterLost {
    fn id(&self) -> CheckId {
        CheckId::from("failover::other_cluster_lost")
    }

    fn text(&self) -> CheckText {
        CheckText {
            title: "What a cluster serves itself goes on without the other one, and the mesh is whole when that returns",
            proves: "Nothing that a cluster can serve alone depends on the other one: a global service that prefers its own backends loses no request while every node of the other cluster is away, nor when they return; and then the other cluster answers again by itself within the promised recovery.",
            how: "Streams to Service failover-global (affinity local) run while every node of the other cluster is cut by the operators' command (`nodePower` in meshproof.yaml; skipped where there is none), for 2 s at least, and come back. What becomes of Service failover-remote, which prefers the other cluster, is asked beside it: without `clustermesh-cache-ttl` (Cilium's default) its backends stay and its requests are lost, which is recorded and no finding; with a TTL its own cluster must answer once the loss can be noticed (150 s) and the TTL is over. After the return it must be answered by the other cluster within `recovery` of the thresholds.",
            control: "The stream to a neighbour in the other cluster must be answered before, be silent while it is away, and be answered again: only then was the cluster gone. A neighbour on the client's node runs at the same spacing.",
            when_red: "Losses at home: `cilium-dbg service list` on the client's node, are the own backends of failover-global still there? No return: `cilium-dbg status --verbose` there (ClusterMesh, node health), and `kubectl -n kube-system logs deploy/clustermesh-apiserver -c kvstoremesh --tail=100`.",
        }
    }

    fn scope(&self) -> Scope {
        Scope::Direction
    }
    fn needs(&self) -> Needs {
        MESH_NEEDS
    }
    fn faults(&self) -> &'static [&'static str] {
        &["cluster-loss-drops-backends"]
    }

    async fn run(&self, context: &CheckContext) -> Verdict {
        patiently(context, |least| judge(context, least)).await
    }
}

async fn judge(context: &CheckContext, least: Duration) -> Result<Verdict, Halt> {
    let (from, to) = (context.instance.from(), context.instance.to());
    let cast = Cast::of(context, from).await?;
    cast::ready(context, to, "backend", REPLICAS).await?;
    let client = &cast.clients[0];
    let plan = Plan::of(context, &cast, client, "failover-global", least)?;
    let beside = Beside {
        context,
        client,
        service: cast.service(from, "failover-remote")?,
    };
    let nodes = cast.facts.cluster(to).map(|cluster| &cluster.nodes);
    let disruption = Disruption::ClusterLost {
        nodes: nodes.into_iter().flatten().map(|node| node.name.clone()).collect(),
    };
    let own = cast::by(from);
    let mut recording = Recording::start(&plan, own).await?;
    let environment = &context.environment;
    let event = Event::begin();
    if let Err(error) = environment.disrupt(to, &disruption).await {
        let undone = environment.restore(to, &disruption).await.map_err(unknown);
        recording.stop().await?;
        undone?;
        return Err(match error {
            EnvironmentError::NoMeans { .. } => Verdict::skipped(error.to_string()),
            error => unknown(error),
        }
        .into());
    }
    let event = event.end();
    let away = watch_absence(&mut recording, &event).await;
    let withdrawn = beside.without(&cast, event.returned).await;
    // Whatever was seen, it comes back.
    let returning = Event::begin();
    let restored = environment.restore(to, &disruption).await.map_err(unknown);
    let limit = cast.facts.thresholds.recovery;
    let back = recording
        .until(limit, |seen| {
            let control = seen.track(Stream::OtherCluster);
            control.is_some_and(|track| track.is_settled_since(returning.called))
        })
        .await;
    let answered = beside.answered_by(to.as_str(), returning.called, limit).await;
    let seen = recording.stop().await;
    let (away, back, seen) = (away?, back?, seen?);
    let whole = match &restored {
        Ok(()) => cast::ready(context, to, "backend", REPLICAS).await.map(drop),
        Err(_) => restored,
    };

    context.note(format!("all nodes of {to} were away"));
    seen.tell(context, &event);
    if !away {
        return Err(Verdict::inconclusive(format!(
            "{to} was to be gone, and the stream to a neighbour there was not seen to fall silent"
        ))
        .into());
    }
    if let Some(halt) = seen.unusable_beside(&event, &[Stream::OtherCluster]) {
        return Err(halt);
    }
    let mut tally = Tally::new();
    cast::leave_open(&mut tally, &whole);
    seen.judge_unnoticed(&mut tally, &TESTED, &event, &cast.facts.thresholds);
    withdrawn.judge(context, &mut tally);
    match answered {
        Some(after) if back => {
            let ms = after.as_secs_f64() * 1000.0;
            context.measure("answers_again", "failover-remote", ms, Unit::Milliseconds);
            tally.witness(format!("{to} answers again {ms:.0} ms after its return"));
        }
        // Without backends there it has nobody to be answered by.
        _ if whole.is_err() => {}
        _ => tally.finding(
            "failover-remote",
            format!("answered by {to} again within {} s of its return", limit.as_secs()),
            match back {
                true => format!("not so, although a neighbour in {to} answers"),
                false => format!("not so, and no neighbour in {to} answers either"),
            },
        ),
    }
    Ok(tally.verdict())
}

/// Whether the other cluster was seen to be away for as long as traffic is to be watched.
async fn watch_absence(recording: &mut Recording<'_>, event: &Event) -> Result<bool, Verdict> {
    let gone = |seen: &Observed| {
        let control = seen.track(Stream::OtherCluster);
        control.is_some_and(|track| track.is_silent_since(event.returned))
    };
    recording
        .until(PATIENCE, |seen| gone(seen) && seen.covers(event.returned, WATCHED))
        .await
}

/// What becomes of the service that prefers the other cluster.
struct Beside<'a> {
    context: &'a CheckContext,
    client: &'a AgentFacts,
    service: Service,
}

/// What it was like without the other cluster.
enum Withdrawn {
    /// No TTL: so many of the requests were lost.
    Never { lost: usize },
    /// With a TTL: after so long its own cluster answered.
    After { limit: Duration, took: Option<Duration> },
}

impl Beside<'_> {
    /// Who answers a few new connections; none for a loss.
    async fn ask(&self) -> Vec<Option<String>> {
        let probe = || {
            let to = Target::new(self.service.address.to_string(), port::TCP);
            Probe::once(Action::TcpEcho { to, payload: 32 }, DEADLINE)
        };
        let probes = (0..QUESTIONS).map(|_| probe()).collect();
        let outcomes = self.context.environment.probe(&self.client.id, probes).await;
        let server = |outcome: &meshproof_contract::Outcome| {
            let served = outcome.served_by().filter(|_| outcome.is_success());
            served.map(|identity| identity.cluster.clone())
        };
        outcomes.unwrap_or_default().iter().map(server).collect()
    }

    async fn answered_by(&self, cluster: &str, since: Instant, within: Duration) -> Option<Duration> {
        loop {
            let asked = now();
            let answers = self.ask().await;
            if answers.len() == QUESTIONS && answers.iter().all(|who| who.as_deref() == Some(cluster)) {
                return Some(asked - since);
            }
            if now() - since > within {
                return None;
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    async fn without(&self, cast: &Cast, since: Instant) -> Withdrawn {
        let own = &self.client.id.cluster;
        match cast.cache_ttl(own) {
            None => Withdrawn::Never {
                lost: self.ask().await.iter().filter(|who| who.is_none()).count(),
            },
            Some(ttl) => {
                let limit = NOTICED_WITHIN + ttl;
                Withdrawn::After {
                    limit,
                    took: self.answered_by(own.as_str(), since, limit).await,
                }
            }
        }
    }
}

impl Withdrawn {
    fn judge(&self, context: &CheckContext, tally: &mut Tally) {
        match self {
            Withdrawn::Never { lost } => context.note(format!(
                "failover-remote, which prefers the lost cluster: {lost} of {QUESTIONS} requests lost; without clustermesh-cache-ttl its backends stay"
            )),
            Withdrawn::After { limit, took: Some(took) } => {
                let ms = took.as_secs_f64() * 1000.0;
                context.measure("withdrawn_after", "failover-remote", ms, Unit::Milliseconds);
                tally.witness(format!(
                    "failover-remote was answered at home {ms:.0} ms after the loss, of {} s allowed",
                    limit.as_secs()
                ));
            }
            Withdrawn::After { limit, took: None } => tally.finding(
                "failover-remote",
                format!(
                    "answered at home {} s after the loss: until it is noticed, and clustermesh-cache-ttl",
                    limit.as_secs()
                ),
                "not so",
            ),
        }
    }
}
