//! How long a policy takes to be enforced, and to be gone again, on each node: measured with open-loop streams of new
//! connections.

mod judge;
mod stream;
mod timeline;

use super::{
    cell::{Cell, Traffic},
    enforced_within,
    fixture::Fixture,
    participant::{Participant, SCENARIO},
    run_case::open_cells,
};
use crate::kit::{
    object::policy as object,
    spacing::{self, WIDEST, roomier},
};
use async_trait::async_trait;
use futures::future::join_all;
use judge::{judge, leave_rows, undecided};
use meshproof_contract::{
    Admission, AgentId, Check, CheckContext, CheckId, CheckText, ClaimKind, EnvironmentError, Needs, Scope, Tally,
    Verdict,
};
use serde_json::json;
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use stream::NodeStream;
use timeline::Change;
use tokio::time::{Instant, sleep_until};

/// Apply and delete, seen from every node.
pub struct TakesEffect;

/// Measurements at most, where machines are too busy for one.
const ATTEMPTS: usize = 3;
/// After the limit, streams may take so long to show that it was not kept, and longer where their generators lag.
const SHOWN_WITHIN: Duration = Duration::from_secs(1);
/// See [`SHOWN_WITHIN`].
const MOST_LATE: Duration = Duration::from_secs(3);
/// What is not answered for so long is dropped, however fast answers were before: a machine that is busy for a moment
/// drops nothing.
const SHORTEST: Duration = Duration::from_millis(200);
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
            how: "A stream to the subject pod on each node opens a new TCP connection every 10 ms, or up to 200 ms \
                  where an agent is busy or runs many streams. A policy that admits nobody is applied, and deleted \
                  once every stream is closed; measured are the time from the call to the last established \
                  connection, connections established after the first drop (half enforced), and the time from the \
                  deletion until connections are established again. Nothing else runs in its cluster \
                  meanwhile.",
            control: "Each stream must establish connections before the policy and after its deletion. Times are \
                      known to the time between two connections that were really opened, which is recorded; if that \
                      does not tell whether the limit is kept, the measurement is repeated, three times at most.",
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
            admission: Admission::ExclusiveInCluster,
            mutates: true,
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
        let fixture = match Fixture::on_every_node(context).await {
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
        let most = most_of_one_agent(&cells);
        let mut spacing = spacing::of_streams(most);
        for attempt in 1..=ATTEMPTS {
            let streams = match measure(
                context,
                &fixture,
                &cells,
                deadlines.quick.max(SHORTEST),
                &mut spacing,
                &mut tally,
            )
            .await
            {
                Ok(streams) => streams,
                Err(why) => {
                    tally.unknown(why);
                    break;
                }
            };
            note_resolution(context, &streams, spacing);
            let busy: Vec<String> = streams.iter().filter_map(|stream| undecided(context, stream)).collect();
            if busy.is_empty() || attempt == ATTEMPTS {
                for stream in &streams {
                    judge(context, stream, attempt, &mut tally);
                }
                leave_rows(context, &streams);
                break;
            }
            context.note(format!("measured again: {}", busy.join("; ")));
            spacing = roomier(longest_lag(&streams), spacing);
        }
        tally.verdict()
    }
}

/// Nodes on which nothing is observed.
pub(super) fn tally_nodes_without_subject(context: &CheckContext, fixture: &Fixture, tally: &mut Tally) {
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

/// How well times are known, for the report.
fn note_resolution(context: &CheckContext, streams: &[NodeStream], spacing: Duration) {
    context.note(format!(
        "one connection every {} ms to each node; the generators were up to {:.1} ms late",
        spacing.as_millis(),
        longest_lag(streams) as f64 / 1000.0
    ));
}

fn longest_lag(streams: &[NodeStream]) -> u64 {
    streams.iter().map(|stream| stream.timeline.lag()).max().unwrap_or(0)
}

/// Streams of one agent at most: it keeps 64.
const MOST_OF_ONE_AGENT: usize = 48;

/// To each node's subject pod from a peer on another node where there is one, each time another: no agent carries much
/// more than its share, and a node that cannot send is not taken for all others.
fn cells(fixture: &Fixture) -> Vec<Cell> {
    let local: Vec<_> = fixture
        .peers
        .iter()
        .filter(|peer| *peer.cluster() == fixture.cluster)
        .collect();
    let mut load: BTreeMap<&AgentId, usize> = BTreeMap::new();
    let cells = fixture.subjects.iter().enumerate().filter_map(|(turn, subject)| {
        // Those on other nodes first, then those with fewer streams, then in turn.
        let rank = |(index, peer): &(usize, &&Arc<Participant>)| {
            let streams = load.get(&peer.agent.id).copied().unwrap_or(0);
            let in_turn = (index + local.len() - turn % local.len()) % local.len();
            (peer.agent.node == subject.agent.node, streams, in_turn)
        };
        let (_, from) = local.iter().enumerate().min_by_key(rank)?;
        let streams = load.entry(&from.agent.id).or_default();
        *streams += 1;
        (*streams <= MOST_OF_ONE_AGENT).then(|| Cell {
            from: (*from).clone(),
            to: subject.clone(),
            traffic: Traffic::Tcp,
        })
    });
    cells.collect()
}

/// How many of the streams the busiest agent carries.
fn most_of_one_agent(cells: &[Cell]) -> usize {
    let mut counts: BTreeMap<&AgentId, usize> = BTreeMap::new();
    for cell in cells {
        *counts.entry(&cell.from.agent.id).or_default() += 1;
    }
    counts.into_values().max().unwrap_or(0)
}

/// What the streams see while the policy is applied and deleted.
async fn measure(
    context: &CheckContext,
    fixture: &Fixture,
    cells: &[Cell],
    deadline: Duration,
    spacing: &mut Duration,
    tally: &mut Tally,
) -> Result<Vec<NodeStream>, String> {
    let mut streams = start(context, cells, deadline, spacing, tally).await?;
    if let Err(why) = apply_and_delete(context, fixture, &mut streams).await {
        join_all(streams.iter_mut().map(|stream| stream.stop(context))).await;
        return Err(why);
    }
    Ok(streams)
}

/// Streams that run and have shown what they show without the policy, as close together as their agents manage.
async fn start(
    context: &CheckContext,
    cells: &[Cell],
    deadline: Duration,
    spacing: &mut Duration,
    tally: &mut Tally,
) -> Result<Vec<NodeStream>, String> {
    loop {
        let started = join_all(
            cells
                .iter()
                .map(|cell| NodeStream::start(context, cell, deadline, *spacing)),
        )
        .await;
        let mut streams = Vec::new();
        for stream in started {
            match stream {
                Ok(stream) => streams.push(stream),
                Err(error) => tally.unknown(format!("cannot start a stream: {error}")),
            }
        }
        let collected = collect_until(context, &mut streams, Change::Before).await;
        let lag = longest_lag(&streams);
        let late = u128::from(lag) * 2 > spacing.as_micros() && *spacing < WIDEST;
        if collected.is_ok() && !late {
            return Ok(streams);
        }
        join_all(streams.iter_mut().map(|stream| stream.stop(context))).await;
        collected.map_err(|error| error.to_string())?;
        *spacing = roomier(lag, *spacing);
    }
}

/// Applies and deletes the policy, each followed by as long as the streams need to show it; the changes are marked in
/// the timelines.
async fn apply_and_delete(context: &CheckContext, fixture: &Fixture, streams: &mut [NodeStream]) -> Result<(), String> {
    let text = |error: EnvironmentError| error.to_string();
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

/// Collects until every stream has shown what follows the change for long enough, or the time is over in which it must
/// have begun to: what is late is seen to be late.
async fn collect_until(
    context: &CheckContext,
    streams: &mut [NodeStream],
    change: Change,
) -> Result<(), EnvironmentError> {
    let since = Instant::now();
    loop {
        let begun = Instant::now();
        let collected = join_all(streams.iter_mut().map(|stream| stream.collect(context))).await;
        collected.into_iter().collect::<Result<(), _>>()?;
        let holds = |stream: &NodeStream| stream.timeline.holds(change, stream.timeline.held());
        let late = Duration::from_micros(2 * longest_lag(streams)).min(MOST_LATE);
        if streams.iter().all(holds) || since.elapsed() >= enforced_within(context) + SHOWN_WITHIN + late {
            return Ok(());
        }
        sleep_until(begun + COLLECT_INTERVAL).await;
    }
}
