//! The absolute name of a service resolves to exactly its cluster IP.

use crate::kit::{
    dns::{
        check::Questions,
        question::{Expected, Question},
        zone::{Zone, address_record},
    },
    probes,
};
use async_trait::async_trait;
use meshproof_contract::{CheckContext, CheckId, CheckText, Transport, Verdict};

/// The absolute name over one transport.
#[allow(missing_docs)]
pub enum ServiceName {
    Udp,
    Tcp,
}

impl ServiceName {
    fn transport(&self) -> Transport {
        match self {
            ServiceName::Udp => Transport::Udp,
            ServiceName::Tcp => Transport::Tcp,
        }
    }
}

#[async_trait]
impl Questions for ServiceName {
    fn id(&self) -> CheckId {
        CheckId::from(match self {
            ServiceName::Udp => "dns::service_name_udp",
            ServiceName::Tcp => "dns::service_name_tcp",
        })
    }

    fn text(&self) -> CheckText {
        CheckText {
            title: match self {
                ServiceName::Udp => "A service's name resolves to exactly its cluster IP over UDP",
                ServiceName::Tcp => "A service's name resolves to exactly its cluster IP over TCP",
            },
            proves: "The pods of every node reach cluster DNS, and it answers with this cluster's own address of the \
                     service and no other.",
            how: "The client on every node asks its own nameserver for the absolute name \
                  `server.<namespace>.svc.<domain>.`; the answer must be NOERROR with exactly the cluster IP in this \
                  cluster's API. After silence or SERVFAIL it asks six more times before that counts.",
            control: "The answer itself: a silent server is a finding.",
            when_red: "No answer: `kubectl --context CONTEXT -n DNS_NAMESPACE get endpointslices -l \
                       kubernetes.io/service-name=DNS_SERVICE -o wide`; dns::replica_answers shows which replica \
                       fails. Another address: the finding names its owner. If that is the other cluster's cluster \
                       IP, names are forwarded or merged across the mesh, where only backends should be.",
        }
    }

    fn faults(&self) -> &'static [&'static str] {
        &["dns-wrong-cluster-address", "dns-missing-record"]
    }

    async fn questions(&self, context: &CheckContext, zone: &Zone) -> Result<Vec<Question>, Verdict> {
        let (service, address) = zone.cluster_ip(context, "server")?;
        let name = zone.absolute(&service.namespace, &service.name);
        let transport = self.transport();
        Ok(vec![Question {
            label: format!("{name} over {transport}"),
            probe: probes::dns(&name, address_record(address), None, transport),
            expected: Expected::address(address),
        }])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        kit::dns::check::DnsCheck,
        testing::{Fake, dns_answer, dns_code, infra, timeout},
    };
    use meshproof_contract::{Action, DnsCode};

    const UDP: DnsCheck<ServiceName> = DnsCheck(ServiceName::Udp);
    const TCP: DnsCheck<ServiceName> = DnsCheck(ServiceName::Tcp);

    fn of(transport: Transport, action: &Action) -> bool {
        matches!(action, Action::Dns { transport: asked, .. } if *asked == transport)
    }

    #[tokio::test(start_paused = true)]
    async fn the_right_address_is_green() {
        Fake::healthy().expect(&UDP, infra(), "pass").await;
        Fake::healthy().expect(&TCP, infra(), "pass").await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_server_is_red_over_that_transport_only() {
        let udp_dead = Fake::healthy().rule(|p| of(Transport::Udp, p.action).then(timeout));
        let text = udp_dead.clone().expect(&UDP, infra(), "fail").await;
        assert!(
            text.contains("all 3 nodes of infra") && text.contains("no answer from the DNS server"),
            "{text}"
        );
        udp_dead.expect(&TCP, infra(), "pass").await;
        Fake::healthy()
            .rule(|p| of(Transport::Tcp, p.action).then(timeout))
            .expect(&TCP, infra(), "fail")
            .await;
    }

    #[tokio::test(start_paused = true)]
    async fn one_lost_datagram_is_not_red() {
        Fake::healthy()
            .rule(|p| (p.batch == 0).then(timeout))
            .expect(&UDP, infra(), "pass")
            .await;
    }

    #[tokio::test(start_paused = true)]
    async fn another_address_is_red_and_its_owner_named() {
        let fake = Fake::healthy();
        let other = fake
            .facts
            .service(&"apps".into(), "server")
            .and_then(|s| s.address)
            .expect("address");
        let text = fake
            .rule(move |_| Some(dns_answer(other)))
            .expect(&UDP, infra(), "fail")
            .await;
        assert!(text.contains("cluster IP of `server` in apps"), "{text}");
    }

    #[tokio::test(start_paused = true)]
    async fn wrong_codes_are_red_and_nodes_named() {
        for code in [DnsCode::NxDomain, DnsCode::ServFail, DnsCode::Refused, DnsCode::NoError] {
            let fake = Fake::healthy().rule(move |p| (p.from.node.as_str() == "infra-2").then(|| dns_code(code)));
            let text = fake.expect(&TCP, infra(), "fail").await;
            assert!(
                text.contains("from infra-2") && text.contains("2 other nodes"),
                "{text}"
            );
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_missing_client_server_or_service_is_inconclusive() {
        let fakes = [
            Fake::healthy().missing("client", "infra-2"),
            Fake::healthy().facts(|f| f.clusters[0].dns = None),
            Fake::healthy().facts(|f| f.services.clear()),
        ];
        for fake in fakes {
            fake.expect(&UDP, infra(), "inconclusive").await;
        }
    }
}
