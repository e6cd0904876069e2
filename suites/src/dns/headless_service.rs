//! A headless service resolves to exactly its ready pods.

use super::NEEDS;
use crate::kit::dns::question::{Expected, Question, ask};
use crate::kit::dns::zone::{Zone, address_record};
use crate::kit::{matrix, probes};
use async_trait::async_trait;
use meshproof_contract::{Check, CheckContext, CheckId, CheckText, Needs, Scope, Tally, Transport, Verdict};
use serde_json::Value;
use std::collections::BTreeSet;
use std::net::IpAddr;

/// The addresses of a headless service.
pub struct HeadlessService;

const SERVICE: &str = "server-headless";
/// Addresses that fit into 512 bytes beside the question (RFC 1035 section 4.2.1).
const IN_A_DATAGRAM: usize = 20;

/// Addresses of the ready endpoints in the slices of a service.
fn ready_addresses(slices: &[Value], service: &str) -> BTreeSet<IpAddr> {
    slices
        .iter()
        .filter(|slice| {
            slice
                .pointer("/metadata/labels/kubernetes.io~1service-name")
                .and_then(Value::as_str)
                == Some(service)
        })
        .flat_map(|slice| slice["endpoints"].as_array().into_iter().flatten())
        // An absent condition means ready (EndpointSlice API).
        .filter(|endpoint| {
            endpoint
                .pointer("/conditions/ready")
                .and_then(Value::as_bool)
                .unwrap_or(true)
        })
        .flat_map(|endpoint| endpoint["addresses"].as_array().into_iter().flatten())
        .filter_map(|address| address.as_str()?.parse().ok())
        .collect()
}

#[async_trait]
impl Check for HeadlessService {
    fn id(&self) -> CheckId {
        CheckId::from("dns::headless_service")
    }

    fn text(&self) -> CheckText {
        CheckText {
            title: "A headless service resolves to exactly its ready pods",
            proves: "Clients that choose their own backend (databases, gRPC) get every ready pod of this cluster, and none that is gone or belongs elsewhere.",
            how: "The client on every node asks for the absolute name of the headless service over UDP and TCP (over TCP only for more than 20 pods, which a datagram does not hold); the set of addresses must equal the ready endpoints in the \
                  service's EndpointSlices, and these must equal the probe agents that are ready. Silence is asked again three times before it counts.",
            control: "Two sources for the expectation that must agree: the EndpointSlices, and the pods that answered the harness.",
            when_red: "`kubectl --context CONTEXT -n meshproof get endpointslices -l kubernetes.io/service-name=server-headless -o wide` against \
                       `get pods -o wide`; the same there and another answer: the DNS server's watch is stale, see dns::replica_learns.",
        }
    }

    fn scope(&self) -> Scope {
        Scope::Cluster
    }
    fn needs(&self) -> Needs {
        NEEDS
    }
    fn faults(&self) -> &'static [&'static str] {
        &["headless-stale-pod", "headless-missing-pod"]
    }

    async fn run(&self, context: &CheckContext) -> Verdict {
        let zone = match Zone::of(context) {
            Ok(zone) => zone,
            Err(verdict) => return verdict,
        };
        let service = match zone.service(context, SERVICE) {
            Ok(service) => service,
            Err(verdict) => return verdict,
        };
        let cluster = context.instance.from();
        let mut tally = Tally::new();
        let slices = context
            .environment
            .list(
                cluster,
                "discovery.k8s.io/v1",
                "EndpointSlice",
                Some(&service.namespace),
            )
            .await;
        let expected = match slices {
            Ok(slices) => ready_addresses(&slices, &service.name),
            Err(error) => {
                return Verdict::inconclusive(format!("the endpoints of `{SERVICE}` could not be read: {error}"));
            }
        };
        let pods: BTreeSet<IpAddr> = matrix::agents(&zone.facts, cluster, &service.workload)
            .iter()
            .map(|a| a.address)
            .collect();
        let all_there = !zone
            .facts
            .missing_agents
            .iter()
            .any(|m| &m.cluster == cluster && m.workload == service.workload);
        let pods_of_family: BTreeSet<IpAddr> = pods
            .into_iter()
            .filter(|p| expected.iter().all(|e| e.is_ipv4() == p.is_ipv4()))
            .collect();
        if all_there && expected != pods_of_family {
            tally.finding(
                format!("EndpointSlices of `{SERVICE}`"),
                format!("exactly the ready pods {pods_of_family:?}"),
                format!("{expected:?}"),
            );
            return tally.verdict();
        }
        let Some(sample) = expected.first().copied() else {
            return Verdict::inconclusive(format!(
                "`{SERVICE}` has no ready endpoint, so there is nothing to resolve to"
            ));
        };
        let name = zone.absolute(&service.namespace, &service.name);
        // A longer answer is cut off in a datagram, and asking again over TCP is what resolvers do then.
        let transports: &[Transport] = match expected.len() {
            0..=IN_A_DATAGRAM => &[Transport::Udp, Transport::Tcp],
            _ => &[Transport::Tcp],
        };
        let questions: Vec<Question> = transports
            .iter()
            .map(|&transport| Question {
                label: format!("{name} over {transport}"),
                probe: probes::dns(&name, address_record(sample), None, transport),
                expected: Expected::Addresses(expected.clone()),
            })
            .collect();
        ask(context, &zone, &questions, &mut tally).await;
        tally.verdict()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Fake, dns_code, dns_records, infra, timeout};
    use meshproof_contract::{DnsAnswer, DnsCode};

    #[tokio::test]
    async fn exactly_the_pods_is_green() {
        Fake::healthy().expect(&HeadlessService, infra(), "pass").await;
    }

    #[tokio::test]
    async fn one_pod_less_or_one_more_is_red() {
        let pods = ["10.244.1.11", "10.244.2.11", "10.244.3.11", "10.246.1.11"]
            .map(|ip| DnsAnswer::Address(ip.parse().expect("address")));
        for count in [2, 4] {
            let some = pods[..count].to_vec();
            let text = Fake::healthy()
                .rule(move |_| Some(dns_records(some.clone())))
                .expect(&HeadlessService, infra(), "fail")
                .await;
            assert!(count == 2 || text.contains("pod apps/server-apps-1"), "{text}");
        }
        Fake::healthy()
            .rule(|_| Some(dns_code(DnsCode::NxDomain)))
            .expect(&HeadlessService, infra(), "fail")
            .await;
        Fake::healthy()
            .rule(|_| Some(timeout()))
            .expect(&HeadlessService, infra(), "fail")
            .await;
    }

    #[tokio::test]
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
        let text = fake.expect(&HeadlessService, infra(), "fail").await;
        assert!(text.contains("EndpointSlices"), "{text}");
    }

    #[tokio::test]
    async fn what_the_harness_could_not_see_is_inconclusive() {
        let fakes = [
            Fake::healthy().list_refused("EndpointSlice"),
            Fake::healthy().local_errors(),
            Fake::healthy().agents_gone(),
            Fake::healthy().without_agents(),
        ];
        for fake in fakes {
            fake.expect(&HeadlessService, infra(), "inconclusive").await;
        }
    }
}
