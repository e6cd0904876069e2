//! The Cilium agent on the client's node is restarted.

use super::{
    check::FailoverCheck,
    disruption::while_disrupted,
    footprint, now,
    participants::{Participants, by},
    recording::{Plan, Recording},
    retry_when_busy::Unjudged,
    stream::TESTED,
    workload::{self, tally_failure, unknown},
};
use meshproof_contract::{CheckContext, CheckText, CiliumQuery, Disruption, NodeName, Scope, Tally, Verdict};
use std::time::{Duration, Instant};
use tokio::time::sleep;

/// The agent's pod is deleted, and its DaemonSet creates another.
pub const AGENT_RESTART: FailoverCheck = FailoverCheck {
    id: "failover::agent_restart",
    text: CheckText {
        title: "Traffic is not affected when the Cilium agent on its node restarts",
        proves: "A node's data path works without its agent, and the next agent does not interrupt it, so an agent \
                 can crash or be upgraded without a lost request. Names that policies allow by FQDN depend on the \
                 agent's DNS proxy and are not tested here.",
        how: "Streams from a client to Service failover-local run while the pod of the agent on the client's node is \
              deleted, until the next agent and the node's endpoints are ready (5 s at most), and for 2 s more. No \
              stream may be affected.",
        control: "Where a second client runs on another node, the controls run from there: to a pod on its node and \
                  to one in the other cluster, at the same spacing.",
        when_red: "`kubectl --context CONTEXT -n kube-system logs AGENT_POD -c cilium-agent --since=5m` of the agent \
                   on the client's node shows what it restored and regenerated; `cilium-dbg endpoint list` there \
                   shows the endpoints.",
    },
    scope: Scope::Cluster,
    admission: footprint::AGENTS,
    faults: &["agent-restart-drops"],
    attempt: |context, spacing| Box::pin(attempt(context, spacing)),
};

/// How long traffic is watched once the node's endpoints are ready again.
const WATCHED_AFTER: Duration = Duration::from_secs(2);
/// How long is waited for these endpoints.
const REGENERATED_WITHIN: Duration = Duration::from_secs(5);
/// Between two queries of the agent.
const INTERVAL: Duration = Duration::from_millis(200);
/// How long the streams may take to cover the time that is to be watched.
const COVERED_WITHIN: Duration = Duration::from_secs(20);

async fn attempt(context: &CheckContext, spacing: Duration) -> Result<Verdict, Unjudged> {
    let cluster = context.instance.from();
    let mut participants = Participants::of(context, cluster, workload::BACKEND).await?;
    participants.clients = workload::spread(context, participants.clients).await?;
    participants.quiet_first(context, cluster);
    let (control, others) = participants.clients.split_first().ok_or_else(no_two_nodes)?;
    let client = others
        .iter()
        .find(|other| other.node != control.node)
        .ok_or_else(no_two_nodes)?;
    let plan = Plan {
        control,
        ..Plan::of(context, &participants, client, "failover-local", spacing)?
    };
    let mut recording = Recording::start(&plan, by(cluster)).await?;
    let node = client.node.clone();
    let disruption = Disruption::AgentRestart { node };
    // Restoring waits for the next agent.
    let restarted = while_disrupted(context, cluster, &disruption, |_| async { Ok(()) }).await;
    let restarted = restarted.map_err(unknown)?;
    let back = restarted.restoring.returned;
    wait_for_endpoints(context, &mut recording, &client.node, back).await?;
    let since = now();
    let covered = recording
        .until(COVERED_WITHIN, |seen| seen.covers(since, WATCHED_AFTER))
        .await?;
    let seen = recording.stop().await?;
    let event = restarted.event;
    seen.report(context, &event);
    if restarted.restored.is_ok() {
        context.note(format!(
            "the agent on {} was ready again {} ms after its pod was deleted",
            client.node,
            (back - event.returned).as_millis()
        ));
    }
    if let Some(unjudged) = seen.unusable(&event) {
        return Err(unjudged);
    }
    if !covered {
        return Err(Verdict::inconclusive("the streams did not run long enough after the restart").into());
    }
    let mut tally = Tally::new();
    tally_failure(&mut tally, &restarted.restored);
    seen.judge_unnoticed(&mut tally, &TESTED, &event, &participants.facts.thresholds)?;
    plan.suggest_commands(&tally);
    Ok(tally.verdict())
}

fn no_two_nodes() -> Verdict {
    Verdict::inconclusive("clients on two nodes are needed, one for the streams and one for the controls")
}

/// Waits until the agent on a node reports all its endpoints as ready, or the time since it came back is over.
async fn wait_for_endpoints(
    context: &CheckContext,
    recording: &mut Recording<'_>,
    node: &NodeName,
    back: Instant,
) -> Result<(), Verdict> {
    while !endpoints_are_ready(context, node).await && now() - back < REGENERATED_WITHIN {
        recording.collect().await?;
        sleep(INTERVAL).await;
    }
    Ok(())
}

async fn endpoints_are_ready(context: &CheckContext, node: &NodeName) -> bool {
    let cluster = context.instance.from();
    let answers = context.environment.cilium(cluster, CiliumQuery::Endpoints).await;
    let mut answers = answers.unwrap_or_default().into_iter();
    let answer = answers.find(|answer| &answer.node == node).and_then(|a| a.output.ok());
    let endpoints = answer.as_ref().and_then(|list| list.as_array());
    endpoints.is_some_and(|list| !list.is_empty() && list.iter().all(|one| one["status"]["state"] == "ready"))
}
