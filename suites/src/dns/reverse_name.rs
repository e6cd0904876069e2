//! The cluster IP of a service has the service's name.

use crate::kit::{
    dns::{
        check::Questions,
        question::{Expected, Question},
        zone::{self, Zone},
    },
    probes,
};
use async_trait::async_trait;
use meshproof_contract::{CheckContext, CheckId, CheckText, RecordType, Transport, Verdict};

/// The PTR record of a cluster IP.
pub struct ReverseName;

#[async_trait]
impl Questions for ReverseName {
    fn id(&self) -> CheckId {
        CheckId::from("dns::reverse_name")
    }

    fn text(&self) -> CheckText {
        CheckText {
            title: "A cluster IP resolves back to its service's name",
            proves: "Cluster DNS serves the reverse zone of the service addresses, on which logs, some TLS clients \
                     and mail-like protocols depend.",
            how: "The client on every node asks for the PTR record of the service's cluster IP over UDP; the answer \
                  must be exactly the absolute name of the service. After silence it asks six more times before \
                  that counts.",
            control: "The answer itself, compared with the API.",
            when_red: "NXDOMAIN: the DNS server's configuration does not serve `in-addr.arpa ip6.arpa` (with CoreDNS: \
                       plugin `kubernetes` in its ConfigMap). Another name: two services have one address, see \
                       `kubectl --context CONTEXT get svc -A -o wide | grep ADDRESS`.",
        }
    }

    fn faults(&self) -> &'static [&'static str] {
        &["dns-reverse-missing"]
    }

    async fn questions(&self, context: &CheckContext, zone: &Zone) -> Result<Vec<Question>, Verdict> {
        let (service, address) = zone.cluster_ip(context, "server")?;
        Ok(vec![Question {
            label: format!("PTR of {address}"),
            probe: probes::dns(&zone::reverse_name(address), RecordType::Ptr, None, Transport::Udp),
            expected: Expected::Name(zone.absolute(&service.namespace, &service.name)),
        }])
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
    async fn the_services_name_is_green() {
        Fake::healthy().expect(&DnsCheck(ReverseName), infra(), "pass").await;
    }

    #[tokio::test(start_paused = true)]
    async fn another_name_none_or_silence_is_red() {
        let other = || dns_records(vec![DnsAnswer::Name("other.meshproof.svc.cluster.local.".into())]);
        let text = Fake::healthy()
            .rule(move |_| Some(other()))
            .expect(&DnsCheck(ReverseName), infra(), "fail")
            .await;
        assert!(text.contains("other.meshproof.svc"), "{text}");
        Fake::healthy()
            .rule(|_| Some(dns_code(DnsCode::NxDomain)))
            .expect(&DnsCheck(ReverseName), infra(), "fail")
            .await;
        Fake::healthy()
            .rule(|_| Some(timeout()))
            .expect(&DnsCheck(ReverseName), infra(), "fail")
            .await;
    }
}
