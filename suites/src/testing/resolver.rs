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
        let (host, service) = service
            .rsplit_once('.')
            .map_or((None, service), |(host, name)| (Some(host), name));
        if let Some(object) = self.objects.get(&cluster.into(), "Service", service) {
            if object["spec"]["type"] == "ExternalName" {
                let target = format!("{}.", object["spec"]["externalName"].as_str()?);
                return match record {
                    RecordType::Cname => Some(vec![DnsAnswer::Name(target)]),
                    _ => self.records(cluster, &target, record, follows),
                };
            }
            if object["spec"]["selector"].is_null() && object["spec"]["clusterIP"] == "None" {
                return self.of_slice(cluster, service, host);
            }
        }
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

    /// The addresses of a headless Service without selector, or those with that host name.
    fn of_slice(&self, cluster: &str, service: &str, host: Option<&str>) -> Option<Vec<DnsAnswer>> {
        let slices = self.objects.list(&cluster.into(), "EndpointSlice").into_iter();
        let mut own = slices.filter(|one| one["metadata"]["labels"]["kubernetes.io/service-name"] == service);
        let slice = own.next()?;
        let endpoints = slice["endpoints"].as_array()?.iter();
        let named = endpoints.filter(|one| host.is_none() || one["hostname"].as_str() == host);
        let addresses = named.filter_map(|one| one["addresses"][0].as_str()?.parse().ok());
        Some(addresses.map(DnsAnswer::Address).collect())
    }
}
