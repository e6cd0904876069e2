//! The cluster IP of a service has the service's name.

use super::NEEDS;
use crate::kit::dns::question::{Expected, Question, ask};
use crate::kit::dns::zone::{self, Zone};
use crate::kit::probes;
use async_trait::async_trait;
use meshproof_contract::{
    Check, CheckContext, CheckId, CheckText, Needs, RecordType, Scope, Tally, Transport, Verdict,
};

/// The PTR record of a cluster IP.
pub struct ReverseName;

#[async_trait]
impl Check for ReverseName {
    fn id(&self) -> CheckId {
        CheckId::from("dns::reverse_name")
    }

    fn text(&self) -> CheckText {
        CheckText {
            title: "A cluster IP resolves back to its service's name",
            proves: "Cluster DNS serves the reverse zone of the service addresses, which logs, some TLS clients and mail-like protocols depend on.",
            how: "The client on every node asks for the PTR record of the service's cluster IP over UDP; the answer must be exactly the absolute name of the service. \
                  Silence is asked again three times before it counts.",
            control: "The answer itself, compared with the API.",
            when_red: "NXDOMAIN: the DNS server's configuration does not serve `in-addr.arpa ip6.arpa` (with CoreDNS, plugin `kubernetes` of its ConfigMap). Another name: two services with one address, \
                       `kubectl --context CONTEXT get svc -A -o wide | grep ADDRESS`.",
        }
    }

    fn scope(&self) -> Scope {
        Scope::Cluster
    }
    fn needs(&self) -> Needs {
        NEEDS
    }
    fn faults(&self) -> &'static [&'static str] {
        &["dns-reverse-missing"]
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
        let question = Question {
            label: format!("PTR of {address}"),
            probe: probes::dns(&zone::reverse_name(address), RecordType::Ptr, None, Transport::Udp),
            expected: Expected::Name(zone.absolute(&service.namespace, &service.name)),
        };
        let mut tally = Tally::new();
        ask(context, &zone, &[question], &mut tally).await;
        tally.verdict()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Fake, dns_code, dns_records, infra, timeout};
    use meshproof_contract::{DnsAnswer, DnsCode};

    #[tokio::test]
    async fn the_services_name_is_green() {
        Fake::healthy().expect(&ReverseName, infra(), "pass").await;
    }

    #[tokio::test]
    async fn another_name_none_or_silence_is_red() {
        let other = || dns_records(vec![DnsAnswer::Name("other.meshproof.svc.cluster.local.".into())]);
        let text = Fake::healthy()
            .rule(move |_| Some(other()))
            .expect(&ReverseName, infra(), "fail")
            .await;
        assert!(text.contains("other.meshproof.svc"), "{text}");
        Fake::healthy()
            .rule(|_| Some(dns_code(DnsCode::NxDomain)))
            .expect(&ReverseName, infra(), "fail")
            .await;
        Fake::healthy()
            .rule(|_| Some(timeout()))
            .expect(&ReverseName, infra(), "fail")
            .await;
    }

    #[tokio::test]
    async fn what_the_harness_could_not_see_is_inconclusive() {
        for fake in [
            Fake::healthy().local_errors(),
            Fake::healthy().agents_gone(),
            Fake::healthy().without_agents(),
        ] {
            fake.expect(&ReverseName, infra(), "inconclusive").await;
        }
    }
}
