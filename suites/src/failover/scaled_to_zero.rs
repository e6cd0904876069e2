//! All backends of a service are deleted, and come back.

use super::{
    check::FailoverCheck,
    event::Event,
    footprint,
    participants::{Participants, REPLICAS, by},
    recording::{Plan, Recording},
    retry_when_busy::Unjudged,
    stream::Stream,
    workload::{self, tally_failure},
};
use meshproof_contract::{CheckContext, CheckText, Identity, Scope, Tally, Verdict};
use std::time::Duration;

/// A Deployment behind a Service is scaled to zero and up again.
pub const SCALED_TO_ZERO: FailoverCheck = FailoverCheck {
    id: "failover::scaled_to_zero",
    text: CheckText {
        title: "A service that was scaled to zero answers again when it is scaled up",
        proves: "A service without backends works again on the client's node once it has backends, for connections of \
                 every kind, and is not answered meanwhile.",
        how: "Streams to Service failover-local run while its Deployment is scaled to zero, until new connections and \
              datagrams are not answered, and while it is scaled up again. Once the new pods are ready, they must \
              answer every stream within `recovery` of the thresholds; losses meanwhile are recorded by kind.",
        control: "A pod on the client's node and one in the other cluster are probed at the same spacing. A service \
                  that is still answered without pods is a finding.",
        when_red: "Compare `kubectl --context CONTEXT get endpointslices -A -l \
                   kubernetes.io/service-name=failover-local -o yaml` with `cilium-dbg service list` on the client's \
                   node.",
    },
    scope: Scope::Cluster,
    admission: footprint::OWN_BACKENDS,
    faults: &["endpoints-never-return"],
    attempt: |context, spacing| Box::pin(attempt(context, spacing)),
};

/// How long streams are watched beyond the limit.
const MARGIN: Duration = Duration::from_secs(2);
/// How long the pods may take to end.
const SILENT_WITHIN: Duration = Duration::from_secs(60);

async fn attempt(context: &CheckContext, spacing: Duration) -> Result<Verdict, Unjudged> {
    let cluster = context.instance.from();
    let participants = Participants::of(context, cluster, workload::BACKEND).await?;
    let (client, backend) = (&participants.clients[0], &participants.backends[0]);
    let thresholds = &participants.facts.thresholds;
    let plan = Plan::of(context, &participants, client, "failover-local", spacing)?;
    let mut recording = Recording::start(&plan, by(cluster)).await?;
    let down = Event::begin();
    workload::scale(context, backend, 0).await?;
    let down = down.end();
    let silent = recording
        .until(SILENT_WITHIN, |seen| seen.fresh_silent(down.returned))
        .await;
    // Whatever was seen, the backends come back.
    let scaled = workload::scale(context, backend, REPLICAS).await;
    let silent = silent?;
    let back = match scaled {
        Ok(()) => workload::ready(context, cluster, workload::BACKEND, REPLICAS).await,
        Err(verdict) => Err(verdict),
    };
    let up = Event::begin();
    let by_new_pods = |server: Option<&Identity>| {
        let mut pods = back.iter().flatten();
        server.is_some_and(|server| pods.any(|backend| backend.id.pod == server.pod))
    };
    let is_stable = match &back {
        Ok(_) => {
            let within = thresholds.recovery + MARGIN;
            recording
                .until(within, |seen| seen.all_stable(Some(up.called), &by_new_pods))
                .await?
        }
        Err(_) => false,
    };
    let unstable = recording.seen.unstable(Some(up.called), &by_new_pods);
    let seen = recording.stop().await?;

    seen.report(context, &down);
    let answers = seen.report_time(context, "answers_after_ready", up.called, |series, from| {
        series.first_answer(from, |server| by_new_pods(Some(server)))
    });
    if let Some(unjudged) = seen.unusable(&down) {
        return Err(unjudged);
    }
    let mut tally = Tally::new();
    tally_failure(&mut tally, &back);
    if !silent {
        tally.finding(
            "failover-local",
            "no answer without backends",
            format!(
                "still answered {} s after it was scaled to zero",
                SILENT_WITHIN.as_secs()
            ),
        );
    }
    if is_stable {
        for (stream, after) in answers {
            tally.witness(format!(
                "{stream}: answered {} ms after the new pods were ready",
                after.as_millis()
            ));
        }
    } else if back.is_ok() {
        let limit = thresholds.recovery.as_secs();
        let expected = format!("answered by the new pods within {limit} s after they are ready");
        tally.finding("failover-local", expected, unstable);
    }
    seen.judge_unnoticed(&mut tally, &[Stream::Dns], &down, thresholds)?;
    plan.suggest_commands(&tally);
    Ok(tally.verdict())
}
