//! Callers that load balancing treats in ways of their own: processes of the node, and the pods behind the Service
//! themselves.

use super::{
    NEEDS, SAMPLE,
    ask::{Exchange, ask},
    judge::{Expected, judge},
    side::Side,
    steady::while_steady,
};
use crate::kit::{needs, paths};
use async_trait::async_trait;
use meshproof_contract::{Check, CheckContext, CheckId, CheckText, Needs, Scope, Tally, Verdict};

/// Who asks a Service.
pub enum Callers {
    /// Pods that share the node's network, as webhooks, ingress controllers and monitoring agents do.
    Host,
    /// The pods behind the Service.
    Backends,
}

/// Requests of each host by each protocol: any backend of the cluster may answer.
const HOST_REQUESTS: u32 = 30;

#[async_trait]
impl Check for Callers {
    fn id(&self) -> CheckId {
        CheckId::from(match self {
            Callers::Host => "service::from_host_network",
            Callers::Backends => "service::hairpin",
        })
    }
    fn text(&self) -> CheckText {
        match self {
            Callers::Host => CheckText {
                title: "Host-network pods reach a Service at its cluster IP by TCP, UDP and HTTP",
                proves: "Every node load-balances what its own processes send to cluster IPs: what kubelets, \
                         webhooks, ingress controllers and monitoring agents on the host network depend on.",
                how: "The host-network agent on every node sends 30 GETs, 30 TCP connections with an echo and 30 \
                      datagrams to the cluster IP of Service `server`. All must be answered by pods of this cluster. \
                      A client with failed requests retries once.",
                control: "Each answer names the pod, node and cluster that gave it.",
                when_red: "Does `kubectl --context CONTEXT -n kube-system exec AGENT_POD -c cilium-agent -- \
                           cilium-dbg status --verbose` of the node named show Socket LB as Enabled, with coverage \
                           Full or Hostns-only? If service::cluster_ip is green there, only the host is concerned.",
            },
            Callers::Backends => CheckText {
                title: "A pod reaches itself through its own Service",
                proves: "A request that is sent back to its own sender (hairpin) is answered, as clustered \
                         applications need that reach all members by one name.",
                how: "Each pod behind `svc-plain` sends 120 GETs to its cluster IP, each over a new connection, and \
                      counts which pod answered: every pod must, itself included. A client with failed requests \
                      retries once.",
                control: "Each answer names the pod, node and cluster that gave it; the other pods' answers show that \
                          the Service works.",
                when_red: "Only requests to itself fail: is the pod's own address masqueraded or refused? Look for a \
                           NetworkPolicy that does not admit the pod to itself, and at `bpf-lb-sock` in \
                           cilium-config.",
            },
        }
    }
    fn scope(&self) -> Scope {
        Scope::Cluster
    }
    fn needs(&self) -> Needs {
        match self {
            Callers::Host => needs::SHARED,
            Callers::Backends => NEEDS,
        }
    }
    fn faults(&self) -> &'static [&'static str] {
        match self {
            Callers::Host => &["host-service-dropped"],
            Callers::Backends => &["hairpin-dropped"],
        }
    }

    async fn run(&self, context: &CheckContext) -> Verdict {
        match self {
            Callers::Host => {
                let (Ok(verdict) | Err(verdict)) = from_host(context).await;
                verdict
            }
            Callers::Backends => while_steady(context, from_backends(context)).await,
        }
    }
}

async fn from_host(context: &CheckContext) -> Result<Verdict, Verdict> {
    let cluster = context.instance.from();
    let hosts = paths::agents(&context.environment.facts(), cluster, "node");
    let side = Side::asked_by(context, cluster, "node", hosts)?;
    let own = [cluster.clone()];
    let mut tally = Tally::new();
    side.report_missing(&mut tally);
    for (exchange, port) in [(Exchange::Http, "http"), (Exchange::Tcp, "tcp"), (Exchange::Udp, "udp")] {
        let target = side.target("server", port)?;
        let answers = ask(context, &side.clients, &target, exchange, HOST_REQUESTS).await;
        let what = format!("cluster IP of server, port {port}");
        judge(context, &side, &what, &answers, Expected::Clusters(&own), &mut tally);
    }
    Ok(tally.verdict())
}

async fn from_backends(context: &CheckContext) -> Result<Verdict, Verdict> {
    let cluster = context.instance.from();
    let pods = Side::of(context, cluster)?.pods("backend")?;
    let side = Side::asked_by(context, cluster, "backend", pods.clone())?;
    let target = side.target("svc-plain", "http")?;
    let mut tally = Tally::new();
    side.report_missing(&mut tally);
    let answers = ask(context, &side.clients, &target, Exchange::Http, SAMPLE).await;
    let expected = Expected::Pods(&pods);
    judge(
        context,
        &side,
        "cluster IP of svc-plain",
        &answers,
        expected,
        &mut tally,
    );
    Ok(tally.verdict())
}

#[cfg(test)]
mod tests {
    use super::{
        super::tests::world::{healthy, healthy_but},
        *,
    };
    use crate::testing::{infra, local_error, timeout};

    #[tokio::test(start_paused = true)]
    async fn backends_that_reach_each_other_but_not_themselves_are_red() {
        healthy().expect(&Callers::Backends, infra(), "pass").await;
        // Every other request comes back to its sender.
        let lost = healthy_but(|p| (p.from.workload == "backend" && p.number % 2 == 0).then(timeout));
        let text = lost.expect(&Callers::Backends, infra(), "fail").await;
        assert!(text.contains("some requests fail"), "{text}");
    }

    #[tokio::test(start_paused = true)]
    async fn callers_that_cannot_try_are_inconclusive() {
        let unable = healthy_but(|_| Some(local_error()));
        unable.expect(&Callers::Backends, infra(), "inconclusive").await;
    }
}
