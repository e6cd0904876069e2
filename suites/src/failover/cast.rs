//! Who plays: the client that carries the streams, the backends, the neighbours, and the scenario's services.

use super::now;
use crate::kit::object::pod;
use meshproof_contract::{AgentFacts, CheckContext, ClusterName, Consent, Facts, Identity, ObjectRef, Tally, Verdict};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

pub const SCENARIO: &str = "failover";
/// Replicas of the backends in the scenario.
pub const REPLICAS: usize = 2;
/// How long backends may take to be ready (again) before and after an event.
const READY_WITHIN: Duration = Duration::from_secs(60);
/// Pods that are deleted at most to spread the others.
const SPREADS: usize = 3;
const LOOK: Duration = Duration::from_millis(100);

/// A service of the scenario, as a client asks for it.
pub struct Service {
    pub address: IpAddr,
    /// Absolute.
    pub name: String,
}

/// Everything that a check needs to begin.
pub struct Cast {
    pub facts: std::sync::Arc<Facts>,
    pub clients: Vec<AgentFacts>,
    pub backends: Vec<AgentFacts>,
    /// In every cluster, as they are now: one on a node that was lost has a successor.
    neighbours: Vec<AgentFacts>,
}

impl Cast {
    /// The cast of a cluster, complete and ready; skipped where nobody allowed to disturb.
    pub async fn of(context: &CheckContext, cluster: &ClusterName) -> Result<Self, Verdict> {
        let facts = context.environment.facts();
        if facts.consent == Consent::Withheld {
            return Err(Verdict::skipped(
                "it disturbs the clusters, and the run was not started with --disruptive",
            ));
        }
        let backends = ready(context, cluster, "backend", REPLICAS).await?;
        let clients = ready(context, cluster, "client", 1).await?;
        let mut neighbours = Vec::new();
        for cluster in &facts.clusters {
            let found = context.environment.agents(&cluster.name, SCENARIO, "neighbour").await;
            neighbours.extend(found.map_err(|error| Verdict::inconclusive(error.to_string()))?);
        }
        Ok(Self {
            facts,
            clients,
            backends,
            neighbours,
        })
    }

    /// The address and name of a service in a cluster.
    pub fn service(&self, cluster: &ClusterName, name: &str) -> Result<Service, Verdict> {
        let missing = |what: &str| Verdict::inconclusive(format!("{what} of service {name} in {cluster} is not known"));
        let service = self.facts.service(cluster, name).ok_or_else(|| missing("the object"))?;
        let address = service.address.ok_or_else(|| missing("the address"))?;
        let name = self.name(cluster, name, &service.namespace);
        Ok(Service { address, name })
    }

    /// The API server's name in a cluster, which every cluster has and no event concerns.
    pub fn lasting_name(&self, cluster: &ClusterName) -> String {
        self.name(cluster, "kubernetes", "default")
    }

    fn name(&self, cluster: &ClusterName, service: &str, namespace: &str) -> String {
        let dns = self.facts.cluster(cluster).and_then(|c| c.dns.as_ref());
        let domain = dns.map_or("cluster.local", |dns| dns.domain.as_str());
        format!("{service}.{namespace}.svc.{domain}.")
    }

    /// After how long a cluster withdraws the backends of one that it cannot reach; none: never, which is Cilium's default.
    pub fn cache_ttl(&self, cluster: &ClusterName) -> Option<Duration> {
        let cilium = self.facts.cluster(cluster)?.cilium.as_ref()?;
        let ttl = seconds(cilium.config.get("clustermesh-cache-ttl")?)?;
        (ttl > 0).then(|| Duration::from_secs(ttl))
    }

    /// A neighbour on a client's node.
    pub fn neighbour(&self, client: &AgentFacts) -> Result<&AgentFacts, Verdict> {
        let here = self
            .neighbours
            .iter()
            .find(|n| n.id.cluster == client.id.cluster && n.node == client.node);
        here.ok_or_else(|| {
            Verdict::inconclusive(format!(
                "no neighbour is ready on {}, so there is no control",
                client.node
            ))
        })
    }

    /// A neighbour in another cluster; none in a run on one cluster.
    pub fn elsewhere(&self, cluster: &ClusterName) -> Option<&AgentFacts> {
        self.neighbours.iter().find(|n| &n.id.cluster != cluster)
    }
}

/// Whether an answer comes from a cluster.
pub fn by(cluster: &ClusterName) -> impl Fn(Option<&Identity>) -> bool + Copy {
    move |who| who.is_some_and(|who| who.cluster == cluster.as_str())
}

/// The agents of a workload once at least so many are ready.
pub async fn ready(
    context: &CheckContext,
    cluster: &ClusterName,
    workload: &str,
    at_least: usize,
) -> Result<Vec<AgentFacts>, Verdict> {
    let begun = now();
    loop {
        let found = context.environment.agents(cluster, SCENARIO, workload).await;
        let found = found.map_err(|error| Verdict::inconclusive(error.to_string()))?;
        if found.len() >= at_least {
            return Ok(found);
        }
        if now() - begun > READY_WITHIN {
            return Err(Verdict::inconclusive(format!(
                "{} of at least {at_least} agents `{workload}` were ready in {cluster} after {} s",
                found.len(),
                READY_WITHIN.as_secs()
            )));
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Agents of one workload on several nodes. Where all are on one while another could take them, pods of theirs are deleted one by
/// one: their Deployment spreads softly, and what comes after an event goes where there is room.
pub async fn spread(context: &CheckContext, crowded: Vec<AgentFacts>) -> Result<Vec<AgentFacts>, Verdict> {
    let mut agents = crowded;
    for _ in 0..SPREADS {
        let Some(one) = agents.last().cloned() else { break };
        if agents.len() < 2 || agents.iter().any(|other| other.node != one.node) {
            break;
        }
        let nodes = context.environment.list(&one.id.cluster, "v1", "Node", None).await;
        let nodes = nodes.map_err(|error| Verdict::inconclusive(error.to_string()))?;
        if !nodes
            .iter()
            .any(|node| takes_pods(node) && node["metadata"]["name"] != one.node.as_str())
        {
            break;
        }
        context.note(format!(
            "all agents `{}` are on {}: deleting {} to spread them",
            one.workload, one.node, one.id
        ));
        let deleted = context.environment.delete(&one.id.cluster, &pod::of(&one)).await;
        deleted.map_err(|error| Verdict::inconclusive(error.to_string()))?;
        agents = without(context, &one, agents.len()).await?;
    }
    Ok(agents)
}

/// So many agents of a workload, this one not among them.
async fn without(context: &CheckContext, gone: &AgentFacts, at_least: usize) -> Result<Vec<AgentFacts>, Verdict> {
    let begun = now();
    loop {
        let mut found = ready(context, &gone.id.cluster, &gone.workload, at_least).await?;
        found.retain(|agent| agent.id != gone.id);
        if found.len() >= at_least {
            return Ok(found);
        }
        if now() - begun > READY_WITHIN {
            return Err(Verdict::inconclusive(format!(
                "{} was deleted and is still there after {} s, or has no successor",
                gone.id,
                READY_WITHIN.as_secs()
            )));
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Whether a node is ready and takes new pods.
fn takes_pods(node: &Value) -> bool {
    let mut conditions = node["status"]["conditions"].as_array().into_iter().flatten();
    let ready = conditions.any(|condition| condition["type"] == "Ready" && condition["status"] == "True");
    ready && node["spec"]["unschedulable"] != true
}

/// Since when each of these agents' pods is ready, as the API has it: what was not ready for a moment shows another time
/// afterwards. None where it could not be read.
pub async fn ready_since(context: &CheckContext, agents: &[AgentFacts]) -> Option<BTreeMap<String, Value>> {
    let mut since = BTreeMap::new();
    for agent in agents {
        let object = context.environment.get(&agent.id.cluster, &pod::of(agent)).await.ok()?;
        let ready = object.as_ref().and_then(pod::ready);
        since.insert(agent.id.to_string(), ready.cloned().unwrap_or_default());
    }
    Some(since)
}

/// What could not be done is left open, beside all that was seen.
pub fn leave_open<T>(tally: &mut Tally, done: &Result<T, Verdict>) {
    if let Err(Verdict::Inconclusive { why } | Verdict::Skipped { why }) = done {
        tally.unknown(why);
    }
}

/// Gives the backends' Deployment so many replicas.
pub async fn scale(context: &CheckContext, backend: &AgentFacts, replicas: usize) -> Result<(), Verdict> {
    let deployment = ObjectRef {
        api_version: "apps/v1".to_owned(),
        kind: "Deployment".to_owned(),
        namespace: Some(backend.namespace.clone()),
        name: format!("{SCENARIO}-{}", backend.workload),
    };
    let change = json!({"spec": {"replicas": replicas}});
    let patched = context
        .environment
        .patch(&backend.id.cluster, &deployment, change)
        .await;
    patched
        .map(|_| ())
        .map_err(|error| Verdict::inconclusive(error.to_string()))
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
