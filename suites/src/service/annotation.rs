//! Removing the annotation stops the merging and adding it starts it again, on either side, within a measured time.

use super::ask::{Answers, ask_until};
use super::judge::{Expected, judge, suggest};
use super::namesakes::{Behind, GLOBAL, Namesakes};
use super::side::Side;
use super::{MESH_NEEDS, POLL, changed_within};
use crate::kit::cilium::remotes;
use async_trait::async_trait;
use meshproof_contract::{
    Check, CheckContext, CheckId, CheckText, ClusterName, Needs, Scope, Tally, Target, Unit, Verdict,
};

/// Changes of the annotation.
pub struct AnnotationChange;

#[async_trait]
impl Check for AnnotationChange {
    fn id(&self) -> CheckId {
        CheckId::from("service::annotation_change")
    }
    fn text(&self) -> CheckText {
        CheckText {
            title: "Removing the annotation ends the merging, and adding it starts it, in time (10 s)",
            proves: "Merging follows the annotation of either side at any time: a service that is no longer global gets no answer of the other cluster any more, from no node, and one that becomes global does.",
            how: "A service with a name drawn at random is made in both clusters with backends, global on both sides, until every client here is answered by both. Then the annotation is removed in the other cluster until this cluster's pods alone answer, and added again until both do; then the same on this side. Every state must hold for two looks of 12 requests from every node. Each of the five times is recorded.",
            control: "Each state is seen before the next change: that only own pods answer counts because the other cluster's did just before, at the same address.",
            when_red: "Still merged after removal in the other cluster: `kubectl -n kube-system exec deploy/clustermesh-apiserver -c kvstoremesh -- clustermesh-apiserver kvstoremesh-dbg status`, and the agents' `cilium-dbg service list` (stale backends). Never merged: mesh::change_propagates.",
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
        &["global-backends-never-removed", "global-annotation-ignored"]
    }

    async fn run(&self, context: &CheckContext) -> Verdict {
        match observe(context).await {
            Ok(verdict) | Err(verdict) => verdict,
        }
    }
}

async fn observe(context: &CheckContext) -> Result<Verdict, Verdict> {
    let (from, to) = (context.instance.from(), context.instance.to());
    let side = Side::of(context, from)?;
    remotes::members(&side.facts, from, to)?;
    let namesakes = Namesakes::draw(context, &side, &[from, to]).await?;
    let mut tally = Tally::new();
    side.note_missing(&mut tally);
    let change = Change {
        context,
        side: &side,
        namesakes: &namesakes,
        to,
    };
    let done = change.through_all(&mut tally).await;
    namesakes.delete(&[from, to]).await;
    if let Err(error) = done {
        tally.unknown(format!("the service could not be made or changed: {error}"));
    }
    if tally.has_findings() {
        suggest(context, &side);
    }
    Ok(tally.verdict())
}

/// Whether both clusters answer, or this one alone.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Merged,
    Apart,
}

struct Change<'a> {
    context: &'a CheckContext,
    side: &'a Side,
    namesakes: &'a Namesakes<'a>,
    to: &'a ClusterName,
}

impl Change<'_> {
    async fn through_all(&self, tally: &mut Tally) -> Result<(), meshproof_contract::EnvironmentError> {
        let here = &self.side.cluster;
        let global = [(GLOBAL, "true")];
        self.namesakes.create(self.to, &global, Behind::Backends).await?;
        let target = self.namesakes.create(here, &global, Behind::Backends).await?;
        if !self
            .reaches(
                &target,
                State::Merged,
                "it was made, global in both clusters",
                "merged_after",
                tally,
            )
            .await
        {
            return Ok(());
        }
        for (cluster, word) in [(self.to, "remote"), (here, "local")] {
            self.namesakes.annotate(cluster, GLOBAL, None).await?;
            let (what, name) = (
                format!("the annotation was removed in {cluster}"),
                format!("{word}_removal_felt_after"),
            );
            if !self.reaches(&target, State::Apart, &what, &name, tally).await {
                return Ok(());
            }
            self.namesakes.annotate(cluster, GLOBAL, Some("true")).await?;
            let (what, name) = (
                format!("the annotation was added in {cluster}"),
                format!("{word}_addition_felt_after"),
            );
            if !self.reaches(&target, State::Merged, &what, &name, tally).await {
                return Ok(());
            }
        }
        Ok(())
    }

    async fn reaches(&self, target: &Target, state: State, what: &str, name: &str, tally: &mut Tally) -> bool {
        let clusters: Vec<ClusterName> = match state {
            State::Merged => vec![self.side.cluster.clone(), self.to.clone()],
            State::Apart => vec![self.side.cluster.clone()],
        };
        let content = |answers: &Answers| answers.by_each(&clusters);
        let askers = &self.side.askers;
        let within = changed_within(self.context);
        match ask_until(self.context, askers, target, POLL, within, content).await {
            Ok(after) => {
                let direction = self.context.instance.to_string();
                self.context
                    .measure(name, direction, after.as_secs_f64() * 1000.0, Unit::Milliseconds);
                let who: Vec<&str> = clusters.iter().map(ClusterName::as_str).collect();
                tally.witness(format!(
                    "{} ms after {what}, every node of {} was answered by {} alone",
                    after.as_millis(),
                    self.side.cluster,
                    who.join(" and ")
                ));
                true
            }
            Err(last) => {
                let what = format!("{} s after {what}", within.as_secs());
                if judge(
                    self.context,
                    self.side,
                    &what,
                    &last,
                    Expected::Clusters(&clusters),
                    tally,
                ) {
                    tally.unknown(format!("{what}: the state was seen, but did not hold for two looks"));
                }
                false
            }
        }
    }
}
