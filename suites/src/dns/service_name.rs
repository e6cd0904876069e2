//! The absolute name of a service resolves to exactly its cluster IP.

use super::NEEDS;
use crate::kit::dns::question::{Expected, Question, ask};
use crate::kit::dns::zone::{Zone, address_record};
use crate::kit::probes;
use async_trait::async_trait;
use meshproof_contract::{Check, CheckContext, CheckId, CheckText, Needs, Scope, Tally, Transport, Verdict};

/// The absolute name over one transport.
pub struct ServiceName {
    transport: Transport,
}

/// Over UDP.
pub const UDP: ServiceName = ServiceName {
    transport: Transport::Udp,
};
/// Over TCP.
pub const TCP: ServiceName = ServiceName {
    transport: Transport::Tcp,
};

#[async_trait]
impl Check for ServiceName {
    fn id(&self) -> CheckId {
        CheckId::from(match self.transport {
            Transport::Udp => "dns::service_name_udp",
            Transport::Tcp => "dns::service_name_tcp",
        })
    }

    fn text(&self) -> CheckText {
        CheckText {
            title: match self.transport {
                Transport::Udp => "A service's name resolves to exactly its cluster IP over UDP",
                Transport::Tcp => "A service's name resolves to exactly its cluster IP over TCP",
            },
            proves: "The pods of every node reach cluster DNS, and it tells them this cluster's own address of the service, and no other.",
            how: "The client on every node asks its own nameserver for the absolute name `server.<namespace>.svc.<domain>.`; the answer must be NOERROR \
                  with exactly the cluster IP that this cluster's API shows. Silence and SERVFAIL are asked again three times before they count.",
            control: "The answer itself: a silent server is a finding, not an absence.",
            when_red: "No answer: the evidence names the DNS Service and its pods, `kubectl --context CONTEXT -n NAMESPACE get endpointslices -l kubernetes.io/service-name=SERVICE -o wide`; then dns::replica_answers tells which replica. \
                       Another address: whose it is stands in the finding; the other cluster's cluster IP means that names are forwarded or merged across the mesh, where only backends should be.",
        }
    }

    fn scope(&self) -> Scope {
        Scope::Cluster
    }
    fn needs(&self) -> Needs {
        NEEDS
    }
    fn faults(&self) -> &'static [&'static str] {
        match self.transport {
            Transport::Udp | Transport::Tcp => &["dns-wrong-cluster-address", "dns-missing-record"],
        }
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
        let name = zone.absolute(&service.namespace, &service.name);
        let question = Question {
            label: format!("{name} over {}", self.transport),
            probe: probes::dns(&name, address_record(address), None, self.transport),
            expected: Expected::address(address),
        };
        let mut tally = Tally::new();
        ask(context, &zone, &[question], &mut tally).await;
        tally.verdict()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Fake, dns_answer, dns_code, infra, timeout};
    use meshproof_contract::{Action, DnsCode};

    fn of(transport: Transport, action: &Action) -> bool {
        matches!(action, Action::Dns { transport: asked, .. } if *asked == transport)
    }

    #[tokio::test]
    async fn the_right_address_is_green() {
        Fake::healthy().expect(&UDP, infra(), "pass").await;
        Fake::healthy().expect(&TCP, infra(), "pass").await;
    }

    #[tokio::test]
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

    #[tokio::test]
    async fn one_lost_datagram_is_not_red() {
        Fake::healthy()
            .rule(|p| (p.batch == 0).then(timeout))
            .expect(&UDP, infra(), "pass")
            .await;
    }

    #[tokio::test]
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

    #[tokio::test]
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

    #[tokio::test]
    async fn what_the_harness_could_not_see_is_inconclusive() {
        let fakes = [
            Fake::healthy().local_errors(),
            Fake::healthy().agents_gone(),
            Fake::healthy().missing("client", "infra-2"),
            Fake::healthy().without_agents(),
            Fake::healthy().facts(|f| f.clusters[0].dns = None),
            Fake::healthy().facts(|f| f.services.clear()),
        ];
        for fake in fakes {
            fake.expect(&UDP, infra(), "inconclusive").await;
        }
    }
}
