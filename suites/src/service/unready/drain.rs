//! One pod is drained by its readiness and used again, as every cluster sees it.

use super::SERVICE;
use crate::{
    kit::{
        object::pod,
        wait::{self, Waited},
    },
    service::{
        POLL, SAMPLE,
        ask::{Answers, Exchange, ask, ask_until},
        changed_within, converges_within,
        side::Side,
    },
};
use futures::future::join_all;
use meshproof_contract::{AgentFacts, CheckContext, Readiness, Tally, Target, Unit, Verdict};
use serde_json::Value;
use std::time::{Duration, Instant};

/// Requests of each client in one read: one of four pods gets none from three clients once in 1e9 reads.
const REQUESTS: u32 = 2 * POLL;
/// How long the kubelet may take to report a pod as unready: three probes a second apart, and some slack.
const KUBELET: Duration = Duration::from_secs(15);
/// Between two looks at the pod in the API. Clients ask beside it, so its load counts more than its resolution.
const LOOK: Duration = Duration::from_millis(400);

/// A cluster whose clients observe the pod.
pub struct View {
    /// Its side of the scenario.
    pub side: Side,
    target: Target,
}

impl View {
    /// The view of a side.
    pub fn of(side: Side) -> Result<Self, Verdict> {
        let target = side.target(SERVICE, "http")?;
        Ok(Self { side, target })
    }
}

/// A pod that is drained, and who observes it.
pub struct Drain<'a> {
    /// The check's context.
    pub context: &'a CheckContext,
    /// The pod.
    pub pod: &'a AgentFacts,
    /// The clusters.
    pub views: &'a [View],
}

impl Drain<'_> {
    /// The pod and who observes it, for people.
    fn subject(&self, view: &View) -> String {
        format!("pod {} from {}", self.pod.id, view.side.cluster)
    }

    /// Whether every request was answered, and some by the pod.
    fn uses_pod(&self, answers: &Answers) -> bool {
        answers.is_complete() && answers.by_pod(self.pod) > 0
    }

    /// Whether every request was answered, and none by the pod.
    fn avoids_pod(&self, answers: &Answers) -> bool {
        answers.is_complete() && answers.by_pod(self.pod) == 0
    }

    /// Makes the pod unready, and judges who still uses it.
    pub async fn drain(&self, tally: &mut Tally) -> Result<(), Verdict> {
        let context = self.context;
        let uses = |answers: &Answers| self.uses_pod(answers);
        for (view, used) in self.observe(uses, converges_within(context)).await {
            if let Err(last) = used {
                return Err(Verdict::inconclusive(format!(
                    "control: {}: it does not answer every client while it is ready; last seen: {}",
                    self.subject(view),
                    self.unused_by(&last)
                )));
            }
        }
        let asked = Instant::now();
        let set = context.environment.set_ready(&self.pod.id, Readiness::Unready).await;
        set.map_err(|error| Verdict::inconclusive(format!("cannot make pod {} unready: {error}", self.pod.id)))?;
        self.shown_unready().await?;
        self.measure("shown_unready_after", self.pod.id.cluster.as_str(), asked.elapsed());
        let avoids = |answers: &Answers| self.avoids_pod(answers);
        for (view, avoided) in self.observe(avoids, changed_within(self.context)).await {
            match avoided {
                Ok(after) => {
                    self.measure("drained_after", view.side.cluster.as_str(), after);
                    self.stays_drained(view, after, tally).await;
                }
                Err(last) => self.report(view, &last, tally),
            }
        }
        Ok(())
    }

    /// Judges who uses the pod again, once it was made ready.
    pub async fn returns(&self, tally: &mut Tally) {
        for (view, used) in self.observe(|answers| self.uses_pod(answers), KUBELET).await {
            match used {
                Ok(after) => {
                    self.measure("used_again_after", view.side.cluster.as_str(), after);
                    tally.witness(format!(
                        "{}: new connections again {} ms after it was made ready",
                        self.subject(view),
                        after.as_millis()
                    ));
                }
                Err(last) => match last.iter().find_map(|a| a.unknown.clone()) {
                    Some(why) => tally.unknown(format!("{}: {why}", self.subject(view))),
                    None => tally.finding(
                        self.subject(view),
                        format!("new connections within {} s after it is ready again", KUBELET.as_secs()),
                        format!("no answer from it to some client: {}", self.unused_by(&last)),
                    ),
                },
            }
        }
    }

    /// All clusters ask until their answers are as wanted, at the same time.
    async fn observe(
        &self,
        wanted: impl Fn(&Answers) -> bool + Copy,
        deadline: Duration,
    ) -> Vec<(&View, Result<Duration, Vec<Answers>>)> {
        join_all(self.views.iter().map(|view| async move {
            let seen = ask_until(
                self.context,
                &view.side.clients,
                &view.target,
                REQUESTS,
                deadline,
                wanted,
            );
            (view, seen.await)
        }))
        .await
    }

    /// The answers of a client that the pod did not answer, for people.
    fn unused_by(&self, answers: &[Answers]) -> String {
        let unused = answers.iter().find(|answers| !self.uses_pod(answers));
        unused.map_or_else(String::new, Answers::describe)
    }

    async fn shown_unready(&self) -> Result<(), Verdict> {
        let object = pod::of(self.pod);
        let cluster = &self.pod.id.cluster;
        let waited = wait::until(KUBELET, LOOK, || async {
            match self.context.environment.get(cluster, &object).await {
                Ok(Some(pod)) if is_unready(&pod) => Ok(()),
                Ok(Some(_)) => Err("the API still shows it as ready".to_owned()),
                Ok(None) => Err("it does not exist any more".to_owned()),
                Err(error) => Err(error.to_string()),
            }
        })
        .await;
        match waited {
            Waited::Seen(..) => Ok(()),
            Waited::GaveUp(last) => Err(Verdict::inconclusive(format!(
                "pod {} was made unready, but {} s later {last}",
                self.pod.id,
                KUBELET.as_secs()
            ))),
        }
    }

    async fn stays_drained(&self, view: &View, after: Duration, tally: &mut Tally) {
        let answers = ask(self.context, &view.side.clients, &view.target, Exchange::Http, SAMPLE).await;
        if answers.iter().all(|answers| self.avoids_pod(answers)) {
            let requests: u32 = answers.iter().map(Answers::answered).sum();
            tally.witness(format!(
                "{}: no new connections {} ms after the API showed it as not ready, nor in {requests} more requests \
                 from {} nodes",
                self.subject(view),
                after.as_millis(),
                answers.len()
            ));
        } else {
            self.report(view, &answers, tally);
        }
    }

    /// Reports who still uses the pod.
    fn report(&self, view: &View, answers: &[Answers], tally: &mut Tally) {
        let limit = changed_within(self.context).as_secs_f64();
        let mut concerned = Vec::new();
        let mut example = None;
        for one in answers {
            if let Some(why) = &one.unknown {
                tally.unknown(format!("{} ({}): {why}", self.subject(view), one.client.node));
            } else if one.by_pod(self.pod) > 0 {
                concerned.push(&one.client);
                let (of_pod, all) = (one.by_pod(self.pod), one.answered());
                example.get_or_insert(format!("it still answers {of_pod} of {all} requests"));
            } else if !one.failures.is_empty() {
                concerned.push(&one.client);
                example.get_or_insert(one.describe());
            }
        }
        match example {
            Some(example) => tally.finding(
                format!("{}, {}", self.subject(view), view.side.nodes(&concerned)),
                format!(
                    "no new connections to it within {limit} s after the API shows it as not ready, and answers from \
                     the other backends"
                ),
                example,
            ),
            None => tally.unknown(format!(
                "{}: not drained for two reads in a row within {limit} s, although the last read shows no request to \
                 it",
                self.subject(view),
            )),
        }
    }

    fn measure(&self, name: &str, cluster: &str, after: Duration) {
        let subject = format!("{} from {cluster}", self.pod.id.cluster);
        let millis = after.as_secs_f64() * 1000.0;
        self.context.measure(name, subject, millis, Unit::Milliseconds);
    }
}

/// Whether the pod's condition Ready is False.
fn is_unready(pod: &Value) -> bool {
    pod::ready(pod).is_some_and(|condition| condition["status"] == "False")
}
