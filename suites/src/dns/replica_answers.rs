//! Every DNS replica, asked by itself, gives the same correct answers.

use super::endpoints;
use crate::kit::{
    dns::{
        ask::ask,
        question::{Answer, Expected, Question},
        zone::{self, Zone, address_record},
    },
    needs, probes, unique_name,
};
use async_trait::async_trait;
use meshproof_contract::{
    Check, CheckContext, CheckId, CheckText, DnsReplica, Evidence, Needs, NodeLabel, RecordType, Scope, ServiceFacts,
    Tally, Transport, Unit, Verdict,
    evidence::{Cell, CellOutcome, Row},
};
use std::net::{IpAddr, SocketAddr};

/// Every replica behind the DNS service.
pub struct ReplicaAnswers;

#[async_trait]
impl Check for ReplicaAnswers {
    fn id(&self) -> CheckId {
        CheckId::from("dns::replica_answers")
    }

    fn text(&self) -> CheckText {
        CheckText {
            title: "Every DNS replica answers every node correctly by itself",
            proves: "No broken replica hides behind the DNS service's address, where it would spoil a share of all \
                     lookups; and every node reaches every replica.",
            how: "The client on every node asks each DNS pod at its own address and target port for the service's \
                  name over UDP and TCP, for an absent name, and for the cluster IP's PTR record. Each answer must be \
                  what the API says. After silence it asks six more times before that counts. An endpoint of the \
                  DNS service that is neither ready nor terminating, now and ten seconds later, is red.",
            control: "The replicas are the ready endpoints in the EndpointSlices of the DNS service; without any \
                      endpoint the result is inconclusive.",
            when_red: "The finding names the pod: `kubectl --context CONTEXT -n DNS_NAMESPACE logs POD --tail=50` and \
                       `describe pod POD`. Red from all nodes but the pod's own: the path to it, see \
                       connectivity::udp_other_node. Connection refused: its port, `kubectl --context CONTEXT -n \
                       DNS_NAMESPACE get endpointslices -l kubernetes.io/service-name=DNS_SERVICE -o yaml`.",
        }
    }

    fn scope(&self) -> Scope {
        Scope::Cluster
    }
    fn needs(&self) -> Needs {
        needs::SHARED
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
        endpoints::find_unready(context, &zone.dns, &mut tally).await;
        let replicas = match zone.replicas() {
            Ok(replicas) => replicas,
            Err(why) => {
                tally.unknown(why);
                return tally.verdict();
            }
        };
        let absent = zone.absolute(&service.namespace, &unique_name::label("absent"));
        let questions: Vec<Question> = replicas
            .iter()
            .flat_map(|replica| questions(&zone, replica, &service, address, &absent))
            .collect();
        let answers = ask(context, &zone, &questions, &mut tally).await;
        for (asker, answers) in zone.askers.iter().zip(&answers) {
            let of_replica = answers.chunks(questions.len() / replicas.len());
            let cells = replicas.iter().zip(of_replica);
            let cells = cells.filter_map(|(replica, answers)| cell(context, replica, answers));
            context.evidence(Evidence::Row(Row {
                what: "DNS replicas".to_owned(),
                from: asker.into(),
                cells: cells.collect(),
            }));
        }
        tally.verdict()
    }
}

/// What one replica is asked; the same number of questions for each.
fn questions(
    zone: &Zone,
    replica: &DnsReplica,
    service: &ServiceFacts,
    address: IpAddr,
    absent: &str,
) -> [Question; 4] {
    let server = Some(SocketAddr::new(replica.address, replica.port));
    let record = address_record(address);
    let name = zone.absolute(&service.namespace, &service.name);
    let present = |transport| probes::dns(&name, record, server, transport);
    let reverse = zone::reverse_name(address);
    [
        (
            "the service over UDP",
            present(Transport::Udp),
            Expected::address(address),
        ),
        (
            "the service over TCP",
            present(Transport::Tcp),
            Expected::address(address),
        ),
        (
            "an absent name",
            probes::dns(absent, record, server, Transport::Udp),
            Expected::Absent,
        ),
        (
            "the cluster IP's name",
            probes::dns(&reverse, RecordType::Ptr, server, Transport::Udp),
            Expected::Name(name.clone()),
        ),
    ]
    .map(|(what, probe, expected)| Question {
        label: format!("replica {} asked for {what}", replica.pod),
        probe,
        expected,
    })
}

/// One node's answers from one replica as a cell: the first answer that is not as expected, or the time of the first.
fn cell(context: &CheckContext, replica: &DnsReplica, answers: &[Answer]) -> Option<Cell> {
    let worst = answers.iter().find(|answer| !matches!(answer, Answer::Ok(_)));
    let (outcome, micros, detail) = match worst.or(answers.first())? {
        Answer::Ok(micros) => (CellOutcome::Ok, Some(*micros), None),
        Answer::NoAnswer(what) => (CellOutcome::NoAnswer, None, Some(what.clone())),
        Answer::Mismatch(what) => (CellOutcome::Mismatch, None, Some(what.clone())),
        Answer::Unknown(why) => (CellOutcome::Unknown, None, Some(why.clone())),
    };
    Some(Cell {
        to: NodeLabel::pod(context.instance.from(), replica.node.as_ref()?),
        outcome,
        value: micros.map(|micros| micros as f64),
        unit: micros.map(|_| Unit::Microseconds),
        detail,
    })
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

    #[tokio::test(start_paused = true)]
    async fn agreeing_replicas_are_green() {
        let text = Fake::healthy().expect(&ReplicaAnswers, infra(), "pass").await;
        assert!(text.contains("coredns-2"), "{text}");
        let row = "evidence: DNS replicas: infra-3 -> infra-1 ok 400 µs, infra-2 ok 400 µs";
        assert!(text.contains(row), "{text}");
    }

    #[tokio::test(start_paused = true)]
    async fn one_silent_or_wrong_replica_is_red_and_named() {
        for outcome in [
            timeout(),
            dns_code(DnsCode::NxDomain),
            dns_code(DnsCode::ServFail),
            dns_code(DnsCode::NoError),
        ] {
            let fake = Fake::healthy().rule(move |p| asked(p.action, "10.244.2.3").then(|| outcome.clone()));
            let text = fake.expect(&ReplicaAnswers, infra(), "fail").await;
            assert!(text.contains("infra-3 -> infra-1 ok 400 µs, infra-2 "), "{text}");
            assert!(!text.contains("infra-2 ok"), "{text}");
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

    #[tokio::test(start_paused = true)]
    async fn without_dns_or_its_replicas_it_is_inconclusive() {
        let fakes = [
            Fake::healthy().facts(|f| {
                if let Some(dns) = &mut f.clusters[0].dns {
                    dns.replicas.clear();
                }
            }),
            Fake::healthy().facts(|f| f.clusters[0].dns = None),
        ];
        for fake in fakes {
            fake.expect(&ReplicaAnswers, infra(), "inconclusive").await;
        }
    }
}
