//! The other cluster is lost as a whole, and comes back.

mod remote_service;

use super::{
    check::FailoverCheck,
    disruption::while_disrupted,
    event::Event,
    observed::Observed,
    participants::{Participants, REPLICAS, by},
    recording::{Plan, Recording},
    retry_when_busy::Unjudged,
    stream::{Stream, TESTED},
    workload::{self, tally_failure, unknown},
};
use meshproof_contract::{
    Admission, CheckContext, CheckText, Disruption, EnvironmentError, Scope, Tally, Thresholds, Unit, Verdict,
};
use remote_service::{RemoteService, Withdrawal};
use std::time::Duration;

/// Every node of the other cluster is cut off.
pub const OTHER_CLUSTER_LOST: FailoverCheck = FailoverCheck {
    id: "failover::other_cluster_lost",
    text: CheckText {
        title: "Services with local backends are not affected by the loss of the other cluster",
        proves: "A global service that prefers its own backends loses no request while every node of the other \
                 cluster is away, nor when it returns. After its return the other cluster answers again within \
                 `recovery` of the thresholds.",
        how: "Streams to Service failover-global (affinity local) run while the operators' command (`nodePower` in \
              meshproof.yaml; skipped without one) cuts off every node of the other cluster for 2 s at least. Service \
              failover-remote, which prefers the other cluster, is probed, too: with `clustermesh-cache-ttl` its own \
              cluster must answer after 150 s plus the TTL, without it losses are recorded and not a finding; after \
              the return the other cluster must answer it within `recovery`.",
        control: "The stream to a pod in the other cluster must be answered before, be silent while the cluster is \
                  away, and be answered again. A pod on the client's node is probed at the same spacing.",
        when_red: "Local losses: `cilium-dbg service list` on the client's node must still have the local backends of \
                   failover-global. No return: `cilium-dbg status --verbose` there (ClusterMesh, node health), and \
                   `kubectl --context CONTEXT -n kube-system logs deploy/clustermesh-apiserver -c kvstoremesh \
                   --tail=100`.",
    },
    scope: Scope::Direction,
    admission: Admission::Exclusive,
    faults: &["cluster-loss-drops-backends"],
    attempt: |context, spacing| Box::pin(attempt(context, spacing)),
};

/// How long traffic is watched without the other cluster.
const WATCHED: Duration = Duration::from_millis(2000);
/// How long its control may take to fall silent.
const SILENT_WITHIN: Duration = Duration::from_secs(20);

/// What the return of the other cluster showed.
struct Return {
    /// Whether its control was answered again in time.
    control: bool,
    /// After how long it answered the service that prefers it.
    answered: Option<Duration>,
    /// Whether its backends are ready again.
    restored: Result<(), Verdict>,
}

async fn attempt(context: &CheckContext, spacing: Duration) -> Result<Verdict, Unjudged> {
    let (from, to) = (context.instance.from(), context.instance.to());
    let participants = Participants::of(context, from, workload::GLOBAL_BACKEND).await?;
    workload::ready(context, to, workload::GLOBAL_BACKEND, REPLICAS).await?;
    let client = &participants.clients[0];
    let plan = Plan::of(context, &participants, client, "failover-global", spacing)?;
    let remote = RemoteService {
        context,
        client,
        service: participants.service(from, "failover-remote")?,
        cache_ttl: participants.cache_ttl(from),
    };
    let nodes = participants.facts.cluster(to).map(|cluster| &cluster.nodes);
    let disruption = Disruption::ClusterLost {
        nodes: nodes.into_iter().flatten().map(|node| node.name.clone()).collect(),
    };
    let mut recording = Recording::start(&plan, by(from)).await?;
    let lost = while_disrupted(context, to, &disruption, |event| watch(&mut recording, &remote, event));
    let lost = match lost.await {
        Ok(lost) => lost,
        Err(error) => {
            recording.stop().await?;
            return Err(match error {
                EnvironmentError::NoMeans { .. } => Verdict::skipped(error.to_string()),
                error => unknown(error),
            }
            .into());
        }
    };
    let thresholds = &participants.facts.thresholds;
    let back = lost.restoring.called;
    let control = recording
        .until(thresholds.recovery, |seen| {
            let control = seen.track(Stream::OtherCluster);
            control.is_some_and(|track| track.is_stable_since(back))
        })
        .await;
    let answered = remote.answered_by(to.as_str(), back, thresholds.recovery).await;
    let seen = recording.stop().await;
    let (silent, withdrawal) = lost.watched?;
    let (control, seen) = (control?, seen?);
    let restored = match lost.restored {
        Ok(()) => workload::ready(context, to, workload::GLOBAL_BACKEND, REPLICAS)
            .await
            .map(drop),
        failed => failed,
    };
    context.note(format!("all nodes of {to} were cut off"));
    seen.report(context, &lost.event);
    if !silent {
        return Err(Verdict::inconclusive(format!(
            "the nodes of {to} were cut off, but the stream to a pod there was not silent"
        ))
        .into());
    }
    if let Some(unjudged) = seen.unusable_except(&lost.event, &[Stream::OtherCluster]) {
        return Err(unjudged);
    }
    let mut tally = Tally::new();
    tally_failure(&mut tally, &restored);
    seen.judge_unnoticed(&mut tally, &TESTED, &lost.event, thresholds)?;
    withdrawal.judge(context, &mut tally);
    let returned = Return {
        control,
        answered,
        restored,
    };
    returned.judge(context, thresholds, &mut tally);
    plan.suggest_commands(&tally);
    Ok(tally.verdict())
}

/// Whether the other cluster was seen to be away for as long as traffic is to be watched, and what became of its
/// backends.
async fn watch(
    recording: &mut Recording<'_>,
    remote: &RemoteService<'_>,
    event: Event,
) -> Result<(bool, Withdrawal), Verdict> {
    let is_gone = |seen: &Observed| {
        let control = seen.track(Stream::OtherCluster);
        control.is_some_and(|track| track.is_silent_since(event.returned))
    };
    let silent = recording
        .until(SILENT_WITHIN, |seen| {
            is_gone(seen) && seen.covers(event.returned, WATCHED)
        })
        .await;
    let withdrawal = remote.withdrawal(event.returned).await;
    Ok((silent?, withdrawal))
}

impl Return {
    fn judge(&self, context: &CheckContext, thresholds: &Thresholds, tally: &mut Tally) {
        let to = context.instance.to();
        match self.answered {
            Some(after) if self.control => {
                let millis = after.as_secs_f64() * 1000.0;
                context.measure("answers_again", "failover-remote", millis, Unit::Milliseconds);
                tally.witness(format!("{to} answers again {millis:.0} ms after its return"));
            }
            // Without backends there nothing can answer.
            _ if self.restored.is_err() => {}
            _ => {
                let limit = thresholds.recovery.as_secs();
                let control = if self.control {
                    format!("although a pod in {to} answers directly")
                } else {
                    format!("and a pod in {to} does not answer directly, either")
                };
                tally.finding(
                    "failover-remote",
                    format!("answered by {to} again within {limit} s of its return"),
                    format!("not answered by {to}, {control}"),
                );
            }
        }
    }
}
