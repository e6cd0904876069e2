//! A name that nobody has gets NXDOMAIN, and not silence, a failure or somebody's address.

use super::NEEDS;
use crate::kit::dns::question::{Expected, Question, ask};
use crate::kit::dns::zone::{Zone, address_record};
use crate::kit::{probes, unique_name};
use async_trait::async_trait;
use meshproof_contract::{Check, CheckContext, CheckId, CheckText, Needs, Scope, Tally, Transport, Verdict};

/// The code for a name that does not exist.
pub struct AbsentName;

#[async_trait]
impl Check for AbsentName {
    fn id(&self) -> CheckId {
        CheckId::from("dns::absent_name")
    }

    fn text(&self) -> CheckText {
        CheckText {
            title: "A name that does not exist gets NXDOMAIN",
            proves: "Cluster DNS is authoritative for its domain: it says at once that a name is not there, does not make one up, and does not fail.",
            how: "The client on every node asks, over UDP and TCP, for a service name drawn at random for this run in a namespace that exists; the answer must be NXDOMAIN. \
                  Silence and SERVFAIL are asked again three times before they count.",
            control: "In the same batch the name of the service that exists must resolve to its address: a server that says NXDOMAIN to everything is red.",
            when_red: "An address: a wildcard or rewrite in the DNS server's configuration. SERVFAIL: the DNS server does not reach its API server or an upstream: \
                       `kubectl --context CONTEXT -n NAMESPACE logs POD --tail=50` for the pods that the evidence names. REFUSED: an FQDN policy's DNS proxy stands between.",
        }
    }

    fn scope(&self) -> Scope {
        Scope::Cluster
    }
    fn needs(&self) -> Needs {
        NEEDS
    }
    fn faults(&self) -> &'static [&'static str] {
        &["dns-absent-name-resolves"]
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
        let absent = zone.absolute(&service.namespace, &unique_name::label("absent"));
        let present = zone.absolute(&service.namespace, &service.name);
        let record = address_record(address);
        let mut questions = Vec::new();
        for transport in [Transport::Udp, Transport::Tcp] {
            questions.push(Question {
                label: format!("an absent name over {transport}"),
                probe: probes::dns(&absent, record, None, transport),
                expected: Expected::Absent,
            });
            questions.push(Question {
                label: format!("control, the present name over {transport}"),
                probe: probes::dns(&present, record, None, transport),
                expected: Expected::address(address),
            });
        }
        let mut tally = Tally::new();
        ask(context, &zone, &questions, &mut tally).await;
        context.note(format!("the absent name was {absent}"));
        tally.verdict()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Fake, dns_answer, dns_code, infra, timeout};
    use meshproof_contract::{Action, DnsCode};

    fn absent(action: &Action) -> bool {
        matches!(action, Action::Dns { name, .. } if name.starts_with("absent-"))
    }

    #[tokio::test]
    async fn nxdomain_is_green() {
        Fake::healthy().expect(&AbsentName, infra(), "pass").await;
    }

    #[tokio::test]
    async fn an_address_another_code_or_silence_is_red() {
        let address = "10.96.0.1".parse().expect("address");
        Fake::healthy()
            .rule(move |p| absent(p.action).then(|| dns_answer(address)))
            .expect(&AbsentName, infra(), "fail")
            .await;
        for code in [DnsCode::NoError, DnsCode::ServFail, DnsCode::Refused] {
            Fake::healthy()
                .rule(move |p| absent(p.action).then(|| dns_code(code)))
                .expect(&AbsentName, infra(), "fail")
                .await;
        }
        Fake::healthy()
            .rule(|p| absent(p.action).then(timeout))
            .expect(&AbsentName, infra(), "fail")
            .await;
    }

    #[tokio::test]
    async fn a_server_that_denies_everything_is_red() {
        Fake::healthy()
            .rule(|_| Some(dns_code(DnsCode::NxDomain)))
            .expect(&AbsentName, infra(), "fail")
            .await;
    }

    #[tokio::test]
    async fn what_the_harness_could_not_see_is_inconclusive() {
        for fake in [
            Fake::healthy().local_errors(),
            Fake::healthy().agents_gone(),
            Fake::healthy().without_agents(),
        ] {
            fake.expect(&AbsentName, infra(), "inconclusive").await;
        }
    }
}
