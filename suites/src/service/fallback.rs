//! With an affinity, the other side serves when the preferred one is empty, and gives back when it is not any more.

use super::ask::{Answers, ask_until};
use super::judge::{Expected, judge, suggest};
use super::merging::merges;
use super::namesakes::reference;
use super::side::{SCENARIO, Side};
use super::{MESH_NEEDS, POLL, SETTLES, changed_within};
use async_trait::async_trait;
use futures::future::join_all;
use meshproof_contract::{
    Check, CheckContext, CheckId, CheckText, ClusterName, Needs, ObjectRef, Scope, Tally, Target, Unit, Verdict,
};
use serde_json::json;
use std::time::Duration;
use tokio::sync::Mutex;

/// The workload that is scaled to none.
const WORKLOAD: &str = "mover";
/// How long a pod may take to go, or to come; that everybody notices takes a while more.
const MOVES: Duration = Duration::from_secs(5);
/// One cluster of a run at a time may be without: with both empty nobody could take over.
#[derive(Default)]
struct Turns(Mutex<()>);

/// Falling over and back.
pub struct FallsOver;

#[async_trait]
impl Check for FallsOver {
    fn id(&self) -> CheckId {
        CheckId::from("service::affinity_falls_over")
    }
    fn text(&self) -> CheckText {
        CheckText {
            title: "Affinity falls over when the preferred side is empty, and back when it is not",
            proves: "An affinity is a preference and no prison: when the last pod of the preferred side goes, the other side's pods answer on every node, without anybody's doing; and when it returns, the preference holds again.",
            how: "This cluster's only pod behind `svc-mover-local` and `svc-mover-remote`, both global, is scaled away. The clients here, whose own side the first prefers, and in a mesh of two clusters the clients of the other one, whose other side the second prefers, must then be answered by the other cluster alone; and when it is scaled up again, by this cluster alone. \
                  Each state must hold for two looks of 12 requests from every node, within 5 s for the pod and `propagation` of the thresholds (10 s by default); the four times, which include the pod's going and coming, are recorded. How many requests are lost meanwhile is the subject of suite failover. The clusters take turns.",
            control: "Before, the same clients are answered by this cluster alone at the same addresses, and by both clusters at `svc-global`.",
            when_red: "`cilium-dbg service list` on the nodes named while the pod is away: `kubectl -n meshproof scale deployment service-mover --replicas=0`. No backends of the other cluster: is the annotation global there, too? Backends there and no answer: the path, see suite connectivity.",
        }
    }
    fn scope(&self) -> Scope {
        Scope::Cluster
    }
    fn needs(&self) -> Needs {
        Needs {
            mutates: true,
            ..MESH_NEEDS
        }
    }
    fn faults(&self) -> &'static [&'static str] {
        &["global-affinity-no-fallback", "global-affinity-ignored"]
    }

    async fn run(&self, context: &CheckContext) -> Verdict {
        let turns = context.shared.of::<Turns>();
        let _turn = turns.0.lock().await;
        match observe(context).await {
            Ok(verdict) | Err(verdict) => verdict,
        }
    }
}

/// Clients that prefer the cluster that is emptied.
struct Preferring {
    side: Side,
    service: &'static str,
    target: Target,
    others: Vec<ClusterName>,
}

async fn observe(context: &CheckContext) -> Result<Verdict, Verdict> {
    let side = Side::of(context, context.instance.from())?;
    let joined = side.joined();
    merges(context, &side).await?;
    let mut preferring = vec![Preferring {
        target: side.target("svc-mover-local", "http")?,
        service: "svc-mover-local",
        others: joined.clone(),
        side: side.clone(),
    }];
    // With a third cluster the remote side would not be empty.
    if let [other] = joined.as_slice() {
        let there = Side::of(context, other)?;
        preferring.push(Preferring {
            target: there.target("svc-mover-remote", "http")?,
            service: "svc-mover-remote",
            others: vec![other.clone()],
            side: there,
        });
    }
    let deployment = deployment(context, &side).await?;
    let mut tally = Tally::new();
    side.note_missing(&mut tally);
    let movement = Movement {
        context,
        emptied: &side.cluster,
        preferring: &preferring,
    };
    if !movement.settles("before", State::Preferred, SETTLES, &mut tally).await {
        return Ok(tally.verdict());
    }
    let scale = |replicas: u32| {
        context
            .environment
            .patch(&side.cluster, &deployment, json!({"spec": {"replicas": replicas}}))
    };
    let failed = |error| Verdict::inconclusive(format!("the workload `{WORKLOAD}` could not be scaled: {error}"));
    let within = MOVES + changed_within(context);
    scale(0).await.map_err(failed)?;
    let fell = movement
        .settles("scaled to none", State::FallenOver, within, &mut tally)
        .await;
    scale(1).await.map_err(failed)?;
    // Who never left need not be waited for.
    let back = fell
        && movement
            .settles("scaled up again", State::Preferred, within, &mut tally)
            .await;
    if !back {
        preferring.iter().for_each(|one| suggest(context, &one.side));
    }
    Ok(tally.verdict())
}

/// The Deployment of the workload here.
async fn deployment(context: &CheckContext, side: &Side) -> Result<ObjectRef, Verdict> {
    let namespace = side.service("svc-mover-local")?.namespace.clone();
    let found = context
        .environment
        .list(&side.cluster, "apps/v1", "Deployment", Some(&namespace))
        .await;
    let found = found.map_err(|error| Verdict::inconclusive(error.to_string()))?;
    let label = |object: &serde_json::Value, key: &str| object["metadata"]["labels"][key].as_str().map(str::to_owned);
    let own = found.iter().find(|object| {
        label(object, "meshproof.dev/workload").as_deref() == Some(WORKLOAD)
            && label(object, "meshproof.dev/scenario").as_deref() == Some(SCENARIO)
    });
    match own.and_then(|object| object["metadata"]["name"].as_str()) {
        Some(name) => Ok(reference("Deployment", "apps/v1", &namespace, name)),
        None => Err(Verdict::inconclusive(format!(
            "the Deployment of workload `{WORKLOAD}` was not found in {}",
            side.cluster
        ))),
    }
}

/// Who answers those who prefer the cluster.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Preferred,
    FallenOver,
}

struct Movement<'a> {
    context: &'a CheckContext,
    emptied: &'a ClusterName,
    preferring: &'a [Preferring],
}

impl Movement<'_> {
    /// Waits until all who prefer the cluster see the state.
    async fn settles(&self, when: &str, state: State, deadline: Duration, tally: &mut Tally) -> bool {
        let own = vec![self.emptied.clone()];
        let seen = join_all(self.preferring.iter().map(|one| {
            let expected = match state {
                State::Preferred => &own,
                State::FallenOver => &one.others,
            };
            async move {
                let content = |answers: &Answers| answers.only_by(expected);
                let seen = ask_until(self.context, &one.side.askers, &one.target, POLL, deadline, content).await;
                (one, expected, seen)
            }
        }))
        .await;
        let mut all = true;
        for (one, expected, seen) in seen {
            let what = format!("{}, {} {when}", one.service, self.emptied);
            match seen {
                Ok(after) => {
                    let subject = format!(
                        "{}, {} {when}, seen from {}",
                        one.service, self.emptied, one.side.cluster
                    );
                    self.context.measure(
                        "answered_as_preferred_after",
                        subject,
                        after.as_secs_f64() * 1000.0,
                        Unit::Milliseconds,
                    );
                    let who: Vec<&str> = expected.iter().map(ClusterName::as_str).collect();
                    tally.witness(format!(
                        "{what}: after {} ms every node of {} was answered by {} alone",
                        after.as_millis(),
                        one.side.cluster,
                        who.join(" and ")
                    ));
                }
                Err(last) => {
                    all = false;
                    let what = format!("{what}, after {} s", deadline.as_secs());
                    if judge(
                        self.context,
                        &one.side,
                        &what,
                        &last,
                        Expected::Clusters(expected),
                        tally,
                    ) {
                        tally.unknown(format!("{what}: the state was seen, but did not hold for two looks"));
                    }
                }
            }
        }
        all
    }
}
