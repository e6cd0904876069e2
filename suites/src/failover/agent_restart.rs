//! Cilium's agent on the client's node starts anew.

use super::NEEDS;
use super::cast::{self, Cast};
use super::observed::Event;
use super::patience::{Halt, patiently};
use super::recording::{Plan, Recording, unknown};
use super::stream::TESTED;
use async_trait::async_trait;
use meshproof_contract::{Check, CheckContext, CheckId, CheckText, Disruption, Needs, Scope, Tally, Verdict};
use std::time::Duration;

/// The agent's pod is deleted, and its DaemonSet makes another.
pub struct AgentRestart;

const AFTERWARDS: Duration = Duration::from_millis(1000);
const PATIENCE: Duration = Duration::from_secs(20);

#[async_trait]
impl Check for AgentRestart {
    fn id(&self) -> CheckId {
        CheckId::from("failover::agent_restart")
    }

    fn text(&self) -> CheckText {
        CheckText {
            title: "Traffic does not notice when Cilium's agent on its node starts anew",
            proves: "The data path of a node goes on without its agent and is not torn down by the next one, so that an agent can be upgraded or crash without a lost request. (Names that policies allow by FQDN go through the agent's DNS proxy, which is another matter.)",
            how: "Streams from a client to Service failover-local run while the pod of the agent on the client's node is deleted, until the next one is ready and a second longer. No stream may notice.",
            control: "Where a second client runs on another node, the controls are its own: a neighbour there and one in the other cluster, at the same spacing.",
            when_red: "`kubectl -n kube-system logs ds/cilium -c cilium-agent --since=5m` on that node: what was restored, what was regenerated; `cilium-dbg endpoint list` there.",
        }
    }

    fn scope(&self) -> Scope {
        Scope::Cluster
    }
    fn needs(&self) -> Needs {
        NEEDS
    }
    fn faults(&self) -> &'static [&'static str] {
        &["agent-restart-drops"]
    }

    async fn run(&self, context: &CheckContext) -> Verdict {
        patiently(context, |least| judge(context, least)).await
    }
}

async fn judge(context: &CheckContext, least: Duration) -> Result<Verdict, Halt> {
    let cluster = context.instance.from();
    let cast = Cast::of(context, cluster).await?;
    let client = &cast.clients[0];
    let control = cast.clients.iter().find(|other| other.node != client.node);
    let Some(control) = control else {
        return Err(Verdict::inconclusive(
            "it takes clients on two nodes, one for the streams and one for the controls",
        )
        .into());
    };
    let plan = Plan {
        control,
        ..Plan::of(context, &cast, client, "failover-local", least)?
    };
    let own = cast::by(cluster);
    let mut recording = Recording::start(&plan, own).await?;
    let environment = &context.environment;
    let disruption = Disruption::AgentRestart {
        node: client.node.clone(),
    };
    let event = Event::begin();
    let disrupted = environment.disrupt(cluster, &disruption).await.map_err(unknown);
    let event = event.end();
    // Waits for the next one.
    let restored = environment.restore(cluster, &disruption).await.map_err(unknown);
    let back = Event::begin();
    disrupted?;
    restored?;
    let covered = recording
        .until(PATIENCE, |seen| seen.covers(back.called, AFTERWARDS))
        .await?;
    let seen = recording.stop().await?;
    seen.tell(context, &event);
    context.evidence(format!(
        "the agent on {} was ready again {} ms after its pod was deleted",
        client.node,
        (back.called - event.returned).as_millis()
    ));
    if let Some(halt) = seen.unusable(&event) {
        return Err(halt);
    }
    if !covered {
        return Err(Verdict::inconclusive("the streams were not seen to run on for as long as it takes").into());
    }
    let mut tally = Tally::new();
    seen.judge_unnoticed(&mut tally, &TESTED, &event, &cast.facts.thresholds);
    Ok(tally.verdict())
}
