//! The other cluster's clustermesh-apiserver is down, and comes back.

use super::{
    check::FailoverCheck,
    disruption::{Disrupted, while_disrupted},
    footprint,
    idle::IdleConnection,
    now,
    observed::Observed,
    participants::{Participants, by},
    recording::{Plan, Recording},
    resync::{ServiceCounter, is_complete},
    retry_when_busy::Unjudged,
    stream::TESTED,
    workload::{self, tally_failure, unknown},
};
use meshproof_contract::{CheckContext, CheckText, Disruption, Scope, Tally, Unit, Verdict};
use std::time::{Duration, Instant};
use tokio::time::sleep;

/// The other cluster's clustermesh-apiserver is scaled to zero for seconds.
pub const SECONDS: FailoverCheck = FailoverCheck {
    id: "failover::mesh_apiserver_down_seconds",
    text: CheckText {
        title: "Remote backends keep answering while the other cluster's clustermesh-apiserver is down for seconds",
        proves: "The clustermesh-apiserver carries updates, not traffic: a cluster keeps and uses another cluster's \
                 backends while it restarts, and its return interrupts nothing. Leases and heartbeats last longer: \
                 what follows from their end is what `failover::mesh_apiserver_down_minutes` is about.",
        how: "Streams to Service failover-remote, which prefers the other cluster, run while that cluster's \
              Deployment clustermesh-apiserver is scaled to zero for 2 s and back, until KVStoreMesh or the agents of \
              the streams' cluster count a new Service (60 s at most; 15 s where nothing counts), and for 2 s more. \
              Every answer must come from the other cluster and no stream may be affected; the check is skipped where \
              `clustermesh-cache-ttl` withdraws backends too soon.",
        control: CONTROL,
        when_red: WHEN_RED,
    },
    scope: Scope::Direction,
    admission: footprint::OTHER_MESH,
    faults: &["mesh-apiserver-down-drops-backends"],
    attempt: |context, spacing| Box::pin(attempt(context, spacing, Outage::Seconds)),
};

/// The other cluster's clustermesh-apiserver is scaled to zero for as long as the operators say.
pub const MINUTES: FailoverCheck = FailoverCheck {
    id: "failover::mesh_apiserver_down_minutes",
    text: CheckText {
        title: "Remote backends keep answering while the other cluster's clustermesh-apiserver is down for minutes",
        proves: "A cluster keeps and uses another cluster's backends when the leases of its clustermesh-apiserver have \
                 ended and its heartbeats are missed, and its return interrupts nothing. A connection that is idle \
                 meanwhile stays usable. That takes an outage of 3 minutes; a shorter one proves as much as it lasts.",
        how: "As `failover::mesh_apiserver_down_seconds`, but scaled to zero for the time that `--mesh-outage` or \
              `meshOutage` in meshproof.yaml gives, and with a probe every 100 ms. One more connection is used at the \
              beginning and after that time. Skipped without it.",
        control: CONTROL,
        when_red: WHEN_RED,
    },
    scope: Scope::Direction,
    admission: footprint::OTHER_MESH,
    faults: &["mesh-apiserver-outage-drops-backends", "idle-connections-dropped"],
    attempt: |context, spacing| {
        Box::pin(async move {
            let Some(seconds) = context.environment.facts().mesh_outage_seconds else {
                let why = "it takes minutes: give --mesh-outage 3m, or meshOutage in meshproof.yaml";
                return Err(Verdict::skipped(why).into());
            };
            let outage = Outage::Minutes(Duration::from_secs(seconds.into()));
            attempt(context, spacing.max(SPACING_OF_MINUTES), outage).await
        })
    },
};

const CONTROL: &str = "Before the event every answer comes from the other cluster. A pod on the client's node and one \
                       in the other cluster are probed at the same spacing.";
const WHEN_RED: &str = "`cilium-dbg service list` on the client's node lacks the other cluster's backends. `kubectl \
                        --context CONTEXT -n kube-system logs deploy/clustermesh-apiserver -c kvstoremesh --tail=100` \
                        shows when they were dropped.";

/// How long it is down.
#[derive(Clone, Copy)]
enum Outage {
    Seconds,
    /// As the operators say. Beside the streams, a connection is idle meanwhile.
    Minutes(Duration),
}

impl Outage {
    fn lasts(self) -> Duration {
        match self {
            Outage::Seconds => Duration::from_secs(2),
            Outage::Minutes(lasts) => lasts,
        }
    }
}

/// The least spacing of probes where it is minutes.
const SPACING_OF_MINUTES: Duration = Duration::from_millis(100);
/// How long traffic is watched once the clusters are in sync again.
const WATCHED_AFTER: Duration = Duration::from_secs(2);
/// How long where nothing shows when they are: KVStoreMesh takes up to 13 s (recorded).
const WATCHED_AFTER_UNKNOWN: Duration = Duration::from_secs(15);
/// How long they may take, and how long every replica may take to be ready.
const IN_SYNC_WITHIN: Duration = Duration::from_secs(60);
/// Between two reads of the replicas.
const INTERVAL: Duration = Duration::from_millis(200);
/// How long the streams may take to cover the time that is to be watched.
const COVERED_WITHIN: Duration = Duration::from_secs(20);
/// Backends that are withdrawn within this time after the outage may be withdrawn while traffic is watched.
const TOO_SOON: Duration = Duration::from_secs(8);

async fn attempt(context: &CheckContext, spacing: Duration, outage: Outage) -> Result<Verdict, Unjudged> {
    let lasts = outage.lasts();
    let (from, to) = (context.instance.from(), context.instance.to());
    let participants = Participants::of(context, from, workload::GLOBAL_BACKEND).await?;
    let backends = workload::ready(context, to, workload::GLOBAL_BACKEND, 1).await?;
    if let Some(ttl) = participants.cache_ttl(from).filter(|ttl| *ttl <= lasts + TOO_SOON) {
        return Err(Verdict::skipped(format!(
            "clustermesh-cache-ttl of {from} is {} s: backends are withdrawn before traffic was watched long enough",
            ttl.as_secs()
        ))
        .into());
    }
    let counter = ServiceCounter::find(context, from, to).await;
    let client = &participants.clients[0];
    let plan = Plan::of(context, &participants, client, "failover-remote", spacing)?;
    let mut recording = Recording::start(&plan, by(to)).await?;
    let idle = match outage {
        Outage::Seconds => None,
        Outage::Minutes(lasts) => Some(IdleConnection::open(&plan, lasts).await?),
    };
    let ready_before = workload::ready_since(context, &backends).await;
    let down = while_disrupted(context, to, &Disruption::MeshApiServerDown, |event| {
        recording.until(COVERED_WITHIN + lasts, move |seen| seen.covers(event.returned, lasts))
    });
    let down = down.await.map_err(unknown)?;
    let in_sync = match &down.restored {
        Ok(()) => wait_for_sync(context, &mut recording, counter).await,
        Err(verdict) => Err(verdict.clone()),
    };
    let (since, span) = match (&in_sync, counter) {
        (Ok(Some(in_sync)), Some(_)) => (*in_sync, WATCHED_AFTER),
        _ => (down.restoring.returned, WATCHED_AFTER_UNKNOWN),
    };
    let covered = recording
        .until(COVERED_WITHIN + span, |seen| seen.covers(since, span))
        .await?;
    let seen = recording.stop().await?;
    if !down.watched.clone()? || !covered {
        return Err(Verdict::inconclusive("the streams did not run long enough during and after the event").into());
    }
    let sync = Sync { counter, in_sync };
    let mut tally = sync.judge(context, &seen, &down)?;
    if let Some(idle) = idle {
        idle.judge(&mut tally).await;
    }
    // Backends that are not ready get no traffic, with or without the clustermesh-apiserver.
    if ready_before.is_some() && ready_before != workload::ready_since(context, &backends).await {
        return Err(Verdict::inconclusive(format!(
            "the backends in {to} were not ready all the time, so who answered proves nothing about the \
             clustermesh-apiserver"
        ))
        .into());
    }
    seen.judge_unnoticed(&mut tally, &TESTED, &down.event, &participants.facts.thresholds)?;
    plan.suggest_commands(&tally);
    Ok(tally.verdict())
}

/// Waits for every replica, and then until the counter has counted a new Service; when that was.
async fn wait_for_sync(
    context: &CheckContext,
    recording: &mut Recording<'_>,
    counter: Option<ServiceCounter>,
) -> Result<Option<Instant>, Verdict> {
    let (to, begun) = (context.instance.to(), now());
    while is_complete(context, to).await == Some(false) {
        if now() - begun > IN_SYNC_WITHIN {
            return Err(Verdict::inconclusive(format!(
                "{to}: not every replica of clustermesh-apiserver was ready again after {} s",
                IN_SYNC_WITHIN.as_secs()
            )));
        }
        recording.collect().await?;
        sleep(INTERVAL).await;
    }
    match counter {
        Some(counter) => {
            let left = IN_SYNC_WITHIN.saturating_sub(now() - begun);
            counter.counts_new_service(context, recording, left).await
        }
        None => Ok(None),
    }
}

/// Whether the clusters were in sync again.
struct Sync {
    counter: Option<ServiceCounter>,
    /// When the counter had counted a new Service.
    in_sync: Result<Option<Instant>, Verdict>,
}

impl Sync {
    /// Judges the return, and who answered meanwhile.
    fn judge(&self, context: &CheckContext, seen: &Observed, down: &Disrupted<bool>) -> Result<Tally, Unjudged> {
        let (from, to) = (context.instance.from(), context.instance.to());
        seen.report(context, &down.event);
        let local = seen.report_time(context, "first_local_answer", down.event.called, |series, since| {
            series.first_answer(since, |server| !by(to)(Some(server)))
        });
        if let Some(unjudged) = seen.unusable(&down.event) {
            return Err(unjudged);
        }
        let mut tally = Tally::new();
        tally_failure(&mut tally, &self.in_sync);
        match (&self.in_sync, self.counter) {
            (Ok(Some(in_sync)), Some(_)) => {
                let after = (*in_sync - down.restoring.returned).as_secs_f64() * 1000.0;
                context.measure("joined_again", to.to_string(), after, Unit::Milliseconds);
            }
            (Ok(None), Some(_)) => tally.finding(
                format!("{from} -> {to}"),
                format!(
                    "a Service created in {to} after its clustermesh-apiserver returned is counted in {from} within \
                     {} s",
                    IN_SYNC_WITHIN.as_secs()
                ),
                "it was not counted",
            ),
            (_, None) => context.note(format!(
                "neither KVStoreMesh nor the agents in {from} count the Services of {to}: streams were watched for {} \
                 s after the return",
                WATCHED_AFTER_UNKNOWN.as_secs()
            )),
            (Err(_), _) => {}
        }
        for (stream, after) in local {
            tally.finding(
                stream.to_string(),
                format!("answered by {to} only, which the service prefers and which has backends"),
                format!(
                    "answered by another cluster {} ms after the clustermesh-apiserver was scaled to zero",
                    after.as_millis()
                ),
            );
        }
        Ok(tally)
    }
}
