//! The agents and services of one event: the client that carries the streams, the backends, and the controls.

use super::{SCENARIO, quiet_node, workload};
use meshproof_contract::{AgentFacts, CheckContext, ClusterName, Consent, Facts, Identity, Verdict};
use std::{net::IpAddr, sync::Arc, time::Duration};

/// Replicas of the backends in the scenario.
pub const REPLICAS: usize = 2;

/// A service of the scenario, as a client uses it.
pub struct Service {
    pub address: IpAddr,
    /// Its DNS name, absolute.
    pub dns_name: String,
    pub name: String,
    pub namespace: String,
}

impl Service {
    /// The service of the scenario in a cluster.
    pub fn of(facts: &Facts, cluster: &ClusterName, name: &str) -> Result<Self, Verdict> {
        let missing = |what: &str| Verdict::inconclusive(format!("{cluster}: {what} of service {name} was not found"));
        let service = facts.service(cluster, name).ok_or_else(|| missing("the object"))?;
        let address = service.address.ok_or_else(|| missing("the address"))?;
        Ok(Self {
            address,
            dns_name: absolute_name(facts, cluster, name, &service.namespace),
            name: name.to_owned(),
            namespace: service.namespace.clone(),
        })
    }
}

fn absolute_name(facts: &Facts, cluster: &ClusterName, service: &str, namespace: &str) -> String {
    let dns = facts.cluster(cluster).and_then(|c| c.dns.as_ref());
    let domain = dns.map_or("cluster.local", |dns| dns.domain.as_str());
    format!("{service}.{namespace}.svc.{domain}.")
}

/// Everything that an event needs to begin.
pub struct Participants {
    pub facts: Arc<Facts>,
    /// Those on the cluster's quiet node first.
    pub clients: Vec<AgentFacts>,
    pub backends: Vec<AgentFacts>,
    /// The control pods of every cluster, as they are now: one on a node that was lost has a successor. In other
    /// clusters those on the quiet node.
    neighbours: Vec<AgentFacts>,
}

impl Participants {
    /// Those of a cluster with this workload as backends, complete and ready; skipped where the operators did not allow
    /// disruptions.
    pub async fn of(context: &CheckContext, cluster: &ClusterName, backends: &str) -> Result<Self, Verdict> {
        let facts = context.environment.facts();
        if facts.consent == Consent::Withheld {
            return Err(Verdict::skipped(
                "this check disrupts the clusters, and the run was started without --disruptive",
            ));
        }
        let backends = workload::ready(context, cluster, backends, REPLICAS).await?;
        let clients = workload::ready(context, cluster, "client", 1).await?;
        let mut neighbours = Vec::new();
        for other in &facts.clusters {
            let found = context.environment.agents(&other.name, SCENARIO, "neighbour").await;
            let mut found = found.map_err(|error| Verdict::inconclusive(error.to_string()))?;
            if &other.name != cluster {
                let quiet = quiet_node::find(context, &other.name).await?;
                found.retain(|neighbour| quiet.as_ref().is_none_or(|quiet| *quiet == neighbour.node));
            }
            neighbours.extend(found);
        }
        let mut participants = Self {
            facts,
            clients,
            backends,
            neighbours,
        };
        participants.quiet_first(context, cluster);
        Ok(participants)
    }

    /// Puts the clients on the quiet node first.
    pub fn quiet_first(&mut self, context: &CheckContext, cluster: &ClusterName) {
        let quiet = quiet_node::of(context, cluster, &self.clients);
        self.clients.sort_by_key(|client| Some(&client.node) != quiet.as_ref());
    }

    /// The address and name of a service in a cluster.
    pub fn service(&self, cluster: &ClusterName, name: &str) -> Result<Service, Verdict> {
        Service::of(&self.facts, cluster, name)
    }

    /// The API server's name in a cluster, which every cluster has and no event affects.
    pub fn unaffected_name(&self, cluster: &ClusterName) -> String {
        absolute_name(&self.facts, cluster, "kubernetes", "default")
    }

    /// After how long a cluster withdraws the backends of one that it cannot reach; none: never, which is Cilium's
    /// default.
    pub fn cache_ttl(&self, cluster: &ClusterName) -> Option<Duration> {
        let cilium = self.facts.cluster(cluster)?.cilium.as_ref()?;
        let ttl = seconds(cilium.setting("clustermesh-cache-ttl")?)?;
        (ttl > 0).then(|| Duration::from_secs(ttl))
    }

    /// The control pod on a client's node.
    pub fn neighbour(&self, client: &AgentFacts) -> Result<&AgentFacts, Verdict> {
        let mut neighbours = self.neighbours.iter();
        let found = neighbours.find(|n| n.id.cluster == client.id.cluster && n.node == client.node);
        found.ok_or_else(|| {
            Verdict::inconclusive(format!(
                "no control pod `neighbour` is ready on {}, so other losses there could not be distinguished from the \
                 event's",
                client.node
            ))
        })
    }

    /// A control pod in another cluster; none in a run on one cluster.
    pub fn neighbour_in_other_cluster(&self, cluster: &ClusterName) -> Option<&AgentFacts> {
        self.neighbours.iter().find(|n| &n.id.cluster != cluster)
    }
}

/// Whether an answer comes from a cluster.
pub fn by(cluster: &ClusterName) -> impl Fn(Option<&Identity>) -> bool + Copy {
    move |server| server.is_some_and(|server| server.cluster == cluster.as_str())
}

/// Whole seconds of a duration as Go writes it (`1m30s`, `0s`); none where it is not one.
fn seconds(text: &str) -> Option<u64> {
    let (mut total, mut number) = (0, String::new());
    for letter in text.chars() {
        match letter {
            '0'..='9' | '.' => number.push(letter),
            unit => {
                let value: f64 = std::mem::take(&mut number).parse().ok()?;
                total += match unit {
                    'h' => (value * 3600.0) as u64,
                    'm' => (value * 60.0) as u64,
                    's' => value as u64,
                    _ => return None,
                };
            }
        }
    }
    number.is_empty().then_some(total)
}

#[cfg(test)]
mod tests {
    use super::seconds;

    #[test]
    fn durations_are_read_as_go_writes_them() {
        assert_eq!(seconds("0s"), Some(0));
        assert_eq!(seconds("1m30s"), Some(90));
        assert_eq!(seconds("2h0m5s"), Some(7205));
        assert_eq!(seconds("soon"), None);
    }
}
