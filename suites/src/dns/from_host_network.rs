//! Cluster DNS answers host-network pods.

use crate::kit::{
    dns::{
        check::Questions,
        question::{Expected, Question},
        zone::{Zone, address_record},
    },
    paths, probes,
};
use async_trait::async_trait;
use meshproof_contract::{CheckContext, CheckId, CheckText, Transport, Verdict};
use std::net::SocketAddr;

/// Questions of host-network pods.
pub struct FromHostNetwork;

/// The port of DNS.
const PORT: u16 = 53;

#[async_trait]
impl Questions for FromHostNetwork {
    fn id(&self) -> CheckId {
        CheckId::from("dns::from_host_network")
    }
    fn text(&self) -> CheckText {
        CheckText {
            title: "Host-network pods get the right answer from cluster DNS over UDP and TCP",
            proves: "Host-network pods with `dnsPolicy: ClusterFirstWithHostNet` resolve the names of Services: every \
                     node sends what its own processes ask to a DNS replica, and the answer comes back.",
            how: "The host-network agent on every node asks the cluster IP of the DNS Service for the absolute name \
                  of Service `server`, over UDP and TCP; the answer must be NOERROR with exactly its cluster IP. After \
                  silence or SERVFAIL it asks six more times before that counts.",
            control: "The answer itself: a silent server is a finding.",
            when_red: "If dns::service_name_udp is green on the same node, only the host is concerned: does `kubectl \
                       --context CONTEXT -n kube-system exec AGENT_POD -c cilium-agent -- cilium-dbg status --verbose` \
                       show Socket LB as Enabled? See service::from_host_network, too. If only questions to replicas \
                       on other nodes are lost, see connectivity::host_to_pod_*.",
        }
    }
    fn faults(&self) -> &'static [&'static str] {
        &["dns-missing-record"]
    }

    fn zone(&self, context: &CheckContext) -> Result<Zone, Verdict> {
        let cluster = context.instance.from();
        let hosts = paths::agents(&context.environment.facts(), cluster, "node");
        if hosts.is_empty() {
            return Err(Verdict::inconclusive(format!("no ready agent `node` in {cluster}")));
        }
        Zone::asked_by(context, hosts)
    }

    async fn questions(&self, context: &CheckContext, zone: &Zone) -> Result<Vec<Question>, Verdict> {
        let (service, address) = zone.cluster_ip(context, "server")?;
        let name = zone.absolute(&service.namespace, &service.name);
        let server = SocketAddr::new(zone.dns.address, PORT);
        let question = |transport| Question {
            label: format!("{name} over {transport} of {server}"),
            probe: probes::dns(&name, address_record(address), Some(server), transport),
            expected: Expected::address(address),
        };
        Ok([Transport::Udp, Transport::Tcp].map(question).into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        kit::dns::check::DnsCheck,
        testing::{Fake, dns_answer, infra, timeout},
    };
    use meshproof_contract::Action;

    const CHECK: DnsCheck<FromHostNetwork> = DnsCheck(FromHostNetwork);

    #[tokio::test(start_paused = true)]
    async fn the_right_address_is_green_and_silence_to_hosts_is_red() {
        Fake::healthy().expect(&CHECK, infra(), "pass").await;
        let silent = Fake::healthy().rule(|p| {
            let asks = matches!(p.action, Action::Dns { .. });
            (asks && p.from.workload == "node" && p.from.node.as_str() == "infra-2").then(timeout)
        });
        let text = silent.expect(&CHECK, infra(), "fail").await;
        assert!(text.contains("infra-2"), "{text}");
        let address = "10.97.0.1".parse().expect("address");
        let wrong = Fake::healthy().rule(move |p| (p.from.workload == "node").then(|| dns_answer(address)));
        wrong.expect(&CHECK, infra(), "fail").await;
    }

    #[tokio::test(start_paused = true)]
    async fn without_hosts_it_is_inconclusive() {
        let mut fake = Fake::healthy();
        for node in ["infra-1", "infra-2", "infra-3"] {
            fake = fake.missing("node", node);
        }
        fake.expect(&CHECK, infra(), "inconclusive").await;
    }
}
