//! How long a policy takes to be in force, and to be gone again, on each node: measured with open-loop streams of new connections.

mod timeline;

use super::actor::{Actor, SCENARIO};
use super::cell::{Ask, Cell};
use super::enforced_within;
use crate::kit::object::policy as object;
use super::play::opened;
use super::scene::Scene;
use super::ward::EVERYWHERE;
use crate::kit::cpu_pressure;
use async_trait::async_trait;
use futures::future::join_all;
use meshproof_contract::{
    Action, Check, CheckContext, CheckId, CheckText, ClaimKind, ClockReading, EnvironmentError, Needs, ObjectRef,
    Scope, StreamId, StreamKind, StreamReport, StreamSpec, Tally, Target, Unit, Verdict, port,
};
use serde_json::json;
use std::{sync::Arc, time::Duration};
use timeline::{Change, Timeline};
use tokio::time::{Instant, sleep_until};

/// Apply and delete, seen from every node.
pub struct TakesEffect;

/// Spacing of the connections, and so the resolution of every figure.
const INTERVAL: Duration = Duration::from_millis(10);
/// Connections in a row, by their outcome, after which a state counts as reached.
const HELD: usize = 25;
/// So often is measured where machines are too busy for it.
const TRIES: usize = 3;
/// A stream ends by itself after so long.
const LIFETIME: Duration = Duration::from_secs(60);

/// One stream of connections to the ward's pod on one node.
struct Watch {
    from: Arc<Actor>,
    to: Arc<Actor>,
    stream: StreamId,
    clock: ClockReading,
    timeline: Timeline,
}

impl Watch {
    async fn start(context: &CheckContext, cell: &Cell, deadline: Duration) -> Result<Self, EnvironmentError> {
        let (from, to) = (cell.from.clone(), cell.to.clone());
        let clock = context.environment.clock(&from.agent.id).await?;
        let action = Action::TcpConnect {
            to: Target::new(to.agent.address.to_string(), to.agent.port(port::TCP)),
        };
        let spec = StreamSpec {
            kind: StreamKind::Each { action },
            interval: INTERVAL,
            deadline,
            lifetime: LIFETIME,
        };
        let stream = context.environment.start_stream(&from.agent.id, spec).await?;
        Ok(Self {
            from,
            to,
            stream,
            clock,
            timeline: Timeline::default(),
        })
    }

    async fn collect(&mut self, context: &CheckContext) -> Result<(), EnvironmentError> {
        let report = context
            .environment
            .collect_stream(&self.from.agent.id, self.stream)
            .await?;
        self.timeline.add(report);
        Ok(())
    }

    async fn stop(&mut self, context: &CheckContext) -> Result<(), EnvironmentError> {
        let report: StreamReport = context
            .environment
            .stop_stream(&self.from.agent.id, self.stream)
            .await?;
        self.timeline.add(report);
        Ok(())
    }
}

#[async_trait]
impl Check for TakesEffect {
    fn id(&self) -> CheckId {
        CheckId::from("policy::takes_effect")
    }

    fn text(&self) -> CheckText {
        CheckText {
            title: "A policy is in force on every node within seconds, stays so, and is gone as soon after its deletion",
            proves: "Every node learns of policies and of their deletion in time; pods are not left open for long after a policy was applied, and the figures say for how long they were.",
            how: "To the group's pod on each node a stream of new TCP connections, one every 10 ms whatever became of those before. Then a policy that admits nobody is applied, and deleted when every stream is closed. For each node: the time from the call to the last connection \
                  that still stood, connections that stood after the first was dropped (half-enforced), and the time from the deletion to the first that stands for good. Both must be under `policyEnforcement` of the thresholds (10 s by default).",
            control: "Each stream must see connections stand before the policy and after it; a stream whose generator lagged behind its schedule judges nothing, and then all is measured again, three times in all.",
            when_red: "The finding names the node: `kubectl -n kube-system logs CILIUM-POD-OF-THE-NODE --tail=100` (policy import and endpoint regeneration), and metric `cilium_policy_implementation_delay` of `cilium-dbg metrics list`.",
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
        let scene = match Scene::set(context, &[EVERYWHERE]).await {
            Ok(scene) => scene,
            Err(verdict) => return verdict,
        };
        let mut tally = Tally::new();
        for node in context
            .environment
            .facts()
            .cluster(&scene.cluster)
            .map_or(&[][..], |c| &c.nodes)
        {
            if !scene.wards.iter().any(|ward| ward.agent.node == node.name) {
                tally.unknown(format!(
                    "no pod of the group is ready on node {}, so nothing can be told of it",
                    node.name
                ));
            }
        }
        let cells = cells(&scene);
        if cells.is_empty() {
            tally.unknown("nobody is there to open connections");
            return tally.verdict();
        }
        let Some((cells, pace)) = opened(context, cells, &mut tally).await else {
            return tally.verdict();
        };
        for round in 1..=TRIES {
            let watches = match watch(context, &scene, &cells, pace.glance, &mut tally).await {
                Ok(watches) => watches,
                Err(why) => {
                    tally.unknown(why);
                    break;
                }
            };
            let busy: Vec<String> = watches.iter().filter_map(too_busy).collect();
            if busy.is_empty() || round == TRIES {
                for watch in &watches {
                    judge(context, watch, round, &mut tally);
                }
                break;
            }
            context.note(format!("measured again, since {}", busy.join("; ")));
        }
        tally.verdict()
    }
}

/// What the streams see while the policy is applied and deleted.
async fn watch(
    context: &CheckContext,
    scene: &Scene,
    cells: &[Cell],
    deadline: Duration,
    tally: &mut Tally,
) -> Result<Vec<Watch>, String> {
    let started = join_all(cells.iter().map(|cell| Watch::start(context, cell, deadline))).await;
    let mut watches = Vec::new();
    for watch in started {
        match watch {
            Ok(watch) => watches.push(watch),
            Err(error) => tally.unknown(format!("a stream could not be started: {error}")),
        }
    }
    if let Err(why) = change_twice(context, scene, &mut watches).await {
        join_all(watches.iter_mut().map(|watch| watch.stop(context))).await;
        return Err(why);
    }
    Ok(watches)
}

/// Why the stream's times say nothing.
fn too_busy(watch: &Watch) -> Option<String> {
    let (node, lag) = (&watch.to.agent.node, watch.timeline.lag());
    if lag > cpu_pressure::LAG {
        return Some(format!(
            "node {node}: the stream's generator was {} ms behind its schedule, so its times say nothing",
            lag / 1000
        ));
    }
    let untried = watch.timeline.untried();
    let reason = untried.first()?;
    Some(format!(
        "node {node}: the agent could not try {} connections: {reason}",
        untried.len()
    ))
}

/// To each node's pod from a neighbour on another node where there is one.
fn cells(scene: &Scene) -> Vec<Cell> {
    let wards = scene.wards.iter();
    let local = || scene.others.iter().filter(|a| *a.cluster() == scene.cluster);
    wards
        .filter_map(|ward| {
            let remote = local().find(|a| a.agent.node != ward.agent.node);
            let from = remote.or_else(|| local().next())?;
            Some(Cell {
                from: from.clone(),
                to: ward.clone(),
                ask: Ask::Tcp,
            })
        })
        .collect()
}

/// Applies and deletes the policy, each followed by as long as the streams need to show it; the changes are marked in the timelines.
async fn change_twice(context: &CheckContext, scene: &Scene, watches: &mut [Watch]) -> Result<(), String> {
    let told = |error: EnvironmentError| error.to_string();
    until(context, watches, Change::Before).await.map_err(told)?;
    let spec = json!({"endpointSelector": scene.selector(), "ingress": [{}]});
    let policy = object::named(object::cilium(spec), &scene.namespace);
    mark(watches, Change::Applied);
    let applied = context.environment.apply(&scene.cluster, policy.clone()).await;
    let seen = match &applied {
        Ok(_) => until(context, watches, Change::Applied).await,
        Err(_) => Ok(()),
    };
    mark(watches, Change::Deleted);
    context
        .environment
        .delete(&scene.cluster, &ObjectRef::of(&policy))
        .await
        .map_err(|error| format!("the policy could not be deleted again: {error}"))?;
    applied.map_err(|error| format!("the policy could not be applied: {error}"))?;
    seen.map_err(told)?;
    until(context, watches, Change::Deleted).await.map_err(told)?;
    let stopped = join_all(watches.iter_mut().map(|watch| watch.stop(context))).await;
    stopped.into_iter().collect::<Result<(), _>>().map_err(told)
}

fn mark(watches: &mut [Watch], change: Change) {
    let now = std::time::Instant::now();
    for watch in watches {
        let micros = watch.clock.micros_at(now);
        watch.timeline.mark(change, micros);
    }
}

/// Collects until every stream has shown what follows the change for [`HELD`] connections, or the time is over.
async fn until(context: &CheckContext, watches: &mut [Watch], change: Change) -> Result<(), EnvironmentError> {
    let end = Instant::now() + enforced_within(context);
    loop {
        let begun = Instant::now();
        let collected = join_all(watches.iter_mut().map(|watch| watch.collect(context))).await;
        collected.into_iter().collect::<Result<(), _>>()?;
        if watches.iter().all(|watch| watch.timeline.holds(change, HELD)) || Instant::now() >= end {
            return Ok(());
        }
        sleep_until(begun + Duration::from_millis(50)).await;
    }
}

fn judge(context: &CheckContext, watch: &Watch, round: usize, tally: &mut Tally) {
    let subject = format!("node {}", watch.to.agent.node);
    let timeline = &watch.timeline;
    let within_time = format!(
        "new connections stand again within {} s of the policy's deletion",
        enforced_within(context).as_secs()
    );
    if let Some(why) = too_busy(watch) {
        tally.unknown(why);
    }
    if timeline.lag() > cpu_pressure::LAG {
        return;
    }
    if !timeline.holds(Change::Before, HELD) {
        // Connections stood when the check began, and the round before ended with the policy deleted and as long a wait.
        return match round {
            1 => tally.unknown(format!("{subject}: connections did not stand before the policy")),
            _ => tally.finding(
                &subject,
                within_time,
                format!(
                    "connections were still dropped when it was to be measured again; {}",
                    timeline.tell(Change::Before)
                ),
            ),
        };
    }
    let within = |micros: u64| Duration::from_micros(micros).as_millis();
    match timeline.closed() {
        Some(closed) if timeline.holds(Change::Applied, HELD) => {
            figure(context, "enforced_after", &watch.to, closed.after);
            context.measure(
                "half_enforced_connections",
                watch.to.agent.node.to_string(),
                closed.half as f64,
                Unit::Count,
            );
            if let Some(other) = closed.other {
                tally.finding(&subject, "connections dropped without a word", other);
            }
            tally.witness(format!(
                "{subject}: no connection stood from {} ms after the policy was applied on ({} did after the first was dropped)",
                within(closed.after),
                closed.half
            ));
        }
        _ => tally.finding(
            &subject,
            format!(
                "no new connection stands any more within {} s of the policy's application",
                enforced_within(context).as_secs()
            ),
            format!("connections still stood at the end; {}", timeline.tell(Change::Applied)),
        ),
    }
    match timeline.opened() {
        Some(after) if timeline.holds(Change::Deleted, HELD) => {
            figure(context, "open_after", &watch.to, after);
            tally.witness(format!(
                "{subject}: open {} ms after the policy's deletion",
                within(after)
            ));
        }
        _ => tally.finding(
            &subject,
            within_time,
            format!(
                "connections were still dropped at the end; {}",
                timeline.tell(Change::Deleted)
            ),
        ),
    }
}

fn figure(context: &CheckContext, name: &str, to: &Actor, micros: u64) {
    context.measure(
        name,
        to.agent.node.to_string(),
        micros as f64 / 1000.0,
        Unit::Milliseconds,
    );
}
