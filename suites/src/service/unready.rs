//! A pod that turns unready receives no new connection any more, here and in the joined clusters, within a measured time.

use super::ask::{Answers, Exchange, ask, ask_until};
use super::judge::suggest;
use super::side::{SCENARIO, Side};
use super::{NEEDS, POLL, SAMPLE, changed_within};
use crate::kit::object::pod;
use crate::kit::wait::{self, Waited};
use async_trait::async_trait;
use futures::future::join_all;
use meshproof_contract::{
    AgentFacts, Check, CheckContext, CheckId, CheckText, Needs, Readiness, Scope, Tally, Target, Unit, Verdict,
};
use serde_json::Value;
use std::time::{Duration, Instant};

/// The service, and the workload behind it.
const SERVICE: &str = "svc-drained";
const WORKLOAD: &str = "drained";
/// Requests of each client in one look: one of four pods is missed by all of three clients once in 1e9 looks.
const LOOK: u32 = 2 * POLL;
/// How long the kubelet may take to tell that a pod is unready: three probes a second apart, and some slack.
const KUBELET: Duration = Duration::from_secs(15);

/// Readiness and new connections.
pub struct Unready;

#[async_trait]
impl Check for Unready {
    fn id(&self) -> CheckId {
        CheckId::from("service::unready_backend")
    }
    fn text(&self) -> CheckText {
        CheckText {
            title: "A pod that turns unready receives nothing new in time (10 s), in no cluster",
            proves: "Readiness reaches the data path of every node, of this cluster and of those joined to it: a pod that asks to be spared is spared, and is used again when it is ready.",
            how: "One of the pods behind `svc-drained`, a global service, is made unready to its kubelet; it goes on serving, so whoever still comes is answered and seen. From the moment on at which the API shows the pod as not ready, the clients on every node of this cluster, and of every joined one at their own cluster IP, \
                  ask until two looks of 24 requests show no answer of that pod, within `propagation` of the thresholds (10 s by default); then 120 requests from every node must not meet it either. After it is ready again, every client must meet it. The times are recorded, per cluster.",
            control: "Before the change every client meets that very pod, and after it the other pods behind the service still answer; a request that fails is a finding, too.",
            when_red: "`kubectl -n meshproof get endpointslices -l kubernetes.io/service-name=svc-drained -o yaml`: is the endpoint's condition ready false? Yes, and this cluster still goes there: `cilium-dbg service list` on the node named. Only the other cluster does: what this one's clustermesh-apiserver announces.",
        }
    }
    fn scope(&self) -> Scope {
        Scope::Cluster
    }
    fn needs(&self) -> Needs {
        Needs { mutates: true, ..NEEDS }
    }
    fn faults(&self) -> &'static [&'static str] {
        &[
            "unready-backend-kept",
            "global-unready-backend-published",
            "global-backends-never-removed",
        ]
    }

    async fn run(&self, context: &CheckContext) -> Verdict {
        match observe(context).await {
            Ok(verdict) | Err(verdict) => verdict,
        }
    }
}

async fn observe(context: &CheckContext) -> Result<Verdict, Verdict> {
    let side = Side::of(context, context.instance.from())?;
    let mut views = vec![View::of(side.clone())?];
    for cluster in side.joined() {
        views.push(View::of(Side::of(context, &cluster)?)?);
    }
    let agents = context.environment.agents(&side.cluster, SCENARIO, WORKLOAD).await;
    let agents = agents.map_err(|error| Verdict::inconclusive(error.to_string()))?;
    let [pod, _, ..] = agents.as_slice() else {
        return Err(Verdict::inconclusive(format!(
            "{} has {} ready pods behind {SERVICE}, and it takes two",
            side.cluster,
            agents.len()
        )));
    };
    let mut tally = Tally::new();
    for view in &views {
        view.side.note_missing(&mut tally);
    }
    let drain = Drain {
        context,
        pod,
        views: &views,
    };
    let done = drain.conduct(&mut tally).await;
    let back = context.environment.set_ready(&pod.id, Readiness::Ready).await;
    match (done, back) {
        (Ok(()), Ok(())) => drain.returns(&mut tally).await,
        (Err(verdict), _) if !tally.has_findings() => return Err(verdict),
        (_, Err(error)) => tally.unknown(format!("pod {} could not be made ready again: {error}", pod.id)),
        _ => {}
    }
    if tally.has_findings() {
        views.iter().for_each(|view| suggest(context, &view.side));
    }
    Ok(tally.verdict())
}

/// A cluster that looks at the pod.
struct View {
    side: Side,
    target: Target,
}

impl View {
    fn of(side: Side) -> Result<Self, Verdict> {
        let target = side.target(SERVICE, "http")?;
        Ok(Self { side, target })
    }
}

struct Drain<'a> {
    context: &'a CheckContext,
    pod: &'a AgentFacts,
    views: &'a [View],
}

impl Drain<'_> {
    /// Where the pod is looked at from, for people.
    fn subject(&self, view: &View) -> String {
        format!("pod {} seen from {}", self.pod.id, view.side.cluster)
    }

    async fn conduct(&self, tally: &mut Tally) -> Result<(), Verdict> {
        let context = self.context;
        let meets = |answers: &Answers| answers.is_complete() && answers.by_pod(self.pod) > 0;
        for (view, met) in self.look(meets, super::settles(context)).await {
            if let Err(last) = met {
                let seen = last
                    .iter()
                    .find(|a| !meets(a))
                    .map_or_else(String::new, Answers::describe);
                return Err(Verdict::inconclusive(format!(
                    "control: {}: not every client meets it while it is ready; last seen: {seen}",
                    self.subject(view)
                )));
            }
        }
        let asked = Instant::now();
        let set = context.environment.set_ready(&self.pod.id, Readiness::Unready).await;
        set.map_err(|error| Verdict::inconclusive(format!("pod {} could not be made unready: {error}", self.pod.id)))?;
        self.shown_unready().await?;
        let shown = asked.elapsed();
        self.measure("shown_unready_after", &self.pod.id.cluster.to_string(), shown);
        let spared = |answers: &Answers| answers.is_complete() && answers.by_pod(self.pod) == 0;
        for (view, seen) in self.look(spared, changed_within(self.context)).await {
            match seen {
                Ok(after) => {
                    self.measure("spared_after", &view.side.cluster.to_string(), after);
                    self.stays_spared(view, after, tally).await;
                }
                Err(last) => self.tell(view, &last, tally),
            }
        }
        Ok(())
    }

    /// All clusters look until content, at the same time.
    async fn look(
        &self,
        content: impl Fn(&Answers) -> bool + Copy,
        deadline: Duration,
    ) -> Vec<(&View, Result<Duration, Vec<Answers>>)> {
        join_all(self.views.iter().map(|view| async move {
            let seen = ask_until(self.context, &view.side.askers, &view.target, LOOK, deadline, content).await;
            (view, seen)
        }))
        .await
    }

    async fn shown_unready(&self) -> Result<(), Verdict> {
        let object = pod::of(self.pod);
        let cluster = &self.pod.id.cluster;
        let waited = wait::until(KUBELET, Duration::from_millis(100), || async {
            match self.context.environment.get(cluster, &object).await {
                Ok(Some(pod)) if is_unready(&pod) => Ok(()),
                Ok(Some(_)) => Err("the API still shows it as ready".to_owned()),
                Ok(None) => Err("it is gone".to_owned()),
                Err(error) => Err(error.to_string()),
            }
        })
        .await;
        match waited {
            Waited::Seen(..) => Ok(()),
            Waited::GaveUp(last) => Err(Verdict::inconclusive(format!(
                "pod {} was told to be unready, and {} s later: {last}",
                self.pod.id,
                KUBELET.as_secs()
            ))),
        }
    }

    async fn stays_spared(&self, view: &View, after: Duration, tally: &mut Tally) {
        let answers = ask(self.context, &view.side.askers, &view.target, Exchange::Http, SAMPLE).await;
        if answers.iter().all(|a| a.is_complete() && a.by_pod(self.pod) == 0) {
            let requests: u32 = answers.iter().map(Answers::answered).sum();
            tally.witness(format!(
                "{}: no new connection from {} ms after the API showed it as not ready; none of {requests} later ones from {} nodes either",
                self.subject(view),
                after.as_millis(),
                answers.len()
            ));
        } else {
            self.tell(view, &answers, tally);
        }
    }

    fn tell(&self, view: &View, answers: &[Answers], tally: &mut Tally) {
        let mut concerned = Vec::new();
        let mut example = None;
        for one in answers {
            if let Some(why) = &one.unknown {
                tally.unknown(format!("{} ({}): {why}", self.subject(view), one.client.node));
            } else if one.by_pod(self.pod) > 0 {
                concerned.push(&one.client);
                example.get_or_insert(format!(
                    "{} of {} requests reach it",
                    one.by_pod(self.pod),
                    one.answered()
                ));
            } else if !one.failures.is_empty() {
                concerned.push(&one.client);
                example.get_or_insert(one.describe());
            }
        }
        match example {
            Some(example) => tally.finding(
                format!("{}, {}", self.subject(view), view.side.nodes(&concerned)),
                format!(
                    "no new connection to it within {} s after the API shows it as not ready, and the other pods answer",
                    changed_within(self.context).as_secs()
                ),
                format!("still: {example}"),
            ),
            None => tally.unknown(format!(
                "{}: not spared for two looks in a row within {} s, though the last look shows no request to it",
                self.subject(view),
                changed_within(self.context).as_secs()
            )),
        }
    }

    async fn returns(&self, tally: &mut Tally) {
        let meets = |answers: &Answers| answers.is_complete() && answers.by_pod(self.pod) > 0;
        for (view, seen) in self.look(meets, KUBELET).await {
            match seen {
                Ok(after) => {
                    self.measure("used_again_after", &view.side.cluster.to_string(), after);
                    tally.witness(format!(
                        "{}: used again {} ms after it was told to be ready",
                        self.subject(view),
                        after.as_millis()
                    ));
                }
                Err(last) => {
                    if let Some(why) = last.iter().find_map(|a| a.unknown.clone()) {
                        tally.unknown(format!("{}: {why}", self.subject(view)));
                        continue;
                    }
                    let example = last
                        .iter()
                        .find(|a| !meets(a))
                        .map_or_else(String::new, Answers::describe);
                    tally.finding(
                        self.subject(view),
                        format!(
                            "new connections to it within {} s after it is ready again",
                            KUBELET.as_secs()
                        ),
                        format!("none from some client: {example}"),
                    );
                }
            }
        }
    }

    fn measure(&self, name: &str, cluster: &str, after: Duration) {
        let subject = format!("{} from {cluster}", self.pod.id.cluster);
        self.context
            .measure(name, subject, after.as_secs_f64() * 1000.0, Unit::Milliseconds);
    }
}

/// Whether the pod's condition Ready is False.
fn is_unready(pod: &Value) -> bool {
    pod::ready(pod).is_some_and(|condition| condition["status"] == "False")
}
