//! One of several backends is deleted.

use super::{
    check::FailoverCheck,
    endpoint_slice,
    event::Event,
    footprint,
    observed::Observed,
    participants::{Participants, REPLICAS, by},
    recording::{Plan, Recording},
    retry_when_busy::Unjudged,
    stream::Stream,
    workload::{self, tally_failure, unknown},
};
use crate::kit::object::pod;
use meshproof_contract::{AgentFacts, CheckContext, CheckText, Identity, Scope, Tally, Thresholds, Unit, Verdict};
use std::time::{Duration, Instant};

/// A pod behind a Service is deleted.
pub const BACKEND_DELETED: FailoverCheck = FailoverCheck {
    id: "failover::backend_deleted",
    text: CheckText {
        title: "When one of two backends is deleted, the other takes over in time",
        proves: "A deleted pod leaves the data path of the client's node in time, for TCP and UDP. Connections to the \
                 pods that stay are not affected, neither by the deletion nor by the new pod.",
        how: "Streams to Service failover-local run while a backend that does not carry the long-lived connection is \
              deleted, until its successor answers. Losses may last for `endpointRemoval` of the thresholds after the \
              EndpointSlice shows the endpoint as gone, not ready or terminating (for `recovery` if it does not); the \
              long-lived connection and DNS must not be affected.",
        control: "A pod on the client's node and one in the other cluster are probed at the same spacing, and the \
                  streams themselves before the event. If a control fails or the probe generator lags by more than \
                  the spacing, the check is inconclusive.",
        when_red: "Losses that go on: `cilium-dbg service list` on the client's node still shows the deleted pod's \
                   address, unlike `kubectl --context CONTEXT get endpointslices -A -l \
                   kubernetes.io/service-name=failover-local -o yaml`. A reset connection: `hubble observe --last 500 \
                   --type drop`.",
    },
    scope: Scope::Cluster,
    admission: footprint::OWN_BACKENDS,
    faults: &[
        "endpoint-removal-late",
        "stale-backend-kept",
        "udp-backend-stale",
        "connections-reset-on-change",
    ],
    attempt: |context, spacing| Box::pin(attempt(context, spacing)),
};

/// How long streams are watched beyond the limit, to distinguish late from never.
const MARGIN: Duration = Duration::from_secs(2);
/// How long the Deployment's new pod may take to answer.
const REPLACED_WITHIN: Duration = Duration::from_secs(20);

/// What the streams and the API showed.
struct Deletion<'a> {
    victim: &'a AgentFacts,
    event: Event,
    /// When the EndpointSlice showed the endpoint as gone, if it did.
    shown: Result<Option<Instant>, Verdict>,
    /// From when on the data path is late.
    since: Instant,
    /// How late it may be.
    limit: Duration,
    /// Whether the other backend answered all streams in time.
    is_stable: bool,
    /// Streams that were not stable at the end.
    unstable: String,
}

async fn attempt(context: &CheckContext, spacing: Duration) -> Result<Verdict, Unjudged> {
    let cluster = context.instance.from();
    let participants = Participants::of(context, cluster, workload::BACKEND).await?;
    let client = &participants.clients[0];
    let thresholds = &participants.facts.thresholds;
    let plan = Plan::of(context, &participants, client, "failover-local", spacing)?;
    let mut recording = Recording::start(&plan, by(cluster)).await?;
    let event = Event::begin();
    let victim = match recording.backend_without_long_tcp(&participants.backends, &event) {
        Ok(victim) => victim,
        Err(verdict) => {
            recording.stop().await?;
            return Err(verdict.into());
        }
    };
    let mut deletion = delete(context, &mut recording, victim, event, thresholds).await?;
    let old: Vec<&str> = participants.backends.iter().map(|b| b.id.pod.as_str()).collect();
    let is_new = |server: &Identity| !old.contains(&server.pod.as_str());
    let replaced = recording
        .until(REPLACED_WITHIN, |seen| {
            let track = seen.track(Stream::NewTcp);
            track.is_some_and(|track| track.series.first_answer(0, is_new).is_some())
        })
        .await?;
    let event = deletion.event;
    deletion.unstable = recording.seen.unstable(Some(event.returned), &|_| true);
    let seen = recording.stop().await?;

    seen.report(context, &event);
    seen.report_time(context, "last_stale_answer", event.returned, |series, from| {
        series.last_answered(from, |server| server.pod == victim.id.pod)
    });
    if replaced {
        seen.report_time(context, "successor_answers", event.returned, |series, from| {
            series.first_answer(from, is_new)
        });
    }
    let complete = workload::ready(context, cluster, workload::BACKEND, REPLICAS).await;
    if let Some(unjudged) = seen.unusable(&event) {
        return Err(unjudged);
    }
    let mut tally = Tally::new();
    tally_failure(&mut tally, &complete);
    deletion.judge(context, &seen, thresholds, &mut tally)?;
    plan.suggest_commands(&tally);
    Ok(tally.verdict())
}

/// Deletes the victim, and waits until the other backend answers all streams or the time is over.
async fn delete<'a>(
    context: &CheckContext,
    recording: &mut Recording<'_>,
    victim: &'a AgentFacts,
    event: Event,
    thresholds: &Thresholds,
) -> Result<Deletion<'a>, Verdict> {
    context.note(format!("deleting {}", victim.id));
    let cluster = &victim.id.cluster;
    let deleted = context.environment.delete(cluster, &pod::of(victim)).await;
    deleted.map_err(unknown)?;
    let event = event.end();
    let recovery = thresholds.recovery;
    let is_gone = |ready| ready != Some(true);
    let shown = endpoint_slice::shown(context, recording, victim, recovery, is_gone).await;
    let (since, limit) = match shown {
        Ok(Some(shown)) => (shown, thresholds.endpoint_removal),
        _ => (event.returned, recovery),
    };
    let by_other = |server: Option<&Identity>| server.is_some_and(|server| server.pod != victim.id.pod);
    let is_stable = recording
        .until(limit + MARGIN, |seen| {
            let covered = !matches!(shown, Ok(Some(_))) || seen.covers(since, limit);
            covered && seen.all_stable(Some(since), &by_other)
        })
        .await?;
    Ok(Deletion {
        victim,
        event,
        shown,
        since,
        limit,
        is_stable,
        unstable: String::new(),
    })
}

impl Deletion<'_> {
    fn judge(
        &self,
        context: &CheckContext,
        seen: &Observed,
        thresholds: &Thresholds,
        tally: &mut Tally,
    ) -> Result<(), Unjudged> {
        tally_failure(tally, &self.shown);
        match self.shown {
            Ok(Some(shown)) => {
                let after = (shown - self.event.called).as_secs_f64() * 1000.0;
                context.measure("shown_as_gone", "failover-local", after, Unit::Milliseconds);
            }
            Ok(None) => tally.finding(
                "failover-local",
                format!(
                    "the EndpointSlice shows the deleted pod as gone within {} s",
                    thresholds.recovery.as_secs()
                ),
                format!("{} is still shown as ready", self.victim.id.pod),
            ),
            Err(_) => {}
        }
        if !self.is_stable && !self.unstable.is_empty() {
            tally.finding(
                "failover-local",
                format!(
                    "answered by the other backend only within {} ms",
                    self.limit.as_millis()
                ),
                format!(
                    "not answered by it only {} ms after the endpoint was removed: {}",
                    (self.limit + MARGIN).as_millis(),
                    self.unstable
                ),
            );
        }
        let event = Event {
            returned: self.since,
            ..self.event
        };
        let mut unmoved = vec![Stream::LongTcp, Stream::Dns];
        let mut moved = vec![Stream::NewTcp, Stream::Udp];
        // Whether it was on the deleted pod is chance.
        let keep_alive = seen.server_before(Stream::KeepAlive, event.called);
        if keep_alive.is_some_and(|server| server.pod == self.victim.id.pod) {
            moved.push(Stream::KeepAlive);
        } else {
            unmoved.push(Stream::KeepAlive);
        }
        seen.judge_recovery(tally, &moved, &event, self.limit);
        seen.judge_unnoticed(tally, &unmoved, &event, thresholds)
    }
}
