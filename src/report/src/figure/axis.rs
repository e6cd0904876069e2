//! The nodes along the sides of a figure, in the order of the clusters and nodes.

use meshproof_contract::{Facts, NodeLabel};
use std::collections::BTreeMap;

/// All nodes that figures can name.
#[derive(Clone, Debug, Default)]
pub(crate) struct Axis {
    labels: Vec<AxisLabel>,
}

/// One node on an axis.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AxisLabel {
    /// The node.
    pub(crate) node: NodeLabel,
    /// Its cluster, and whether it is the node's own network.
    pub(crate) group: String,
    /// The shortest text that distinguishes it from the others of its group.
    pub(crate) short: String,
}

impl Axis {
    /// The nodes of the clusters as found: the ends in pods first, then those on the nodes' own network.
    pub(crate) fn of(facts: Option<&Facts>) -> Self {
        let mut axis = Self::default();
        for host in [false, true] {
            for cluster in facts.iter().flat_map(|facts| &facts.clusters) {
                for node in &cluster.nodes {
                    axis.add(&NodeLabel {
                        host,
                        ..NodeLabel::pod(&cluster.name, &node.name)
                    });
                }
            }
        }
        axis
    }

    /// Adds a node at the end, unless it is there already.
    pub(crate) fn add(&mut self, node: &NodeLabel) {
        if self.position(node).is_some() {
            return;
        }
        let group = if node.host {
            format!("{} host", node.cluster)
        } else {
            node.cluster.to_string()
        };
        let number = self.labels.iter().filter(|label| label.group == group).count() + 1;
        self.labels.push(AxisLabel {
            node: node.clone(),
            group,
            short: short(node, number),
        });
    }

    /// The labels of these nodes, in the order of the axis.
    pub(crate) fn select<'a>(&self, nodes: impl IntoIterator<Item = &'a NodeLabel>) -> Vec<AxisLabel> {
        let by_position: BTreeMap<usize, &AxisLabel> = nodes
            .into_iter()
            .filter_map(|node| self.position(node))
            .map(|at| (at, &self.labels[at]))
            .collect();
        by_position.into_values().cloned().collect()
    }

    /// Where a node is.
    pub(crate) fn position(&self, node: &NodeLabel) -> Option<usize> {
        self.labels.iter().position(|label| label.node == *node)
    }

    /// Where the first node of the same group is.
    pub(crate) fn group_position(&self, node: &NodeLabel) -> Option<usize> {
        let group = &self.labels[self.position(node)?].group;
        self.labels.iter().position(|label| label.group == *group)
    }
}

/// What the node's name has beyond its cluster's name, if that is short; its number otherwise.
fn short(node: &NodeLabel, number: usize) -> String {
    let rest = node
        .node
        .as_str()
        .strip_prefix(node.cluster.as_str())
        .unwrap_or_default();
    let rest = rest.trim_start_matches('-');
    if (1..=3).contains(&rest.len()) {
        rest.to_owned()
    } else {
        number.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_keep_their_order_and_have_short_labels() {
        let pod = |cluster: &str, node: &str| NodeLabel::pod(&cluster.into(), &node.into());
        let mut axis = Axis::default();
        let nodes = [
            pod("infra", "infra-1"),
            pod("infra", "worker-with-a-long-name"),
            pod("apps", "apps-b7"),
            NodeLabel {
                host: true,
                ..pod("apps", "apps-b7")
            },
        ];
        nodes.iter().for_each(|node| axis.add(node));
        axis.add(&nodes[0]);
        let labels = axis.select(nodes.iter().rev());
        let seen: Vec<_> = labels.iter().map(|l| (l.group.as_str(), l.short.as_str())).collect();
        assert_eq!(
            seen,
            [("infra", "1"), ("infra", "2"), ("apps", "b7"), ("apps host", "b7")]
        );
        assert_eq!(axis.group_position(&nodes[1]), Some(0));
    }
}
