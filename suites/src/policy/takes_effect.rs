//! How long a policy takes to be enforced, and to be gone again, on each node: measured with open-loop streams of new
//! connections.

mod judge;
mod stream;
mod timeline;

use super::{
    cell::{Cell, Traffic},
    enforced_within,
    fixture::Fixture,
    participant::SCENARIO,
    run_case::open_cells,
    subjects::EVERY_NODE,
};
use crate::kit::object::policy as object;
use async_trait::async_trait;
use futures::future::join_all;
use judge::{judge, leave_rows, too_busy};
use meshproof_contract::{
    Check, CheckContext, CheckId, CheckText, ClaimKind, EnvironmentError, Needs, Scope, Tally, Verdict,
};
use serde_json::json;
use std::time::Duration;
use stream::NodeStream;
use timeline::{Change, HELD};
use tokio::time::{Instant, sleep_until};

/// Apply and delete, seen from every node.
pub struct TakesEffect;

/// Measurements at most, where machines are too busy for one.
const ATTEMPTS: usize = 3;
/// Between two collections of the streams.
const COLLECT_INTERVAL: Duration = Duration::from_millis(50);

#[async_trait]
impl Check for TakesEffect {
    fn id(&self) -> CheckId {
        CheckId::from("policy::takes_effect")
    }

    fn text(&self) -> CheckText {
        CheckText {
            title: "A policy is enforced on every node in time, stays enforced, and is gone after its deletion",
            proves: "Every node learns of a policy and of its deletion within `policyEnforcement` of the thresholds. \
                     The figures show for how long pods stay open after a policy was applied.",
            how: "A stream to the subject pod on each node opens a new TCP connection every 10 ms. A policy that \
                  admits nobody is applied, and deleted once every stream is closed; measured are the time from the \
                  call to the last established connection, connections established after the first drop (half \
                  enforced), and the time from the deletion until connections are established again.",
            control: "Each stream must establish connections before the policy and after its deletion. A stream whose \
                      generator lags is not judged, and the measurement is repeated, three times at most.",
            when_red: "The finding names the node: `kubectl --context CONTEXT -n kube-system logs AGENT_POD -c \
                       cilium-agent --tail=100` (policy import and endpoint regeneration), and metric \
                       `cilium_policy_implementation_delay` of `cilium-dbg metrics list`.",
        }
    }

    fn scope(&self) -> Scope {
        Scope::Cluster
    }
    fn needs(&self) -> Needs {
        Needs {
            scenario: Some(SCENARIO),
            claim: Some(ClaimKind::Policy),
            mutates: true,
            ..Needs::default()
        }
    }
    fn faults(&self) -> &'static [&'static str] {
        &[
            "policy-enforced-late",
            "policy-not-enforced-on-one-node",
            "policy-not-removed",
        ]
    }

    async fn run(&self, context: &CheckContext) -> Verdict {
        let fixture = match Fixture::new(context, &[EVERY_NODE]).await {
            Ok(fixture) => fixture,
            Err(verdict) => return verdict,
        };
        let mut tally = Tally::new();
        tally_nodes_without_subject(context, &fixture, &mut tally);
        let cells = cells(&fixture);
        if cells.is_empty() {
            tally.unknown("no agent can open connections to the subject pods");
            return tally.verdict();
        }
        let Some((cells, deadlines)) = open_cells(context, cells, &mut tally).await else {
            return tally.verdict();
        };
        for attempt in 1..=ATTEMPTS {
            let streams = match measure(context, &fixture, &cells, deadlines.quick, &mut tally).await {
                Ok(streams) => streams,
                Err(why) => {
                    tally.unknown(why);
                    break;
                }
            };
            let busy: Vec<String> = streams.iter().filter_map(too_busy).collect();
            if busy.is_empty() || attempt == ATTEMPTS {
                for stream in &streams {
                    judge(context, stream, attempt, &mut tally);
                }
                leave_rows(context, &streams);
                break;
            }
            context.note(format!("measured again: {}", busy.join("; ")));
        }
        tally.verdict()
    }
}

fn tally_nodes_without_subject(context: &CheckContext, fixture: &Fixture, tally: &mut Tally) {
    let facts = context.environment.facts();
    for node in facts.cluster(&fixture.cluster).map_or(&[][..], |c| &c.nodes) {
        if !fixture.subjects.iter().any(|subject| subject.agent.node == node.name) {
            tally.unknown(format!(
                "node {}: no subject pod is ready there, so enforcement was not measured",
                node.name
            ));
        }
    }
}

/// To each node's subject pod from a peer on another node where there is one.
fn cells(fixture: &Fixture) -> Vec<Cell> {
    let local = || fixture.peers.iter().filter(|peer| *peer.cluster() == fixture.cluster);
    let cells = fixture.subjects.iter().filter_map(|subject| {
        let remote = local().find(|peer| peer.agent.node != subject.agent.node);
        let from = remote.or_else(|| local().next())?;
        Some(Cell {
            from: from.clone(),
            to: subject.clone(),
            traffic: Traffic::Tcp,
        })
    });
    cells.collect()
}

/// What the streams see while the policy is applied and deleted.
async fn measure(
    context: &CheckContext,
    fixture: &Fixture,
    cells: &[Cell],
    deadline: Duration,
    tally: &mut Tally,
) -> Result<Vec<NodeStream>, String> {
    let started = join_all(cells.iter().map(|cell| NodeStream::start(context, cell, deadline))).await;
    let mut streams = Vec::new();
    for stream in started {
        match stream {
            Ok(stream) => streams.push(stream),
            Err(error) => tally.unknown(format!("cannot start a stream: {error}")),
        }
    }
    if let Err(why) = apply_and_delete(context, fixture, &mut streams).await {
        join_all(streams.iter_mut().map(|stream| stream.stop(context))).await;
        return Err(why);
    }
    Ok(streams)
}

/// Applies and deletes the policy, each followed by as long as the streams need to show it; the changes are marked in
/// the timelines.
async fn apply_and_delete(context: &CheckContext, fixture: &Fixture, streams: &mut [NodeStream]) -> Result<(), String> {
    let text = |error: EnvironmentError| error.to_string();
    collect_until(context, streams, Change::Before).await.map_err(text)?;
    let spec = json!({"endpointSelector": fixture.selector(), "ingress": [{}]});
    let policy = object::named(object::cilium(spec), &fixture.namespace);
    mark(streams, Change::Applied);
    let policies = [policy];
    let applied = fixture.house.enforce(context, &policies).await;
    let seen = match &applied {
        Ok(_) => collect_until(context, streams, Change::Applied).await,
        Err(_) => Ok(()),
    };
    mark(streams, Change::Deleted);
    let released = fixture.house.release(context, &policies).await;
    released.map_err(|error| format!("cannot delete the policy: {error}"))?;
    applied.map_err(|error| format!("cannot apply the policy: {error}"))?;
    seen.map_err(text)?;
    collect_until(context, streams, Change::Deleted).await.map_err(text)?;
    let stopped = join_all(streams.iter_mut().map(|stream| stream.stop(context))).await;
    stopped.into_iter().collect::<Result<(), _>>().map_err(text)
}

fn mark(streams: &mut [NodeStream], change: Change) {
    let now = Instant::now().into_std();
    for stream in streams {
        let micros = stream.clock.micros_at(now);
        stream.timeline.mark(change, micros);
    }
}

/// Collects until every stream has shown what follows the change for [`HELD`] connections, or the time is over.
async fn collect_until(
    context: &CheckContext,
    streams: &mut [NodeStream],
    change: Change,
) -> Result<(), EnvironmentError> {
    let end = Instant::now() + enforced_within(context);
    loop {
        let begun = Instant::now();
        let collected = join_all(streams.iter_mut().map(|stream| stream.collect(context))).await;
        collected.into_iter().collect::<Result<(), _>>()?;
        if streams.iter().all(|stream| stream.timeline.holds(change, HELD)) || Instant::now() >= end {
            return Ok(());
        }
        sleep_until(begun + COLLECT_INTERVAL).await;
    }
}
