//! A named port of a service has an SRV record.

use crate::kit::{
    dns::{
        check::Questions,
        question::{Expected, Question},
        zone::Zone,
    },
    probes,
};
use async_trait::async_trait;
use meshproof_contract::{CheckContext, CheckId, CheckText, RecordType, Transport, Verdict};

/// The SRV record of a named port.
pub struct ServiceRecord;

#[async_trait]
impl Questions for ServiceRecord {
    fn id(&self) -> CheckId {
        CheckId::from("dns::service_record")
    }

    fn text(&self) -> CheckText {
        CheckText {
            title: "A named port of a service has its SRV record",
            proves: "Clients that find ports by name (databases, LDAP, gRPC resolvers) get the service's name and its \
                     real port.",
            how: "The client on every node asks for `_http._tcp.server.<namespace>.svc.<domain>.` over UDP; the \
                  answer must be exactly the service's absolute name with the port in the API. After silence it asks \
                  six more times before that counts.",
            control: "The answer itself, compared with the API.",
            when_red: "`kubectl --context CONTEXT -n NAMESPACE get svc server -o yaml` (does the port have a name?), \
                       then the DNS server's configuration.",
        }
    }

    fn faults(&self) -> &'static [&'static str] {
        &["dns-missing-record"]
    }

    async fn questions(&self, context: &CheckContext, zone: &Zone) -> Result<Vec<Question>, Verdict> {
        let service = zone.service(context, "server")?;
        let Some(port) = service.ports.get("http") else {
            return Err(Verdict::inconclusive(
                "service `server` of the scenario has no port named `http`, so it has no SRV record to ask for",
            ));
        };
        let target = zone.absolute(&service.namespace, &service.name);
        let name = format!("_http._tcp.{target}");
        Ok(vec![Question {
            label: format!("SRV {name}"),
            probe: probes::dns(&name, RecordType::Srv, None, Transport::Udp),
            expected: Expected::Service(target, *port),
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
    async fn the_port_is_green() {
        Fake::healthy().expect(&DnsCheck(ServiceRecord), infra(), "pass").await;
    }

    #[tokio::test(start_paused = true)]
    async fn another_port_none_or_silence_is_red() {
        let other = || {
            dns_records(vec![DnsAnswer::Service {
                target: "server.meshproof.svc.cluster.local.".into(),
                port: 80,
            }])
        };
        Fake::healthy()
            .rule(move |_| Some(other()))
            .expect(&DnsCheck(ServiceRecord), infra(), "fail")
            .await;
        Fake::healthy()
            .rule(|_| Some(dns_code(DnsCode::NxDomain)))
            .expect(&DnsCheck(ServiceRecord), infra(), "fail")
            .await;
        Fake::healthy()
            .rule(|_| Some(timeout()))
            .expect(&DnsCheck(ServiceRecord), infra(), "fail")
            .await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_service_without_that_port_is_inconclusive() {
        let unnamed = Fake::healthy().facts(|f| f.services.iter_mut().for_each(|s| s.ports.clear()));
        unnamed.expect(&DnsCheck(ServiceRecord), infra(), "inconclusive").await;
    }
}
