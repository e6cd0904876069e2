//! One of several backends becomes unready, and ready again; it serves all the while.

use super::{
    check::FailoverCheck,
    endpoint_slice,
    event::Event,
    footprint, now,
    observed::Observed,
    participants::{Participants, by},
    recording::{Plan, Recording},
    retry_when_busy::Unjudged,
    stream::{Stream, TESTED},
    workload::{self, unknown},
};
use meshproof_contract::{AgentFacts, CheckContext, CheckText, Identity, Readiness, Scope, Tally, Thresholds, Verdict};
use std::time::{Duration, Instant};

/// A pod behind a Service fails its readiness probe.
pub const BACKEND_UNREADY: FailoverCheck = FailoverCheck {
    id: "failover::backend_unready",
    text: CheckText {
        title: "An unready backend gets no new traffic, and no request is lost",
        proves: "The client's node stops sending new connections and datagrams to a pod in time after its endpoint is \
                 shown as not ready, without a lost request, and sends to it again once it is ready.",
        how: "One backend's agent fails its readiness probe while it goes on serving. After the EndpointSlice shows \
              it, the pod may answer new connections and datagrams for `endpointRemoval` of the thresholds; then it \
              becomes ready again and must answer new connections within `recovery`.",
        control: "The pod answers until it is unready and goes on serving, so only new traffic stops. A pod on the \
                  client's node and one in the other cluster are probed at the same spacing.",
        when_red: "`kubectl --context CONTEXT get endpointslices -A -l kubernetes.io/service-name=failover-local -o \
                   yaml` shows the endpoint as not ready, while `cilium-dbg service list` on the client's node still \
                   has it as active.",
    },
    scope: Scope::Cluster,
    admission: footprint::OWN_BACKENDS,
    faults: &["unready-keeps-traffic"],
    attempt: |context, spacing| Box::pin(attempt(context, spacing)),
};

/// How long streams are watched beyond the limit.
const MARGIN: Duration = Duration::from_secs(2);
/// How long kubelet and control plane may take to show a change of readiness: three probes a second apart, and a
/// margin.
const SHOWN_WITHIN: Duration = Duration::from_secs(20);

/// What happened to the backend, and when.
struct Unreadiness<'a> {
    victim: &'a AgentFacts,
    event: Event,
    /// When the EndpointSlice showed it as not ready.
    shown: Instant,
    /// Whether the other backends answered all new traffic in time.
    is_stable: bool,
    /// When it was made ready again.
    back: Instant,
    /// Whether it answered new connections in time.
    answered_again: bool,
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
    context.note(format!("making {} unready", victim.id));
    let unready = context.environment.set_ready(&victim.id, Readiness::Unready).await;
    unready.map_err(unknown)?;
    let event = event.end();
    let watched = watch(context, &mut recording, victim, thresholds).await;
    // Whatever was seen, it becomes ready again.
    let ready = context.environment.set_ready(&victim.id, Readiness::Ready).await;
    let back = now();
    let watched = watched?;
    ready.map_err(unknown)?;
    let Some((shown, is_stable)) = watched else {
        recording.stop().await?;
        return Err(Verdict::inconclusive(format!(
            "the EndpointSlice did not show {} as not ready within {} s",
            victim.id.pod,
            SHOWN_WITHIN.as_secs()
        ))
        .into());
    };
    let by_victim = |server: &Identity| server.pod == victim.id.pod;
    let answered_again = recording
        .until(thresholds.recovery, |seen| {
            seen.track(Stream::NewTcp).is_some_and(|track| {
                let back = track.clock.micros_at(back);
                track.series.first_answer(back, by_victim).is_some()
            })
        })
        .await?;
    let seen = recording.stop().await?;
    let unreadiness = Unreadiness {
        victim,
        event,
        shown,
        is_stable,
        back,
        answered_again,
    };
    let tally = unreadiness.judge(context, &seen, thresholds)?;
    plan.suggest_commands(&tally);
    Ok(tally.verdict())
}

/// When the EndpointSlice showed the backend as not ready, and whether the others answered all new traffic in time.
async fn watch(
    context: &CheckContext,
    recording: &mut Recording<'_>,
    victim: &AgentFacts,
    thresholds: &Thresholds,
) -> Result<Option<(Instant, bool)>, Verdict> {
    let is_unready = |ready| ready == Some(false);
    let shown = endpoint_slice::shown(context, recording, victim, SHOWN_WITHIN, is_unready).await?;
    let Some(shown) = shown else {
        return Ok(None);
    };
    let by_other = |server: Option<&Identity>| server.is_some_and(|server| server.pod != victim.id.pod);
    let is_stable = recording
        .until(thresholds.endpoint_removal + MARGIN, |seen| {
            seen.fresh_stable(shown, &by_other)
        })
        .await?;
    Ok(Some((shown, is_stable)))
}

impl Unreadiness<'_> {
    fn judge(&self, context: &CheckContext, seen: &Observed, thresholds: &Thresholds) -> Result<Tally, Unjudged> {
        let by_victim = |server: &Identity| server.pod == self.victim.id.pod;
        seen.report(context, &self.event);
        let stale = seen.report_time(context, "last_stale_answer", self.shown, |series, from| {
            let until = from + self.back.saturating_duration_since(self.shown).as_micros() as u64;
            series.last_answered_before(from, until, by_victim)
        });
        let fail_back = seen.report_time(context, "fail_back", self.back, |series, from| {
            series.first_answer(from, by_victim)
        });
        if let Some(unjudged) = seen.unusable(&self.event) {
            return Err(unjudged);
        }
        let mut tally = Tally::new();
        self.judge_removal(&stale, thresholds, &mut tally);
        match fail_back.iter().find(|(stream, _)| *stream == Stream::NewTcp) {
            Some((_, after)) if self.answered_again => tally.witness(format!(
                "answers new connections again {} ms after it became ready",
                after.as_millis()
            )),
            _ => tally.finding(
                self.victim.id.pod.clone(),
                format!(
                    "answers new connections within {} s after it became ready",
                    thresholds.recovery.as_secs()
                ),
                "it answered no new connection",
            ),
        }
        // A long-lived connection to it may be moved.
        let unmoved: Vec<Stream> = TESTED
            .into_iter()
            .filter(|stream| {
                let server = seen.server_before(*stream, self.event.called);
                stream.is_fresh() || !server.is_some_and(by_victim)
            })
            .collect();
        seen.judge_unnoticed(&mut tally, &unmoved, &self.event, thresholds)?;
        Ok(tally)
    }

    fn judge_removal(&self, stale: &[(Stream, Duration)], thresholds: &Thresholds, tally: &mut Tally) {
        let limit = thresholds.endpoint_removal;
        for (stream, after) in stale.iter().filter(|(stream, _)| stream.is_fresh()) {
            let subject = format!("{stream} -> {}", self.victim.id.pod);
            if !self.is_stable || *after > limit {
                tally.finding(
                    subject,
                    format!(
                        "no new traffic later than {} ms after its endpoint is shown as not ready",
                        limit.as_millis()
                    ),
                    format!("it answered {} ms after that", after.as_millis()),
                );
            } else {
                tally.witness(format!(
                    "{subject}: last new traffic {} ms after the endpoint was shown as not ready",
                    after.as_millis()
                ));
            }
        }
    }
}
