//! What a cluster sees of the other one's pods where it has none of its own, and where the other one does not share
//! them.

use super::{
    MESH_NEEDS, POLL, SAMPLE,
    ask::{Answers, Exchange, ask, ask_until},
    changed_within,
    judge::{Expected, judge, suggest},
    merging::merges,
    side::{Side, pods},
    steady::while_steady,
    test_service::{Backends, GLOBAL, SHARED, TestService},
};
use crate::kit::cilium::remotes;
use async_trait::async_trait;
use meshproof_contract::{
    Check, CheckContext, CheckId, CheckText, ClusterName, Needs, Scope, Tally, Target, Unit, Verdict,
};

#[derive(Clone, Copy)]
enum Case {
    Only,
    Unshared,
}

/// Pods of the other cluster behind a new global Service.
pub struct RemoteBackends(Case);

/// Only the other cluster has any.
pub const ONLY: RemoteBackends = RemoteBackends(Case::Only);
/// The other cluster does not share its own.
pub const UNSHARED: RemoteBackends = RemoteBackends(Case::Unshared);

#[async_trait]
impl Check for RemoteBackends {
    fn id(&self) -> CheckId {
        CheckId::from(match self.0 {
            Case::Only => "service::remote_backends_only",
            Case::Unshared => "service::unshared_stays_home",
        })
    }
    fn text(&self) -> CheckText {
        match self.0 {
            Case::Only => CheckText {
                title: "A global Service without local pods is answered by the other cluster's pods",
                proves: "A cluster needs no local pod behind a global Service: applications on every node reach a \
                         Service that runs only in the other cluster by its local cluster IP, and every pod there is \
                         used.",
                how: "A global Service with a random name is created here without backends, and in the other cluster \
                      with the scenario's backends. Once all clients here are answered (the time is recorded), each \
                      sends 120 GETs; each backend of the other cluster must answer, and no other pod.",
                control: "Each answer names the pod that gave it. Before the Service exists in the other cluster, no \
                          request is answered.",
                when_red: "No answers: mesh::change_propagates, then `kubectl --context CONTEXT -n kube-system exec \
                           AGENT_POD -c cilium-agent -- cilium-dbg service list`. Some pods never answer: `kubectl \
                           --context CONTEXT -n NAMESPACE get endpointslices`, in both clusters.",
            },
            Case::Unshared => CheckText {
                title: "Pods of a global Service with shared: false answer only in their own cluster",
                proves: "Where a global Service has service.cilium.io/shared: \"false\" in the other cluster, pods of \
                         that cluster never answer here, although its own clients use the pods of both clusters.",
                how: "A global Service with a random name is created here and, with shared: \"false\", in the other \
                      cluster, with backends in both. Once pods of both clusters answer the clients there, every \
                      client here sends 120 GETs; only pods of this cluster may answer.",
                control: "Pods of this cluster answer the clients of the other cluster at the same Service, and pods \
                          of both clusters answer here at `svc-global`. Otherwise the check is inconclusive.",
                when_red: "Does `kubectl --context OTHER_CONTEXT -n NAMESPACE get service -o yaml` show the \
                           annotation? Then `kubectl --context CONTEXT -n kube-system exec AGENT_POD -c cilium-agent \
                           -- cilium-dbg service list` must list no backend of the other cluster.",
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
            Case::Only => &["global-needs-local-backends", "global-remote-backends-missing"],
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
    let service = TestService::named_at_random(context, &side, &[from, to]).await?;
    let verdict = match case {
        Case::Only => only(context, &side, &service, to).await,
        Case::Unshared => unshared(context, &side, &service, to).await,
    };
    service.delete(&[from, to]).await;
    verdict
}

async fn create(
    service: &TestService<'_>,
    cluster: &ClusterName,
    annotations: &[(&str, &str)],
    backends: Backends,
) -> Result<Target, Verdict> {
    let created = service.create(cluster, annotations, backends).await;
    created.map_err(|error| Verdict::inconclusive(format!("cannot create the Service in {cluster}: {error}")))
}

async fn only(
    context: &CheckContext,
    side: &Side,
    service: &TestService<'_>,
    to: &ClusterName,
) -> Result<Verdict, Verdict> {
    let there = pods(&side.facts, to, "backend");
    if there.is_empty() {
        return Err(Verdict::inconclusive(format!("no ready agent `backend` in {to}")));
    }
    let what = format!("a global Service with pods only in {to}");
    let mut tally = Tally::new();
    side.report_missing(&mut tally);
    let target = create(service, &side.cluster, &[(GLOBAL, "true")], Backends::None).await?;
    let before = ask(context, &side.clients, &target, Exchange::Http, 2).await;
    for one in before.iter().filter(|a| a.answered() > 0) {
        tally.finding(
            format!("control, {}", one.client.node),
            "no answer while no cluster has backends for the Service",
            one.describe(),
        );
    }
    create(service, to, &[(GLOBAL, "true")], Backends::Scenario).await?;
    let only = [to.clone()];
    let wanted = |answers: &Answers| answers.only_by(&only);
    let appeared = ask_until(context, &side.clients, &target, POLL, changed_within(context), wanted).await;
    let direction = format!("{to} -> {}", side.cluster);
    match appeared {
        Ok(after) => {
            let millis = after.as_secs_f64() * 1000.0;
            context.measure("answered_after", direction, millis, Unit::Milliseconds);
            let answers = ask(context, &side.clients, &target, Exchange::Http, SAMPLE).await;
            judge(context, side, &what, &answers, Expected::Pods(&there), &mut tally);
        }
        Err(last) => {
            let within = format!("{what}, {} s after its creation", changed_within(context).as_secs());
            judge(context, side, &within, &last, Expected::Clusters(&only), &mut tally);
        }
    }
    Ok(tally.verdict())
}

async fn unshared(
    context: &CheckContext,
    side: &Side,
    service: &TestService<'_>,
    to: &ClusterName,
) -> Result<Verdict, Verdict> {
    let other = Side::of(context, to)?;
    merges(context, side).await?;
    let here = create(service, &side.cluster, &[(GLOBAL, "true")], Backends::Scenario).await?;
    let there = create(service, to, &[(GLOBAL, "true"), (SHARED, "false")], Backends::Scenario).await?;
    let mut tally = Tally::new();
    side.report_missing(&mut tally);
    let both = [side.cluster.clone(), to.clone()];
    let merged = |answers: &Answers| answers.by_each(&both);
    let within = changed_within(context);
    if let Err(last) = ask_until(context, &other.clients, &there, 2 * POLL, within, merged).await {
        let seen = last.first().map_or_else(String::new, Answers::describe);
        tally.unknown(format!(
            "control: pods of both clusters did not answer the clients of {to} within {} s, so the Service is not \
             merged at all; last seen: {seen}",
            within.as_secs()
        ));
    }
    let answers = ask(context, &side.clients, &here, Exchange::Http, SAMPLE).await;
    let what = format!("a global Service that {to} does not share");
    let own = [side.cluster.clone()];
    if !judge(context, side, &what, &answers, Expected::Clusters(&own), &mut tally) {
        suggest(context, &other, None);
    }
    Ok(tally.verdict())
}
