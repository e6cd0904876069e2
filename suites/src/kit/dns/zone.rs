//! What cluster DNS should know, as the cluster's API shows it.

use crate::kit::paths;
use meshproof_contract::{
    AgentFacts, CheckContext, DnsFacts, DnsReplica, Facts, NodeLabel, RecordType, ServiceFacts, Tally, Verdict,
};
use std::{net::IpAddr, sync::Arc};

/// Cluster DNS of one cluster with those who ask it: the client on every node.
pub struct Zone {
    /// The facts it was made of.
    pub facts: Arc<Facts>,
    /// Cluster DNS.
    pub dns: DnsFacts,
    /// The clients, in stable order.
    pub askers: Vec<AgentFacts>,
    missing: Vec<String>,
}

impl Zone {
    /// The zone of the instance's cluster asked by others, or why nothing can be asked.
    pub fn asked_by(context: &CheckContext, askers: Vec<AgentFacts>) -> Result<Zone, Verdict> {
        let facts = context.environment.facts();
        let dns = dns_of(&facts, context)?;
        Ok(Zone {
            facts,
            dns,
            askers,
            missing: Vec::new(),
        })
    }

    /// The zone of the instance's cluster, or why nothing can be asked.
    pub fn of(context: &CheckContext) -> Result<Zone, Verdict> {
        let facts = context.environment.facts();
        let cluster = context.instance.from();
        let askers = paths::agents(&facts, cluster, "client");
        let missing: Vec<String> = facts
            .missing_agents
            .iter()
            .filter(|m| &m.cluster == cluster && m.workload == "client")
            .map(paths::describe_missing)
            .collect();
        let dns = dns_of(&facts, context)?;
        if askers.is_empty() {
            let because = if missing.is_empty() {
                "none was found".to_owned()
            } else {
                missing.join("; ")
            };
            return Err(Verdict::inconclusive(format!(
                "no ready agent `client` in {cluster}: {because}"
            )));
        }
        Ok(Zone {
            facts,
            dns,
            askers,
            missing,
        })
    }

    /// The replicas that can be asked, or why there is none.
    pub fn replicas(&self) -> Result<&[DnsReplica], String> {
        let (namespace, name) = &self.dns.service;
        match self.dns.replicas.as_slice() {
            [] => Err(format!(
                "no ready endpoint of service {namespace}/{name} could be read, so no replica can be asked"
            )),
            replicas => Ok(replicas),
        }
    }

    /// The scenario's service of that name, or why it cannot be asked for.
    pub fn service(&self, context: &CheckContext, name: &str) -> Result<ServiceFacts, Verdict> {
        let cluster = context.instance.from();
        self.facts.service(cluster, name).cloned().ok_or_else(|| {
            Verdict::inconclusive(format!(
                "service `{name}` of the scenario was not found in {cluster}, so its name cannot be looked up"
            ))
        })
    }

    /// The service of that name with its cluster IP.
    pub fn cluster_ip(&self, context: &CheckContext, name: &str) -> Result<(ServiceFacts, IpAddr), Verdict> {
        let service = self.service(context, name)?;
        match service.address {
            Some(address) => Ok((service, address)),
            None => Err(Verdict::inconclusive(format!(
                "service `{name}` has no cluster IP to compare with"
            ))),
        }
    }

    /// The absolute name of a service, with the final dot.
    pub fn absolute(&self, namespace: &str, name: &str) -> String {
        format!("{name}.{namespace}.svc.{}.", self.dns.domain.trim_end_matches('.'))
    }

    /// Tallies the askers that are missing.
    pub fn note_missing(&self, tally: &mut Tally) {
        for why in &self.missing {
            tally.unknown(why.clone());
        }
    }

    /// Whose address this is, for findings.
    pub fn owner(&self, address: IpAddr) -> String {
        if let Some(service) = self.facts.services.iter().find(|s| s.address == Some(address)) {
            return format!("{address} (cluster IP of `{}` in {})", service.name, service.cluster);
        }
        if let Some(agent) = self.facts.agents.iter().find(|a| a.address == address) {
            return format!("{address} (pod {} on {})", agent.id, NodeLabel::from(agent));
        }
        address.to_string()
    }
}

fn dns_of(facts: &Facts, context: &CheckContext) -> Result<DnsFacts, Verdict> {
    let cluster = context.instance.from();
    facts.cluster(cluster).and_then(|c| c.dns.clone()).ok_or_else(|| {
        Verdict::inconclusive(format!(
            "cluster DNS of {cluster} was not found: no pod reported a nameserver in its resolv.conf"
        ))
    })
}

/// The record type that holds addresses of that family.
pub fn address_record(address: IpAddr) -> RecordType {
    match address {
        IpAddr::V4(_) => RecordType::A,
        IpAddr::V6(_) => RecordType::Aaaa,
    }
}

/// The absolute name to ask for the name of an address (RFC 1035 section 3.5, RFC 3596 section 2.5).
pub fn reverse_name(address: IpAddr) -> String {
    match address {
        IpAddr::V4(v4) => {
            let [a, b, c, d] = v4.octets();
            format!("{d}.{c}.{b}.{a}.in-addr.arpa.")
        }
        IpAddr::V6(v6) => {
            let nibbles: String = v6
                .octets()
                .iter()
                .rev()
                .flat_map(|byte| [byte & 0xf, byte >> 4])
                .map(|nibble| format!("{nibble:x}."))
                .collect();
            format!("{nibbles}ip6.arpa.")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reverse_names_are_as_the_rfcs_say() {
        assert_eq!(
            reverse_name("10.96.0.10".parse().expect("v4")),
            "10.0.96.10.in-addr.arpa."
        );
        assert_eq!(
            reverse_name("2001:db8::567:89ab".parse().expect("v6")),
            "b.a.9.8.7.6.5.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa."
        );
    }
}
