//! Policies that send traffic through Cilium's proxies: it leaves the node from the proxy then, and no longer from the pod.

use crate::kit::cilium::nodes::place;
use super::peers::agents;
use super::{LISTENER, TALKER};
use crate::kit::object::policy;
use crate::kit::wait::{self, Waited};
use futures::future::join_all;
use meshproof_contract::claim::ClaimSource;
use meshproof_contract::probe::Connection;
use meshproof_contract::{
    Action, AgentFacts, CheckContext, Claim, ClaimKind, ClusterName, DnsCode, DnsFacts, Facts, ObjectRef, Outcome,
    Probe, RecordType, Search, Target, Transport, Verdict, port,
};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

/// A proxy of Cilium's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Via {
    /// The agent's DNS proxy.
    Dns,
    /// Envoy.
    Http,
}

const DEADLINE: Duration = Duration::from_secs(1);
const INTERVAL: Duration = Duration::from_millis(200);

/// A policy under which pods of a cluster speak through a proxy.
pub struct Redirect {
    cluster: ClusterName,
    policy: ObjectRef,
}

/// Who speaks, and to whom.
struct Ends<'a> {
    /// The cluster of both.
    cluster: &'a ClusterName,
    /// Who speaks; never empty.
    speakers: Vec<&'a AgentFacts>,
    /// The pods that are asked over HTTP.
    servers: Vec<&'a AgentFacts>,
    /// Cluster DNS.
    dns: Option<&'a DnsFacts>,
}

impl Via {
    /// The claim without which nobody promises the proxy.
    fn claim(self) -> ClaimKind {
        match self {
            Via::Dns => ClaimKind::FqdnPolicy,
            Via::Http => ClaimKind::L7Policy,
        }
    }

    /// The workload that speaks through it. Not the same for both: where Envoy is promised and absent, agents wait for it before they
    /// go on with a pod's policies.
    fn speaker(self) -> &'static str {
        match self {
            Via::Dns => TALKER,
            Via::Http => LISTENER,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Via::Dns => "the DNS proxy",
            Via::Http => "an HTTP proxy",
        }
    }
}

impl Redirect {
    /// Applies the policy, and waits until the proxy shows itself to every speaker by refusing what the policy does not admit.
    pub async fn apply(context: &CheckContext, via: Via) -> Result<Self, Verdict> {
        let facts = context.environment.facts();
        let ends = Ends::of(&facts, context.instance.from(), via)?;
        let Some(claim) = facts.claim(ends.cluster, via.claim()) else {
            return Err(Verdict::skipped(format!("not claimed: {}", via.claim())));
        };
        let controls = ends.controls(via)?;
        let policy = policy::named(policy::cilium(ends.spec(via)), &ends.speakers[0].namespace);
        let redirect = Self {
            cluster: ends.cluster.clone(),
            policy: ObjectRef::of(&policy),
        };
        let applied = context.environment.apply(ends.cluster, policy).await;
        applied.map_err(|error| Verdict::inconclusive(format!("the policy could not be applied: {error}")))?;
        let limit = facts.thresholds.policy_enforcement;
        let shown = wait::until(limit, INTERVAL, || refused(context, via, &controls)).await;
        let Waited::GaveUp(missing) = shown else {
            return Ok(redirect);
        };
        redirect.lift(context).await;
        let seen = format!(
            "{} did not show itself within {} s by refusing what a policy does not admit: {}",
            via.name(),
            limit.as_secs(),
            missing.join("; ")
        );
        Err(never_shown(via, claim, seen))
    }

    /// Deletes the policy.
    pub async fn lift(&self, context: &CheckContext) {
        if let Err(error) = context.environment.delete(&self.cluster, &self.policy).await {
            context.note(format!(
                "policy {} is left until the run's end: {error}",
                self.policy.name
            ));
        }
    }
}

/// `enable-l7-proxy` is on by default and the DNS proxy needs it, so by itself it promises no Envoy; whoever does so in words is
/// taken by them.
fn never_shown(via: Via, claim: &Claim, seen: String) -> Verdict {
    match (via, &claim.source) {
        (Via::Http, ClaimSource::Live { object }) => Verdict::skipped(format!(
            "{seen}; that {object} is set claims no HTTP proxy by itself (claim `l7-policy` in meshproof.yaml if there should be one)"
        )),
        _ => Verdict::inconclusive(seen),
    }
}

impl<'a> Ends<'a> {
    fn of(facts: &'a Facts, cluster: &'a ClusterName, via: Via) -> Result<Self, Verdict> {
        let speakers: Vec<_> = agents(facts, cluster, via.speaker()).collect();
        if speakers.is_empty() {
            return Err(Verdict::inconclusive(format!(
                "no pod `{}` is ready in {cluster}",
                via.speaker()
            )));
        }
        Ok(Self {
            cluster,
            speakers,
            servers: agents(facts, cluster, TALKER).collect(),
            dns: facts.cluster(cluster).and_then(|c| c.dns.as_ref()),
        })
    }

    /// The policy closes nothing, and admits through the proxy what the flows send.
    fn spec(&self, via: Via) -> Value {
        let ports = |ports: BTreeSet<u16>, protocol: &str| -> Vec<Value> {
            let port = |port: u16| json!({"port": port.to_string(), "protocol": protocol});
            ports.into_iter().map(port).collect()
        };
        let (ports, rules) = match via {
            Via::Dns => {
                let replicas = self.dns.into_iter().flat_map(|dns| &dns.replicas);
                let domain = self.dns.map_or("", |dns| dns.domain.as_str());
                let pattern = format!("*.{}.svc.{domain}", self.speakers[0].namespace);
                (
                    ports(replicas.map(|replica| replica.port).chain([53]).collect(), "ANY"),
                    json!({"dns": [{"matchPattern": pattern}]}),
                )
            }
            Via::Http => (
                ports(
                    self.servers.iter().map(|server| server.port(port::HTTP)).collect(),
                    "TCP",
                ),
                json!({"http": [{"method": "GET"}]}),
            ),
        };
        json!({
            "endpointSelector": {"matchLabels": {"role": via.speaker()}},
            "enableDefaultDeny": {"egress": false, "ingress": false},
            "egress": [{"toEntities": ["all"], "toPorts": [{"ports": ports, "rules": rules}]}],
        })
    }

    /// What the proxy refuses to each speaker, and whoever else answers does not.
    fn controls(&self, via: Via) -> Result<Vec<(AgentFacts, Probe)>, Verdict> {
        let missing = |what: &str| Verdict::inconclusive(format!("{what} in {}", self.cluster));
        let control = match via {
            Via::Dns => {
                let dns = self.dns.ok_or_else(|| missing("no cluster DNS was found"))?;
                let replica = dns
                    .replicas
                    .first()
                    .ok_or_else(|| missing("no replica of cluster DNS is ready"))?;
                Action::Dns {
                    name: format!("kubernetes.default.svc.{}.", dns.domain),
                    record: RecordType::A,
                    server: Some(SocketAddr::new(replica.address, replica.port)),
                    transport: Transport::Udp,
                    search: Search::Absolute,
                }
            }
            Via::Http => {
                let server = self
                    .servers
                    .first()
                    .ok_or_else(|| missing("no pod that answers is ready"))?;
                http(server, "PUT", Vec::new())
            }
        };
        let speakers = self.speakers.iter();
        Ok(speakers
            .map(|speaker| ((*speaker).clone(), Probe::once(control.clone(), DEADLINE)))
            .collect())
    }
}

/// A request over HTTP that carries a marker, as text.
pub fn marked_request(to: &AgentFacts, marker: meshproof_contract::Marker) -> Action {
    http(to, "GET", vec![("x-marker".to_owned(), marker.to_string())])
}

fn http(to: &AgentFacts, method: &str, headers: Vec<(String, String)>) -> Action {
    Action::Http {
        to: Target::new(to.address.to_string(), to.port(port::HTTP)),
        method: method.to_owned(),
        path: crate::kit::probes::IDENTITY_PAGE.to_owned(),
        headers,
        body: 0,
        connection: Connection::New,
    }
}

/// Whether every speaker's control is refused by the proxy; else what the others saw.
async fn refused(context: &CheckContext, via: Via, controls: &[(AgentFacts, Probe)]) -> Result<(), Vec<String>> {
    let asked = controls.iter().map(|(speaker, probe)| async move {
        let seen = match context.environment.probe(&speaker.id, vec![probe.clone()]).await {
            Ok(outcomes) => match outcomes.first() {
                Some(outcome) if by_proxy(via, outcome) => return None,
                Some(outcome) => outcome.to_string(),
                None => "no outcome".to_owned(),
            },
            Err(error) => error.to_string(),
        };
        Some(format!("{}: {seen}", place(&speaker.id.cluster, &speaker.node)))
    });
    let missing: Vec<String> = join_all(asked).await.into_iter().flatten().collect();
    match missing.is_empty() {
        true => Ok(()),
        false => Err(missing),
    }
}

/// A name that exists is refused with the configured code (`tofqdns-dns-reject-response-code`); a request gets 403.
fn by_proxy(via: Via, outcome: &Outcome) -> bool {
    match (via, outcome) {
        (Via::Dns, Outcome::Dns { code, .. }) => matches!(code, DnsCode::Refused | DnsCode::NxDomain),
        (Via::Http, Outcome::Answered { status, .. }) => *status == Some(403),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_a_proxy_says_shows_it() {
        let timing = meshproof_contract::Timing::default();
        let dns = |code| Outcome::Dns {
            code,
            answers: Vec::new(),
            server: [10, 96, 0, 10].into(),
            timing,
        };
        assert!(by_proxy(Via::Dns, &dns(DnsCode::Refused)) && by_proxy(Via::Dns, &dns(DnsCode::NxDomain)));
        assert!(!by_proxy(Via::Dns, &dns(DnsCode::NoError)) && !by_proxy(Via::Http, &dns(DnsCode::Refused)));
        assert!(!by_proxy(Via::Dns, &Outcome::Timeout { timing }));
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
        let word = |via, claim: &Claim| never_shown(via, claim, "nothing came".to_owned()).word();
        assert_eq!(word(Via::Http, &live), "skipped");
        assert_eq!(word(Via::Http, &stated), "inconclusive");
        assert_eq!(word(Via::Dns, &live), "inconclusive");
    }
}
