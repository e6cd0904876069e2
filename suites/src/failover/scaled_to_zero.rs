//! All backends of a service go, and come back.

use super::NEEDS;
use super::cast::{self, Cast, REPLICAS};
use super::observed::Event;
use super::patience::{Halt, patiently};
use super::recording::{Plan, Recording};
use super::stream::Stream;
use async_trait::async_trait;
use meshproof_contract::{Check, CheckContext, CheckId, CheckText, Identity, Needs, Scope, Tally, Verdict};
use std::time::Duration;

/// A Deployment behind a Service is scaled to zero and up again.
pub struct ScaledToZero;

const MARGIN: Duration = Duration::from_secs(2);
/// How long the pods may take to end, or to be ready: theirs, not the mesh's.
const PODS: Duration = Duration::from_secs(60);

#[async_trait]
impl Check for ScaledToZero {
    fn id(&self) -> CheckId {
        CheckId::from("failover::scaled_to_zero")
    }

    fn text(&self) -> CheckText {
        CheckText {
            title: "A service that was scaled to zero answers again when it is scaled up",
            proves: "A service without backends comes to life on the client's node as soon as it has some again, for connections of every kind, and nobody answers for it meanwhile.",
            how: "Streams to Service failover-local run while its Deployment is scaled to zero, until new connections and datagrams are silent, and while it is scaled up again. From the time when the new pods are ready, the streams must be answered within `recovery` of the thresholds; what a refused client sees meanwhile is recorded by kind.",
            control: "A neighbour on the client's node and one in the other cluster; and silence in between: a service that is still answered without pods is a finding.",
            when_red: "`kubectl -n meshproof get endpointslices -l kubernetes.io/service-name=failover-local -o yaml` against `cilium-dbg service list` on the client's node.",
        }
    }

    fn scope(&self) -> Scope {
        Scope::Cluster
    }
    fn needs(&self) -> Needs {
        NEEDS
    }
    fn faults(&self) -> &'static [&'static str] {
        &["endpoints-never-return"]
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
    let down = Event::begin();
    cast::scale(context, &cast.backends[0], 0).await?;
    let down = down.end();
    let silent = recording.until(PODS, |seen| seen.fresh_silent(down.returned)).await;
    // Whatever was seen, the backends come back.
    let scaled = cast::scale(context, &cast.backends[0], REPLICAS).await;
    let silent = silent?;
    let back = match scaled {
        Ok(()) => cast::ready(context, cluster, "backend", REPLICAS).await,
        Err(verdict) => Err(verdict),
    };
    let up = Event::begin();
    let limit = cast.facts.thresholds.recovery;
    let fresh = |who: Option<&Identity>| {
        let mut pods = back.iter().flatten();
        who.is_some_and(|who| pods.any(|b| b.id.pod == who.pod))
    };
    let settled = match &back {
        Ok(_) => {
            let within = limit + MARGIN;
            recording
                .until(within, |seen| seen.all_settled(Some(up.called), &fresh))
                .await?
        }
        Err(_) => false,
    };
    let unsettled = recording.seen.unsettled(Some(up.called), &fresh);
    let seen = recording.stop().await?;

    seen.tell(context, &down);
    let returns = seen.tell_time(context, "answers_after_ready", up.called, |series, from| {
        series.first_answer(from, |who| fresh(Some(who)))
    });
    if let Some(halt) = seen.unusable(&down) {
        return Err(halt);
    }
    let mut tally = Tally::new();
    cast::leave_open(&mut tally, &back);
    if !silent {
        tally.finding(
            "failover-local",
            "nobody answers while there are no backends",
            format!("still answered {} s after the scaling to zero", PODS.as_secs()),
        );
    }
    if settled {
        for (stream, after) in returns {
            tally.witness(format!(
                "{stream}: answered {} ms after the new pods were ready",
                after.as_millis()
            ));
        }
    } else if back.is_ok() {
        tally.finding(
            "failover-local",
            format!(
                "answered by the new pods within {} s after they are ready",
                limit.as_secs()
            ),
            unsettled,
        );
    }
    seen.judge_unnoticed(&mut tally, &[Stream::Dns], &down, &cast.facts.thresholds);
    Ok(tally.verdict())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failover::stage::Stage;
    use crate::testing::infra;

    #[tokio::test(start_paused = true)]
    async fn pods_that_never_return_hide_no_finding() {
        Stage::set().expect(&ScaledToZero, infra(), "pass").await;
        let gone = || Stage::with(|stage| stage.replaces = None);
        gone().expect(&ScaledToZero, infra(), "inconclusive").await;
        let dumb = gone().losing(|service, since| {
            let asked = service == "failover-local";
            asked && since > Duration::from_secs(10) && since < Duration::from_secs(20)
        });
        dumb.expect(&ScaledToZero, infra(), "fail").await;
    }
}
