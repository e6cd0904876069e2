//! The stage of one test: a borrowed ward, its neighbours, and what policies mean with the version that runs.

use super::actor::{Actor, SCENARIO, cast, endpoint, mesh_name, namespace_labels};
use super::cell::{Ask, Cell};
use super::ward::{LABEL, Ward};
use crate::kit::probes;
use meshproof_contract::facts::PodNetwork;
use meshproof_contract::probe::Search;
use meshproof_contract::{
    Action, AgentFacts, AgentId, CheckContext, ClusterName, DnsAnswer, Environment, Facts, Instance, ObjectRef,
    Outcome, Probe, RecordType, Transport, Verdict,
};
use meshproof_oracle::{CidrMatch, DnsRefusal, EgressDenial, Party, Semantics, UnnamedCluster};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// Where a case is played.
pub struct Scene {
    /// The cluster whose API gets the policies; the ward is in it.
    pub cluster: ClusterName,
    /// Its name in the mesh.
    pub mesh: String,
    /// The name in the mesh of the other end's cluster; the same for an instance on one cluster.
    pub peer_mesh: String,
    /// Namespace of the ward.
    pub namespace: String,
    /// The ward's pods.
    pub wards: Vec<Arc<Actor>>,
    /// Pods that no policy selects, in the clusters of the instance.
    pub others: Vec<Arc<Actor>>,
    /// Agents on the nodes' own network, where any run.
    pub hosts: Vec<Arc<Actor>>,
    /// What the operators name of the world outside, as the ward resolves it.
    pub outside: Vec<Outside>,
    /// Cluster DNS, where its replicas are pods that policies can select.
    pub dns: Option<Dns>,
    /// What differs between versions and settings.
    pub semantics: Semantics,
    /// Whether Cilium's agents did not answer in time once: they are not asked again.
    pub mute: AtomicBool,
    ward: Ward,
}

/// A machine outside the clusters.
pub struct Outside {
    /// The machine.
    pub machine: Arc<Actor>,
    /// Its name, absolute.
    pub name: String,
    /// The port on which it listens.
    pub port: u16,
}

/// Cluster DNS as policies see it.
pub struct Dns {
    /// One of its replicas; a Service's replicas have the same labels.
    pub replica: Arc<Actor>,
    /// The port on which replicas listen.
    pub port: u16,
    /// Their namespace.
    pub namespace: String,
    /// The Service's name.
    pub service: String,
    /// The cluster's domain.
    pub domain: String,
}

impl Scene {
    /// Borrows a ward of these groups and reads who is there.
    pub async fn set(context: &CheckContext, groups: &[&'static str]) -> Result<Self, Verdict> {
        let facts = context.environment.facts();
        let cluster = context.instance.to().clone();
        let ward = Ward::borrow(&context.shared, &cluster, groups).await;
        let clusters: BTreeSet<ClusterName> = [context.instance.from().clone(), cluster.clone()].into();
        let clusters: Vec<ClusterName> = clusters.into_iter().collect();
        let actors = cast(context.environment.as_ref(), &clusters).await;
        let actors = actors.map_err(|error| Verdict::inconclusive(format!("the pods could not be read: {error}")))?;
        let mut scene = Self {
            dns: dns(context.environment.as_ref(), &facts, &cluster).await,
            mesh: mesh_name(&facts, &cluster),
            peer_mesh: mesh_name(&facts, context.instance.from()),
            semantics: semantics(&facts, &cluster),
            mute: AtomicBool::new(false),
            namespace: String::new(),
            wards: Vec::new(),
            others: Vec::new(),
            hosts: Vec::new(),
            outside: Vec::new(),
            cluster,
            ward,
        };
        for actor in actors.into_iter().map(Arc::new) {
            match &actor.party {
                Party::Endpoint(endpoint) => match endpoint.labels.get(LABEL) {
                    Some(group) if group == scene.ward.group() && *actor.cluster() == scene.cluster => {
                        scene.namespace.clone_from(&endpoint.namespace);
                        scene.wards.push(actor);
                    }
                    Some(_) => {}
                    None => scene.others.push(actor),
                },
                Party::Node { .. } => scene.hosts.push(actor),
                Party::World { .. } => {}
            }
        }
        if scene.wards.is_empty() {
            return Err(Verdict::inconclusive(format!(
                "{}: no pod of group {} is ready, so no policy can be tried on it{}",
                scene.cluster,
                scene.ward.group(),
                states(&facts, &scene.cluster)
            )));
        }
        scene.outside = outside(context, &facts, &scene.wards[0]).await;
        Ok(scene)
    }

    /// The ward asks every machine outside.
    pub fn reaching(&self) -> Vec<Cell> {
        let asks = self.outside.iter().flat_map(|outside| {
            let ask = Ask::Reach {
                name: outside.name.clone(),
                port: outside.port,
            };
            Self::cells(&self.wards, std::slice::from_ref(&outside.machine), &[ask])
        });
        asks.collect()
    }

    /// Tells the ready nodes on which no pod of the ward is: a spread over nodes is a wish, and what is not there is not tried.
    pub fn tell_nodes(&self, context: &CheckContext) {
        let facts = context.environment.facts();
        let nodes = facts.cluster(&self.cluster).map_or(&[][..], |cluster| &cluster.nodes);
        let without = nodes
            .iter()
            .filter(|node| node.ready && !self.wards.iter().any(|ward| ward.agent.node == node.name));
        let without: Vec<&str> = without.map(|node| node.name.as_str()).collect();
        if !without.is_empty() {
            context.note(format!(
                "no pod of group {} is on {}: policies were not tried there",
                self.ward.group(),
                without.join(", ")
            ));
        }
    }

    /// A policy's selector of the ward.
    pub fn selector(&self) -> Value {
        json!({"matchLabels": {LABEL: self.ward.group()}})
    }

    /// The pods outside the ward that a matrix uses: of the ward's cluster every pod, of another cluster one of each workload on each
    /// node, since what one node does to traffic another one need not do.
    pub fn neighbours(&self, instance: &Instance) -> Vec<Arc<Actor>> {
        let mut seen = BTreeSet::new();
        let far = |actor: &Actor| *actor.cluster() != *instance.to();
        let key = |actor: &Actor| {
            let agent = &actor.agent;
            (agent.id.cluster.clone(), agent.workload.clone(), agent.node.clone())
        };
        let first = |actor: &&Arc<Actor>| !far(actor) || seen.insert(key(actor));
        self.others.iter().filter(first).cloned().collect()
    }

    /// Cells from each of `from` to each of `to`, for each of `asks`.
    pub fn cells(from: &[Arc<Actor>], to: &[Arc<Actor>], asks: &[Ask]) -> Vec<Cell> {
        let pairs = from.iter().flat_map(|from| to.iter().map(move |to| (from, to)));
        pairs
            .filter(|(from, to)| from.agent.id != to.agent.id)
            .flat_map(|(from, to)| {
                asks.iter().map(|ask| Cell {
                    from: from.clone(),
                    to: to.clone(),
                    ask: ask.clone(),
                })
            })
            .collect()
    }
}

/// The machines outside whose names the pod can resolve: the others cannot take part.
async fn outside(context: &CheckContext, facts: &Facts, asker: &Actor) -> Vec<Outside> {
    let absolute = |name: &str| format!("{}.", name.trim_end_matches('.'));
    let probes = facts.outside.iter().map(|outside| {
        let action = Action::Dns {
            name: absolute(&outside.name),
            record: RecordType::A,
            server: None,
            transport: Transport::Udp,
            search: Search::Absolute,
        };
        Probe::once(action, probes::DEADLINE)
    });
    let probes: Vec<Probe> = probes.collect();
    if probes.is_empty() {
        return Vec::new();
    }
    let outcomes = context
        .environment
        .probe(&asker.agent.id, probes)
        .await
        .unwrap_or_default();
    let found = facts.outside.iter().zip(&outcomes).filter_map(|(outside, outcome)| {
        let Outcome::Dns { answers, .. } = outcome else {
            return None;
        };
        let address = answers.iter().find_map(|answer| match answer {
            DnsAnswer::Address(address) => Some(*address),
            _ => None,
        })?;
        let agent = AgentFacts {
            id: AgentId {
                cluster: "outside".into(),
                pod: outside.name.clone(),
            },
            workload: outside.name.clone(),
            namespace: String::new(),
            address,
            ..asker.agent.clone()
        };
        let names = vec![outside.name.trim_end_matches('.').to_ascii_lowercase()];
        let party = Party::World { address, names };
        Some(Outside {
            machine: Arc::new(Actor { agent, party }),
            name: absolute(&outside.name),
            port: outside.port,
        })
    });
    found.collect()
}

/// Cluster DNS with one of its replicas as policies see it; none if that is not a pod on the pod network.
async fn dns(environment: &dyn Environment, facts: &Facts, cluster: &ClusterName) -> Option<Dns> {
    let found = facts.cluster(cluster)?.dns.as_ref()?;
    let (namespace, service) = found.service.clone();
    let replica = found.replicas.first()?;
    let object = ObjectRef {
        api_version: "v1".to_owned(),
        kind: "Pod".to_owned(),
        namespace: Some(namespace.clone()),
        name: replica.pod.clone(),
    };
    let pod = environment.get(cluster, &object).await.ok()??;
    if pod["spec"]["hostNetwork"] == true {
        return None;
    }
    let labels = namespace_labels(environment, cluster, &namespace).await.ok()?;
    let agent = AgentFacts {
        id: AgentId {
            cluster: cluster.clone(),
            pod: replica.pod.clone(),
        },
        scenario: SCENARIO.to_owned(),
        workload: "cluster DNS".to_owned(),
        namespace: namespace.clone(),
        node: replica.node.clone()?,
        address: replica.address,
        network: PodNetwork::Pod,
    };
    let party = Party::Endpoint(endpoint(&pod, &mesh_name(facts, cluster), &namespace, &labels));
    Some(Dns {
        replica: Arc::new(Actor { agent, party }),
        port: replica.port,
        namespace,
        service,
        domain: found.domain.trim_matches('.').to_owned(),
    })
}

/// What policies mean there (docs.cilium.io, "Upgrade Guide" of 1.19: `policy-default-local-cluster` is on by default since).
pub fn semantics(facts: &Facts, cluster: &ClusterName) -> Semantics {
    let cilium = facts.cluster(cluster).and_then(|c| c.cilium.as_ref());
    let since_1_19 = cilium.is_some_and(|c| is_at_least(&c.version, (1, 19)));
    let local = cilium
        .and_then(|c| c.flag("policy-default-local-cluster"))
        .unwrap_or(since_1_19);
    let setting = |key: &str| cilium.and_then(|c| c.config.get(key)).map(String::as_str);
    let nodes =
        setting("policy-cidr-match-mode").is_some_and(|mode| mode.split([',', ' ']).any(|word| word == "nodes"));
    Semantics {
        unnamed_cluster: if local {
            UnnamedCluster::Local
        } else {
            UnnamedCluster::Any
        },
        cidr_matches_nodes: if nodes {
            CidrMatch::NodesToo
        } else {
            CidrMatch::WorldOnly
        },
        dns_refusal: match setting("tofqdns-dns-reject-response-code") {
            Some("nameError") => DnsRefusal::NameError,
            _ => DnsRefusal::Refused,
        },
        egress_denial: match setting("policy-deny-response") {
            Some("icmp") => EgressDenial::Icmp,
            _ => EgressDenial::Silent,
        },
    }
}

fn is_at_least(version: &str, least: (u32, u32)) -> bool {
    let mut parts = version
        .trim_start_matches('v')
        .split(['.', '-'])
        .map_while(|part| part.parse().ok());
    match (parts.next(), parts.next()) {
        (Some(major), Some(minor)) => (major, minor) >= least,
        _ => false,
    }
}

/// The last states of agents of this scenario that should run there and do not.
fn states(facts: &Facts, cluster: &ClusterName) -> String {
    let missing = facts.missing_agents.iter().filter(|m| &m.cluster == cluster);
    let has_others = facts
        .agents
        .iter()
        .any(|a| a.scenario == SCENARIO && a.network == PodNetwork::Pod);
    let mut told: BTreeSet<String> = missing.map(|m| format!("{}: {}", m.workload, m.state)).collect();
    if !has_others && told.is_empty() {
        told.insert(format!("scenario {SCENARIO} has no agents"));
    }
    match told.len() {
        0 => String::new(),
        _ => format!(" ({})", told.into_iter().collect::<Vec<_>>().join("; ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kinds_of_refusal_are_those_of_the_live_settings() {
        let of = |key: &str, value: &str| {
            let fake = crate::testing::Fake::healthy().facts(|facts| {
                let cilium = facts.clusters[0].cilium.as_mut().expect("cilium");
                cilium.config.insert(key.to_owned(), value.to_owned());
            });
            semantics(&fake.facts, &"infra".into())
        };
        let usual = of("x", "y");
        assert_eq!(
            (usual.dns_refusal, usual.egress_denial),
            (DnsRefusal::Refused, EgressDenial::Silent)
        );
        let named = of("tofqdns-dns-reject-response-code", "nameError");
        assert_eq!(named.dns_refusal, DnsRefusal::NameError);
        assert_eq!(of("policy-deny-response", "icmp").egress_denial, EgressDenial::Icmp);
    }

    #[test]
    fn versions_are_compared_by_number() {
        assert!(is_at_least("1.19.0-rc.1", (1, 19)));
        assert!(is_at_least("v1.20.1", (1, 19)));
        assert!(!is_at_least("1.18.3", (1, 19)));
        assert!(!is_at_least("1.9.9", (1, 19)));
        assert!(!is_at_least("", (1, 19)));
    }
}
