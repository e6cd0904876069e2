//! One reading of the API's policies and of what every agent reports, and how they deviate.

use meshproof_contract::{
    CheckContext, CiliumAnswer, CiliumQuery, ClusterName, Environment, EnvironmentError, NodeName,
};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// Kinds, each with the key of `cilium-config` by which it can be switched off.
const KINDS: [(&str, &str, &str); 3] = [
    (
        "cilium.io/v2",
        "CiliumClusterwideNetworkPolicy",
        "enable-cilium-clusterwide-network-policy",
    ),
    ("cilium.io/v2", "CiliumNetworkPolicy", "enable-cilium-network-policy"),
    ("networking.k8s.io/v1", "NetworkPolicy", "enable-k8s-networkpolicy"),
];

/// Kind, namespace and name of a policy.
type Policy = (String, String, String);

struct Endpoint {
    id: Option<u64>,
    name: String,
    state: String,
    audits: bool,
    revision: u64,
}

struct Agent {
    revision: u64,
    policies: BTreeSet<Policy>,
    endpoints: Vec<Endpoint>,
}

/// Something that one agent reports and that should be otherwise.
pub struct Deviation {
    /// The agent's node.
    pub node: NodeName,
    /// The endpoint, if it is one that deviates.
    pub endpoint: Option<u64>,
    /// What is expected.
    pub expected: String,
    /// What was seen.
    pub seen: String,
}

/// The state at one time.
pub struct Snapshot {
    agents: BTreeMap<NodeName, Agent>,
    /// Policies that the API had after the agents were queried.
    listed: BTreeSet<Policy>,
    /// Those of them that it had in the snapshot before, too: every agent must have them.
    lasting: BTreeSet<Policy>,
    /// Policies that it had at either time.
    known: BTreeSet<Policy>,
    /// Agents that could not be read, for people.
    pub unread: Vec<String>,
}

impl Snapshot {
    /// Reads all agents and then the API, with what an earlier snapshot says of the API before: without one a policy
    /// that comes or goes just now shows as a deviation. The error is for people.
    pub async fn read(context: &CheckContext, cluster: &ClusterName, before: Option<&Self>) -> Result<Self, String> {
        let environment = context.environment.as_ref();
        let facts = environment.facts();
        let (policies, endpoints) = futures::join!(
            environment.cilium(cluster, CiliumQuery::Policy),
            environment.cilium(cluster, CiliumQuery::Endpoints),
        );
        let listed = listed(environment, cluster).await?;
        let earlier = before.map_or(&listed, |before| &before.listed);
        let (mut policies, mut endpoints) = (by_node(policies)?, by_node(endpoints)?);
        let (mut agents, mut unread) = (BTreeMap::new(), Vec::new());
        for node in facts.cluster(cluster).map_or(&[][..], |cluster| &cluster.nodes) {
            let read = policies.remove(&node.name).zip(endpoints.remove(&node.name));
            match read.and_then(|(policy, list)| agent(&policy, &list)) {
                Some(agent) => {
                    agents.insert(node.name.clone(), agent);
                }
                None => unread.push(format!(
                    "node {}: cannot read its agent's policies and endpoints",
                    node.name
                )),
            }
        }
        Ok(Self {
            agents,
            lasting: earlier.intersection(&listed).cloned().collect(),
            known: earlier.union(&listed).cloned().collect(),
            listed,
            unread,
        })
    }

    /// What deviates, by what it is about; `first` is an earlier snapshot.
    pub fn deviations(&self, first: &Self) -> BTreeMap<String, Deviation> {
        let mut found = BTreeMap::new();
        for (node, agent) in &self.agents {
            let due = first.agents.get(node).map_or(0, |agent| agent.revision);
            for endpoint in &agent.endpoints {
                found.extend(endpoint.deviations(node, due));
            }
            found.extend(self.policy_deviations(node, agent));
        }
        found
    }

    /// Policies that only the API or only the agent has.
    fn policy_deviations(&self, node: &NodeName, agent: &Agent) -> Vec<(String, Deviation)> {
        let deviation = |(kind, namespace, name): &Policy, expected: &str, seen: &str| {
            let subject = match namespace.as_str() {
                "" => format!("{kind} {name} on {node}"),
                namespace => format!("{kind} {namespace}/{name} on {node}"),
            };
            let deviation = Deviation {
                node: node.clone(),
                endpoint: None,
                expected: expected.to_owned(),
                seen: seen.to_owned(),
            };
            (subject, deviation)
        };
        let missed = self.lasting.difference(&agent.policies);
        let missed = missed.map(|policy| {
            deviation(
                policy,
                "known to the agent, since the API has it",
                "missing from `policy get`",
            )
        });
        let kept = agent.policies.difference(&self.known);
        let kept = kept.map(|policy| {
            deviation(
                policy,
                "deleted in the agent, since the API does not have it",
                "still in `policy get`",
            )
        });
        missed.chain(kept).collect()
    }

    /// How many endpoints were read.
    pub fn endpoints(&self) -> usize {
        self.agents.values().map(|agent| agent.endpoints.len()).sum()
    }
    /// How many agents were read.
    pub fn agents(&self) -> usize {
        self.agents.len()
    }
    /// How many policies the API has.
    pub fn policies(&self) -> usize {
        self.lasting.len()
    }
}

impl Endpoint {
    /// What deviates; `due` is the revision that it must have realized.
    fn deviations(&self, node: &NodeName, due: u64) -> Vec<(String, Deviation)> {
        let mut found = Vec::new();
        let mut add = |what: &str, expected: String, seen: String| {
            let deviation = Deviation {
                node: node.clone(),
                endpoint: self.id,
                expected,
                seen,
            };
            found.push((format!("{what} of endpoint {} on {node}", self.name), deviation));
        };
        if self.state != "ready" {
            add("state", "ready".to_owned(), self.state.clone());
        }
        if self.audits {
            add("PolicyAuditMode", "Disabled".to_owned(), "Enabled".to_owned());
        }
        if self.revision < due {
            let expected = format!("at least {due}, the agent's revision in the first reading");
            add("realized revision", expected, self.revision.to_string());
        }
        found
    }
}

fn by_node(answers: Result<Vec<CiliumAnswer>, EnvironmentError>) -> Result<BTreeMap<NodeName, Value>, String> {
    let answers = answers.map_err(|error| error.to_string())?.into_iter();
    Ok(answers.filter_map(|a| Some((a.node, a.output.ok()?))).collect())
}

/// The policies of the API that agents should have: those for pods, unless Cilium marked them as invalid.
async fn listed(environment: &dyn Environment, cluster: &ClusterName) -> Result<BTreeSet<Policy>, String> {
    let facts = environment.facts();
    let cilium = facts.cluster(cluster).and_then(|cluster| cluster.cilium.as_ref());
    let is_on = |key: &str| cilium.and_then(|cilium| cilium.flag(key)) != Some(false);
    let mut found = BTreeSet::new();
    for (version, kind, _) in KINDS.into_iter().filter(|(.., key)| is_on(key)) {
        let objects = environment.list(cluster, version, kind, None).await;
        let objects = objects.map_err(|error| error.to_string())?;
        let objects = objects.iter().filter(|object| is_for_pods(object));
        found.extend(objects.map(|object| {
            let text = |key: &str| object["metadata"][key].as_str().unwrap_or_default().to_owned();
            (kind.to_owned(), text("namespace"), text("name"))
        }));
    }
    Ok(found)
}

fn is_for_pods(object: &Value) -> bool {
    let specs = object["specs"].as_array().into_iter().flatten();
    let mut specs = specs.chain(object.get("spec"));
    let conditions = object["status"]["conditions"].as_array().into_iter().flatten();
    let refused = conditions
        .into_iter()
        .any(|c| c["type"] == "Valid" && c["status"] == "False");
    !refused && specs.any(|spec| spec["nodeSelector"].is_null())
}

fn agent(policy: &Value, list: &Value) -> Option<Agent> {
    let rules: Value = serde_json::from_str(policy["policy"].as_str()?).ok()?;
    let named = rules.as_array().into_iter().flatten().filter_map(|rule| {
        let labels = rule["labels"].as_array()?;
        let label = |key: &str| {
            let mut labels = labels.iter();
            let label = labels.find(|label| label["key"] == format!("io.cilium.k8s.policy.{key}").as_str());
            label
                .and_then(|label| label["value"].as_str())
                .unwrap_or_default()
                .to_owned()
        };
        let kind = label("derived-from");
        let ours = KINDS.iter().any(|(_, known, _)| *known == kind) && rule["nodeSelector"].is_null();
        ours.then(|| (kind, label("namespace"), label("name")))
    });
    let endpoints = list.as_array()?.iter().map(|endpoint| {
        let status = &endpoint["status"];
        Endpoint {
            id: endpoint["id"].as_u64(),
            name: format!("{} ({})", endpoint["id"], pod(&status["external-identifiers"])),
            state: status["state"].as_str().unwrap_or("unknown").to_owned(),
            audits: endpoint["spec"]["options"]["PolicyAuditMode"] == "Enabled",
            revision: status["policy"]["realized"]["policy-revision"].as_u64().unwrap_or(0),
        }
    });
    Some(Agent {
        revision: policy["revision"].as_u64()?,
        policies: named.collect(),
        endpoints: endpoints.collect(),
    })
}

fn pod(identifiers: &Value) -> &str {
    let name = identifiers["container-name"]
        .as_str()
        .or(identifiers["pod-name"].as_str());
    name.filter(|name| *name != "/").unwrap_or("host")
}
