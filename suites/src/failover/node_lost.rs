//! A node is gone without a word, with a backend on it.

use super::NEEDS;
use super::cast::{self, Cast, REPLICAS};
use super::observed::Event;
use super::patience::{Halt, patiently};
use super::recording::{Plan, Recording, unknown};
use super::stream::TESTED;
use async_trait::async_trait;
use meshproof_contract::{
    Check, CheckContext, CheckId, CheckText, Disruption, Identity, Needs, NodeName, ObjectRef, Scope, Tally, Verdict,
};
use std::time::Duration;

/// A node of a backend is lost.
pub struct NodeLost;

const MARGIN: Duration = Duration::from_secs(3);

#[async_trait]
impl Check for NodeLost {
    fn id(&self) -> CheckId {
        CheckId::from("failover::node_lost")
    }

    fn text(&self) -> CheckText {
        CheckText {
            title: "When a node is lost, its backends' share is taken over in time, and DNS with it",
            proves: "The control plane notices a node that is gone without a word, its backends leave the data path of the others, and every kind of stream, name resolution included, is answered again for good within the promised recovery.",
            how: "Streams to Service failover-local run from a client on another node while a node with a backend is cut off: by the operators' command where there is one, otherwise it is cordoned and the run's pods on it are deleted without grace, which is the most that an API can do. Every stream must be good again within `recovery` of the thresholds (60 s by default).",
            control: "A neighbour on the client's node and one in the other cluster, at the same spacing.",
            when_red: "`kubectl get nodes` and `kubectl -n meshproof get endpointslices -o yaml` tell when the node was noticed; for DNS `kubectl -n kube-system get pods -o wide`: do the replicas share one node?",
        }
    }

    fn scope(&self) -> Scope {
        Scope::Cluster
    }
    fn needs(&self) -> Needs {
        NEEDS
    }
    fn faults(&self) -> &'static [&'static str] {
        &["node-detection-late", "dns-dies-with-node"]
    }

    async fn run(&self, context: &CheckContext) -> Verdict {
        patiently(context, |least| judge(context, least)).await
    }
}

async fn judge(context: &CheckContext, least: Duration) -> Result<Verdict, Halt> {
    let cluster = context.instance.from();
    let mut cast = Cast::of(context, cluster).await?;
    cast.backends = cast::spread(context, cast.backends).await?;
    // The last such pair, since the first node is a control plane's more often than not.
    let pairs = cast.backends.iter().rev();
    let pair = pairs.flat_map(|backend| cast.clients.iter().map(move |client| (backend, client)));
    let Some((backend, client)) = pair.into_iter().find(|(backend, client)| backend.node != client.node) else {
        return Err(Verdict::inconclusive(
            "no backend runs on another node than a client, so no node can be lost from a distance",
        )
        .into());
    };
    if cast.backends.iter().all(|other| other.node == backend.node) {
        return Err(Verdict::inconclusive(format!(
            "all backends run on {}, so nobody would be left to take over",
            backend.node
        ))
        .into());
    }
    let plan = Plan::of(context, &cast, client, "failover-local", least)?;
    let own = cast::by(cluster);
    let mut recording = Recording::start(&plan, own).await?;
    let environment = &context.environment;
    let disruption = Disruption::NodeLost {
        node: backend.node.clone(),
    };
    let limit = cast.facts.thresholds.recovery;
    let event = Event::begin();
    let disrupted = environment.disrupt(cluster, &disruption).await.map_err(unknown);
    let event = event.end();
    let other = |who: Option<&Identity>| who.is_some_and(|who| who.pod != backend.id.pod);
    let settled = match &disrupted {
        Ok(()) => {
            let within = limit + MARGIN;
            recording
                .until(within, |seen| seen.all_settled(Some(event.returned), &other))
                .await
        }
        Err(_) => Ok(false),
    };
    let unsettled = recording.seen.unsettled(Some(event.returned), &other);
    let seen = recording.stop().await;
    let only_cordoned = is_cordoned(context, &backend.node).await;
    // Whatever was seen, the node comes back.
    let restored = environment.restore(cluster, &disruption).await.map_err(unknown);
    disrupted?;
    let (settled, seen) = (settled?, seen?);
    let whole = match &restored {
        Ok(()) => cast::ready(context, cluster, "backend", REPLICAS).await.map(drop),
        Err(_) => restored,
    };

    context.note(format!("{} was lost, with {} on it", backend.node, backend.id));
    if only_cordoned {
        context.note(format!(
            "only the API was used: {} was cordoned and this run's pods on it were deleted, so its other pods, cluster DNS among them, and its own loss were not exercised (nodePower in meshproof.yaml)",
            backend.node
        ));
    }
    seen.tell(context, &event);
    seen.tell_time(context, "last_stale_answer", event.returned, |series, since| {
        series.last_answered(since, |who| who.pod == backend.id.pod)
    });
    if let Some(halt) = seen.unusable(&event) {
        return Err(halt);
    }
    let mut tally = Tally::new();
    cast::leave_open(&mut tally, &whole);
    if !settled {
        tally.finding(
            backend.node.to_string(),
            format!(
                "every stream good again within {} s, without the node's backend",
                limit.as_secs()
            ),
            unsettled,
        );
    }
    seen.judge_recovery(&mut tally, &TESTED, &event, limit);
    Ok(tally.verdict())
}

/// Whether the loss left the node in the API's hands, where no operators' command cut it.
async fn is_cordoned(context: &CheckContext, node: &NodeName) -> bool {
    let node = ObjectRef {
        api_version: "v1".to_owned(),
        kind: "Node".to_owned(),
        namespace: None,
        name: node.to_string(),
    };
    let found = context.environment.get(context.instance.from(), &node).await;
    found.is_ok_and(|node| node.is_some_and(|node| node["spec"]["unschedulable"] == true))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failover::stage::Stage;
    use crate::testing::infra;

    #[tokio::test(start_paused = true)]
    async fn a_node_that_does_not_come_back_hides_no_finding() {
        Stage::set().expect(&NodeLost, infra(), "pass").await;
        let gone = || Stage::with(|stage| stage.restores = None);
        gone().expect(&NodeLost, infra(), "inconclusive").await;
        gone()
            .losing(|service, _| service == "failover-local")
            .expect(&NodeLost, infra(), "fail")
            .await;
    }

    #[tokio::test(start_paused = true)]
    async fn backends_on_one_node_are_spread_first() {
        let text = Stage::set()
            .crowded("infra", "backend", "infra-2")
            .expect(&NodeLost, infra(), "pass")
            .await;
        assert!(
            text.contains("to spread them") && text.contains("only the API was used"),
            "{text}"
        );
        let stuck = Stage::with(|stage| stage.crowds = true).crowded("infra", "backend", "infra-2");
        stuck.expect(&NodeLost, infra(), "inconclusive").await;
    }
}
