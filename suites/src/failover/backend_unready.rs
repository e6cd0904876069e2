//! One of several backends turns unready, and ready again; it serves all the while.

use super::NEEDS;
use super::cast::{self, Cast};
use super::endpoint;
use super::now;
use super::observed::Event;
use super::patience::{Halt, patiently};
use super::recording::{Plan, Recording, unknown};
use super::stream::{Stream, TESTED};
use async_trait::async_trait;
use meshproof_contract::{Check, CheckContext, CheckId, CheckText, Identity, Needs, Readiness, Scope, Tally, Verdict};
use std::time::Duration;

/// A pod behind a Service fails its readiness probe.
pub struct BackendUnready;

const MARGIN: Duration = Duration::from_secs(2);
/// How long kubelet and control plane may take to show a change of readiness: three probes a second apart, and some.
const SHOWN: Duration = Duration::from_secs(20);

#[async_trait]
impl Check for BackendUnready {
    fn id(&self) -> CheckId {
        CheckId::from("failover::backend_unready")
    }

    fn text(&self) -> CheckText {
        CheckText {
            title: "A backend that turns unready gets nothing new, and nobody loses a request",
            proves: "The client's node stops sending new connections and datagrams to a pod within seconds after its endpoint is shown as not ready, without a lost request, and sends to it again once it is ready.",
            how: "One backend's agent fails its readiness probe while it goes on serving. From the time when the EndpointSlice shows it, the last new connection and datagram that it answers may come `endpoint_removal` of the thresholds later (2 s by default). Then it turns ready, and must be met again within `recovery`.",
            control: "The pod answers until it is unready and serves on: what stops is the sending. A neighbour on the client's node and one in the other cluster run at the same spacing.",
            when_red: "`kubectl -n meshproof get endpointslices -l kubernetes.io/service-name=failover-local -o yaml` shows the endpoint as not ready while `cilium-dbg service list` on the client's node still has it as active.",
        }
    }

    fn scope(&self) -> Scope {
        Scope::Cluster
    }
    fn needs(&self) -> Needs {
        NEEDS
    }
    fn faults(&self) -> &'static [&'static str] {
        &["unready-keeps-traffic"]
    }

    async fn run(&self, context: &CheckContext) -> Verdict {
        patiently(context, |least| judge(context, least)).await
    }
}

async fn judge(context: &CheckContext, least: Duration) -> Result<Verdict, Halt> {
    let cluster = context.instance.from();
    let cast = Cast::of(context, cluster).await?;
    let client = &cast.clients[0];
    let plan = Plan::of(context, &cast, client, "failover-local", least)?;
    let own = cast::by(cluster);
    let mut recording = Recording::start(&plan, own).await?;
    let event = Event::begin();
    let kept = recording.seen.server_before(Stream::LongTcp, event.called).cloned();
    let victim = cast
        .backends
        .iter()
        .find(|b| kept.as_ref().is_some_and(|kept| kept.pod != b.id.pod));
    let Some(victim) = victim else {
        recording.stop().await?;
        return Err(Verdict::inconclusive("who answers the long-lived connection is not one of the backends").into());
    };
    context.note(format!("{} turns unready", victim.id));
    let environment = &context.environment;
    environment
        .set_ready(&victim.id, Readiness::Unready)
        .await
        .map_err(unknown)?;
    let event = event.end();
    let limit = cast.facts.thresholds.endpoint_removal;
    let other = |who: Option<&Identity>| who.is_some_and(|who| who.pod != victim.id.pod);
    let shown = endpoint::shown(context, &mut recording, victim, SHOWN, |ready| ready == Some(false)).await;
    let gone = match shown {
        Ok(Some(shown)) => {
            let settled = recording
                .until(limit + MARGIN, |seen| seen.fresh_settled(shown, &other))
                .await;
            settled.map(|settled| Some((shown, settled)))
        }
        Ok(None) => Ok(None),
        Err(verdict) => Err(verdict),
    };
    // Whatever was seen, it turns ready again.
    let ready = environment
        .set_ready(&victim.id, Readiness::Ready)
        .await
        .map_err(unknown);
    let back = now();
    let gone = gone?;
    ready?;
    let Some((shown, settled)) = gone else {
        recording.stop().await?;
        return Err(Verdict::inconclusive(format!(
            "the EndpointSlice did not show {} as not ready within {} s",
            victim.id.pod,
            SHOWN.as_secs()
        ))
        .into());
    };
    let recovery = cast.facts.thresholds.recovery;
    let it = |who: &Identity| who.pod == victim.id.pod;
    let met = recording
        .until(recovery, |seen| {
            let track = seen.track(Stream::NewTcp);
            track.is_some_and(|track| track.series.first_answer(track.clock.micros_at(back), it).is_some())
        })
        .await?;
    let seen = recording.stop().await?;

    seen.tell(context, &event);
    let stale = seen.tell_time(context, "last_stale_answer", shown, |series, from| {
        let until = from + back.saturating_duration_since(shown).as_micros() as u64;
        series.last_answered_before(from, until, it)
    });
    let fail_back = seen.tell_time(context, "fail_back", back, |series, from| series.first_answer(from, it));
    if let Some(halt) = seen.unusable(&event) {
        return Err(halt);
    }
    let mut tally = Tally::new();
    for (stream, after) in stale.into_iter().filter(|(stream, _)| stream.is_fresh()) {
        let subject = format!("{stream} -> {}", victim.id.pod);
        if !settled || after > limit {
            tally.finding(
                subject,
                format!(
                    "nothing new {} ms after its endpoint is shown as not ready",
                    limit.as_millis()
                ),
                format!("it answered {} ms after that", after.as_millis()),
            );
        } else {
            tally.witness(format!(
                "{subject}: nothing new later than {} ms after it was shown",
                after.as_millis()
            ));
        }
    }
    match fail_back.iter().find(|(stream, _)| *stream == Stream::NewTcp) {
        Some((_, after)) if met => tally.witness(format!("met again {} ms after it turned ready", after.as_millis())),
        _ => tally.finding(
            victim.id.pod.clone(),
            format!("met again within {} s after it turned ready", recovery.as_secs()),
            "no new connection was answered by it",
        ),
    }
    // A connection that was on it may be moved.
    let unmoved: Vec<_> = TESTED
        .into_iter()
        .filter(|stream| stream.is_fresh() || !seen.server_before(*stream, event.called).is_some_and(it))
        .collect();
    seen.judge_unnoticed(&mut tally, &unmoved, &event, &cast.facts.thresholds);
    Ok(tally.verdict())
}
