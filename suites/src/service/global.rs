//! A global Service is answered by the pods of all joined clusters, as evenly as chance makes it.

use super::{
    MESH_NEEDS, POLL, SAMPLE,
    ask::{Answers, Exchange, ask, ask_until},
    converges_within,
    judge::{Expected, judge},
    side::{Side, pods},
    spread,
    steady::while_steady,
};
use async_trait::async_trait;
use meshproof_contract::{
    AgentFacts, Check, CheckContext, CheckId, CheckText, ClusterName, Needs, Scope, Tally, Unit, Verdict,
};

/// Probability of a false alarm of one trial, over all its tests together.
const LEVEL: f64 = 1e-6;

/// The annotation that makes the Service global.
#[derive(Clone, Copy)]
enum Annotation {
    Current,
    Legacy,
}

/// A global Service by one of the annotations.
pub struct Global(Annotation);

/// `service.cilium.io/global`.
pub const CURRENT: Global = Global(Annotation::Current);
/// `io.cilium/global-service`.
pub const LEGACY: Global = Global(Annotation::Legacy);

#[async_trait]
impl Check for Global {
    fn id(&self) -> CheckId {
        CheckId::from(match self.0 {
            Annotation::Current => "service::global_spread",
            Annotation::Legacy => "service::global_spread_legacy",
        })
    }
    fn text(&self) -> CheckText {
        const PROVES: &str = "Every node of this cluster merges the Service with those of the same name in all joined \
                              clusters, and spreads new connections evenly over all their pods.";
        const CONTROL: &str = "Each answer names the pod, node and cluster that gave it. An unanswered request is not \
                               part of the spread, but a finding.";
        const WHEN_RED: &str = "No answers from the other cluster: mesh::change_propagates, then compare name, \
                                namespace, port names and annotation in `kubectl --context CONTEXT -n NAMESPACE get \
                                service -o yaml` of both clusters. Uneven: `kubectl --context CONTEXT -n kube-system \
                                exec AGENT_POD -c cilium-agent -- cilium-dbg service list` and `bpf-lb-algorithm`.";
        match self.0 {
            Annotation::Current => CheckText {
                title: "A global Service spreads requests evenly over the pods of all joined clusters",
                proves: PROVES,
                how: "Once every client here has been answered by every cluster (the time is recorded), each sends \
                      120 GETs, each over a new connection, to the cluster IP of `svc-global`. Exact two-sided \
                      binomial tests compare the count of each pod (at each client and over all) and of each cluster \
                      with an even spread, Bonferroni-corrected to a level of 1e-6 for the trial; 360 requests over \
                      four pods show a 64/36 split between clusters.",
                control: CONTROL,
                when_red: WHEN_RED,
            },
            Annotation::Legacy => CheckText {
                title: "A Service with the legacy global annotation spreads requests as evenly",
                proves: PROVES,
                how: "As service::global_spread, but with Service `svc-legacy`, which has the annotation \
                      io.cilium/global-service instead.",
                control: CONTROL,
                when_red: WHEN_RED,
            },
        }
    }
    fn scope(&self) -> Scope {
        Scope::Cluster
    }
    fn needs(&self) -> Needs {
        MESH_NEEDS
    }
    fn faults(&self) -> &'static [&'static str] {
        match self.0 {
            Annotation::Current => &[
                "global-spread-skewed",
                "global-spread-skewed-on-node",
                "global-remote-backends-missing",
            ],
            Annotation::Legacy => &["global-legacy-annotation-ignored"],
        }
    }

    async fn run(&self, context: &CheckContext) -> Verdict {
        let service = match self.0 {
            Annotation::Current => "svc-global",
            Annotation::Legacy => "svc-legacy",
        };
        while_steady(context, observe(context, service)).await
    }
}

async fn observe(context: &CheckContext, service: &str) -> Result<Verdict, Verdict> {
    let side = Side::of(context, context.instance.from())?;
    let clusters = side.mesh()?;
    let target = side.target(service, "http")?;
    let backends = backends(context, &clusters)?;
    let mut tally = Tally::new();
    side.report_missing(&mut tally);
    let wanted = |answers: &Answers| answers.by_each(&clusters);
    if let Ok(after) = ask_until(context, &side.clients, &target, POLL, converges_within(context), wanted).await {
        context.measure(
            "merged_after",
            service,
            after.as_secs_f64() * 1000.0,
            Unit::Milliseconds,
        );
    }
    let answers = ask(context, &side.clients, &target, Exchange::Http, SAMPLE).await;
    let expected = Expected::Pods(&backends);
    if judge(context, &side, service, &answers, expected, &mut tally) {
        test(context, &side, service, &answers, &backends, &mut tally);
    }
    Ok(tally.verdict())
}

/// The pods behind the scenario's Services in these clusters.
fn backends(context: &CheckContext, clusters: &[ClusterName]) -> Result<Vec<AgentFacts>, Verdict> {
    let facts = context.environment.facts();
    let mut all = Vec::new();
    for cluster in clusters {
        let found = pods(&facts, cluster, "backend");
        if found.is_empty() {
            return Err(Verdict::inconclusive(format!(
                "no ready agent `backend` in {cluster}, so its share cannot be judged"
            )));
        }
        all.extend(found);
    }
    Ok(all)
}

/// One hypothesis: so many of so many requests go there by chance.
struct Hypothesis {
    /// Whose share.
    whose: String,
    /// Whose requests.
    of: String,
    requests: u32,
    count: u32,
    share: f64,
}

fn test(
    context: &CheckContext,
    side: &Side,
    service: &str,
    answers: &[Answers],
    backends: &[AgentFacts],
    tally: &mut Tally,
) {
    let hypotheses = hypotheses(side, answers, backends);
    let level = LEVEL / hypotheses.len() as f64;
    let mut least = 1.0_f64;
    for one in &hypotheses {
        let p = spread::p_value(one.requests, one.count, one.share);
        least = least.min(p);
        if p < level {
            let (low, high) = spread::bounds(one.requests, one.share, level);
            tally.finding(
                format!("{service}, share of {} at {}", one.whose, one.of),
                format!(
                    "{:.0} % of {} requests: {low} to {high} (exact binomial test, level {LEVEL:e} over {} tests)",
                    100.0 * one.share,
                    one.requests,
                    hypotheses.len()
                ),
                format!("{} requests, p = {p:.1e}", one.count),
            );
        }
    }
    context.measure("least_p_value", service, least, Unit::Ratio);
    if least >= level {
        tally.witness(format!(
            "{service}: evenly spread by {} exact binomial tests; smallest p-value {least:.2e}, limit {level:.1e}",
            hypotheses.len()
        ));
    }
}

fn hypotheses(side: &Side, answers: &[Answers], backends: &[AgentFacts]) -> Vec<Hypothesis> {
    let share = 1.0 / backends.len() as f64;
    let total: u32 = answers.iter().map(Answers::answered).sum();
    let everybody = format!("all {} clients of {}", answers.len(), side.cluster);
    let mut all = Vec::new();
    for pod in backends {
        for one in answers {
            all.push(Hypothesis {
                whose: format!("pod {}", pod.id),
                of: format!("the client on {}", one.client.node),
                requests: one.answered(),
                count: one.by_pod(pod),
                share,
            });
        }
        all.push(Hypothesis {
            whose: format!("pod {}", pod.id),
            of: everybody.clone(),
            requests: total,
            count: answers.iter().map(|a| a.by_pod(pod)).sum(),
            share,
        });
    }
    let mut clusters: Vec<&ClusterName> = backends.iter().map(|pod| &pod.id.cluster).collect();
    clusters.dedup();
    for cluster in clusters {
        let own = backends.iter().filter(|pod| &pod.id.cluster == cluster).count();
        all.push(Hypothesis {
            whose: format!("cluster {cluster}"),
            of: everybody.clone(),
            requests: total,
            count: answers.iter().map(|a| a.by_cluster(cluster)).sum(),
            share: own as f64 * share,
        });
    }
    all
}
