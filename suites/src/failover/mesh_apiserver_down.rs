//! The other cluster's clustermesh-apiserver goes, and comes back.

use super::MESH_NEEDS;
use super::cast::{self, Cast};
use super::observed::Event;
use super::patience::{Halt, patiently};
use super::recording::{Plan, Recording, unknown};
use super::stream::TESTED;
use async_trait::async_trait;
use meshproof_contract::{Check, CheckContext, CheckId, CheckText, Disruption, Needs, Scope, Tally, Verdict};
use std::time::Duration;

/// The other cluster's clustermesh-apiserver is scaled to zero.
pub struct MeshApiServerDown;

/// How long traffic is watched without it, and after its return.
const WATCHED: Duration = Duration::from_millis(2000);
const AFTERWARDS: Duration = Duration::from_millis(700);
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
            how: "Streams to Service failover-remote, which prefers the other cluster, run while that cluster's Deployment clustermesh-apiserver is scaled to zero, for 2 s, and back. Every answer must come from the other cluster, and no stream may notice. Where `clustermesh-cache-ttl` is set, backends are withdrawn after that time, which is meant; it is then skipped if the time is shorter than the observation.",
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
    cast::ready(context, to, "backend", 1).await?;
    if let Some(ttl) = cast.cache_ttl(from).filter(|ttl| *ttl <= TOO_SOON) {
        return Err(Verdict::skipped(format!(
            "clustermesh-cache-ttl of {from} is {} s: backends are withdrawn that soon, as it says",
            ttl.as_secs()
        ))
        .into());
    }
    let client = &cast.clients[0];
    let plan = Plan::of(context, &cast, client, "failover-remote", least)?;
    let away = cast::by(to);
    let mut recording = Recording::start(&plan, away).await?;
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
    restored?;
    if !watched?
        || !recording
            .until(PATIENCE, |seen| seen.covers(back.called, AFTERWARDS))
            .await?
    {
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
    let mut tally = Tally::new();
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
