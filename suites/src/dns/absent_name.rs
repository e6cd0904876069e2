//! A name that does not exist gets NXDOMAIN, and not silence, a failure or some address.

use crate::kit::{
    dns::{
        check::Questions,
        question::{Expected, Question},
        zone::{Zone, address_record},
    },
    probes, unique_name,
};
use async_trait::async_trait;
use meshproof_contract::{CheckContext, CheckId, CheckText, Transport, Verdict};

/// The code for a name that does not exist.
pub struct AbsentName;

#[async_trait]
impl Questions for AbsentName {
    fn id(&self) -> CheckId {
        CheckId::from("dns::absent_name")
    }

    fn text(&self) -> CheckText {
        CheckText {
            title: "A name that does not exist gets NXDOMAIN",
            proves: "Cluster DNS is authoritative for its domain: it reports a missing name at once, does not invent \
                     an address and does not fail.",
            how: "The client on every node asks, over UDP and TCP, for a random service name in a namespace that \
                  exists; the answer must be NXDOMAIN. After silence or SERVFAIL it asks six more times before that \
                  counts.",
            control: "In the same batch the name of an existing service must resolve to its address, so a server that \
                      answers NXDOMAIN to everything is red.",
            when_red: "An address: look for a wildcard or rewrite in the DNS server's configuration. SERVFAIL: the \
                       DNS server does not reach its API server or an upstream; `kubectl --context CONTEXT -n \
                       DNS_NAMESPACE logs POD --tail=50` for the pods in the evidence. REFUSED: the DNS proxy of an \
                       FQDN policy is on the path.",
        }
    }

    fn faults(&self) -> &'static [&'static str] {
        &["dns-absent-name-resolves"]
    }

    async fn questions(&self, context: &CheckContext, zone: &Zone) -> Result<Vec<Question>, Verdict> {
        let (service, address) = zone.cluster_ip(context, "server")?;
        let absent = zone.absolute(&service.namespace, &unique_name::label("absent"));
        let present = zone.absolute(&service.namespace, &service.name);
        let record = address_record(address);
        context.note(format!("the absent name was {absent}"));
        let of = |transport| {
            [
                Question {
                    label: format!("an absent name over {transport}"),
                    probe: probes::dns(&absent, record, None, transport),
                    expected: Expected::Absent,
                },
                Question {
                    label: format!("control: an existing name over {transport}"),
                    probe: probes::dns(&present, record, None, transport),
                    expected: Expected::address(address),
                },
            ]
        };
        Ok([Transport::Udp, Transport::Tcp].into_iter().flat_map(of).collect())
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

    const CHECK: DnsCheck<AbsentName> = DnsCheck(AbsentName);

    fn absent(action: &Action) -> bool {
        matches!(action, Action::Dns { name, .. } if name.starts_with("absent-"))
    }

    #[tokio::test(start_paused = true)]
    async fn nxdomain_is_green() {
        Fake::healthy().expect(&CHECK, infra(), "pass").await;
    }

    #[tokio::test(start_paused = true)]
    async fn an_address_another_code_or_silence_is_red() {
        let address = "10.96.0.1".parse().expect("address");
        let wrong = Fake::healthy().rule(move |p| absent(p.action).then(|| dns_answer(address)));
        wrong.expect(&CHECK, infra(), "fail").await;
        for code in [DnsCode::NoError, DnsCode::ServFail, DnsCode::Refused] {
            let fake = Fake::healthy().rule(move |p| absent(p.action).then(|| dns_code(code)));
            fake.expect(&CHECK, infra(), "fail").await;
        }
        let silent = Fake::healthy().rule(|p| absent(p.action).then(timeout));
        silent.expect(&CHECK, infra(), "fail").await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_denies_everything_is_red() {
        let fake = Fake::healthy().rule(|_| Some(dns_code(DnsCode::NxDomain)));
        fake.expect(&CHECK, infra(), "fail").await;
    }
}
