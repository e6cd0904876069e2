//! The commands to run next, with this run's own contexts, nodes and addresses in them.

use crate::kit::paths::Path;
use meshproof_contract::{ClusterName, Facts, NodeName};

/// What to ask Cilium on both ends of a path that does not work.
pub fn for_path(facts: &Facts, path: &Path) -> Vec<String> {
    let (from, to) = (path.from.address, path.to.address);
    let mut commands = vec![in_agent(
        facts,
        &path.from.id.cluster,
        Some(&path.from.node),
        &format!("hubble observe --last 200 --from-ip {from} --to-ip {to}"),
    )];
    if path.from.id.cluster != path.to.id.cluster || path.from.node != path.to.node {
        commands.push(in_agent(
            facts,
            &path.to.id.cluster,
            Some(&path.to.node),
            &format!("hubble observe --last 200 --from-ip {from} --to-ip {to}"),
        ));
    }
    commands.push(in_agent(
        facts,
        &path.from.id.cluster,
        Some(&path.from.node),
        "cilium-dbg status --verbose",
    ));
    commands
}

/// A command in the Cilium agent of a node, or of any node.
pub fn in_agent(facts: &Facts, cluster: &ClusterName, node: Option<&NodeName>, command: &str) -> String {
    let pod = node
        .and_then(|node| facts.cluster(cluster)?.cilium.as_ref()?.agents.get(node))
        .map_or("ds/cilium", String::as_str);
    kubectl(
        facts,
        cluster,
        &format!("-n kube-system exec {pod} -c cilium-agent -- {command}"),
    )
}

/// `kubectl` against the cluster's context.
pub fn kubectl(facts: &Facts, cluster: &ClusterName, arguments: &str) -> String {
    let context = facts.cluster(cluster).map_or(cluster.as_str(), |c| c.context.as_str());
    format!("kubectl --context {context} {arguments}")
}
