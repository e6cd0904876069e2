//! A named port of a service has an SRV record.

use super::NEEDS;
use crate::kit::dns::question::{Expected, Question, ask};
use crate::kit::dns::zone::Zone;
use crate::kit::probes;
use async_trait::async_trait;
use meshproof_contract::{
    Check, CheckContext, CheckId, CheckText, Needs, RecordType, Scope, Tally, Transport, Verdict,
};

/// The SRV record of a named port.
pub struct ServiceRecord;

#[async_trait]
impl Check for ServiceRecord {
    fn id(&self) -> CheckId {
        CheckId::from("dns::service_record")
    }

    fn text(&self) -> CheckText {
        CheckText {
            title: "A named port of a service has its SRV record",
            proves: "Clients that find ports by name (databases, LDAP, gRPC resolvers) get the service's name and its real port.",
            how: "The client on every node asks for `_http._tcp.server.<namespace>.svc.<domain>.` over UDP; the answer must be exactly the service's absolute name with the port that \
                  the API shows. Silence is asked again three times before it counts.",
            control: "The answer itself, compared with the API.",
            when_red: "`kubectl --context CONTEXT -n meshproof get svc server -o yaml` (is the port named?) and the DNS server's configuration.",
        }
    }

    fn scope(&self) -> Scope {
        Scope::Cluster
    }
    fn needs(&self) -> Needs {
        NEEDS
    }
    fn faults(&self) -> &'static [&'static str] {
        &["dns-missing-record"]
    }

    async fn run(&self, context: &CheckContext) -> Verdict {
        let zone = match Zone::of(context) {
            Ok(zone) => zone,
            Err(verdict) => return verdict,
        };
        let service = match zone.service(context, "server") {
            Ok(service) => service,
            Err(verdict) => return verdict,
        };
        let Some(port) = service.ports.get("http") else {
            return Verdict::inconclusive(
                "service `server` of the scenario has no port named `http`, so there is no SRV record to ask for",
            );
        };
        let target = zone.absolute(&service.namespace, &service.name);
        let name = format!("_http._tcp.{target}");
        let question = Question {
            label: format!("SRV {name}"),
            probe: probes::dns(&name, RecordType::Srv, None, Transport::Udp),
            expected: Expected::Service(target, *port),
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
    async fn the_port_is_green() {
        Fake::healthy().expect(&ServiceRecord, infra(), "pass").await;
    }

    #[tokio::test]
    async fn another_port_none_or_silence_is_red() {
        let other = || {
            dns_records(vec![DnsAnswer::Service {
                target: "server.meshproof.svc.cluster.local.".into(),
                port: 80,
            }])
        };
        Fake::healthy()
            .rule(move |_| Some(other()))
            .expect(&ServiceRecord, infra(), "fail")
            .await;
        Fake::healthy()
            .rule(|_| Some(dns_code(DnsCode::NxDomain)))
            .expect(&ServiceRecord, infra(), "fail")
            .await;
        Fake::healthy()
            .rule(|_| Some(timeout()))
            .expect(&ServiceRecord, infra(), "fail")
            .await;
    }

    #[tokio::test]
    async fn what_the_harness_could_not_see_is_inconclusive() {
        let unnamed = Fake::healthy().facts(|f| f.services.iter_mut().for_each(|s| s.ports.clear()));
        for fake in [
            unnamed,
            Fake::healthy().local_errors(),
            Fake::healthy().agents_gone(),
            Fake::healthy().without_agents(),
        ] {
            fake.expect(&ServiceRecord, infra(), "inconclusive").await;
        }
    }
}
