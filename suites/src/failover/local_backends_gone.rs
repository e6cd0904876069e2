//! All local backends of a global service go: the other cluster takes over; they return: so does the traffic.

use super::MESH_NEEDS;
use super::cast::{self, Cast, REPLICAS};
use super::observed::Event;
use super::patience::{Halt, patiently};
use super::recording::{Plan, Recording};
use super::stream::{Stream, TESTED};
use async_trait::async_trait;
use meshproof_contract::{Check, CheckContext, CheckId, CheckText, Needs, Scope, Tally, Verdict};
use std::time::Duration;

/// Fail-over of a global service with affinity local to the other cluster, and fail-back.
pub struct LocalBackendsGone;

const MARGIN: Duration = Duration::from_secs(2);

#[async_trait]
impl Check for LocalBackendsGone {
    fn id(&self) -> CheckId {
        CheckId::from("failover::local_backends_gone")
    }

    fn text(&self) -> CheckText {
        CheckText {
            title: "Without local backends the other cluster answers, and hands back when they return",
            proves: "A global service with affinity local fails over to the other cluster by itself when its last local backend goes, and back when local backends are ready again, for every kind of stream.",
            how: "Streams to Service failover-global run while its local Deployment is scaled to zero, until every stream is answered by the other cluster (`recovery` of the thresholds), and while it is scaled up again, until new connections and datagrams are answered at home only (`fail_back`, counted from the local pods being ready). First remote answer, outage and fail-back time are recorded for each stream.",
            control: "Before the event every answer comes from the own cluster. A neighbour on the client's node and one in the other cluster run at the same spacing.",
            when_red: "No fail-over: `cilium-dbg service list` on the client's node has no backends of the other cluster, see service and mesh. No fail-back: it has the local ones and does not prefer them, `kubectl -n meshproof get service failover-global -o yaml`.",
        }
    }

    fn scope(&self) -> Scope {
        Scope::Direction
    }
    fn needs(&self) -> Needs {
        MESH_NEEDS
    }
    fn faults(&self) -> &'static [&'static str] {
        &["fail-over-never", "fail-back-never"]
    }

    async fn run(&self, context: &CheckContext) -> Verdict {
        patiently(context, |least| judge(context, least)).await
    }
}

async fn judge(context: &CheckContext, least: Duration) -> Result<Verdict, Halt> {
    let (from, to) = (context.instance.from(), context.instance.to());
    let cast = Cast::of(context, from).await?;
    cast::ready(context, to, "backend", 1).await?;
    let client = &cast.clients[0];
    let plan = Plan::of(context, &cast, client, "failover-global", least)?;
    let at_home = cast::by(from);
    let away = cast::by(to);
    let mut recording = Recording::start(&plan, at_home).await?;
    let limits = &cast.facts.thresholds;
    let gone = Event::begin();
    cast::scale(context, &cast.backends[0], 0).await?;
    let gone = gone.end();
    let moved = recording
        .until(limits.recovery + MARGIN, |seen| {
            seen.all_settled(Some(gone.returned), &away)
        })
        .await;
    let unmoved = recording.seen.unsettled(Some(gone.returned), &away);
    // Whatever was seen, the backends come back.
    let scaled = cast::scale(context, &cast.backends[0], REPLICAS).await;
    let moved = moved?;
    let home = match scaled {
        Ok(()) => cast::ready(context, from, "backend", REPLICAS).await.map(drop),
        Err(_) => scaled,
    };
    let back = Event::begin();
    let returned = match moved && home.is_ok() {
        true => {
            let within = limits.fail_back + MARGIN;
            recording
                .until(within, |seen| seen.fresh_settled(back.called, &at_home))
                .await?
        }
        false => false,
    };
    let stayed = recording.seen.unsettled(Some(back.called), &at_home);
    let seen = recording.stop().await?;

    seen.tell(context, &gone);
    let first = seen.tell_time(context, "first_remote_answer", gone.returned, |series, since| {
        series.first_answer(since, |who| away(Some(who)))
    });
    seen.tell_time(context, "last_stale_answer", gone.returned, |series, since| {
        let until = since + back.called.saturating_duration_since(gone.returned).as_micros() as u64;
        series.last_answered_before(since, until, |who| at_home(Some(who)))
    });
    seen.tell_time(context, "first_local_answer", back.called, |series, since| {
        series.first_answer(since, |who| at_home(Some(who)))
    });
    let fail_back = seen.tell_time(context, "fail_back", back.called, |series, since| {
        series.last_answered(since, |who| away(Some(who))).or(Some(since))
    });
    if let Some(halt) = seen.unusable(&gone) {
        return Err(halt);
    }
    let mut tally = Tally::new();
    cast::leave_open(&mut tally, &home);
    match moved {
        false => tally.finding(
            format!("{from} -> {to}"),
            format!("every stream answered by {to} within {} s", limits.recovery.as_secs()),
            unmoved,
        ),
        true => {
            for (stream, after) in first {
                tally.witness(format!("{stream}: first answer of {to} after {} ms", after.as_millis()));
            }
            seen.judge_recovery(&mut tally, &TESTED, &gone, limits.recovery);
        }
    }
    // What was opened while the others answered may stay with them: that is what a connection is.
    let fresh = fail_back.into_iter().filter(|(stream, _)| stream.is_fresh());
    if moved && home.is_ok() && !returned {
        tally.finding(
            format!("{to} -> {from}"),
            format!(
                "new traffic stays in {from} {} s after its backends are ready",
                limits.fail_back.as_secs()
            ),
            stayed,
        );
    } else if moved && home.is_ok() {
        for (stream, after) in fresh {
            tally.witness(format!(
                "{stream}: last answer of {to} {} ms after the return",
                after.as_millis()
            ));
        }
    }
    seen.judge_unnoticed(&mut tally, &[Stream::Dns], &gone, limits);
    Ok(tally.verdict())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failover::stage::Stage;
    use crate::testing::infra_to_apps;

    #[tokio::test(start_paused = true)]
    async fn a_fail_over_that_never_came_is_red_even_if_the_pods_never_return() {
        Stage::set().expect(&LocalBackendsGone, infra_to_apps(), "pass").await;
        let gone = || Stage::with(|stage| stage.replaces = None);
        gone().expect(&LocalBackendsGone, infra_to_apps(), "inconclusive").await;
        gone()
            .losing(|service, _| service == "failover-global")
            .expect(&LocalBackendsGone, infra_to_apps(), "fail")
            .await;
    }
}
