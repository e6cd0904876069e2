//! Policies that redirect traffic to Cilium's proxies: it then leaves the node from the proxy instead of the pod.

use super::{LISTENER, TALKER, peers::agents};
use crate::kit::{
    object::policy,
    probes::IDENTITY_PAGE,
    wait::{self, Waited},
};
use futures::future::join_all;
use meshproof_contract::{
    Action, AgentFacts, CheckContext, Claim, ClaimKind, ClaimSource, ClusterName, DnsCode, DnsFacts, Facts, Marker,
    NodeLabel, ObjectRef, Outcome, Probe, RecordType, Search, Target, Transport, Verdict, port, probe::Connection,
};
use serde_json::{Value, json};
use std::{collections::BTreeSet, net::SocketAddr, time::Duration};

/// A proxy of Cilium's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proxy {
    /// The agent's DNS proxy.
    Dns,
    /// Envoy.
    Http,
}

const DEADLINE: Duration = Duration::from_secs(1);
const INTERVAL: Duration = Duration::from_millis(200);

/// A policy under which pods of a cluster send through a proxy.
pub struct Redirect {
    cluster: ClusterName,
    policy: ObjectRef,
}

/// Who sends, and to whom.
struct Endpoints<'a> {
    /// The cluster of both.
    cluster: &'a ClusterName,
    /// Who sends; never empty.
    senders: Vec<&'a AgentFacts>,
    /// The pods that are asked over HTTP.
    servers: Vec<&'a AgentFacts>,
    /// Cluster DNS.
    dns: Option<&'a DnsFacts>,
}

impl Proxy {
    /// The claim that promises the proxy.
    fn claim(self) -> ClaimKind {
        match self {
            Proxy::Dns => ClaimKind::FqdnPolicy,
            Proxy::Http => ClaimKind::L7Policy,
        }
    }

    /// The workload that sends through it. Not the same for both: where Envoy is promised and absent, agents wait for
    /// it before they go on with a pod's policies.
    fn sender(self) -> &'static str {
        match self {
            Proxy::Dns => TALKER,
            Proxy::Http => LISTENER,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Proxy::Dns => "the DNS proxy",
            Proxy::Http => "an HTTP proxy",
        }
    }
}

impl Redirect {
    /// Applies the policy, and waits until the proxy refuses every sender something that the policy does not allow, and
    /// passes on what it allows.
    pub async fn apply(context: &CheckContext, proxy: Proxy) -> Result<Self, Verdict> {
        let facts = context.environment.facts();
        let endpoints = Endpoints::of(&facts, context.instance.from(), proxy)?;
        let Some(claim) = facts.claim(endpoints.cluster, proxy.claim()) else {
            return Err(Verdict::skipped(format!("not claimed: {}", proxy.claim())));
        };
        let controls = endpoints.controls(&facts, proxy)?;
        let policy = policy::named(policy::cilium(endpoints.spec(proxy)), &endpoints.senders[0].namespace);
        let redirect = Self {
            cluster: endpoints.cluster.clone(),
            policy: ObjectRef::of(&policy),
        };
        let applied = context.environment.apply(endpoints.cluster, policy).await;
        applied.map_err(|error| Verdict::inconclusive(format!("cannot apply the policy: {error}")))?;
        let limit = facts.thresholds.policy_enforcement;
        let shown = wait::until(limit, INTERVAL, || in_use(context, proxy, &controls)).await;
        let Waited::GaveUp(missing) = shown else {
            return Ok(redirect);
        };
        redirect.remove(context).await;
        let seen = format!(
            "{} did not refuse within {} s what the policy does not allow and pass on what it allows: {}",
            proxy.name(),
            limit.as_secs(),
            missing.join("; ")
        );
        Err(not_in_use(proxy, claim, seen))
    }

    /// Deletes the policy.
    pub async fn remove(&self, context: &CheckContext) {
        if let Err(error) = context.environment.delete(&self.cluster, &self.policy).await {
            context.note(format!(
                "policy {} stays until the end of the run: {error}",
                self.policy.name
            ));
        }
    }
}

/// `enable-l7-proxy` is on by default and the DNS proxy needs it, so by itself it promises no Envoy; a claim of the
/// operators does.
fn not_in_use(proxy: Proxy, claim: &Claim, seen: String) -> Verdict {
    match (proxy, &claim.source) {
        (Proxy::Http, ClaimSource::Live { object }) => Verdict::skipped(format!(
            "{seen}; {object} alone does not claim an HTTP proxy (set `l7-policy` in meshproof.yaml if there should \
             be one)"
        )),
        _ => Verdict::inconclusive(seen),
    }
}

impl<'a> Endpoints<'a> {
    fn of(facts: &'a Facts, cluster: &'a ClusterName, proxy: Proxy) -> Result<Self, Verdict> {
        let senders: Vec<_> = agents(facts, cluster, proxy.sender()).collect();
        if senders.is_empty() {
            return Err(Verdict::inconclusive(format!(
                "no ready agent `{}` in {cluster}",
                proxy.sender()
            )));
        }
        Ok(Self {
            cluster,
            senders,
            servers: agents(facts, cluster, TALKER).collect(),
            dns: facts.cluster(cluster).and_then(|c| c.dns.as_ref()),
        })
    }

    /// The policy allows every flow, those through the proxy by a rule of the proxy's alone. It has default deny,
    /// without which a proxy refuses nothing (semantics A3; pkg/policy/l4.go).
    fn spec(&self, proxy: Proxy) -> Value {
        let egress = match proxy {
            Proxy::Dns => self.through_dns_proxy(),
            Proxy::Http => self.through_http_proxy(),
        };
        json!({"endpointSelector": {"matchLabels": {"role": proxy.sender()}}, "egress": egress})
    }

    /// Rules without ports open no name (semantics A14; pkg/fqdn/dnsproxy/proxy.go).
    fn through_dns_proxy(&self) -> Value {
        let replicas = self.dns.into_iter().flat_map(|dns| &dns.replicas);
        let numbers: BTreeSet<u16> = replicas.map(|replica| replica.port).chain([53]).collect();
        let numbers = numbers.into_iter();
        let ports: Vec<Value> = numbers
            .map(|port| json!({"port": port.to_string(), "protocol": "ANY"}))
            .collect();
        let domain = self.dns.map_or("", |dns| dns.domain.as_str());
        let pattern = format!("*.{}.svc.{domain}", self.senders[0].namespace);
        json!([
            {"toEntities": ["all"]},
            {"toEntities": ["all"], "toPorts": [{"ports": ports, "rules": {"dns": [{"matchPattern": pattern}]}}]},
        ])
    }

    /// Any rule that opens a port opens it to every request (semantics A13; envoy:cilium/network_policy.cc), so the
    /// others have all ports but these.
    fn through_http_proxy(&self) -> Value {
        let proxied: BTreeSet<u16> = self.servers.iter().map(|server| server.port(port::HTTP)).collect();
        let ports = proxied
            .iter()
            .map(|port| json!({"port": port.to_string(), "protocol": "TCP"}));
        let ports: Vec<Value> = ports.collect();
        let range = |first: u16, last: u16, protocol: &str| {
            let first = first.to_string();
            json!({"port": first, "endPort": last, "protocol": protocol})
        };
        let mut others = vec![range(1, u16::MAX, "UDP")];
        let ends = proxied.iter().copied().chain([u16::MAX]);
        let mut first = 1;
        for end in ends {
            let last = if end == u16::MAX { end } else { end - 1 };
            if first <= last {
                others.push(range(first, last, "TCP"));
            }
            first = end.saturating_add(1);
        }
        let echo = json!({"family": "IPv4", "type": 8});
        json!([
            {"toEntities": ["all"], "toPorts": [{"ports": ports, "rules": {"http": [{"method": "GET"}]}}]},
            {"toEntities": ["all"], "toPorts": [{"ports": others}]},
            {"toEntities": ["all"], "icmps": [{"fields": [echo]}]},
        ])
    }

    /// What shows each sender that the proxy is in use.
    fn controls(&self, facts: &Facts, proxy: Proxy) -> Result<Vec<Controls>, Verdict> {
        let missing = |what: &str| Verdict::inconclusive(format!("no {what} in {}", self.cluster));
        let (refused, admitted) = match proxy {
            Proxy::Dns => {
                let dns = self.dns.ok_or_else(|| missing("cluster DNS"))?;
                let replica = dns.replicas.first();
                let replica = replica.ok_or_else(|| missing("ready replica of cluster DNS"))?;
                let service = facts.service(self.cluster, LISTENER);
                let service = service.ok_or_else(|| missing("Service `listener`"))?;
                let server = SocketAddr::new(replica.address, replica.port);
                (
                    question(format!("kubernetes.default.svc.{}.", dns.domain), server),
                    question(
                        format!("{}.{}.svc.{}.", service.name, service.namespace, dns.domain),
                        server,
                    ),
                )
            }
            Proxy::Http => {
                let server = self.servers.first().ok_or_else(|| missing("ready agent `talker`"))?;
                (http(server, "PUT", Vec::new()), http(server, "GET", Vec::new()))
            }
        };
        let senders = self.senders.iter();
        let controls = senders.map(|sender| Controls {
            sender: (*sender).clone(),
            refused: Probe::once(refused.clone(), DEADLINE),
            admitted: Probe::once(admitted.clone(), DEADLINE),
        });
        Ok(controls.collect())
    }
}

/// What one sender tries.
struct Controls {
    sender: AgentFacts,
    /// What the proxy refuses, and nobody else would.
    refused: Probe,
    /// What it passes on, and nobody refuses.
    admitted: Probe,
}

fn question(name: String, server: SocketAddr) -> Action {
    Action::Dns {
        name,
        record: RecordType::A,
        server: Some(server),
        transport: Transport::Udp,
        search: Search::Absolute,
    }
}

/// A request over HTTP that carries a marker, as text.
pub fn marked_request(to: &AgentFacts, marker: Marker) -> Action {
    http(to, "GET", vec![("x-marker".to_owned(), marker.to_string())])
}

fn http(to: &AgentFacts, method: &str, headers: Vec<(String, String)>) -> Action {
    Action::Http {
        to: Target::new(to.address.to_string(), to.port(port::HTTP)),
        method: method.to_owned(),
        path: IDENTITY_PAGE.to_owned(),
        headers,
        body: 0,
        connection: Connection::New,
    }
}

/// Whether every sender's controls came out as they do behind the proxy; else what the others saw.
async fn in_use(context: &CheckContext, proxy: Proxy, controls: &[Controls]) -> Result<(), Vec<String>> {
    let asked = controls.iter().map(|control| async move {
        let probes = vec![control.refused.clone(), control.admitted.clone()];
        let seen = match context.environment.probe(&control.sender.id, probes).await {
            Ok(outcomes) => match &outcomes[..] {
                [refused, admitted] if !by_proxy(proxy, refused) => {
                    format!("{refused} for what it must refuse, and {admitted} for the other")
                }
                [_, admitted] if !passed_on(admitted) => format!("{admitted} for what it must pass on"),
                [_, _] => return None,
                _ => "no outcome".to_owned(),
            },
            Err(error) => error.to_string(),
        };
        Some(format!("{}: {seen}", NodeLabel::from(&control.sender)))
    });
    let missing: Vec<String> = join_all(asked).await.into_iter().flatten().collect();
    if missing.is_empty() { Ok(()) } else { Err(missing) }
}

/// Answered by the server itself.
fn passed_on(outcome: &Outcome) -> bool {
    match outcome {
        Outcome::Dns { code, .. } => *code == DnsCode::NoError,
        Outcome::Answered { status, .. } => *status == Some(200),
        _ => false,
    }
}

/// A name that exists is refused with the configured code (`tofqdns-dns-reject-response-code`); a request gets 403.
fn by_proxy(proxy: Proxy, outcome: &Outcome) -> bool {
    match (proxy, outcome) {
        (Proxy::Dns, Outcome::Dns { code, .. }) => matches!(code, DnsCode::Refused | DnsCode::NxDomain),
        (Proxy::Http, Outcome::Answered { status, .. }) => *status == Some(403),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_proxys_own_refusal_counts() {
        let timing = meshproof_contract::Timing::default();
        let dns = |code| Outcome::Dns {
            code,
            answers: Vec::new(),
            server: [10, 96, 0, 10].into(),
            timing,
        };
        assert!(by_proxy(Proxy::Dns, &dns(DnsCode::Refused)) && by_proxy(Proxy::Dns, &dns(DnsCode::NxDomain)));
        assert!(!by_proxy(Proxy::Dns, &dns(DnsCode::NoError)) && !by_proxy(Proxy::Http, &dns(DnsCode::Refused)));
        assert!(!by_proxy(Proxy::Dns, &Outcome::Timeout { timing }));
        assert!(passed_on(&dns(DnsCode::NoError)) && !passed_on(&dns(DnsCode::NxDomain)));
    }

    #[test]
    fn a_proxy_that_only_the_live_configuration_promises_may_be_absent() {
        let claim = |source| Claim {
            cluster: "infra".into(),
            kind: ClaimKind::L7Policy,
            value: "true".to_owned(),
            source,
        };
        let live = claim(ClaimSource::Live {
            object: "ConfigMap kube-system/cilium-config: enable-l7-proxy".to_owned(),
        });
        let stated = claim(ClaimSource::File {
            path: "meshproof.yaml".to_owned(),
            line: 7,
        });
        let word = |proxy, claim: &Claim| not_in_use(proxy, claim, "no answer".to_owned()).word();
        assert_eq!(word(Proxy::Http, &live), "skipped");
        assert_eq!(word(Proxy::Http, &stated), "inconclusive");
        assert_eq!(word(Proxy::Dns, &live), "inconclusive");
    }
}
