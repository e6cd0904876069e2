//! A plain service is answered by the pods behind it in its own cluster, by each of them, from every node.

use super::ask::{Exchange, ask};
use super::judge::{Expected, judge};
use super::side::Side;
use super::steady::while_steady;
use super::{NEEDS, SAMPLE};
use async_trait::async_trait;
use meshproof_contract::{Check, CheckContext, CheckId, CheckText, Needs, Scope, Tally, Verdict};

/// A cluster IP without annotations.
pub struct Plain;

#[async_trait]
impl Check for Plain {
    fn id(&self) -> CheckId {
        CheckId::from("service::cluster_ip")
    }
    fn text(&self) -> CheckText {
        CheckText {
            title: "A cluster IP is answered by each of the pods behind it",
            proves: "On every node the service's cluster IP is translated to the ready pods that it selects in this cluster: all of them, and nobody else.",
            how: "The client on every node sends 120 GETs to the cluster IP of `svc-plain`, each over a new connection, and counts by the identity in the answers which pod answered how often. Requests that fail are asked again once.",
            control: "The answers themselves: a pod that answers names itself, its node and its cluster.",
            when_red: "One node only: `cilium-dbg service list` there, and compare with `kubectl -n meshproof get endpointslices -l kubernetes.io/service-name=svc-plain`. All nodes: the EndpointSlices themselves. Requests fail: the path to the pod, see suite connectivity.",
        }
    }
    fn scope(&self) -> Scope {
        Scope::Cluster
    }
    fn needs(&self) -> Needs {
        NEEDS
    }
    fn faults(&self) -> &'static [&'static str] {
        &["service-backend-missing-on-node"]
    }

    async fn run(&self, context: &CheckContext) -> Verdict {
        while_steady(context, observe(context)).await
    }
}

async fn observe(context: &CheckContext) -> Result<Verdict, Verdict> {
    let side = Side::of(context, context.instance.from())?;
    let target = side.target("svc-plain", "http")?;
    let pods = side.pods("backend")?;
    let mut tally = Tally::new();
    side.note_missing(&mut tally);
    let answers = ask(context, &side.askers, &target, Exchange::Http, SAMPLE).await;
    judge(context, &side, "svc-plain", &answers, Expected::Pods(&pods), &mut tally);
    Ok(tally.verdict())
}
