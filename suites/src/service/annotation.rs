//! Removing the annotation ends the merging, and adding it starts it again, on either side, within a measured time.

use super::{
    MESH_NEEDS, POLL,
    ask::{Answers, ask_until},
    changed_within,
    judge::{Expected, judge, suggest},
    side::Side,
    test_service::{Backends, GLOBAL, TestService},
};
use crate::kit::cilium::remotes;
use async_trait::async_trait;
use meshproof_contract::{
    Check, CheckContext, CheckId, CheckText, ClusterName, EnvironmentError, Needs, Scope, Tally, Target, Unit, Verdict,
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
            title: "Removing the global annotation ends the merging in time, and adding it starts it again",
            proves: "Merging follows the annotation on either side at any time and on every node: without it, only \
                     local pods answer; with it, pods of both clusters do.",
            how: "A Service with a random name is created in both clusters, with backends and global. The annotation \
                  is removed and added again, first in the other cluster and then here; each time the answering \
                  clusters must change within `thresholds.propagation` (default 10 s), in two reads of 12 requests \
                  from every node. The five times are recorded.",
            control: "Each state is observed before the next change, at the same cluster IP: only local answers count \
                      because the other cluster's pods answered just before.",
            when_red: "Still merged: `kubectl --context CONTEXT -n kube-system exec deploy/clustermesh-apiserver -c \
                       kvstoremesh -- clustermesh-apiserver kvstoremesh-dbg status`, then `kubectl --context CONTEXT \
                       -n kube-system exec AGENT_POD -c cilium-agent -- cilium-dbg service list` (stale backends). \
                       Never merged: mesh::change_propagates.",
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
    let service = TestService::named_at_random(context, &side, &[from, to]).await?;
    let mut tally = Tally::new();
    side.report_missing(&mut tally);
    let change = Change {
        context,
        side: &side,
        service: &service,
        to,
    };
    let done = change.through_all(&mut tally).await;
    service.delete(&[from, to]).await;
    if let Err(error) = done {
        tally.unknown(format!("cannot create or change the Service: {error}"));
    }
    if tally.has_findings() {
        suggest(context, &side, None);
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
    service: &'a TestService<'a>,
    to: &'a ClusterName,
}

impl Change<'_> {
    async fn through_all(&self, tally: &mut Tally) -> Result<(), EnvironmentError> {
        let here = &self.side.cluster;
        let global = [(GLOBAL, "true")];
        self.service.create(self.to, &global, Backends::Scenario).await?;
        let target = self.service.create(here, &global, Backends::Scenario).await?;
        let created = "its creation, global in both clusters";
        if !self
            .reaches(&target, State::Merged, created, "merged_after", tally)
            .await
        {
            return Ok(());
        }
        for (cluster, word) in [(self.to, "remote"), (here, "local")] {
            self.service.annotate(cluster, GLOBAL, None).await?;
            let (what, name) = (
                format!("the annotation was removed in {cluster}"),
                format!("{word}_removal_effective_after"),
            );
            if !self.reaches(&target, State::Apart, &what, &name, tally).await {
                return Ok(());
            }
            self.service.annotate(cluster, GLOBAL, Some("true")).await?;
            let (what, name) = (
                format!("the annotation was added in {cluster}"),
                format!("{word}_addition_effective_after"),
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
        let wanted = |answers: &Answers| answers.by_each(&clusters);
        let clients = &self.side.clients;
        let within = changed_within(self.context);
        match ask_until(self.context, clients, target, POLL, within, wanted).await {
            Ok(after) => {
                let direction = self.context.instance.to_string();
                self.context
                    .measure(name, direction, after.as_secs_f64() * 1000.0, Unit::Milliseconds);
                let who: Vec<&str> = clusters.iter().map(ClusterName::as_str).collect();
                tally.witness(format!(
                    "{} ms after {what}, only pods of {} answered, on every node of {}",
                    after.as_millis(),
                    who.join(" and "),
                    self.side.cluster
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
                    tally.unknown(format!("{what}: the state was reached, but did not hold for two reads"));
                }
                false
            }
        }
    }
}
