//! With an affinity, the other side serves when the preferred one has no pods, and no longer when it has pods again.

use super::{
    CONVERGES, MESH_NEEDS, POLL,
    ask::{Answers, ask_until},
    changed_within,
    judge::{Expected, judge, suggest},
    merging::merges,
    side::{SCENARIO, Side},
};
use async_trait::async_trait;
use futures::future::join_all;
use meshproof_contract::{
    Check, CheckContext, CheckId, CheckText, ClusterName, Needs, ObjectRef, Scope, Tally, Target, Unit, Verdict,
};
use serde_json::{Value, json};
use std::time::Duration;
use tokio::sync::Mutex;

/// The workload that is scaled to zero.
const WORKLOAD: &str = "mover";
/// How long a pod may take to stop, or to start; that every node acts on it takes longer.
const SCALES: Duration = Duration::from_secs(5);
/// Only one cluster of a run at a time may have no pods: otherwise none could take over.
#[derive(Default)]
struct Turns(Mutex<()>);

/// Fallback to the other side, and back.
pub struct Fallback;

#[async_trait]
impl Check for Fallback {
    fn id(&self) -> CheckId {
        CheckId::from("service::affinity_falls_over")
    }
    fn text(&self) -> CheckText {
        CheckText {
            title: "With affinity, the other side answers only while the preferred side has no pods",
            proves: "Affinity is only a preference: on every node, pods of the other side answer when the preferred \
                     side has none, and stop answering when it has pods again.",
            how: "This cluster's only pod behind the global Services `svc-mover-local` and `svc-mover-remote` is \
                  scaled down and up; clients that prefer it (with remote affinity those of the other cluster, in a \
                  mesh of two) must be answered by the other cluster and then by this one. Each state must hold for \
                  two reads of 12 requests from every node, within 5 s plus `thresholds.propagation` (default 10 s); \
                  the four times are recorded.",
            control: "Before scaling, only pods of this cluster answer the same clients at the same cluster IPs, and \
                      pods of both clusters answer at `svc-global`.",
            when_red: "Repeat it with `kubectl --context CONTEXT -n NAMESPACE scale deployment service-mover \
                       --replicas=0` and look for backends of the other cluster in `kubectl --context CONTEXT -n \
                       kube-system exec AGENT_POD -c cilium-agent -- cilium-dbg service list`. Backends listed but no \
                       answer: see suite connectivity.",
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

/// Clients that prefer the cluster that is scaled to zero.
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
    // With a third cluster the remote side would still have pods.
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
    side.report_missing(&mut tally);
    let scaling = Scaling {
        context,
        scaled: &side.cluster,
        preferring: &preferring,
    };
    if !scaling
        .reaches("before scaling", State::Preferred, CONVERGES, &mut tally)
        .await
    {
        return Ok(tally.verdict());
    }
    let scale = |replicas: u32| {
        context
            .environment
            .patch(&side.cluster, &deployment, json!({"spec": {"replicas": replicas}}))
    };
    let failed = |error| Verdict::inconclusive(format!("cannot scale workload `{WORKLOAD}`: {error}"));
    let within = SCALES + changed_within(context);
    scale(0).await.map_err(failed)?;
    let fell = scaling
        .reaches("scaled to zero", State::FellBack, within, &mut tally)
        .await;
    scale(1).await.map_err(failed)?;
    // Clients that never changed need not be waited for.
    let back = fell
        && scaling
            .reaches("scaled up again", State::Preferred, within, &mut tally)
            .await;
    if !back {
        preferring.iter().for_each(|one| suggest(context, &one.side, None));
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
    let label = |object: &Value, key: &str| object["metadata"]["labels"][key].as_str().map(str::to_owned);
    let own = found.iter().find(|object| {
        label(object, "meshproof.dev/workload").as_deref() == Some(WORKLOAD)
            && label(object, "meshproof.dev/scenario").as_deref() == Some(SCENARIO)
    });
    match own.and_then(|object| object["metadata"]["name"].as_str()) {
        Some(name) => Ok(ObjectRef::namespaced("apps/v1", "Deployment", &namespace, name)),
        None => Err(Verdict::inconclusive(format!(
            "the Deployment of workload `{WORKLOAD}` was not found in {}",
            side.cluster
        ))),
    }
}

/// Who answers the clients that prefer the cluster.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Preferred,
    FellBack,
}

struct Scaling<'a> {
    context: &'a CheckContext,
    scaled: &'a ClusterName,
    preferring: &'a [Preferring],
}

impl Scaling<'_> {
    /// Waits until all clients that prefer the cluster see the state.
    async fn reaches(&self, when: &str, state: State, deadline: Duration, tally: &mut Tally) -> bool {
        let own = vec![self.scaled.clone()];
        let seen = join_all(self.preferring.iter().map(|one| {
            let expected = match state {
                State::Preferred => &own,
                State::FellBack => &one.others,
            };
            async move {
                let wanted = |answers: &Answers| answers.only_by(expected);
                let seen = ask_until(self.context, &one.side.clients, &one.target, POLL, deadline, wanted).await;
                (one, expected, seen)
            }
        }))
        .await;
        let mut all = true;
        for (one, expected, seen) in seen {
            let what = format!("{}, {} {when}", one.service, self.scaled);
            match seen {
                Ok(after) => {
                    let subject = format!("{}, {} {when}, from {}", one.service, self.scaled, one.side.cluster);
                    self.context.measure(
                        "answered_as_preferred_after",
                        subject,
                        after.as_secs_f64() * 1000.0,
                        Unit::Milliseconds,
                    );
                    let who: Vec<&str> = expected.iter().map(ClusterName::as_str).collect();
                    tally.witness(format!(
                        "{what}: after {} ms only pods of {} answered, on every node of {}",
                        after.as_millis(),
                        who.join(" and "),
                        one.side.cluster
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
                        tally.unknown(format!("{what}: the state was reached, but did not hold for two reads"));
                    }
                }
            }
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::infra;
    use meshproof_contract::RunShared;
    use std::sync::Arc;
    use tokio::time::timeout;

    #[tokio::test(start_paused = true)]
    async fn trials_of_a_run_take_turns_and_do_not_wait_for_those_of_another_run() {
        let (run, another): (Arc<RunShared>, Arc<RunShared>) = Default::default();
        let turns = run.of::<Turns>();
        let _held = turns.0.lock().await;
        let trial = |shared: &Arc<RunShared>| {
            let context =
                CheckContext::new(crate::service::world(crate::testing::MISSION), infra()).sharing(shared.clone());
            async move { timeout(Duration::from_secs(3600), Fallback.run(&context)).await }
        };
        assert!(trial(&run).await.is_err(), "another trial of this run has its turn");
        trial(&another).await.expect("nothing of the other run has its turn");
    }
}
