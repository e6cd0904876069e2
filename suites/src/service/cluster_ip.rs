//! A Service without annotations is answered by each pod behind it in its own cluster, from every node.

use super::{
    NEEDS, SAMPLE,
    ask::{Exchange, ask},
    judge::{Expected, judge},
    side::Side,
    steady::while_steady,
};
use async_trait::async_trait;
use meshproof_contract::{Check, CheckContext, CheckId, CheckText, Needs, Scope, Tally, Verdict};

/// A cluster IP without annotations.
pub struct ClusterIp;

#[async_trait]
impl Check for ClusterIp {
    fn id(&self) -> CheckId {
        CheckId::from("service::cluster_ip")
    }
    fn text(&self) -> CheckText {
        CheckText {
            title: "Every pod behind a Service answers at its cluster IP, and no other pod does",
            proves: "Every node load-balances the cluster IP to all ready pods that the Service selects in this \
                     cluster, and to no others.",
            how: "The client on every node sends 120 GETs to the cluster IP of `svc-plain`, each over a new \
                  connection, and counts which pod answered. A client with failed requests retries once.",
            control: "Each answer names the pod, node and cluster that gave it.",
            when_red: "Compare `kubectl --context CONTEXT -n kube-system exec AGENT_POD -c cilium-agent -- cilium-dbg \
                       service list` with `kubectl --context CONTEXT -n NAMESPACE get endpointslices -l \
                       kubernetes.io/service-name=svc-plain`. If requests fail, check the path to the pods with suite \
                       connectivity.",
        }
    }
    fn scope(&self) -> Scope {
        Scope::Cluster
    }
    fn needs(&self) -> Needs {
        NEEDS
    }
    fn faults(&self) -> &'static [&'static str] {
        &["service-backend-missing-on-node", "service-backend-unused-on-node"]
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
    side.report_missing(&mut tally);
    let answers = ask(context, &side.clients, &target, Exchange::Http, SAMPLE).await;
    judge(
        context,
        &side,
        "cluster IP of svc-plain",
        &answers,
        Expected::Pods(&pods),
        &mut tally,
    );
    Ok(tally.verdict())
}
