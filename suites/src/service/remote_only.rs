//! What a cluster sees of the other one's pods where it has none of its own, and where the other one does not share them.

use super::ask::{Answers, Exchange, ask, ask_until};
use super::judge::{Expected, judge, suggest};
use super::merging::merges;
use super::namesakes::{Behind, GLOBAL, Namesakes, SHARED};
use super::side::{Side, pods};
use super::steady::while_steady;
use super::{MESH_NEEDS, POLL, SAMPLE, changed_within};
use crate::kit::cilium::remotes;
use async_trait::async_trait;
use meshproof_contract::{
    Check, CheckContext, CheckId, CheckText, ClusterName, Needs, Scope, Tally, Target, Unit, Verdict,
};

#[derive(Clone, Copy)]
enum Case {
    RemoteOnly,
    Unshared,
}

/// Pods of the other cluster behind a fresh service.
pub struct OtherSide(Case);

/// None but the other cluster's.
pub const REMOTE_ONLY: OtherSide = OtherSide(Case::RemoteOnly);
/// The other cluster does not share its own.
pub const UNSHARED: OtherSide = OtherSide(Case::Unshared);

#[async_trait]
impl Check for OtherSide {
    fn id(&self) -> CheckId {
        CheckId::from(match self.0 {
            Case::RemoteOnly => "service::remote_backends_only",
            Case::Unshared => "service::unshared_stays_home",
        })
    }
    fn text(&self) -> CheckText {
        match self.0 {
            Case::RemoteOnly => CheckText {
                title: "A global service without local pods is answered by the other cluster's",
                proves: "A cluster needs no pod of its own behind a global service: applications here reach a platform service that runs in the other cluster alone, by its plain name and local cluster IP, from every node, and every pod there gets its part.",
                how: "A global service with a name drawn at random is made here with a selector that selects nothing, and in the other cluster with the scenario's backends behind it. The time until all clients are answered is recorded; then each sends 120 GETs, and each backend of the other cluster, and nobody else, must answer.",
                control: "The identity in each answer; before the other cluster's service is made nothing answers there.",
                when_red: "Never answered: mesh::change_propagates, then `cilium-dbg service list` on the nodes named. Some pods never answer: `kubectl -n meshproof get endpointslices` in the other cluster.",
            },
            Case::Unshared => CheckText {
                title: "A cluster's pods stay at home with shared: false",
                proves: "Of a global service with service.cilium.io/shared: \"false\" in the other cluster, that cluster's pods never answer here, although it takes part in the merging itself.",
                how: "A global service with a name drawn at random is made here, shared, and in the other cluster with shared: \"false\", with backends on both sides. Once the other cluster's clients are answered by both clusters, every client here sends 120 GETs: this cluster's pods alone may answer.",
                control: "The same service is seen to be merged from the other side: clients there are answered by the pods here, too. And `svc-global` is answered by both clusters here. Otherwise the check is inconclusive.",
                when_red: "`kubectl -n meshproof get service -o yaml` in the other cluster: is the annotation there? Then `cilium-dbg service list` here: addresses of the other cluster's pods must not be among the backends.",
            },
        }
    }
    fn scope(&self) -> Scope {
        Scope::Direction
    }
    fn needs(&self) -> Needs {
        Needs {
            mutates: true,
            ..MESH_NEEDS
        }
    }
    fn faults(&self) -> &'static [&'static str] {
        match self.0 {
            Case::RemoteOnly => &["global-needs-local-backends", "global-remote-backends-missing"],
            Case::Unshared => &["global-shared-ignored"],
        }
    }

    async fn run(&self, context: &CheckContext) -> Verdict {
        while_steady(context, observe(context, self.0)).await
    }
}

async fn observe(context: &CheckContext, case: Case) -> Result<Verdict, Verdict> {
    let (from, to) = (context.instance.from(), context.instance.to());
    let side = Side::of(context, from)?;
    remotes::members(&side.facts, from, to)?;
    let namesakes = Namesakes::draw(context, &side, &[from, to]).await?;
    let verdict = match case {
        Case::RemoteOnly => remote_only(context, &side, &namesakes, to).await,
        Case::Unshared => unshared(context, &side, &namesakes, to).await,
    };
    namesakes.delete(&[from, to]).await;
    verdict
}

async fn make(
    namesakes: &Namesakes<'_>,
    cluster: &ClusterName,
    annotations: &[(&str, &str)],
    behind: Behind,
) -> Result<Target, Verdict> {
    let made = namesakes.create(cluster, annotations, behind).await;
    made.map_err(|error| Verdict::inconclusive(format!("the service could not be made in {cluster}: {error}")))
}

async fn remote_only(
    context: &CheckContext,
    side: &Side,
    namesakes: &Namesakes<'_>,
    to: &ClusterName,
) -> Result<Verdict, Verdict> {
    let there = pods(&side.facts, to, "backend");
    if there.is_empty() {
        return Err(Verdict::inconclusive(format!("no ready agent `backend` in {to}")));
    }
    let what = format!("a global service with pods in {to} only");
    let mut tally = Tally::new();
    side.note_missing(&mut tally);
    let target = make(namesakes, &side.cluster, &[(GLOBAL, "true")], Behind::Nobody).await?;
    let before = ask(context, &side.askers, &target, Exchange::Http, 2).await;
    for one in before.iter().filter(|a| a.answered() > 0) {
        tally.finding(
            format!("control, {}", one.client.node),
            "no answer while no cluster has pods behind the service",
            one.describe(),
        );
    }
    make(namesakes, to, &[(GLOBAL, "true")], Behind::Backends).await?;
    let only = [to.clone()];
    let content = |answers: &Answers| answers.only_by(&only);
    let appeared = ask_until(context, &side.askers, &target, POLL, changed_within(context), content).await;
    let direction = format!("{to} -> {}", side.cluster);
    match appeared {
        Ok(after) => {
            let millis = after.as_secs_f64() * 1000.0;
            context.measure("answered_after", direction, millis, Unit::Milliseconds);
            let answers = ask(context, &side.askers, &target, Exchange::Http, SAMPLE).await;
            judge(context, side, &what, &answers, Expected::Pods(&there), &mut tally);
        }
        Err(last) => {
            let within = format!("{what}, {} s after it was made", changed_within(context).as_secs());
            judge(context, side, &within, &last, Expected::Clusters(&only), &mut tally);
        }
    }
    Ok(tally.verdict())
}

async fn unshared(
    context: &CheckContext,
    side: &Side,
    namesakes: &Namesakes<'_>,
    to: &ClusterName,
) -> Result<Verdict, Verdict> {
    let other = Side::of(context, to)?;
    merges(context, side).await?;
    let here = make(namesakes, &side.cluster, &[(GLOBAL, "true")], Behind::Backends).await?;
    let there = make(namesakes, to, &[(GLOBAL, "true"), (SHARED, "false")], Behind::Backends).await?;
    let mut tally = Tally::new();
    side.note_missing(&mut tally);
    let both = [side.cluster.clone(), to.clone()];
    let merged = |answers: &Answers| answers.by_each(&both);
    let within = changed_within(context);
    if let Err(last) = ask_until(context, &other.askers, &there, 2 * POLL, within, merged).await {
        let seen = last.first().map_or_else(String::new, Answers::describe);
        tally.unknown(format!(
            "control: the clients of {to} are not answered by both clusters within {} s, so the service is not merged at all; last seen: {seen}",
            within.as_secs()
        ));
    }
    let answers = ask(context, &side.askers, &here, Exchange::Http, SAMPLE).await;
    let what = format!("a global service that {to} does not share");
    let own = [side.cluster.clone()];
    if !judge(context, side, &what, &answers, Expected::Clusters(&own), &mut tally) {
        suggest(context, &other);
    }
    Ok(tally.verdict())
}
