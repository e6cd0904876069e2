//! Every running pod is an endpoint of Cilium: others learn its identity from its CiliumEndpoint.

use super::{
    cilium,
    deviation::{Counts, Difference, Seen, conclude},
    look::Look,
    object::{CiliumNode, Pod},
};
use async_trait::async_trait;
use meshproof_contract::{Check, CheckContext, CheckId, CheckText, Needs, NodeName, Scope, Tally, Verdict};
use std::{collections::BTreeMap, net::IpAddr};

/// Pods against CiliumEndpoints.
pub struct Endpoints;

const COMMAND: &str = "get pods,ciliumendpoints -A -o wide";

#[async_trait]
impl Check for Endpoints {
    fn id(&self) -> CheckId {
        CheckId::from("state::endpoints")
    }

    fn text(&self) -> CheckText {
        CheckText {
            title: "Every running pod has its CiliumEndpoint, with its address and an identity",
            proves: "No running pod, of whatever namespace, is unknown to the other nodes. They take a pod without \
                     CiliumEndpoint for the world, so that policies which name it do not apply to it.",
            how: "Pods and CiliumEndpoints of all namespaces are listed. Each pod that runs on a node of Cilium with a \
                  network of its own must have a CiliumEndpoint of its name, with all of its addresses, its node and \
                  an identity, and no other running pod its address. A difference is read again after \
                  `thresholds.propagation` (default 10 s).",
            control: "At least one pod must have been compared. Lists that cannot be read make it inconclusive.",
            when_red: "`kubectl --context CONTEXT get ciliumendpoints -A`. Cilium does not write a CiliumEndpoint \
                       again that somebody deleted: restart the pod. For a pod that is older than Cilium, too. Else \
                       `kubectl --context CONTEXT -n kube-system exec AGENT_POD -c cilium-agent -- cilium-dbg endpoint \
                       list`.",
        }
    }

    fn scope(&self) -> Scope {
        Scope::Cluster
    }
    fn needs(&self) -> Needs {
        Needs::default()
    }
    fn faults(&self) -> &'static [&'static str] {
        &["cilium-endpoint-missing"]
    }

    async fn run(&self, context: &CheckContext) -> Verdict {
        let facts = context.environment.facts();
        let cilium = match cilium(context, &facts) {
            Ok(cilium) => cilium,
            Err(verdict) => return verdict,
        };
        if cilium.flag("disable-endpoint-crd") == Some(true) {
            return Verdict::skipped("the agents write no CiliumEndpoints here (`disable-endpoint-crd`)");
        }
        conclude(context, |look, tally| compare(context, look, tally)).await
    }
}

fn compare(context: &CheckContext, look: &Look, tally: &mut Tally) -> Seen {
    let mut seen = Seen::of("running pods with their CiliumEndpoints");
    let facts = context.environment.facts();
    let cluster = context.instance.from();
    let read = look.cluster(cluster).and_then(|look| {
        let cilium_nodes = look.cilium_nodes.as_deref().unwrap_or_default();
        Ok((look.pods.as_ref()?, look.endpoints.as_ref()?, cilium_nodes))
    });
    let (pods, endpoints, cilium_nodes) = match read {
        Ok(read) => read,
        Err(why) => {
            tally.unknown(why);
            return seen;
        }
    };
    let endpoints: BTreeMap<_, _> = endpoints.iter().map(|endpoint| (&endpoint.name, endpoint)).collect();
    let nodes = facts.cluster(cluster).map_or(&[][..], |found| &found.nodes);
    let mut owners: BTreeMap<IpAddr, Vec<&Pod>> = BTreeMap::new();
    for pod in pods.iter().filter(|pod| pod.runs) {
        pod.addresses
            .iter()
            .for_each(|address| owners.entry(*address).or_default().push(pod));
    }
    for pod in pods {
        if !pod.runs || pod.addresses.is_empty() {
            seen.leave_out("pods that do not run, have no address or use the node's network");
            continue;
        }
        if !nodes.iter().any(|node| Some(&node.name) == pod.node.as_ref()) {
            seen.leave_out("pods on nodes that are not Cilium's");
            continue;
        }
        seen.compared += 1;
        let twin = pod.addresses.iter().flat_map(|address| &owners[address]);
        let problem = match (
            twin.copied().find(|other| other.uid != pod.uid),
            endpoints.get(&pod.name),
        ) {
            (Some(twin), _) => Some(format!("pod {}/{} has its address, too", twin.name.0, twin.name.1)),
            (None, None) => Some("it has no CiliumEndpoint".to_owned()),
            (None, Some(endpoint)) if !pod.addresses.is_subset(&endpoint.addresses) => {
                Some(format!("its CiliumEndpoint has {}", all(endpoint.addresses.iter())))
            }
            (None, Some(endpoint)) if endpoint.identity.is_none() => {
                Some("its CiliumEndpoint has no identity".to_owned())
            }
            (None, Some(endpoint)) => endpoint
                .node
                .filter(|node| !is_home(pod, cilium_nodes, *node))
                .map(|node| format!("its CiliumEndpoint places it on the node with address {node}")),
        };
        if let Some(problem) = problem {
            seen.in_api(COMMAND, difference(pod, problem));
        }
    }
    seen
}

/// Whether an address is one of the pod's node.
fn is_home(pod: &Pod, nodes: &[CiliumNode], address: IpAddr) -> bool {
    let mut home = nodes
        .iter()
        .filter(|node| Some(node.name.as_str()) == pod.node.as_ref().map(NodeName::as_str));
    pod.hosts.is_empty() || pod.hosts.contains(&address) || home.any(|node| node.addresses.contains(&address))
}

fn difference(pod: &Pod, problem: String) -> Difference {
    let (namespace, name) = &pod.name;
    let node = pod.node.as_ref().map_or("", |node| node.as_str());
    Difference {
        subject: format!("pod {namespace}/{name} on {node}"),
        expected: format!("a CiliumEndpoint with {} and an identity", all(pod.addresses.iter())),
        observed: problem,
        version: pod.uid.clone(),
        counts: Counts::Twice,
    }
}

fn all<'a>(addresses: impl Iterator<Item = &'a IpAddr>) -> String {
    let all: Vec<String> = addresses.map(IpAddr::to_string).collect();
    match all.as_slice() {
        [] => "no address".to_owned(),
        _ => all.join(", "),
    }
}
