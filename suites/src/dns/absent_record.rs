//! A name without a record of a type gets an empty answer, and not NXDOMAIN: resolvers take that for the whole name.

use crate::kit::{
    dns::{
        check::Questions,
        question::{Expected, Question},
        zone::{Zone, address_record},
    },
    probes,
};
use async_trait::async_trait;
use meshproof_contract::{CheckContext, CheckId, CheckText, RecordType, Transport, Verdict};

/// The answer for an address of the other family.
pub struct AbsentRecord;

#[async_trait]
impl Questions for AbsentRecord {
    fn id(&self) -> CheckId {
        CheckId::from("dns::absent_record")
    }

    fn text(&self) -> CheckText {
        CheckText {
            title: "A name that has addresses of one family only gets an empty answer for the other",
            proves: "Programs that ask for IPv4 and IPv6 at once find the Service: NXDOMAIN or silence for AAAA makes \
                     many of them give up on the name, or wait.",
            how: "The client on every node asks, over UDP and TCP, for the record of the family that Service `server` \
                  has no cluster IP of (AAAA for an IPv4 Service); the answer must be NOERROR without any record. \
                  After silence or SERVFAIL it asks six more times before that counts.",
            control: "In the same batch the record of the other family must be the Service's cluster IP.",
            when_red: "NXDOMAIN: look for a rewrite or template that answers AAAA in `kubectl --context CONTEXT -n \
                       DNS_NAMESPACE get configmaps -o yaml`. Silence: a proxy or firewall on the path drops AAAA; \
                       compare dns::service_name_udp.",
        }
    }

    fn faults(&self) -> &'static [&'static str] {
        &["dns-aaaa-nxdomain"]
    }

    async fn questions(&self, context: &CheckContext, zone: &Zone) -> Result<Vec<Question>, Verdict> {
        let (service, address) = zone.cluster_ip(context, "server")?;
        let name = zone.absolute(&service.namespace, &service.name);
        let present = address_record(address);
        let absent = match present {
            RecordType::A => RecordType::Aaaa,
            _ => RecordType::A,
        };
        let of = |transport| {
            [
                Question {
                    label: format!("{name}, the other address family, over {transport}"),
                    probe: probes::dns(&name, absent, None, transport),
                    expected: Expected::NoRecord,
                },
                Question {
                    label: format!("control: {name} over {transport}"),
                    probe: probes::dns(&name, present, None, transport),
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
        testing::{Fake, dns_code, infra, timeout},
    };
    use meshproof_contract::{Action, DnsCode};

    const CHECK: DnsCheck<AbsentRecord> = DnsCheck(AbsentRecord);

    fn is_other_family(action: &Action) -> bool {
        matches!(
            action,
            Action::Dns {
                record: RecordType::Aaaa,
                ..
            }
        )
    }

    #[tokio::test(start_paused = true)]
    async fn an_empty_answer_is_green() {
        Fake::healthy().expect(&CHECK, infra(), "pass").await;
    }

    #[tokio::test(start_paused = true)]
    async fn another_code_or_silence_is_red() {
        for code in [DnsCode::NxDomain, DnsCode::ServFail] {
            let fake = Fake::healthy().rule(move |p| is_other_family(p.action).then(|| dns_code(code)));
            fake.expect(&CHECK, infra(), "fail").await;
        }
        let silent = Fake::healthy().rule(|p| is_other_family(p.action).then(timeout));
        silent.expect(&CHECK, infra(), "fail").await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_without_any_records_is_red() {
        let fake = Fake::healthy().rule(|_| Some(dns_code(DnsCode::NoError)));
        fake.expect(&CHECK, infra(), "fail").await;
    }
}
