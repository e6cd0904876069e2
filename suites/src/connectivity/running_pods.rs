//! Every node reaches every pod that runs on it: those of others, too.

use crate::kit::{
    needs, next_steps, paths,
    probes::{self, BETWEEN_LOOKS, DEADLINE, SECOND_LOOKS},
    recent::{self, Age},
};
use async_trait::async_trait;
use futures::future::join_all;
use meshproof_contract::{
    Action, AgentFacts, Check, CheckContext, CheckId, CheckText, ClusterName, Needs, NodeLabel, NodeName, Outcome,
    Probe, Scope, Tally, Target, Verdict, facts::PodNetwork,
};
use serde_json::Value;
use std::{collections::BTreeSet, net::IpAddr};
use tokio::time::sleep;

/// Running pods, asked by their own node.
pub struct RunningPods;

/// A port on which hardly anything listens (discard): a pod that is there refuses at once.
const CLOSED: u16 = 9;
/// So many of a pod's own ports are tried before it counts as silent.
const PORTS: usize = 3;
/// So many pods of a node are asked at most.
const MOST: usize = 110;
/// So many silent pods of a node are named.
const NAMED: usize = 5;

#[async_trait]
impl Check for RunningPods {
    fn id(&self) -> CheckId {
        CheckId::from("connectivity::running_pods")
    }

    fn text(&self) -> CheckText {
        CheckText {
            title: "Every node reaches every pod that runs on it",
            proves: "No running pod, of whatever namespace, is cut off from its own node: by a device that is down, an \
                     endpoint that is missing in the data path, a wrong route or an address that two have. Kubelets \
                     see that only where a pod has a network probe.",
            how: "The host-network agent on every node opens a TCP connection to each running pod with a network of \
                  its own on that node (110 of more, drawn by `--sample-seed`), to a port that it declares or to port \
                  9. Accepted or refused, the pod is there. A silent one is asked twice more, a second apart, with \
                  3.5 s and on its other ports, and counts if it still runs.",
            control: "This run's own pods on the node, which answer. Cilium lets a node reach its own pods under every \
                      policy without an explicit deny. Where such a policy exists a silent pod is inconclusive; \
                      `allow-localhost: policy` skips the check. At least one pod must have answered.",
            when_red: "`kubectl --context CONTEXT -n kube-system exec AGENT_POD -c cilium-agent -- cilium-dbg bpf \
                       endpoint list` on the node named: is the pod's address there? Then `ip link` on the node for \
                       the pod's lxc device. Deleting the pod gives it a new network. All pods of a node: \
                       connectivity::host_to_own_pod.",
        }
    }

    fn scope(&self) -> Scope {
        Scope::Cluster
    }
    fn needs(&self) -> Needs {
        needs::SHARED
    }
    fn faults(&self) -> &'static [&'static str] {
        &["others-pod-blackhole"]
    }

    async fn run(&self, context: &CheckContext) -> Verdict {
        let (Ok(verdict) | Err(verdict)) = observe(context).await;
        verdict
    }
}

/// A running pod.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Running {
    name: String,
    uid: String,
    node: NodeName,
    address: IpAddr,
    ports: Vec<u16>,
}

impl Running {
    fn of(pod: &Value) -> Option<Self> {
        let (metadata, spec, status) = (&pod["metadata"], &pod["spec"], &pod["status"]);
        let is_up = status["phase"] == "Running" && metadata["deletionTimestamp"].is_null();
        if !is_up || spec["hostNetwork"] == true {
            return None;
        }
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let containers = spec["containers"].as_array().into_iter().flatten();
        let ports = containers.flat_map(|container| container["ports"].as_array().into_iter().flatten());
        let tcp = ports.filter(|port| port["protocol"].as_str().unwrap_or("TCP") == "TCP");
        let ports: BTreeSet<u16> = tcp
            .filter_map(|port| port["containerPort"].as_u64()?.try_into().ok())
            .collect();
        Some(Self {
            name: format!("{}/{}", text(&metadata["namespace"]), text(&metadata["name"])),
            uid: text(&metadata["uid"]),
            node: NodeName::new(spec["nodeName"].as_str()?.to_owned()),
            address: status["podIP"].as_str()?.parse().ok()?,
            ports: ports.into_iter().take(PORTS).chain([CLOSED]).collect(),
        })
    }

    /// A pod of this run.
    fn own(agent: &AgentFacts) -> Self {
        Self {
            name: format!("{}/{}", agent.namespace, agent.id.pod),
            uid: String::new(),
            node: agent.node.clone(),
            address: agent.address,
            ports: vec![CLOSED],
        }
    }

    fn probe(&self, port: u16) -> Probe {
        let to = Target::new(self.address.to_string(), port);
        Probe::once(Action::TcpConnect { to }, DEADLINE)
    }
}

/// Whether a pod was there, or why nobody knows.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Seen {
    Reached,
    Silent(String),
    Unknown(String),
}

impl Seen {
    fn of(outcomes: &[Outcome]) -> Self {
        let mut worst = Seen::Unknown("no port was tried".to_owned());
        for outcome in outcomes {
            worst = match outcome {
                Outcome::LocalError { reason } => Seen::Unknown(reason.clone()),
                Outcome::Timeout { .. } | Outcome::Unreachable { .. } => Seen::Silent(outcome.to_string()),
                _ => return Seen::Reached,
            };
        }
        worst
    }
}

async fn observe(context: &CheckContext) -> Result<Verdict, Verdict> {
    let (facts, cluster) = (context.environment.facts(), context.instance.from());
    let cilium = facts.cluster(cluster).and_then(|found| found.cilium.as_ref());
    if cilium
        .and_then(|cilium| cilium.setting("allow-localhost"))
        .is_some_and(|mode| mode == "policy")
    {
        return Err(Verdict::skipped(
            "nodes need a rule to reach their own pods here (`allow-localhost: policy`)",
        ));
    }
    let hosts = paths::agents(&facts, cluster, "node");
    if hosts.is_empty() {
        return Err(Verdict::inconclusive(format!("no ready agent `node` in {cluster}")));
    }
    // Other pods of this run may be under policies that it tries.
    let ours: BTreeSet<&str> = facts.agents.iter().map(|agent| agent.namespace.as_str()).collect();
    let is_ours = |pod: &Running| {
        pod.name
            .split('/')
            .next()
            .is_some_and(|namespace| ours.contains(namespace))
    };
    let listed = running(context, Age::OfThisRun).await?;
    let others = listed.into_iter().filter(|pod| !is_ours(pod));
    let own = facts
        .agents
        .iter()
        .filter(|agent| agent.id.cluster == *cluster && agent.network == PodNetwork::Pod);
    let own = own.filter(|agent| agent.scenario == paths::SCENARIO).map(Running::own);
    let pods: Vec<Running> = others.chain(own).collect();
    let mut looked: Vec<(&AgentFacts, Vec<(Running, Seen)>)> = Vec::new();
    for (host, seen) in hosts
        .iter()
        .zip(join_all(hosts.iter().map(|host| look(context, host, &pods))).await)
    {
        looked.push((host, seen));
    }
    let is_silent = |seen: &Seen| matches!(seen, Seen::Silent(_));
    let any_silent = looked
        .iter()
        .flat_map(|(_, seen)| seen)
        .any(|(_, seen)| is_silent(seen));
    let mut denied = None;
    if any_silent {
        let now = running(context, Age::now()).await?;
        for (_, seen) in &mut looked {
            // Those of this run are not in question: connectivity::host_to_own_pod asks them.
            seen.retain(|(pod, seen)| !is_silent(seen) || now.contains(pod));
        }
        denied = deny_policy(context, cluster).await;
    }
    let mut tally = Tally::new();
    for missing in facts
        .missing_agents
        .iter()
        .filter(|one| one.cluster == *cluster && one.workload == "node")
    {
        tally.unknown(paths::describe_missing(missing));
    }
    for (host, seen) in &looked {
        conclude(host, seen, denied.as_deref(), &mut tally);
    }
    if tally.has_findings()
        && let Some((host, _)) = looked
            .iter()
            .find(|(_, seen)| seen.iter().any(|(_, seen)| is_silent(seen)))
    {
        let command = "cilium-dbg bpf endpoint list";
        context.suggest(next_steps::in_agent(&facts, cluster, Some(&host.node), command));
    }
    Ok(tally.verdict())
}

async fn running(context: &CheckContext, age: Age) -> Result<Vec<Running>, Verdict> {
    let cluster = context.instance.from();
    let pods = recent::list(context, cluster, ("v1", "Pod"), age).await;
    let pods =
        pods.map_err(|error| Verdict::inconclusive(format!("the pods of {cluster} cannot be listed: {error}")))?;
    Ok(pods.iter().filter_map(Running::of).collect())
}

/// What a node's own agent sees of the pods there.
async fn look(context: &CheckContext, host: &AgentFacts, pods: &[Running]) -> Vec<(Running, Seen)> {
    let of_node: Vec<&Running> = pods.iter().filter(|pod| pod.node == host.node).collect();
    let seed = context.environment.facts().generation.sample_seed;
    let first = usize::try_from(seed).unwrap_or_default() % of_node.len().max(1);
    let in_turn = of_node.iter().cycle().skip(first).take(of_node.len().min(MOST));
    let mut seen: Vec<(Running, Seen)> = in_turn
        .map(|pod| ((*pod).clone(), Seen::Silent("not asked".to_owned())))
        .collect();
    for number in 0..=SECOND_LOOKS {
        let open: Vec<usize> = (0..seen.len())
            .filter(|at| matches!(seen[*at].1, Seen::Silent(_)))
            .collect();
        if open.is_empty() {
            break;
        }
        if number > 1 {
            sleep(BETWEEN_LOOKS).await;
        }
        let ports = |pod: &Running| match number {
            0 => pod.ports[..1].to_vec(),
            _ => pod.ports.clone(),
        };
        let asked: Vec<Vec<u16>> = open.iter().map(|at| ports(&seen[*at].0)).collect();
        let probes = open
            .iter()
            .zip(&asked)
            .flat_map(|(at, ports)| ports.iter().map(|port| seen[*at].0.probe(*port)));
        let batch: Vec<Probe> = match number {
            0 => probes.collect(),
            _ => probes.map(probes::patient).collect(),
        };
        let count = batch.len();
        let mut outcomes = match context.environment.probe(&host.id, batch).await {
            Ok(outcomes) if outcomes.len() == count => outcomes.into_iter(),
            other => {
                let why = match other {
                    Ok(_) => "it answered a part of a batch".to_owned(),
                    Err(error) => error.to_string(),
                };
                open.into_iter().for_each(|at| seen[at].1 = Seen::Unknown(why.clone()));
                break;
            }
        };
        for (at, ports) in open.into_iter().zip(asked) {
            let of_pod: Vec<Outcome> = outcomes.by_ref().take(ports.len()).collect();
            seen[at].1 = Seen::of(&of_pod);
        }
    }
    seen
}

/// A policy that denies by name, which even the own node obeys.
async fn deny_policy(context: &CheckContext, cluster: &ClusterName) -> Option<String> {
    for kind in ["CiliumNetworkPolicy", "CiliumClusterwideNetworkPolicy"] {
        let policies = match recent::list(context, cluster, ("cilium.io/v2", kind), Age::STATE).await {
            Ok(policies) => policies,
            Err(error) => return Some(format!("policies cannot be listed, so one may deny it: {error}")),
        };
        let denies = |spec: &Value| spec["ingressDeny"].as_array().is_some_and(|rules| !rules.is_empty());
        let found = policies.iter().find(|policy| {
            let several = policy["specs"].as_array().into_iter().flatten();
            several.chain([&policy["spec"]]).any(denies)
        });
        if let Some(policy) = found {
            let text = |key: &str| policy["metadata"][key].as_str().unwrap_or_default();
            let (namespace, name) = (text("namespace"), text("name"));
            return Some(format!(
                "{kind} {namespace}/{name} has explicit denies, which bind the node, too"
            ));
        }
    }
    None
}

fn conclude(host: &AgentFacts, seen: &[(Running, Seen)], denied: Option<&str>, tally: &mut Tally) {
    let node = NodeLabel::from(host);
    let reached = seen.iter().filter(|(_, seen)| *seen == Seen::Reached).count();
    if reached > 0 {
        tally.witness(format!(
            "{node} reached {reached} of the {} pods that run there",
            seen.len()
        ));
    }
    let mut silent = Vec::new();
    for (pod, seen) in seen {
        match seen {
            Seen::Reached => {}
            Seen::Silent(why) => silent.push((pod, why)),
            Seen::Unknown(why) => tally.unknown(format!("pod {} from {node}: {why}", pod.name)),
        }
    }
    for (pod, why) in silent.iter().take(NAMED) {
        let subject = format!("pod {} ({}) from its own node {}", pod.name, pod.address, host.node);
        match denied {
            Some(denied) => tally.unknown(format!("{subject}: {why}, but {denied}")),
            None => tally.finding(subject, "a connection that is accepted or refused within 3500 ms", *why),
        }
    }
    if let Some(more) = silent.len().checked_sub(NAMED).filter(|more| *more > 0) {
        let subject = format!("{more} other pods from their own node {}", host.node);
        match denied {
            Some(denied) => tally.unknown(format!("{subject}: no answer, but {denied}")),
            None => tally.finding(subject, "connections that are accepted or refused", "no answer"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Fake, infra, timeout};
    use meshproof_contract::outcome::Timing;
    use serde_json::json;

    const ADDRESS: &str = "10.244.1.77";

    /// Clusters with a pod of somebody else on infra-1, which answers like this to its port and to port 9.
    fn world(own: Option<Outcome>, closed: Option<Outcome>) -> Fake {
        let pod = json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"namespace": "demo", "name": "echo", "uid": "echo"},
            "spec": {"nodeName": "infra-1", "containers": [{"ports": [{"containerPort": 8080}]}]},
            "status": {"phase": "Running", "podIP": ADDRESS},
        });
        let refused = || Outcome::Refused {
            timing: Timing::default(),
        };
        Fake::healthy().object("infra", pod).rule(move |ask| match ask.action {
            Action::TcpConnect { to } if to.host != ADDRESS => None,
            Action::TcpConnect { to } if to.port == CLOSED => Some(closed.clone().unwrap_or_else(refused)),
            Action::TcpConnect { .. } => Some(own.clone().unwrap_or_else(refused)),
            _ => None,
        })
    }

    #[tokio::test(start_paused = true)]
    async fn a_pod_that_accepts_or_refuses_is_there() {
        let text = world(None, None).expect(&RunningPods, infra(), "pass").await;
        assert!(text.contains(" pods that run there"), "{text}");
        // Its own firewall drops what it does not serve, or it serves nothing any more.
        world(None, Some(timeout())).expect(&RunningPods, infra(), "pass").await;
        world(Some(timeout()), None).expect(&RunningPods, infra(), "pass").await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_pod_that_never_answers_its_own_node_is_red_and_named() {
        let silent = || world(Some(timeout()), Some(timeout()));
        let text = silent().expect(&RunningPods, infra(), "fail").await;
        assert!(
            text.contains("pod demo/echo (10.244.1.77) from its own node infra-1")
                && text.contains("cilium-dbg bpf endpoint list"),
            "{text}"
        );
        let deny = json!({
            "kind": "CiliumNetworkPolicy", "metadata": {"namespace": "demo", "name": "closed"},
            "spec": {"endpointSelector": {}, "ingressDeny": [{"fromEntities": ["host"]}]},
        });
        let text = silent()
            .object("infra", deny)
            .expect(&RunningPods, infra(), "inconclusive")
            .await;
        assert!(text.contains("demo/closed has explicit denies"), "{text}");
        let by_rule = silent().facts(|facts| {
            let cilium = facts.clusters[0].cilium.as_mut().expect("Cilium");
            cilium.config.insert("allow-localhost".to_owned(), "policy".to_owned());
        });
        by_rule.expect(&RunningPods, infra(), "skipped").await;
    }

    #[tokio::test(start_paused = true)]
    async fn what_could_not_be_asked_is_inconclusive() {
        let pods = Fake::healthy().list_refused("Pod");
        pods.expect(&RunningPods, infra(), "inconclusive").await;
        let local = Outcome::LocalError {
            reason: "no socket".to_owned(),
        };
        let text = world(Some(local.clone()), Some(local))
            .expect(&RunningPods, infra(), "inconclusive")
            .await;
        assert!(text.contains("no socket"), "{text}");
    }
}
