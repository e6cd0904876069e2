//! Which namesakes are merged, and which side is preferred: by the annotations, while a global service of the same pods is seen to
//! be merged by the same clients.

use super::ask::{Answers, Exchange, ask, ask_until};
use super::judge::{Expected, judge};
use super::side::Side;
use super::steady::while_steady;
use super::{MESH_NEEDS, POLL, SAMPLE, settles};
use async_trait::async_trait;
use meshproof_contract::{Check, CheckContext, CheckId, CheckText, ClusterName, Needs, Scope, Tally, Unit, Verdict};

/// What the service says about merging.
#[derive(Clone, Copy)]
enum Case {
    Unannotated,
    Local,
    Remote,
}

/// A service whose annotations keep some cluster's pods from answering.
pub struct Merging(Case);

/// No annotation.
pub const UNANNOTATED: Merging = Merging(Case::Unannotated);
/// `service.cilium.io/affinity: local`.
pub const LOCAL: Merging = Merging(Case::Local);
/// `service.cilium.io/affinity: remote`.
pub const REMOTE: Merging = Merging(Case::Remote);

const CONTROL: &str = "First the same clients must be answered by pods of every joined cluster at `svc-global`, which has the same pods behind it: so the mesh works at this moment, and the path to the other cluster does, and that its pods do not answer here is due to the annotations. Otherwise the check is inconclusive.";
const WHEN_RED: &str = "`kubectl -n meshproof get service -o yaml` in both clusters: which annotations do both really have? Then `cilium-dbg service list` on the nodes named: backends with addresses of the other cluster's pods. The field `preferred` there is not reliable (cilium/cilium#43681).";

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
                title: "Services of equal names without the annotation are never merged",
                proves: "Two clusters that happen to have a service of the same name and namespace keep them apart: requests never leak to the other cluster's pods.",
                how: "`svc-plain` exists in every cluster without annotation. The client on every node sends 120 GETs to its cluster IP here, each over a new connection: pods of this cluster alone may answer.",
                control: CONTROL,
                when_red: WHEN_RED,
            },
            Case::Local => CheckText {
                title: "Affinity local: own pods answer as long as there are any",
                proves: "A global service with service.cilium.io/affinity: local is answered by this cluster's pods only while they are ready, so traffic does not cross to the other cluster without need.",
                how: "`svc-local` is global in every cluster, with affinity local. The client on every node sends 120 GETs to its cluster IP here: pods of this cluster alone may answer. What happens when there are none is service::affinity_falls_over.",
                control: CONTROL,
                when_red: WHEN_RED,
            },
            Case::Remote => CheckText {
                title: "Affinity remote: the other clusters' pods answer as long as there are any",
                proves: "A global service with service.cilium.io/affinity: remote is answered by other clusters' pods only while they are ready.",
                how: "`svc-remote` is global in every cluster, with affinity remote. The client on every node sends 120 GETs to its cluster IP here: pods of the other clusters alone may answer.",
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
    side.note_missing(&mut tally);
    let content = |answers: &Answers| answers.only_by(&may);
    if let Ok(after) = ask_until(context, &side.askers, &target, POLL, settles(context), content).await {
        context.measure(
            "settled_after",
            service,
            after.as_secs_f64() * 1000.0,
            Unit::Milliseconds,
        );
    }
    let answers = ask(context, &side.askers, &target, Exchange::Http, SAMPLE).await;
    judge(context, &side, service, &answers, Expected::Clusters(&may), &mut tally);
    Ok(tally.verdict())
}

/// The control: every client here is answered by every joined cluster at the global service. Returns these clusters.
pub async fn merges(context: &CheckContext, side: &Side) -> Result<Vec<ClusterName>, Verdict> {
    let clusters = side.mesh()?;
    let target = side.target("svc-global", "http")?;
    let content = |answers: &Answers| answers.by_each(&clusters);
    let within = settles(context);
    match ask_until(context, &side.askers, &target, 2 * POLL, within, content).await {
        Ok(_) => {
            context.note(format!(
                "control: svc-global is answered by every cluster, on every node of {}",
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
                "control: within {} s not every client of {} was answered by every joined cluster at `svc-global`, so what does not answer proves nothing; see service::global_spread. Last seen: {}",
                within.as_secs(),
                side.cluster,
                seen.join("; ")
            )))
        }
    }
}
