//! Cilium's agent on the client's node starts anew.

use super::NEEDS;
use super::cast::{self, Cast};
use super::now;
use super::observed::Event;
use super::patience::{Halt, patiently};
use super::recording::{Plan, Recording, unknown};
use super::stream::TESTED;
use async_trait::async_trait;
use meshproof_contract::{
    Check, CheckContext, CheckId, CheckText, CiliumQuery, Disruption, Needs, NodeName, Scope, Tally, Verdict,
};
use std::time::Duration;

/// The agent's pod is deleted, and its DaemonSet makes another.
pub struct AgentRestart;

/// How long traffic is watched once the node's endpoints are ready again, which is waited for as long as the other says.
const AFTERWARDS: Duration = Duration::from_secs(2);
const REGENERATED: Duration = Duration::from_secs(5);
const LOOK: Duration = Duration::from_millis(200);
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
            how: "Streams from a client to Service failover-local run while the pod of the agent on the client's node is deleted, until the next one is ready, the node's endpoints are, too (5 s at most), and 2 s longer. No stream may notice.",
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
    let mut cast = Cast::of(context, cluster).await?;
    cast.clients = cast::spread(context, cast.clients).await?;
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
    while !are_ready(context, &client.node).await && now() - back.called < REGENERATED {
        recording.collect().await?;
        tokio::time::sleep(LOOK).await;
    }
    let since = now();
    let covered = recording.until(PATIENCE, |seen| seen.covers(since, AFTERWARDS)).await?;
    let seen = recording.stop().await?;
    seen.tell(context, &event);
    if restored.is_ok() {
        context.note(format!(
            "the agent on {} was ready again {} ms after its pod was deleted",
            client.node,
            (back.called - event.returned).as_millis()
        ));
    }
    if let Some(halt) = seen.unusable(&event) {
        return Err(halt);
    }
    if !covered {
        return Err(Verdict::inconclusive("the streams were not seen to run on for as long as it takes").into());
    }
    let mut tally = Tally::new();
    cast::leave_open(&mut tally, &restored);
    seen.judge_unnoticed(&mut tally, &TESTED, &event, &cast.facts.thresholds);
    Ok(tally.verdict())
}

/// Whether the agent on a node says that all its endpoints are ready.
async fn are_ready(context: &CheckContext, node: &NodeName) -> bool {
    let cluster = context.instance.from();
    let answers = context.environment.cilium(cluster, CiliumQuery::Endpoints).await;
    let mut answers = answers.unwrap_or_default().into_iter();
    let answer = answers.find(|answer| &answer.node == node).and_then(|a| a.output.ok());
    let endpoints = answer.as_ref().and_then(|list| list.as_array());
    endpoints.is_some_and(|list| !list.is_empty() && list.iter().all(|one| one["status"]["state"] == "ready"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failover::stage::Stage;
    use crate::testing::infra;

    /// The agent is ready after half a second, and the endpoints two seconds later.
    fn slow() -> Stage {
        Stage::with(|stage| stage.regenerates = Duration::from_secs(2))
    }

    #[tokio::test(start_paused = true)]
    async fn what_the_regeneration_of_endpoints_drops_is_seen() {
        slow().expect(&AgentRestart, infra(), "pass").await;
        let dropping =
            |from: u64| slow().losing(move |_, since| (from..from + 400).contains(&(since.as_millis() as u64)));
        dropping(3500).expect(&AgentRestart, infra(), "fail").await;
    }

    #[tokio::test(start_paused = true)]
    async fn clients_on_one_node_are_spread_first() {
        let text = Stage::set()
            .crowded("infra", "client", "infra-2")
            .expect(&AgentRestart, infra(), "pass")
            .await;
        assert!(text.contains("to spread them"), "{text}");
        let stuck = Stage::with(|stage| stage.crowds = true).crowded("infra", "client", "infra-2");
        stuck.expect(&AgentRestart, infra(), "inconclusive").await;
    }

    #[tokio::test(start_paused = true)]
    async fn an_agent_that_does_not_come_back_hides_no_finding() {
        let gone = || Stage::with(|stage| stage.restores = None);
        gone().expect(&AgentRestart, infra(), "inconclusive").await;
        let dropping = gone().losing(|service, since| service == "failover-local" && since.as_millis() < 400);
        dropping.expect(&AgentRestart, infra(), "fail").await;
    }
}
