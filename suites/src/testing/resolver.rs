//! Cluster DNS as it should be, out of the objects that a replica knows.

use super::{
    Fake,
    fake::{AT_ONCE, Follows},
    network,
};
use meshproof_contract::probe::Search;
use meshproof_contract::{AgentFacts, DnsAnswer, DnsCode, Outcome, RecordType};
use std::net::{IpAddr, SocketAddr};

impl Fake {
    pub(super) fn resolve(
        &self,
        from: &AgentFacts,
        name: &str,
        record: RecordType,
        server: Option<SocketAddr>,
        search: Search,
    ) -> Outcome {
        let dns = self
            .facts
            .clusters
            .iter()
            .find(|c| c.name == from.id.cluster)
            .and_then(|c| c.dns.as_ref());
        let replica = server.and_then(|server| dns?.replicas.iter().find(|r| r.address == server.ip()));
        let follows = replica
            .and_then(|r| self.replicas.get(&r.pod))
            .copied()
            .unwrap_or(AT_ONCE);
        let cluster = from.id.cluster.as_str();
        let candidates: Vec<String> = match search {
            Search::Absolute => vec![name.to_owned()],
            Search::ResolvConf => ["meshproof.svc.cluster.local.", "svc.cluster.local.", "cluster.local."]
                .iter()
                .map(|domain| format!("{name}.{domain}"))
                .collect(),
        };
        let answers = candidates
            .iter()
            .find_map(|name| self.records(cluster, name, record, follows));
        let total = u64::from(self.latency);
        match answers {
            Some(answers) => network::dns(DnsCode::NoError, answers, total),
            None => network::dns(DnsCode::NxDomain, Vec::new(), total),
        }
    }

    fn records(&self, cluster: &str, name: &str, record: RecordType, follows: Follows) -> Option<Vec<DnsAnswer>> {
        let suffix = ".meshproof.svc.cluster.local.";
        if record == RecordType::Ptr {
            let reversed = name.strip_suffix(".in-addr.arpa.")?;
            let address = reversed.split('.').rev().collect::<Vec<_>>().join(".");
            let service = self.objects.service_at(cluster, &address)?;
            return Some(vec![DnsAnswer::Name(format!("{service}{suffix}"))]);
        }
        if let Some(target) = name.strip_prefix("_http._tcp.") {
            return Some(vec![DnsAnswer::Service {
                target: target.trim_end_matches('.').to_owned(),
                port: 8080,
            }]);
        }
        let service = name.strip_suffix(suffix)?;
        if record == RecordType::Aaaa {
            return self.objects.address_of(cluster, service, follows).map(|_| Vec::new());
        }
        match self.objects.address_of(cluster, service, follows)?.parse::<IpAddr>() {
            Ok(address) => Some(vec![DnsAnswer::Address(address)]),
            Err(_) => {
                let servers = self
                    .facts
                    .agents
                    .iter()
                    .filter(|a| a.id.cluster.as_str() == cluster && a.workload == "server");
                Some(servers.map(|a| DnsAnswer::Address(a.address)).collect())
            }
        }
    }
}
