//! The other cluster's clustermesh-apiserver goes, and comes back.

use super::MESH_NEEDS;
use super::cast::{self, Cast};
use super::now;
use super::observed::Event;
use super::patience::{Halt, patiently};
use super::recording::{Plan, Recording, unknown};
use super::reunion::{Witness, is_complete};
use super::stream::TESTED;
use async_trait::async_trait;
use meshproof_contract::{Check, CheckContext, CheckId, CheckText, Disruption, Needs, Scope, Tally, Unit, Verdict};
use std::time::{Duration, Instant};

/// The other cluster's clustermesh-apiserver is scaled to zero.
pub struct MeshApiServerDown;

/// How long traffic is watched without it, and after its return.
const WATCHED: Duration = Duration::from_millis(2000);
const AFTERWARDS: Duration = Duration::from_secs(2);
/// The same where nobody can tell when the clusters are joined again: KVStoreMesh takes up to 13 s (recorded).
const UNTOLD: Duration = Duration::from_secs(15);
/// How long it may take until they are, and until every replica is back.
const JOINED_WITHIN: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(200);
const PATIENCE: Duration = Duration::from_secs(20);
/// Backends that are withdrawn after this time may be so while traffic is watched.
const TOO_SOON: Duration = Duration::from_secs(10);

#[async_trait]
impl Check for MeshApiServerDown {
    fn id(&self) -> CheckId {
        CheckId::from("failover::mesh_apiserver_down")
    }

    fn text(&self) -> CheckText {
        CheckText {
            title: "Remote backends keep answering while the other cluster's clustermesh-apiserver is away",
            proves: "The clustermesh-apiserver carries news, not traffic: what a cluster knows of another's backends it keeps and uses while nobody tells it more, and its return disturbs nothing either.",
            how: "Streams to Service failover-remote, which prefers the other cluster, run while that cluster's Deployment clustermesh-apiserver is scaled to zero, for 2 s, and back, until a Service made after its return is counted by KVStoreMesh (or the agents) of the streams' cluster, at most 60 s, and for 2 s more; 15 s where nobody counts. Every answer must come from the other cluster, and no stream may notice. Where `clustermesh-cache-ttl` is set, backends are withdrawn after that time, which is meant; it is then skipped if the time is shorter than the observation.",
            control: "Before the event every answer comes from the other cluster. A neighbour on the client's node and one in the other cluster run at the same spacing.",
            when_red: "`cilium-dbg service list` on the client's node lacks the other cluster's backends; `kubectl -n kube-system logs deploy/clustermesh-apiserver -c kvstoremesh --tail=100` tells when they were dropped.",
        }
    }

    fn scope(&self) -> Scope {
        Scope::Direction
    }
    fn needs(&self) -> Needs {
        MESH_NEEDS
    }
    fn faults(&self) -> &'static [&'static str] {
        &["mesh-apiserver-down-drops-backends"]
    }

    async fn run(&self, context: &CheckContext) -> Verdict {
        patiently(context, |least| judge(context, least)).await
    }
}

async fn judge(context: &CheckContext, least: Duration) -> Result<Verdict, Halt> {
    let (from, to) = (context.instance.from(), context.instance.to());
    let cast = Cast::of(context, from).await?;
    let backends = cast::ready(context, to, "backend", 1).await?;
    if let Some(ttl) = cast.cache_ttl(from).filter(|ttl| *ttl <= TOO_SOON) {
        return Err(Verdict::skipped(format!(
            "clustermesh-cache-ttl of {from} is {} s: backends are withdrawn that soon, as it says",
            ttl.as_secs()
        ))
        .into());
    }
    let witness = Witness::of(context, from, to).await;
    let client = &cast.clients[0];
    let plan = Plan::of(context, &cast, client, "failover-remote", least)?;
    let away = cast::by(to);
    let mut recording = Recording::start(&plan, away).await?;
    let before = cast::ready_since(context, &backends).await;
    let environment = &context.environment;
    let disruption = Disruption::MeshApiServerDown;
    let event = Event::begin();
    let disrupted = environment.disrupt(to, &disruption).await.map_err(unknown);
    let event = event.end();
    let watched = match &disrupted {
        Ok(()) => {
            recording
                .until(PATIENCE, |seen| seen.covers(event.returned, WATCHED))
                .await
        }
        Err(_) => Ok(false),
    };
    // Whatever was seen, it comes back.
    let restored = environment.restore(to, &disruption).await.map_err(unknown);
    let back = Event::begin();
    disrupted?;
    let joined = match restored {
        Ok(()) => rejoined(context, &mut recording, witness).await,
        Err(verdict) => Err(verdict),
    };
    let (since, span) = match (&joined, witness) {
        (Ok(Some(joined)), Some(_)) => (*joined, AFTERWARDS),
        _ => (back.called, UNTOLD),
    };
    let covered = recording
        .until(PATIENCE + span, |seen| seen.covers(since, span))
        .await?;
    if !watched? || !covered {
        recording.stop().await?;
        return Err(Verdict::inconclusive("the streams were not seen to run on for as long as it takes").into());
    }
    let seen = recording.stop().await?;
    seen.tell(context, &event);
    let strangers = seen.tell_time(context, "first_local_answer", event.called, |series, since| {
        series.first_answer(since, |who| !away(Some(who)))
    });
    if let Some(halt) = seen.unusable(&event) {
        return Err(halt);
    }
    // Backends that are not ready are left, whoever tells of them.
    if before.is_some() && before != cast::ready_since(context, &backends).await {
        return Err(Verdict::inconclusive(format!(
            "the backends in {to} were not ready all the time, so what answered says nothing of its clustermesh-apiserver"
        ))
        .into());
    }
    let mut tally = Tally::new();
    cast::leave_open(&mut tally, &joined);
    match (&joined, witness) {
        (Ok(Some(joined)), Some(_)) => {
            let after = (*joined - back.called).as_secs_f64() * 1000.0;
            context.measure("joined_again", to.to_string(), after, Unit::Milliseconds);
        }
        (Ok(None), Some(_)) => tally.finding(
            format!("{from} -> {to}"),
            format!(
                "a Service made in {to} after its clustermesh-apiserver returned is counted in {from} within {} s",
                JOINED_WITHIN.as_secs()
            ),
            "not so",
        ),
        (_, None) => context.note(format!(
            "nobody in {from} counts the Services of {to}: watched for {} s after the return",
            UNTOLD.as_secs()
        )),
        (Err(_), _) => {}
    }
    for (stream, after) in strangers {
        tally.finding(
            stream.to_string(),
            format!("answers of {to} only, which the service prefers and which has backends"),
            format!(
                "answered by another cluster {} ms after its clustermesh-apiserver went",
                after.as_millis()
            ),
        );
    }
    seen.judge_unnoticed(&mut tally, &TESTED, &event, &cast.facts.thresholds);
    Ok(tally.verdict())
}

/// Waits for every replica, and then until the witness sees what is new; when that was.
async fn rejoined(
    context: &CheckContext,
    recording: &mut Recording<'_>,
    witness: Option<Witness>,
) -> Result<Option<Instant>, Verdict> {
    let (to, begun) = (context.instance.to(), now());
    while is_complete(context, to).await == Some(false) {
        if now() - begun > JOINED_WITHIN {
            return Err(Verdict::inconclusive(format!(
                "{to}: not every replica of clustermesh-apiserver was ready again after {} s",
                JOINED_WITHIN.as_secs()
            )));
        }
        recording.collect().await?;
        tokio::time::sleep(LOOK).await;
    }
    match witness {
        Some(witness) => {
            let left = JOINED_WITHIN.saturating_sub(now() - begun);
            witness.sees_news(context, recording, left).await
        }
        None => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failover::stage::Stage;
    use crate::testing::infra_to_apps;

    fn joins_after(seconds: Option<u64>) -> Stage {
        Stage::with(|stage| stage.joins = seconds.map(Duration::from_secs))
    }

    /// Answers are lost so long after the disturbance, for half a second.
    fn dropping(stage: Stage, seconds: u64) -> Stage {
        let (from, to) = (seconds * 1000, seconds * 1000 + 500);
        stage.losing(move |_, since| (from..to).contains(&(since.as_millis() as u64)))
    }

    #[tokio::test(start_paused = true)]
    async fn it_is_watched_until_the_clusters_are_joined_again_and_longer() {
        let check = &MeshApiServerDown;
        joins_after(Some(9)).expect(check, infra_to_apps(), "pass").await;
        dropping(joins_after(Some(9)), 11)
            .expect(check, infra_to_apps(), "fail")
            .await;
        let text = joins_after(Some(90)).expect(check, infra_to_apps(), "fail").await;
        assert!(text.contains("is counted in infra within 60 s"), "{text}");
    }

    #[tokio::test(start_paused = true)]
    async fn where_nobody_counts_it_is_watched_for_as_long_as_it_may_take() {
        let check = &MeshApiServerDown;
        joins_after(None).expect(check, infra_to_apps(), "pass").await;
        dropping(joins_after(None), 14)
            .expect(check, infra_to_apps(), "fail")
            .await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_return_that_failed_hides_no_finding() {
        let gone = || Stage::with(|stage| stage.restores = None);
        gone().expect(&MeshApiServerDown, infra_to_apps(), "inconclusive").await;
        dropping(gone(), 1)
            .expect(&MeshApiServerDown, infra_to_apps(), "fail")
            .await;
    }
}
