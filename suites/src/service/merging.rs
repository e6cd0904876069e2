//! Which Services of the same name are merged, and which side is preferred: by the annotations, while the same clients
//! see a global Service of the same pods being merged.

use super::{
    MESH_NEEDS, POLL, SAMPLE,
    ask::{Answers, Exchange, ask, ask_until},
    converges_within,
    judge::{Expected, judge},
    side::Side,
    steady::while_steady,
};
use async_trait::async_trait;
use meshproof_contract::{Check, CheckContext, CheckId, CheckText, ClusterName, Needs, Scope, Tally, Unit, Verdict};

/// What the Service says about merging.
#[derive(Clone, Copy)]
enum Case {
    Unannotated,
    Local,
    Remote,
}

/// A Service whose annotations keep some cluster's pods from answering.
pub struct Merging(Case);

/// No annotation.
pub const UNANNOTATED: Merging = Merging(Case::Unannotated);
/// `service.cilium.io/affinity: local`.
pub const LOCAL: Merging = Merging(Case::Local);
/// `service.cilium.io/affinity: remote`.
pub const REMOTE: Merging = Merging(Case::Remote);

const CONTROL: &str = "First, pods of every joined cluster must answer the same clients at `svc-global`, which has \
                       the same backends; this shows that the mesh and the paths work. Otherwise the check is \
                       inconclusive.";
const WHEN_RED: &str = "`kubectl --context CONTEXT -n NAMESPACE get service -o yaml` in both clusters: compare the \
                        annotations. Then look for backend addresses of the other cluster in `kubectl --context \
                        CONTEXT -n kube-system exec AGENT_POD -c cilium-agent -- cilium-dbg service list`; the field \
                        `preferred` there is not reliable (cilium/cilium#43681).";

#[async_trait]
impl Check for Merging {
    fn id(&self) -> CheckId {
        CheckId::from(match self.0 {
            Case::Unannotated => "service::unannotated_not_merged",
            Case::Local => "service::affinity_local",
            Case::Remote => "service::affinity_remote",
        })
    }
    fn text(&self) -> CheckText {
        match self.0 {
            Case::Unannotated => CheckText {
                title: "Services of the same name without the annotation are never merged",
                proves: "Two clusters with a Service of the same name and namespace keep them separate: no request \
                         reaches the other cluster's pods.",
                how: "`svc-plain` exists in every cluster without annotation. The client on every node sends 120 GETs \
                      to its cluster IP here, each over a new connection; only pods of this cluster may answer.",
                control: CONTROL,
                when_red: WHEN_RED,
            },
            Case::Local => CheckText {
                title: "Affinity local: only local pods answer as long as there are any",
                proves: "A global Service with service.cilium.io/affinity: local uses only this cluster's pods while \
                         they are ready, so traffic does not cross to the other cluster unnecessarily.",
                how: "`svc-local` is global with affinity local in every cluster. The client on every node sends 120 \
                      GETs to its cluster IP here; only pods of this cluster may answer (service::affinity_falls_over \
                      covers the case without local pods).",
                control: CONTROL,
                when_red: WHEN_RED,
            },
            Case::Remote => CheckText {
                title: "Affinity remote: only remote pods answer as long as there are any",
                proves: "A global Service with service.cilium.io/affinity: remote uses only pods of other clusters \
                         while they are ready.",
                how: "`svc-remote` is global with affinity remote in every cluster. The client on every node sends \
                      120 GETs to its cluster IP here; only pods of other clusters may answer.",
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
            Case::Unannotated => &["global-annotation-ignored"],
            Case::Local | Case::Remote => &["global-affinity-ignored"],
        }
    }
    fn blinded_by(&self) -> &'static [&'static str] {
        &["global-remote-backends-missing"]
    }

    async fn run(&self, context: &CheckContext) -> Verdict {
        while_steady(context, observe(context, self.0)).await
    }
}

async fn observe(context: &CheckContext, case: Case) -> Result<Verdict, Verdict> {
    let side = Side::of(context, context.instance.from())?;
    let own = vec![side.cluster.clone()];
    let (service, may) = match case {
        Case::Unannotated => ("svc-plain", own),
        Case::Local => ("svc-local", own),
        Case::Remote => ("svc-remote", side.joined()),
    };
    merges(context, &side).await?;
    let target = side.target(service, "http")?;
    let mut tally = Tally::new();
    side.report_missing(&mut tally);
    let wanted = |answers: &Answers| answers.only_by(&may);
    if let Ok(after) = ask_until(context, &side.clients, &target, POLL, converges_within(context), wanted).await {
        context.measure(
            "converged_after",
            service,
            after.as_secs_f64() * 1000.0,
            Unit::Milliseconds,
        );
    }
    let answers = ask(context, &side.clients, &target, Exchange::Http, SAMPLE).await;
    judge(context, &side, service, &answers, Expected::Clusters(&may), &mut tally);
    Ok(tally.verdict())
}

/// The control: pods of every joined cluster answer every client here at the global Service. Returns these clusters.
pub async fn merges(context: &CheckContext, side: &Side) -> Result<Vec<ClusterName>, Verdict> {
    let clusters = side.mesh()?;
    let target = side.target("svc-global", "http")?;
    // A lost request takes nothing from what the others showed.
    let wanted = |answers: &Answers| clusters.iter().all(|cluster| answers.by_cluster(cluster) > 0);
    let within = converges_within(context);
    match ask_until(context, &side.clients, &target, 2 * POLL, within, wanted).await {
        Ok(_) => {
            context.note(format!(
                "control: pods of every cluster answer at svc-global on every node of {}",
                side.cluster
            ));
            Ok(clusters)
        }
        Err(last) => {
            let seen: Vec<String> = last
                .iter()
                .map(|a| format!("{}: {}", a.client.node, a.describe()))
                .collect();
            Err(Verdict::inconclusive(format!(
                "control: pods of every joined cluster did not answer every client of {} at `svc-global` within {} s, \
                 so missing answers prove nothing; see service::global_spread. Last seen: {}",
                side.cluster,
                within.as_secs(),
                seen.join("; ")
            )))
        }
    }
}
