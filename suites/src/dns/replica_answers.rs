//! Every DNS replica, asked by itself, gives the same right answers.

use super::NEEDS;
use super::endpoints;
use crate::kit::dns::question::{Expected, Question, ask};
use crate::kit::dns::zone::{self, Zone, address_record};
use crate::kit::{probes, unique_name};
use async_trait::async_trait;
use meshproof_contract::{
    Check, CheckContext, CheckId, CheckText, Needs, RecordType, Scope, Tally, Transport, Verdict,
};
use std::net::SocketAddr;

/// Every replica behind the DNS service.
pub struct ReplicaAnswers;

#[async_trait]
impl Check for ReplicaAnswers {
    fn id(&self) -> CheckId {
        CheckId::from("dns::replica_answers")
    }

    fn text(&self) -> CheckText {
        CheckText {
            title: "Every DNS replica answers rightly by itself, to every node",
            proves: "No broken replica hides behind the DNS service's address, where it would spoil a share of all lookups; and every node reaches every replica.",
            how: "The client on every node asks each DNS pod at its own address and target port: the service's name over UDP and TCP, an absent name, and the cluster IP's PTR record. \
                  Each answer must be what the API says. Silence is asked again three times before it counts. An endpoint of the DNS service that is not ready, and not going, now and ten seconds later is red.",
            control: "The replicas are the ready ones in the EndpointSlices of the DNS service; without any endpoint the result is inconclusive.",
            when_red: "The finding names the pod: `kubectl --context CONTEXT -n NAMESPACE logs POD --tail=50` and `describe pod POD`; all nodes but the pod's own red: the path to it, see connectivity::udp_other_node; \
                       refused: its port, `kubectl --context CONTEXT -n NAMESPACE get endpointslices -l kubernetes.io/service-name=SERVICE -o yaml`.",
        }
    }

    fn scope(&self) -> Scope {
        Scope::Cluster
    }
    fn needs(&self) -> Needs {
        NEEDS
    }
    fn faults(&self) -> &'static [&'static str] {
        &["dns-silent-udp", "dns-silent-tcp", "dns-missing-record"]
    }

    async fn run(&self, context: &CheckContext) -> Verdict {
        let zone = match Zone::of(context) {
            Ok(zone) => zone,
            Err(verdict) => return verdict,
        };
        let (service, address) = match zone.cluster_ip(context, "server") {
            Ok(found) => found,
            Err(verdict) => return verdict,
        };
        let mut tally = Tally::new();
        endpoints::tell_unready(context, &zone.dns, &mut tally).await;
        if zone.dns.replicas.is_empty() {
            let (namespace, name) = &zone.dns.service;
            tally.unknown(format!(
                "service {namespace}/{name} has no ready endpoints that could be read, so no replica can be asked"
            ));
            return tally.verdict();
        }
        let name = zone.absolute(&service.namespace, &service.name);
        let absent = zone.absolute(&service.namespace, &unique_name::label("absent"));
        let record = address_record(address);
        let mut questions = Vec::new();
        for replica in &zone.dns.replicas {
            let server = Some(SocketAddr::new(replica.address, replica.port));
            let mut push = |what: &str, probe, expected| {
                questions.push(Question {
                    label: format!("replica {} asked for {what}", replica.pod),
                    probe,
                    expected,
                });
            };
            let right = Expected::address(address);
            push(
                "the service over UDP",
                probes::dns(&name, record, server, Transport::Udp),
                right.clone(),
            );
            push(
                "the service over TCP",
                probes::dns(&name, record, server, Transport::Tcp),
                right,
            );
            push(
                "an absent name",
                probes::dns(&absent, record, server, Transport::Udp),
                Expected::Absent,
            );
            push(
                "the cluster IP's name",
                probes::dns(&zone::reverse_name(address), RecordType::Ptr, server, Transport::Udp),
                Expected::Name(name.clone()),
            );
        }
        ask(context, &zone, &questions, &mut tally).await;
        tally.verdict()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Fake, dns_code, infra, timeout};
    use meshproof_contract::{Action, DnsCode};
    use serde_json::json;

    fn asked(action: &Action, replica: &str) -> bool {
        matches!(action, Action::Dns { server: Some(server), .. } if server.ip().to_string() == replica)
    }

    #[tokio::test]
    async fn agreeing_replicas_are_green() {
        let text = Fake::healthy().expect(&ReplicaAnswers, infra(), "pass").await;
        assert!(text.contains("coredns-2"), "{text}");
    }

    #[tokio::test]
    async fn one_silent_or_wrong_replica_is_red_and_named() {
        for outcome in [
            timeout(),
            dns_code(DnsCode::NxDomain),
            dns_code(DnsCode::ServFail),
            dns_code(DnsCode::NoError),
        ] {
            let fake = Fake::healthy().rule(move |p| asked(p.action, "10.244.2.3").then(|| outcome.clone()));
            let text = fake.expect(&ReplicaAnswers, infra(), "fail").await;
            assert!(
                text.contains("coredns-2 asked for the service over UDP")
                    && !text.contains("finding: replica coredns-1"),
                "{text}"
            );
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_endpoint_that_stays_unready_is_red_and_one_that_goes_is_not() {
        let slice = |conditions: serde_json::Value| {
            json!({
                "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
                "metadata": {"name": "kube-dns-x", "labels": {"kubernetes.io/service-name": "kube-dns"}},
                "endpoints": [
                    {"addresses": ["10.244.1.3"], "conditions": {"ready": true}, "targetRef": {"name": "coredns-1"}},
                    {"addresses": ["10.244.3.3"], "conditions": conditions, "targetRef": {"name": "coredns-3"}},
                ],
            })
        };
        let unready = Fake::healthy().object("infra", slice(json!({"ready": false, "terminating": false})));
        let text = unready.expect(&ReplicaAnswers, infra(), "fail").await;
        assert!(text.contains("coredns-3 (10.244.3.3)"), "{text}");
        for conditions in [
            json!({"ready": false, "terminating": true}),
            json!({"ready": true}),
            json!({}),
        ] {
            let fake = Fake::healthy().object("infra", slice(conditions));
            fake.expect(&ReplicaAnswers, infra(), "pass").await;
        }
        let refused = Fake::healthy().list_refused("EndpointSlice");
        refused.expect(&ReplicaAnswers, infra(), "pass").await;
    }

    #[tokio::test]
    async fn what_the_harness_could_not_see_is_inconclusive() {
        let fakes = [
            Fake::healthy().facts(|f| {
                if let Some(dns) = &mut f.clusters[0].dns {
                    dns.replicas.clear();
                }
            }),
            Fake::healthy().facts(|f| f.clusters[0].dns = None),
            Fake::healthy().local_errors(),
            Fake::healthy().agents_gone(),
            Fake::healthy().without_agents(),
        ];
        for fake in fakes {
            fake.expect(&ReplicaAnswers, infra(), "inconclusive").await;
        }
    }
}
