//! A global headless service's name leads to the pods of all joined clusters, where EndpointSlices are synchronised.

use super::MESH_NEEDS;
use super::settles;
use super::side::{Side, pods};
use super::steady::while_steady;
use crate::kit::dns::question::{Answer, Expected, Question, ask, judge};
use crate::kit::dns::zone::{Zone, address_record};
use crate::kit::{probes, wait};
use async_trait::async_trait;
use futures::future::join_all;
use meshproof_contract::{Check, CheckContext, CheckId, CheckText, Needs, Scope, Tally, Transport, Unit, Verdict};
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

/// Where a cluster says that it does so.
const KEY: &str = "clustermesh-enable-endpoint-sync";

/// The name of a global headless service.
pub struct GlobalHeadless;

#[async_trait]
impl Check for GlobalHeadless {
    fn id(&self) -> CheckId {
        CheckId::from("service::global_headless")
    }
    fn text(&self) -> CheckText {
        CheckText {
            title: "A global headless service's name leads to the pods of all joined clusters",
            proves: "EndpointSlices of the other clusters' pods are synchronised into this cluster, and cluster DNS takes them up: an application that balances by itself finds all pods of the mesh, and nothing else.",
            how: "Where cilium-config sets clustermesh-enable-endpoint-sync, the client on every node asks for the absolute name of `svc-headless` until exactly the addresses of the backends of this and all joined clusters come back (the time is recorded); what comes back after 12 s at the latest counts. Elsewhere the check is skipped.",
            control: "The expected addresses are those of agents that answered the harness; the own cluster's pods must be among the answer, too.",
            when_red: "`kubectl -n meshproof get endpointslices -l kubernetes.io/service-name=svc-headless`: slices managed by endpointslice-mesh-controller.cilium.io are missing: the operator's log, `kubectl -n kube-system logs deploy/cilium-operator`. They are there: cluster DNS, dns::headless_service.",
        }
    }
    fn scope(&self) -> Scope {
        Scope::Cluster
    }
    fn needs(&self) -> Needs {
        MESH_NEEDS
    }
    fn faults(&self) -> &'static [&'static str] {
        &["headless-sync-missing"]
    }

    async fn run(&self, context: &CheckContext) -> Verdict {
        while_steady(context, observe(context)).await
    }
}

async fn observe(context: &CheckContext) -> Result<Verdict, Verdict> {
    let side = Side::of(context, context.instance.from())?;
    let clusters = side.mesh()?;
    let cilium = side.facts.cluster(&side.cluster).and_then(|c| c.cilium.as_ref());
    if cilium.and_then(|c| c.flag(KEY)) != Some(true) {
        return Err(Verdict::skipped(format!(
            "not claimed: cilium-config of {} does not set {KEY}, so headless services lead to own pods only",
            side.cluster
        )));
    }
    let mut expected: BTreeSet<IpAddr> = BTreeSet::new();
    for cluster in &clusters {
        let found = pods(&side.facts, cluster, "backend");
        if found.is_empty() {
            return Err(Verdict::inconclusive(format!("no ready agent `backend` in {cluster}")));
        }
        expected.extend(found.iter().map(|pod| pod.address));
    }
    let zone = Zone::asked_by(context, side.askers.clone())?;
    let service = zone.service(context, "svc-headless")?;
    let name = zone.absolute(&service.namespace, &service.name);
    let record = expected.first().copied().map(address_record);
    let record = record.ok_or_else(|| Verdict::inconclusive("no pod has an address"))?;
    let question = Question {
        label: name.clone(),
        probe: probes::dns(&name, record, None, Transport::Udp),
        expected: Expected::Addresses(expected),
    };
    let mut tally = Tally::new();
    side.note_missing(&mut tally);
    let settled = wait::until(settles(context), Duration::from_millis(250), || async {
        let looks = side.askers.iter().map(|asker| {
            let batch = vec![question.probe.clone()];
            async move { context.environment.probe(&asker.id, batch).await }
        });
        let right = |seen: &Result<Vec<meshproof_contract::Outcome>, _>| match seen.as_deref() {
            Ok([outcome]) => matches!(judge(&zone, &question.expected, outcome), Answer::Ok(_)),
            _ => false,
        };
        match join_all(looks).await.iter().all(right) {
            true => Ok(()),
            false => Err(()),
        }
    })
    .await;
    if let wait::Waited::Seen(after, ()) = settled {
        context.measure("settled_after", &name, after.as_secs_f64() * 1000.0, Unit::Milliseconds);
    }
    ask(context, &zone, std::slice::from_ref(&question), &mut tally).await;
    Ok(tally.verdict())
}
