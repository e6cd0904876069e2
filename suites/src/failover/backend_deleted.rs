//! One of several backends is deleted.

use super::NEEDS;
use super::cast::{self, Cast, REPLICAS};
use super::endpoint;
use super::observed::Event;
use super::patience::{Halt, patiently};
use super::recording::{Plan, Recording, unknown};
use super::stream::Stream;
use crate::kit::object::pod;
use async_trait::async_trait;
use meshproof_contract::{Check, CheckContext, CheckId, CheckText, Identity, Needs, Scope, Tally, Unit, Verdict};
use std::time::Duration;

/// A pod behind a Service is deleted.
pub struct BackendDeleted;

/// Beyond what is promised: so long more it is watched, to tell late from never.
const MARGIN: Duration = Duration::from_secs(2);
/// How long the Deployment's new pod may take to answer before that is left open.
const REPLACED: Duration = Duration::from_secs(20);

#[async_trait]
impl Check for BackendDeleted {
    fn id(&self) -> CheckId {
        CheckId::from("failover::backend_deleted")
    }

    fn text(&self) -> CheckText {
        CheckText {
            title: "When one of two backends is deleted, the other takes over at once",
            proves: "A deleted pod leaves the data path of the client's node within seconds, for TCP and UDP, and connections to the pods that stay are not touched, neither when it goes nor when its successor comes.",
            how: "Streams to Service failover-local run at 10 ms spacing while the backend that the long-lived connection is not on is deleted, and until its successor answers. From the time when the EndpointSlice shows its endpoint as gone, not ready or terminating, a stream may lose probes for as long as `endpoint_removal` of the thresholds (2 s by default); until it is shown, which is measured, for as long as `recovery`. The long-lived connection and DNS must not notice.",
            control: "A neighbour on the client's node and one in the other cluster, at the same spacing; the streams themselves before the event. If a control fails or the generator lags by more than the spacing, it is inconclusive.",
            when_red: "Losses that go on: `cilium-dbg service list` on the client's node still shows the deleted pod's address, compare with `kubectl -n meshproof get endpointslices -l kubernetes.io/service-name=failover-local -o yaml`. A reset connection: `hubble observe --last 500 --type drop`.",
        }
    }

    fn scope(&self) -> Scope {
        Scope::Cluster
    }
    fn needs(&self) -> Needs {
        NEEDS
    }
    fn faults(&self) -> &'static [&'static str] {
        &[
            "endpoint-removal-late",
            "stale-backend-kept",
            "udp-backend-stale",
            "connections-reset-on-change",
        ]
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
    let mut recording = Recording::start(&plan, cast::by(cluster)).await?;
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
    context.note(format!("deleting {}", victim.id));
    context
        .environment
        .delete(cluster, &pod::of(victim))
        .await
        .map_err(unknown)?;
    let event = event.end();

    let other = |who: Option<&Identity>| who.is_some_and(|who| who.pod != victim.id.pod);
    let limit = cast.facts.thresholds.endpoint_removal;
    let recovery = cast.facts.thresholds.recovery;
    let shown = endpoint::shown(context, &mut recording, victim, recovery, |ready| ready != Some(true)).await;
    // The data path is late from then on only.
    let (since, limit) = match shown {
        Ok(Some(shown)) => (shown, limit),
        _ => (event.returned, recovery),
    };
    let settled = recording
        .until(limit + MARGIN, |seen| {
            let whole = !matches!(shown, Ok(Some(_))) || seen.covers(since, limit);
            whole && seen.all_settled(Some(since), &other)
        })
        .await?;
    let old: Vec<&str> = cast.backends.iter().map(|b| b.id.pod.as_str()).collect();
    let new = |who: &Identity| !old.contains(&who.pod.as_str());
    let replaced = recording
        .until(REPLACED, |seen| {
            let track = seen.track(Stream::NewTcp);
            track.is_some_and(|track| track.series.first_answer(0, new).is_some())
        })
        .await?;
    let unsettled = recording.seen.unsettled(Some(since), &|_| true);
    let seen = recording.stop().await?;

    seen.tell(context, &event);
    seen.tell_time(context, "last_stale_answer", event.returned, |series, from| {
        series.last_answered(from, |who| who.pod == victim.id.pod)
    });
    if replaced {
        seen.tell_time(context, "successor_answers", event.returned, |series, from| {
            series.first_answer(from, new)
        });
    }
    let whole = cast::ready(context, cluster, "backend", REPLICAS).await;
    if let Some(halt) = seen.unusable(&event) {
        return Err(halt);
    }
    let mut tally = Tally::new();
    cast::leave_open(&mut tally, &whole);
    cast::leave_open(&mut tally, &shown);
    match shown {
        Ok(Some(shown)) => {
            let after = (shown - event.called).as_secs_f64() * 1000.0;
            context.measure("shown_as_gone", "failover-local", after, Unit::Milliseconds);
        }
        Ok(None) => tally.finding(
            "failover-local",
            format!(
                "the EndpointSlice shows the pod as gone within {} s",
                recovery.as_secs()
            ),
            format!("{} is still shown as ready", victim.id.pod),
        ),
        Err(_) => {}
    }
    if !settled && !unsettled.is_empty() {
        tally.finding(
            "failover-local",
            format!("answered by the other backend alone within {} ms", limit.as_millis()),
            format!(
                "not so {} ms after its endpoint went: {unsettled}",
                (limit + MARGIN).as_millis()
            ),
        );
    }
    let event = Event {
        returned: since,
        ..event
    };
    let mut unmoved = vec![Stream::LongTcp, Stream::Dns];
    let mut moved = vec![Stream::NewTcp, Stream::Udp];
    // Which of them was on the deleted pod is chance.
    let keep_alive = seen.server_before(Stream::KeepAlive, event.called);
    match keep_alive.is_some_and(|who| who.pod == victim.id.pod) {
        true => moved.push(Stream::KeepAlive),
        false => unmoved.push(Stream::KeepAlive),
    }
    seen.judge_recovery(&mut tally, &moved, &event, limit);
    seen.judge_unnoticed(&mut tally, &unmoved, &event, &cast.facts.thresholds);
    Ok(tally.verdict())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failover::stage::Stage;
    use crate::testing::infra;

    #[tokio::test(start_paused = true)]
    async fn a_backend_that_is_forgotten_in_time_is_green_and_one_that_is_kept_is_red() {
        Stage::set().expect(&BackendDeleted, infra(), "pass").await;
        let kept = Stage::with(|stage| stage.forgets = Duration::from_secs(600));
        kept.expect(&BackendDeleted, infra(), "fail").await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_successor_that_never_comes_hides_no_finding_and_lets_nothing_pass() {
        let alone = |forgets| Stage::with(|stage| (stage.replaces, stage.forgets) = (None, forgets));
        alone(Duration::from_secs(600))
            .expect(&BackendDeleted, infra(), "fail")
            .await;
        let text = alone(Duration::ZERO)
            .expect(&BackendDeleted, infra(), "inconclusive")
            .await;
        assert!(text.contains("1 of at least 2 agents `backend`"), "{text}");
    }

    #[tokio::test(start_paused = true)]
    async fn the_data_path_has_its_time_from_when_the_endpoint_is_shown_as_gone() {
        let late = |shown, forgets| {
            Stage::with(|stage| {
                (stage.shown, stage.forgets) = (Duration::from_secs(shown), Duration::from_secs(forgets))
            })
        };
        let text = late(5, 1).expect(&BackendDeleted, infra(), "pass").await;
        assert!(text.contains("shown_as_gone"), "{text}");
        late(5, 3).expect(&BackendDeleted, infra(), "fail").await;
        let text = late(70, 0).expect(&BackendDeleted, infra(), "fail").await;
        assert!(text.contains("is still shown as ready"), "{text}");
    }
}
