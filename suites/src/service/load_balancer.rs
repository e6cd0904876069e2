//! The addresses of Services of type LoadBalancer answer inside their cluster: that of a Service of the run, where the
//! cluster has a pool of addresses, and those of others.

mod others;

use super::{
    NEEDS, POLL,
    ask::{Answers, Exchange, ask_by_until, ask_until},
    changed_within,
    judge::{Expected, judge},
    side::{Side, pods},
    steady::while_steady,
    test_service::TestService,
};
use crate::kit::recent::{self, Age};
use async_trait::async_trait;
use futures::future::join;
use meshproof_contract::{AgentFacts, Check, CheckContext, CheckId, CheckText, Needs, Scope, Tally, Target, Verdict};
use serde_json::Value;

/// Addresses of Services of type LoadBalancer.
pub struct LoadBalancerAddress;

/// The kind of Cilium's pools.
const POOL: (&str, &str) = ("cilium.io/v2", "CiliumLoadBalancerIPPool");
/// Requests of each client of another cluster, which nothing says can reach the address.
const FEW: u32 = 2;

#[async_trait]
impl Check for LoadBalancerAddress {
    fn id(&self) -> CheckId {
        CheckId::from("service::load_balancer_address")
    }
    fn text(&self) -> CheckText {
        CheckText {
            title: "The address of a Service of type LoadBalancer answers pods and hosts of its cluster",
            proves: "Every node serves the addresses that Services of type LoadBalancer have been given, to its pods \
                     and to its own processes.",
            how: "Where the cluster has a CiliumLoadBalancerIPPool, a Service of type LoadBalancer with a random name \
                  is created for the pods `backend`, and takes one of its addresses for some seconds. The client and \
                  the host-network agent on every node send GETs and datagrams to that address; all 12 of 12 must be \
                  answered by those pods, twice in a row, within `thresholds.propagation` (default 10 s). To up to \
                  four TCP ports of other Services that have an address and a ready endpoint each client opens a \
                  connection, two tries; what fails is tried again once that time has passed.",
            control: "Each answer of the run's own Service names the pod that gave it. A Service of others counts only \
                      if the same client connects to the same port of its cluster IP.",
            when_red: "`kubectl --context CONTEXT -n kube-system exec AGENT_POD -c cilium-agent -- cilium-dbg service \
                       list` on the node named: is the address there with type LoadBalancer, and with backends? If \
                       the address is answered by nobody inside, see `loadBalancerClass` and `internalTrafficPolicy` \
                       of the Service.",
        }
    }
    fn scope(&self) -> Scope {
        Scope::Cluster
    }
    fn needs(&self) -> Needs {
        Needs { mutates: true, ..NEEDS }
    }
    fn faults(&self) -> &'static [&'static str] {
        &["load-balancer-address-missing-on-node"]
    }

    async fn run(&self, context: &CheckContext) -> Verdict {
        while_steady(context, observe(context)).await
    }
}

async fn observe(context: &CheckContext) -> Result<Verdict, Verdict> {
    let cluster = context.instance.from();
    let side = Side::of(context, cluster)?;
    let clients: Vec<AgentFacts> = side.clients.iter().cloned().chain(side.hosts()).collect();
    let (own, others) = join(own(context, &side, &clients), others::observe(context, &side, &clients)).await;
    let (own, others) = (own?, others?);
    if own.is_none() && others.is_none() {
        return Err(Verdict::skipped(format!(
            "no Service of type LoadBalancer in {cluster} has an address, a ready endpoint and a cluster IP that \
             answers"
        )));
    }
    let mut tally = Tally::new();
    side.report_missing(&mut tally);
    [own, others].into_iter().flatten().for_each(|one| tally.absorb(one));
    Ok(tally.verdict())
}

/// A Service of the run; none where no pool gave it an address.
async fn own(context: &CheckContext, side: &Side, clients: &[AgentFacts]) -> Result<Option<Tally>, Verdict> {
    if !has_pool(context, side).await {
        return Ok(None);
    }
    let service = TestService::named_at_random(context, side, &[]).await?;
    let seen = of_service(context, side, clients, &service).await;
    service.delete(&[&side.cluster]).await;
    seen
}

/// Whether Cilium could give a Service an address.
async fn has_pool(context: &CheckContext, side: &Side) -> bool {
    // Where the kind is not known, or must not be listed, it is no pool that is claimed.
    let pools = recent::list_any(context, &side.cluster, POOL, Age::OfThisRun).await;
    let is_usable = |pool: &Value| {
        let conditions = pool["status"]["conditions"].as_array().into_iter().flatten();
        let mut conflicts = conditions.filter(|one| one["type"] == "cilium.io/PoolConflict");
        pool["spec"]["disabled"] != true && conflicts.all(|one| one["status"] != "True")
    };
    pools.is_ok_and(|pools| pools.iter().any(is_usable))
}

async fn of_service(
    context: &CheckContext,
    side: &Side,
    clients: &[AgentFacts],
    service: &TestService<'_>,
) -> Result<Option<Tally>, Verdict> {
    let cluster = &side.cluster;
    let given = service.create_load_balancer(cluster, changed_within(context)).await;
    let given = given.map_err(|error| {
        Verdict::inconclusive(format!(
            "cannot create the Service of type LoadBalancer in {cluster}: {error}"
        ))
    })?;
    let [http, udp] = match given {
        Ok(targets) => targets,
        Err(condition) => {
            context.note(format!(
                "no pool of {cluster} gave the run's Service an address: {condition}"
            ));
            return Ok(None);
        }
    };
    let mut tally = Tally::new();
    let backends = side.pods("backend")?;
    let over_http = answered(context, side, clients, (&http, Exchange::Http));
    let over_udp = answered(context, side, clients, (&udp, Exchange::Udp));
    let (over_http, over_udp) = join(over_http, over_udp).await;
    tally.absorb(over_http);
    tally.absorb(over_udp);
    from_outside(context, side, &http, &backends, &mut tally).await;
    Ok(Some(tally))
}

/// What pods and hosts of the cluster see at the address.
async fn answered(
    context: &CheckContext,
    side: &Side,
    clients: &[AgentFacts],
    (target, exchange): (&Target, Exchange),
) -> Tally {
    let mut tally = Tally::new();
    let own = [side.cluster.clone()];
    let wanted = |answers: &Answers| answers.only_by(&own);
    let within = changed_within(context);
    let protocol = if exchange == Exchange::Udp { "UDP" } else { "HTTP" };
    let what = format!("LoadBalancer address {target} over {protocol}");
    match ask_by_until(context, clients, (target, exchange), POLL, within, wanted).await {
        Ok(after) => tally.witness(format!(
            "{what}: backends answered {} clients of {} after {} ms",
            clients.len(),
            side.cluster,
            after.as_millis()
        )),
        Err(last) => {
            judge(context, side, &what, &last, Expected::Clusters(&own), &mut tally);
        }
    }
    tally
}

/// Hosts of another cluster: nothing says that they can reach the address, but if they do, the right pods answer.
async fn from_outside(
    context: &CheckContext,
    side: &Side,
    target: &Target,
    backends: &[AgentFacts],
    tally: &mut Tally,
) {
    let mut others = side.facts.clusters.iter().map(|c| &c.name);
    let Some(other) = others.find(|other| **other != side.cluster) else {
        return;
    };
    let hosts: Vec<AgentFacts> = pods(&side.facts, other, "host").into_iter().take(1).collect();
    let within = std::time::Duration::ZERO;
    let Err(last) = ask_until(context, &hosts, target, FEW, within, |answers| {
        by_backends(answers, backends)
    })
    .await
    else {
        return tally.witness(format!(
            "LoadBalancer address {target}: backends answered a host of {other}, too"
        ));
    };
    for answers in last {
        if answers.answered() > 0 && !by_backends(&answers, backends) && answers.failures.is_empty() {
            tally.finding(
                format!("LoadBalancer address {target} from a host of {other}"),
                "answered by a backend of the Service, if at all",
                format!("unexpected answers: {}", answers.describe()),
            );
        } else {
            context.note(format!(
                "a host of {other} does not reach LoadBalancer address {target}, which is not judged: {}",
                answers.describe()
            ));
        }
    }
}

fn by_backends(answers: &Answers, backends: &[AgentFacts]) -> bool {
    let own: u32 = backends.iter().map(|pod| answers.by_pod(pod)).sum();
    answers.is_complete() && own == answers.answered()
}

#[cfg(test)]
mod tests {
    use super::{
        super::tests::{
            mesh::{Ignores, complete, ignoring},
            world::{healthy, healthy_but},
        },
        *,
    };
    use crate::testing::{Ask, Fake, infra, timeout};
    use meshproof_contract::Action;
    use serde_json::json;

    /// The address of the other people's Service.
    const ADDRESS: &str = "192.168.42.77";

    fn public(kind: &str) -> Value {
        json!({
            "apiVersion": "v1", "kind": "Service", "metadata": {"namespace": "demo", "name": "public"},
            "spec": {"type": kind, "clusterIP": "10.96.9.9", "ports": [{"name": "web", "port": 443}]},
            "status": {"loadBalancer": {"ingress": [{"ip": ADDRESS}]}},
        })
    }

    fn slice(ready: bool) -> Value {
        json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
            "metadata": {
                "namespace": "demo", "name": "public-1", "labels": {"kubernetes.io/service-name": "public"},
            },
            "addressType": "IPv4",
            "endpoints": [{"addresses": ["10.244.1.99"], "conditions": {"ready": ready}}],
        })
    }

    /// Clusters without a pool, and with a public Service of others, whose addresses answer as the rule says.
    fn world(connects: fn(&Ask<'_>, &Target) -> bool) -> Fake {
        let fake = healthy_but(move |ask| {
            let Action::TcpConnect { to } = ask.action else {
                return None;
            };
            Some(if connects(ask, to) { ask.answered() } else { timeout() })
        });
        fake.object("infra", public("LoadBalancer"))
            .object("infra", slice(true))
    }

    #[tokio::test(start_paused = true)]
    async fn an_address_of_a_pool_and_one_of_others_are_observed() {
        let text = complete().expect(&LoadBalancerAddress, infra(), "pass").await;
        assert!(text.contains("over UDP: backends answered 6 clients"), "{text}");
        let text = world(|_, _| true).expect(&LoadBalancerAddress, infra(), "pass").await;
        assert!(text.contains("demo/public at 192.168.42.77:443"), "{text}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_node_that_does_not_serve_it_is_red_if_the_cluster_ip_answers_there() {
        let dead = world(|ask, to| to.host != ADDRESS || ask.from.node.as_str() != "infra-2");
        let text = dead.expect(&LoadBalancerAddress, infra(), "fail").await;
        assert!(
            text.contains("from infra-2") && !text.contains("demo/public at 192.168.42.77:443 from infra-1"),
            "{text}"
        );
        // A policy may keep clients away from the pods.
        let both = world(|_, _| false);
        let text = both.expect(&LoadBalancerAddress, infra(), "skipped").await;
        assert!(text.contains("its cluster IP is not answered, either"), "{text}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_dead_address_of_the_pool_is_red() {
        let dead = ignoring(Ignores::LoadBalancerAtHosts);
        let text = dead.expect(&LoadBalancerAddress, infra(), "fail").await;
        assert!(text.contains("LoadBalancer address 192.168."), "{text}");
    }

    #[tokio::test(start_paused = true)]
    async fn without_addresses_or_endpoints_it_is_skipped() {
        let of = |service: Value, slice: Value| {
            let fake = healthy();
            fake.object("infra", service).object("infra", slice)
        };
        for (kind, ready) in [("NodePort", true), ("LoadBalancer", false)] {
            let text = of(public(kind), slice(ready))
                .expect(&LoadBalancerAddress, infra(), "skipped")
                .await;
            assert!(text.contains("no Service of type LoadBalancer"), "{text}");
        }
    }
}
