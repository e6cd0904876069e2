//! The name of a global headless Service resolves to the pods of all joined clusters, where EndpointSlices are
//! synchronised.

use super::{
    MESH_NEEDS, converges_within,
    side::{Side, pods},
    steady::while_steady,
};
use crate::kit::{
    dns::{
        ask::ask,
        question::{Answer, Expected, Question, judge},
        zone::{Zone, address_record},
    },
    probes, wait,
};
use async_trait::async_trait;
use futures::future::join_all;
use meshproof_contract::{
    Check, CheckContext, CheckId, CheckText, ClusterName, Needs, Outcome, Scope, Tally, Transport, Unit, Verdict,
};
use std::{collections::BTreeSet, net::IpAddr, time::Duration};

/// The key of cilium-config that turns it on.
const KEY: &str = "clustermesh-enable-endpoint-sync";

/// The name of a global headless Service.
pub struct GlobalHeadless;

#[async_trait]
impl Check for GlobalHeadless {
    fn id(&self) -> CheckId {
        CheckId::from("service::global_headless")
    }
    fn text(&self) -> CheckText {
        CheckText {
            title: "The name of a global headless Service resolves to the pods of all joined clusters",
            proves: "EndpointSlices of other clusters' pods are synchronised into this cluster, and cluster DNS uses \
                     them: an application that load-balances by itself finds all pods of the mesh, and no others.",
            how: "Where cilium-config sets clustermesh-enable-endpoint-sync, the client on every node asks for the \
                  absolute name of `svc-headless` until it gets exactly the addresses of the backends of all joined \
                  clusters, for up to 12 s (the time is recorded). Elsewhere the check is skipped.",
            control: "The expected addresses are those of agents that answered the harness, among them pods of this \
                      cluster.",
            when_red: "Does `kubectl --context CONTEXT -n NAMESPACE get endpointslices -l \
                       kubernetes.io/service-name=svc-headless` list slices managed by \
                       endpointslice-mesh-controller.cilium.io? If not, see `kubectl --context CONTEXT -n kube-system \
                       logs deploy/cilium-operator`; if so, see dns::headless_service.",
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
            "not claimed: cilium-config of {} does not set {KEY}, so headless Services resolve to local pods only",
            side.cluster
        )));
    }
    let expected = addresses(&side, &clusters)?;
    let zone = Zone::asked_by(context, side.clients.clone())?;
    let service = zone.service(context, "svc-headless")?;
    let name = zone.absolute(&service.namespace, &service.name);
    let record = expected.first().copied().map(address_record);
    let record = record.ok_or_else(|| Verdict::inconclusive("the backends have no addresses"))?;
    let question = Question {
        label: name.clone(),
        probe: probes::dns(&name, record, None, Transport::Udp),
        expected: Expected::Addresses(expected),
    };
    let mut tally = Tally::new();
    side.report_missing(&mut tally);
    if let Some(after) = converge(context, &side, &zone, &question).await {
        let millis = after.as_secs_f64() * 1000.0;
        context.measure("converged_after", &name, millis, Unit::Milliseconds);
    }
    ask(context, &zone, std::slice::from_ref(&question), &mut tally).await;
    Ok(tally.verdict())
}

/// The addresses of the backends of all these clusters.
fn addresses(side: &Side, clusters: &[ClusterName]) -> Result<BTreeSet<IpAddr>, Verdict> {
    let mut addresses = BTreeSet::new();
    for cluster in clusters {
        let found = pods(&side.facts, cluster, "backend");
        if found.is_empty() {
            return Err(Verdict::inconclusive(format!("no ready agent `backend` in {cluster}")));
        }
        addresses.extend(found.iter().map(|pod| pod.address));
    }
    Ok(addresses)
}

/// Waits until every client gets the expected answer; the time until then.
async fn converge(context: &CheckContext, side: &Side, zone: &Zone, question: &Question) -> Option<Duration> {
    let is_expected = |seen: &Result<Vec<Outcome>, _>| match seen.as_deref() {
        Ok([outcome]) => matches!(judge(zone, &question.expected, outcome), Answer::Ok(_)),
        _ => false,
    };
    let waited = wait::until(converges_within(context), Duration::from_millis(250), || async {
        let asking = side.clients.iter().map(|client| {
            let batch = vec![question.probe.clone()];
            async move { context.environment.probe(&client.id, batch).await }
        });
        if join_all(asking).await.iter().all(is_expected) {
            Ok(())
        } else {
            Err(())
        }
    });
    match waited.await {
        wait::Waited::Seen(after, ()) => Some(after),
        wait::Waited::GaveUp(()) => None,
    }
}
