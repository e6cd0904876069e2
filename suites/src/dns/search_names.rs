//! Short names resolve through the search domains of the pod.

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

/// Short names, as applications use them.
pub struct SearchNames;

#[async_trait]
impl Questions for SearchNames {
    fn id(&self) -> CheckId {
        CheckId::from("dns::search_names")
    }

    fn text(&self) -> CheckText {
        CheckText {
            title: "Short service names resolve through the pod's search domains",
            proves: "Applications reach the service as `server`, `server.<namespace>` and `server.<namespace>.svc`.",
            how: "The client on every node asks for the three short names over UDP with the search domains and ndots \
                  of its own resolv.conf; each answer must be NOERROR with exactly the service's cluster IP. After \
                  silence it asks six more times before that counts.",
            control: "The answer itself, compared with the API.",
            when_red: "If dns::service_name_udp is green, check what the pods' resolv.conf is made of: `kubectl \
                       --context CONTEXT -n NAMESPACE get pods -o \
                       custom-columns=NAME:.metadata.name,POLICY:.spec.dnsPolicy`, and the kubelet's clusterDomain, \
                       which must be the domain that cluster DNS serves.",
        }
    }

    fn faults(&self) -> &'static [&'static str] {
        &["dns-wrong-cluster-address", "dns-missing-record"]
    }

    async fn questions(&self, context: &CheckContext, zone: &Zone) -> Result<Vec<Question>, Verdict> {
        let (service, address) = zone.cluster_ip(context, "server")?;
        let (name, namespace) = (service.name, service.namespace);
        let names = [
            name.clone(),
            format!("{name}.{namespace}"),
            format!("{name}.{namespace}.svc"),
        ];
        let question = |short: String| Question {
            label: format!("`{short}`"),
            probe: probes::dns_search(&short, address_record(address), Transport::Udp),
            expected: Expected::address(address),
        };
        Ok(names.into_iter().map(question).collect())
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

    #[tokio::test(start_paused = true)]
    async fn short_names_are_green() {
        let text = Fake::healthy().expect(&DnsCheck(SearchNames), infra(), "pass").await;
        assert!(text.contains("`server.meshproof.svc`"), "{text}");
    }

    #[tokio::test(start_paused = true)]
    async fn the_replica_that_is_silent_is_named_and_not_the_node_that_met_it() {
        let fake = Fake::healthy().rule(|p| {
            let Action::Dns { server, .. } = p.action else {
                return None;
            };
            let met = server.is_none() && p.from.node.as_str() == "infra-1";
            let silent = server.is_some_and(|server| server.ip().to_string() == "10.244.2.3");
            (met || silent).then(timeout)
        });
        let text = fake.expect(&DnsCheck(SearchNames), infra(), "fail").await;
        assert!(
            text.contains("replica coredns-2 on infra-2 answers no node") && text.contains("is chance"),
            "{text}"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn one_name_that_does_not_resolve_is_red() {
        let fake = Fake::healthy().rule(|p| {
            matches!(p.action, Action::Dns { name, .. } if name == "server.meshproof")
                .then(|| dns_code(DnsCode::NxDomain))
        });
        let text = fake.expect(&DnsCheck(SearchNames), infra(), "fail").await;
        assert!(text.contains("`server.meshproof` from all 3 nodes"), "{text}");
        Fake::healthy()
            .rule(|_| Some(timeout()))
            .expect(&DnsCheck(SearchNames), infra(), "fail")
            .await;
    }
}
