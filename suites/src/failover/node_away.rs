//! Nodes are taken away: one is cut off without notice, or loses its pods at once.

use super::{
    SCENARIO,
    check::FailoverCheck,
    disruption::while_disrupted,
    event::Event,
    footprint, now,
    observed::Observed,
    participants::{Participants, REPLICAS, by},
    recording::{Plan, Recording},
    retry_when_busy::Unjudged,
    stream::TESTED,
    workload::{self, tally_failure, unknown},
};
use meshproof_contract::{
    AgentFacts, CheckContext, CheckText, Disruption, EnvironmentError, Identity, NodeName, Scope, Tally, Verdict,
};
use std::time::Duration;

/// A node of a backend is cut off.
pub const NODE_LOST: FailoverCheck = FailoverCheck {
    id: "failover::node_lost",
    text: CheckText {
        title: "When a node is lost, other backends and DNS replicas take over in time",
        proves: "The control plane detects a lost node, and its backends leave the data path of the other nodes. \
                 Every kind of stream, name resolution included, recovers within `recovery` of the thresholds.",
        how: "Streams to Service failover-local run from a client on another node while a node with a backend is cut \
              off by the operators' command (`nodePower` in meshproof.yaml; skipped without one). No stream may lose \
              a probe later than `recovery` after the event.",
        control: "A pod on the client's node and one in the other cluster are probed at the same spacing.",
        when_red: "`kubectl --context CONTEXT get nodes` and `kubectl --context CONTEXT get endpointslices -A -l \
                   kubernetes.io/service-name=failover-local -o yaml` show when the loss was detected. For DNS, \
                   `kubectl --context CONTEXT -n DNS_NAMESPACE get pods -o wide` shows whether the replicas share one \
                   node.",
    },
    scope: Scope::Cluster,
    admission: footprint::NODES,
    faults: &["node-detection-late", "dns-dies-with-node"],
    attempt: |context, spacing| Box::pin(attempt(context, spacing, |node| Disruption::NodeLost { node })),
};

/// A node is cordoned and loses the suite's pods.
pub const NODE_DRAINED: FailoverCheck = FailoverCheck {
    id: "failover::node_drained",
    text: CheckText {
        title: "When the pods of a cordoned node are killed, backends on other nodes take over in time",
        proves: "Pods that end without a grace period leave the data path of the other nodes, and successors start \
                 on them. Every kind of stream recovers within `recovery` of the thresholds. The node itself and its \
                 other pods, cluster DNS among them, keep running: its loss is what `failover::node_lost` is about.",
        how: "Streams to Service failover-local run from a client on another node while a node with a backend is \
              cordoned and the suite's pods on it are deleted without grace. No stream may lose a probe later than \
              `recovery` after the event.",
        control: "A pod on the client's node and one in the other cluster are probed at the same spacing.",
        when_red: "`cilium-dbg service list` on the client's node still shows the deleted pod's address, unlike \
                   `kubectl --context CONTEXT get endpointslices -A -l kubernetes.io/service-name=failover-local -o \
                   yaml`. `kubectl --context CONTEXT get pods -A -o wide` shows whether the successors run.",
    },
    scope: Scope::Cluster,
    admission: footprint::NODES,
    faults: &["stale-backend-kept"],
    attempt: |context, spacing| {
        let drained = |node| Disruption::NodeDrained {
            node,
            scenario: SCENARIO.to_owned(),
        };
        Box::pin(attempt(context, spacing, drained))
    },
};

/// How long streams are watched beyond the limit.
const MARGIN: Duration = Duration::from_secs(3);
/// How long streams that recovered must lose nothing.
const CONFIRMED: Duration = Duration::from_secs(1);

/// What the streams showed while the node was away.
struct Loss {
    /// Whether other backends answered all streams in time, and which streams they did not answer.
    recovered: (bool, String),
    seen: Observed,
}

async fn attempt(
    context: &CheckContext,
    spacing: Duration,
    away: fn(NodeName) -> Disruption,
) -> Result<Verdict, Unjudged> {
    let cluster = context.instance.from();
    let mut participants = Participants::of(context, cluster, workload::BACKEND).await?;
    participants.backends = workload::spread(context, participants.backends).await?;
    let (backend, client) = on_different_nodes(&participants)?;
    let plan = Plan::of(context, &participants, client, "failover-local", spacing)?;
    let mut recording = Recording::start(&plan, by(cluster)).await?;
    let disruption = away(backend.node.clone());
    let limit = participants.facts.thresholds.recovery;
    let lost = while_disrupted(context, cluster, &disruption, |event| {
        watch(&mut recording, backend, event, limit)
    });
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
    let Loss {
        recovered: (recovered, not_recovered),
        seen,
    } = lost.watched?;
    let restored = match lost.restored {
        Ok(()) => workload::ready(context, cluster, workload::BACKEND, REPLICAS)
            .await
            .map(drop),
        failed => failed,
    };
    let event = lost.event;
    context.note(format!("it was to {disruption}, with {} on it", backend.id));
    seen.report(context, &event);
    seen.report_time(context, "last_stale_answer", event.returned, |series, since| {
        series.last_answered(since, |server| server.pod == backend.id.pod)
    });
    if let Some(unjudged) = seen.unusable(&event) {
        return Err(unjudged);
    }
    let mut tally = Tally::new();
    tally_failure(&mut tally, &restored);
    if !recovered {
        let expected = format!("every stream answered by other backends within {} s", limit.as_secs());
        tally.finding(backend.node.to_string(), expected, not_recovered);
    }
    seen.judge_recovery(&mut tally, &TESTED, &event, limit);
    plan.suggest_commands(&tally);
    Ok(tally.verdict())
}

/// A backend, and a client on another node; another backend must be left to take over.
fn on_different_nodes(participants: &Participants) -> Result<(&AgentFacts, &AgentFacts), Verdict> {
    let (backends, clients) = (&participants.backends, &participants.clients);
    // The quiet node is never lost. The last of the others, since the first node is often the control plane's.
    let client = &clients[0];
    let backend = backends.iter().rev().find(|backend| backend.node != client.node);
    let backend = backend.ok_or_else(|| {
        Verdict::inconclusive("no backend runs on another node than a client, so no node can be taken away")
    })?;
    if backends.iter().all(|other| other.node == backend.node) {
        return Err(Verdict::inconclusive(format!(
            "all backends run on {}, so none could take over",
            backend.node
        )));
    }
    Ok((backend, client))
}

/// Whether all streams are answered by others within a time, and lose nothing for a while after: probes that go to one
/// of several backends in turn may be answered some times in a row although one of these is dead.
async fn recovered(
    recording: &mut Recording<'_>,
    by_other: &impl Fn(Option<&Identity>) -> bool,
    event: Event,
    within: Duration,
) -> Result<bool, Verdict> {
    let begun = now();
    loop {
        let left = within.saturating_sub(now() - begun);
        let is_stable = recording.until(left, |seen| seen.all_stable(Some(event.returned), by_other));
        if !is_stable.await? {
            return Ok(false);
        }
        let since = now();
        let covered = recording.until(left + CONFIRMED, |seen| seen.covers(since, CONFIRMED));
        if covered.await? && recording.seen.is_without_loss(since) {
            return Ok(true);
        }
    }
}

/// Watches the streams until other backends answer all of them or the time is over.
async fn watch(
    recording: &mut Recording<'_>,
    lost: &AgentFacts,
    event: Event,
    limit: Duration,
) -> Result<Loss, Verdict> {
    let by_other = |server: Option<&Identity>| server.is_some_and(|server| server.pod != lost.id.pod);
    let recovered = recovered(recording, &by_other, event, limit + MARGIN).await;
    let not_recovered = recording.seen.unstable(Some(event.returned), &by_other);
    let seen = recording.stop().await;
    Ok(Loss {
        recovered: (recovered?, not_recovered),
        seen: seen?,
    })
}
