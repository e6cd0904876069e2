//! Short names resolve through the search domains of the pod.

use super::NEEDS;
use crate::kit::dns::question::{Expected, Question, ask};
use crate::kit::dns::zone::{Zone, address_record};
use crate::kit::probes;
use async_trait::async_trait;
use meshproof_contract::{Check, CheckContext, CheckId, CheckText, Needs, Scope, Tally, Transport, Verdict};

/// Short names, as applications use them.
pub struct SearchNames;

#[async_trait]
impl Check for SearchNames {
    fn id(&self) -> CheckId {
        CheckId::from("dns::search_names")
    }

    fn text(&self) -> CheckText {
        CheckText {
            title: "Short service names resolve through the pod's search domains",
            proves: "`server`, `server.<namespace>` and `server.<namespace>.svc` mean the service to an application, as its resolver configuration promises.",
            how: "The client on every node asks for the three short names with the search domains and ndots of its own resolv.conf, over UDP; each must end in NOERROR \
                  with exactly the service's cluster IP. Silence is asked again three times before it counts.",
            control: "The answer itself, compared with the API.",
            when_red: "dns::service_name_udp green and this red: the pod's resolv.conf; `kubectl --context CONTEXT -n meshproof get pod POD -o jsonpath='{.spec.dnsPolicy}{.spec.dnsConfig}'`, \
                       and the kubelet's clusterDomain, which must be the domain that cluster DNS serves.",
        }
    }

    fn scope(&self) -> Scope {
        Scope::Cluster
    }
    fn needs(&self) -> Needs {
        NEEDS
    }
    fn faults(&self) -> &'static [&'static str] {
        &["dns-wrong-cluster-address", "dns-missing-record"]
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
        let (name, namespace) = (&service.name, &service.namespace);
        let questions: Vec<Question> = [
            name.clone(),
            format!("{name}.{namespace}"),
            format!("{name}.{namespace}.svc"),
        ]
        .into_iter()
        .map(|short| Question {
            label: format!("`{short}`"),
            probe: probes::dns_search(&short, address_record(address), Transport::Udp),
            expected: Expected::address(address),
        })
        .collect();
        let mut tally = Tally::new();
        ask(context, &zone, &questions, &mut tally).await;
        tally.verdict()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Fake, dns_code, infra, timeout};
    use meshproof_contract::{Action, DnsCode};

    #[tokio::test]
    async fn short_names_are_green() {
        let text = Fake::healthy().expect(&SearchNames, infra(), "pass").await;
        assert!(text.contains("`server.meshproof.svc`"), "{text}");
    }

    #[tokio::test]
    async fn one_name_that_does_not_resolve_is_red() {
        let fake = Fake::healthy().rule(|p| {
            matches!(p.action, Action::Dns { name, .. } if name == "server.meshproof")
                .then(|| dns_code(DnsCode::NxDomain))
        });
        let text = fake.expect(&SearchNames, infra(), "fail").await;
        assert!(text.contains("`server.meshproof` from all 3 nodes"), "{text}");
        Fake::healthy()
            .rule(|_| Some(timeout()))
            .expect(&SearchNames, infra(), "fail")
            .await;
    }

    #[tokio::test]
    async fn what_the_harness_could_not_see_is_inconclusive() {
        for fake in [
            Fake::healthy().local_errors(),
            Fake::healthy().agents_gone(),
            Fake::healthy().without_agents(),
        ] {
            fake.expect(&SearchNames, infra(), "inconclusive").await;
        }
    }
}
