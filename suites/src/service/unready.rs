//! A pod that becomes unready gets no new connections, here and in the joined clusters, within a measured time.

mod drain;

use super::{
    NEEDS,
    judge::suggest,
    side::{SCENARIO, Side},
};
use async_trait::async_trait;
use meshproof_contract::{Check, CheckContext, CheckId, CheckText, Needs, Readiness, Scope, Tally, Verdict};

/// The Service, and the workload behind it.
const SERVICE: &str = "svc-drained";
const WORKLOAD: &str = "drained";

/// Readiness and new connections.
pub struct Unready;

#[async_trait]
impl Check for Unready {
    fn id(&self) -> CheckId {
        CheckId::from("service::unready_backend")
    }
    fn text(&self) -> CheckText {
        CheckText {
            title: "A pod that becomes unready gets no new connections in time, in any cluster",
            proves: "Readiness reaches the datapath of every node, here and in the joined clusters: an unready pod \
                     gets no new connections, and a pod that is ready again does.",
            how: "One pod behind the global Service `svc-drained` is made unready to its kubelet, but goes on \
                  serving. From the moment the API shows it as not ready, the clients on every node of every joined \
                  cluster must get no answer from it in two reads of 24 requests within `thresholds.propagation` \
                  (default 10 s), and in 120 more; once it is ready again, every client must. The times are recorded \
                  per cluster.",
            control: "Before the change, that pod answers every client. After it, the other backends still answer; a \
                      failed request is a finding.",
            when_red: "`kubectl --context CONTEXT -n NAMESPACE get endpointslices -l \
                       kubernetes.io/service-name=svc-drained -o yaml`: is the endpoint's condition `ready` false? If \
                       so, see `kubectl --context CONTEXT -n kube-system exec AGENT_POD -c cilium-agent -- cilium-dbg \
                       service list`; if only the other cluster is wrong, see what this one's clustermesh-apiserver \
                       announces.",
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
    let mut views = vec![drain::View::of(side.clone())?];
    for cluster in side.joined() {
        views.push(drain::View::of(Side::of(context, &cluster)?)?);
    }
    let agents = context.environment.agents(&side.cluster, SCENARIO, WORKLOAD).await;
    let agents = agents.map_err(|error| Verdict::inconclusive(error.to_string()))?;
    let [pod, _, ..] = agents.as_slice() else {
        return Err(Verdict::inconclusive(format!(
            "needs two ready pods behind {SERVICE} in {}, found {}",
            side.cluster,
            agents.len()
        )));
    };
    let mut tally = Tally::new();
    for view in &views {
        view.side.report_missing(&mut tally);
    }
    let drain = drain::Drain {
        context,
        pod,
        views: &views,
    };
    let drained = drain.drain(&mut tally).await;
    let restored = context.environment.set_ready(&pod.id, Readiness::Ready).await;
    match (drained, restored) {
        (Ok(()), Ok(())) => drain.returns(&mut tally).await,
        (Err(verdict), _) if !tally.has_findings() => return Err(verdict),
        (_, Err(error)) => tally.unknown(format!("cannot make pod {} ready again: {error}", pod.id)),
        _ => {}
    }
    if tally.has_findings() {
        views.iter().for_each(|view| suggest(context, &view.side, None));
    }
    Ok(tally.verdict())
}
