//! A headless service resolves to exactly its ready pods.

use crate::kit::{
    dns::{
        check::Questions,
        question::{Expected, Question},
        zone::{Zone, address_record},
    },
    matrix, probes,
};
use async_trait::async_trait;
use meshproof_contract::{CheckContext, CheckId, CheckText, ServiceFacts, Tally, Transport, Verdict};
use serde_json::Value;
use std::{collections::BTreeSet, net::IpAddr};

/// The addresses of a headless service.
pub struct HeadlessService;

const SERVICE: &str = "server-headless";
/// Addresses that fit into 512 bytes beside the question (RFC 1035 section 4.2.1).
const IN_A_DATAGRAM: usize = 20;

/// Addresses of the ready endpoints in the slices of a service.
fn ready_addresses(slices: &[Value], service: &str) -> BTreeSet<IpAddr> {
    slices
        .iter()
        .filter(|slice| slice["metadata"]["labels"]["kubernetes.io/service-name"] == service)
        .flat_map(|slice| slice["endpoints"].as_array().into_iter().flatten())
        // An absent condition means ready (EndpointSlice API).
        .filter(|endpoint| endpoint["conditions"]["ready"].as_bool().unwrap_or(true))
        .flat_map(|endpoint| endpoint["addresses"].as_array().into_iter().flatten())
        .filter_map(|address| address.as_str()?.parse().ok())
        .collect()
}

/// What the slices say; else the verdict where they cannot be read or contradict the agents that are ready.
async fn expected_addresses(
    context: &CheckContext,
    zone: &Zone,
    service: &ServiceFacts,
) -> Result<BTreeSet<IpAddr>, Verdict> {
    let cluster = context.instance.from();
    let (version, namespace) = ("discovery.k8s.io/v1", Some(service.namespace.as_str()));
    let slices = context
        .environment
        .list(cluster, version, "EndpointSlice", namespace)
        .await;
    let slices = slices
        .map_err(|error| Verdict::inconclusive(format!("the endpoints of `{SERVICE}` could not be read: {error}")))?;
    let expected = ready_addresses(&slices, &service.name);
    let pods = matrix::agents(&zone.facts, cluster, &service.workload);
    // A pod of two families is an endpoint of each family's slices; only one is asked for.
    let is_of_family = |pod: &IpAddr| expected.iter().all(|e| e.is_ipv4() == pod.is_ipv4());
    let pods: BTreeSet<IpAddr> = pods.iter().map(|agent| agent.address).filter(is_of_family).collect();
    let mut missing = zone.facts.missing_agents.iter();
    let all_there = !missing.any(|m| &m.cluster == cluster && m.workload == service.workload);
    if all_there && expected != pods {
        let mut tally = Tally::new();
        tally.finding(
            format!("EndpointSlices of `{SERVICE}`"),
            format!("exactly the ready pods {pods:?}"),
            format!("{expected:?}"),
        );
        return Err(tally.verdict());
    }
    Ok(expected)
}

#[async_trait]
impl Questions for HeadlessService {
    fn id(&self) -> CheckId {
        CheckId::from("dns::headless_service")
    }

    fn text(&self) -> CheckText {
        CheckText {
            title: "A headless service resolves to exactly its ready pods",
            proves: "Clients that choose their own backend (databases, gRPC) get every ready pod of this cluster, and \
                     none that is gone or belongs elsewhere.",
            how: "The client on every node asks for the absolute name of the headless service over UDP and TCP (over \
                  TCP only for more than 20 pods, which do not fit into a datagram). The addresses must equal the \
                  ready endpoints in the service's EndpointSlices, and these must equal the probe agents that are \
                  ready. After silence it asks six more times before that counts.",
            control: "Two sources for the expectation that must agree: the EndpointSlices, and the pods that answered \
                      the harness.",
            when_red: "Compare `kubectl --context CONTEXT -n NAMESPACE get endpointslices -l \
                       kubernetes.io/service-name=server-headless -o wide` with `kubectl --context CONTEXT -n \
                       NAMESPACE get pods -o wide`. If they agree, the DNS server's watch is stale: see \
                       dns::replica_learns.",
        }
    }

    fn faults(&self) -> &'static [&'static str] {
        &["headless-stale-pod", "headless-missing-pod"]
    }

    async fn questions(&self, context: &CheckContext, zone: &Zone) -> Result<Vec<Question>, Verdict> {
        let service = zone.service(context, SERVICE)?;
        let expected = expected_addresses(context, zone, &service).await?;
        let Some(sample) = expected.first().copied() else {
            return Err(Verdict::inconclusive(format!(
                "`{SERVICE}` has no ready endpoint, so there is nothing to resolve to"
            )));
        };
        let name = zone.absolute(&service.namespace, &service.name);
        // A longer answer is cut off in a datagram, and asking again over TCP is what resolvers do then.
        let transports: &[Transport] = match expected.len() {
            0..=IN_A_DATAGRAM => &[Transport::Udp, Transport::Tcp],
            _ => &[Transport::Tcp],
        };
        let question = |&transport: &Transport| Question {
            label: format!("{name} over {transport}"),
            probe: probes::dns(&name, address_record(sample), None, transport),
            expected: Expected::Addresses(expected.clone()),
        };
        Ok(transports.iter().map(question).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        kit::dns::check::DnsCheck,
        testing::{Fake, dns_code, dns_records, infra, timeout},
    };
    use meshproof_contract::{DnsAnswer, DnsCode};

    #[tokio::test(start_paused = true)]
    async fn exactly_the_pods_is_green() {
        Fake::healthy()
            .expect(&DnsCheck(HeadlessService), infra(), "pass")
            .await;
    }

    #[tokio::test(start_paused = true)]
    async fn one_pod_less_or_one_more_is_red() {
        let pods = ["10.244.1.11", "10.244.2.11", "10.244.3.11", "10.246.1.11"]
            .map(|ip| DnsAnswer::Address(ip.parse().expect("address")));
        for count in [2, 4] {
            let some = pods[..count].to_vec();
            let text = Fake::healthy()
                .rule(move |_| Some(dns_records(some.clone())))
                .expect(&DnsCheck(HeadlessService), infra(), "fail")
                .await;
            assert!(count == 2 || text.contains("pod apps/server-apps-1"), "{text}");
        }
        Fake::healthy()
            .rule(|_| Some(dns_code(DnsCode::NxDomain)))
            .expect(&DnsCheck(HeadlessService), infra(), "fail")
            .await;
        Fake::healthy()
            .rule(|_| Some(timeout()))
            .expect(&DnsCheck(HeadlessService), infra(), "fail")
            .await;
    }

    #[tokio::test(start_paused = true)]
    async fn slices_that_miss_a_ready_pod_are_red() {
        let fake = Fake::healthy().facts(|f| {
            let mut extra = f
                .agents
                .iter()
                .find(|a| a.id.pod == "server-infra-1")
                .expect("agent")
                .clone();
            extra.id.pod = "server-late".into();
            extra.address = "10.244.1.99".parse().expect("address");
            f.agents.push(extra);
        });
        let text = fake.expect(&DnsCheck(HeadlessService), infra(), "fail").await;
        assert!(text.contains("EndpointSlices"), "{text}");
    }

    #[tokio::test(start_paused = true)]
    async fn slices_that_cannot_be_read_are_inconclusive() {
        let fake = Fake::healthy().list_refused("EndpointSlice");
        fake.expect(&DnsCheck(HeadlessService), infra(), "inconclusive").await;
    }
}
