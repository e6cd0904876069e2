//! What to do about a red trial, with the names of this run in place of the placeholders.

use crate::{
    AgentFacts, ClusterName, Evidence, Facts, Instance, NodeLabel,
    evidence::{Cell, CellOutcome},
    facts::PodNetwork,
};
use std::collections::BTreeSet;

/// Fills the placeholders of a check's `when_red` for one trial, as far as the facts and the evidence name what is
/// meant:
///
/// - `CONTEXT`, `OTHER_CONTEXT`: the kubeconfig contexts of the clusters that the instance starts from and goes to;
/// - `NODE`: the node in the first of them that the evidence points to;
/// - `AGENT_POD`: the Cilium agent's pod on that node, or `ds/cilium`, any of them;
/// - `NAMESPACE`: the namespace of the scenarios' services and pods;
/// - `DNS_NAMESPACE`, `DNS_SERVICE`: the Service of cluster DNS in the first cluster.
///
/// What is not known stays a placeholder.
pub fn fill(text: &str, facts: &Facts, instance: &Instance, evidence: &[Evidence]) -> String {
    let names = Names {
        facts,
        instance,
        node: suspect(instance.from(), evidence),
    };
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let mut filled = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find(is_word) {
        let (before, word) = rest.split_at(start);
        let (word, after) = word.split_at(word.find(|c| !is_word(c)).unwrap_or(word.len()));
        filled.push_str(before);
        filled.push_str(&names.of(word).unwrap_or_else(|| word.to_owned()));
        rest = after;
    }
    filled.push_str(rest);
    filled
}

struct Names<'a> {
    facts: &'a Facts,
    instance: &'a Instance,
    node: Option<&'a NodeLabel>,
}

impl Names<'_> {
    fn of(&self, placeholder: &str) -> Option<String> {
        match placeholder {
            "CONTEXT" => self.context(self.instance.from()),
            "OTHER_CONTEXT" => self.context(self.instance.to()),
            "NODE" => self.node.map(|node| node.node.to_string()),
            "AGENT_POD" => Some(self.agent_pod().unwrap_or_else(|| "ds/cilium".to_owned())),
            "NAMESPACE" => self.namespace(),
            "DNS_NAMESPACE" => self.dns_service().map(|(namespace, _)| namespace),
            "DNS_SERVICE" => self.dns_service().map(|(_, name)| name),
            _ => None,
        }
    }
    fn context(&self, cluster: &ClusterName) -> Option<String> {
        Some(self.facts.cluster(cluster)?.context.clone())
    }
    fn agent_pod(&self) -> Option<String> {
        let node = self.node?;
        let cilium = self.facts.cluster(&node.cluster)?.cilium.as_ref()?;
        cilium.agents.get(&node.node).cloned()
    }
    fn namespace(&self) -> Option<String> {
        let is_pod = |agent: &&AgentFacts| agent.network == PodNetwork::Pod;
        let pods = self.facts.agents.iter().filter(is_pod).map(|agent| &agent.namespace);
        let services = self.facts.services.iter().map(|service| &service.namespace);
        services.chain(pods).next().cloned()
    }
    fn dns_service(&self) -> Option<(String, String)> {
        let service = &self.facts.cluster(self.instance.from())?.dns.as_ref()?.service;
        Some(service.clone()).filter(|(_, name)| !name.is_empty())
    }
}

/// The node of the cluster to look at first: the target if several sources get no answer from it and from no other,
/// else the first source whose cells are not as expected; or the node that captured what must not be there.
fn suspect<'a>(cluster: &ClusterName, evidence: &'a [Evidence]) -> Option<&'a NodeLabel> {
    let is_bad = |cell: &&Cell| matches!(cell.outcome, CellOutcome::NoAnswer | CellOutcome::Mismatch);
    let bad: Vec<(&NodeLabel, &Cell)> = evidence
        .iter()
        .filter_map(|one| match one {
            Evidence::Row(row) => Some(row),
            _ => None,
        })
        .flat_map(|row| row.cells.iter().filter(is_bad).map(|cell| (&row.from, cell)))
        .collect();
    let captured = evidence.iter().find_map(|one| match one {
        Evidence::Packet(packet) => Some(&packet.node),
        _ => None,
    });
    let sources: BTreeSet<&NodeLabel> = bad.iter().map(|(from, _)| *from).collect();
    let targets: BTreeSet<&NodeLabel> = bad.iter().map(|(_, cell)| &cell.to).collect();
    // A wrong answer is the doing of the node that chose whom to ask.
    let is_silence = bad.iter().all(|(_, cell)| cell.outcome == CellOutcome::NoAnswer);
    let target = targets.first().copied();
    let target = target.filter(|_| is_silence && targets.len() == 1 && sources.len() > 1);
    let candidates = target
        .into_iter()
        .chain(bad.iter().map(|(from, _)| *from))
        .chain(captured);
    candidates.into_iter().find(|node| &node.cluster == cluster)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ClusterFacts, DnsFacts, evidence::Row, facts::CiliumFacts};
    use std::collections::BTreeMap;

    fn facts() -> Facts {
        let cluster = |name: &str| ClusterFacts {
            name: name.into(),
            context: format!("admin@{name}"),
            version: String::new(),
            nodes: Vec::new(),
            dns: Some(DnsFacts {
                service: ("kube-system".to_owned(), "kube-dns".to_owned()),
                address: [10, 96, 0, 10].into(),
                replicas: Vec::new(),
                domain: "cluster.local".to_owned(),
            }),
            cilium: Some(CiliumFacts {
                version: String::new(),
                config: BTreeMap::new(),
                agents: [(format!("{name}-1").into(), "cilium-x7k".to_owned())].into(),
                remotes: None,
                kvstoremesh: true,
            }),
        };
        Facts {
            clusters: vec![cluster("infra"), cluster("apps")],
            ..Facts::default()
        }
    }
    fn direction() -> Instance {
        Instance::Direction {
            from: "infra".into(),
            to: "apps".into(),
        }
    }
    fn label(node: &str) -> NodeLabel {
        let cluster = node.split('-').next().unwrap_or_default();
        NodeLabel::pod(&cluster.into(), &node.into())
    }
    fn row(from: &str, to: &str, outcome: CellOutcome) -> Evidence {
        Evidence::Row(Row {
            what: "HTTP".to_owned(),
            from: label(from),
            cells: vec![Cell {
                to: label(to),
                outcome,
                value: None,
                unit: None,
                detail: None,
            }],
        })
    }

    const TEXT: &str =
        "`kubectl --context CONTEXT exec AGENT_POD -- x` on NODE, `--context OTHER_CONTEXT`, ADDRESS, CONTEXTS";

    #[test]
    fn what_is_known_is_filled_and_the_rest_stays() {
        assert_eq!(
            fill(TEXT, &facts(), &direction(), &[]),
            "`kubectl --context admin@infra exec ds/cilium -- x` on NODE, `--context admin@apps`, ADDRESS, CONTEXTS"
        );
        let text = fill("DNS_NAMESPACE/DNS_SERVICE.", &facts(), &direction(), &[]);
        assert_eq!(text, "kube-system/kube-dns.");
    }

    #[test]
    fn the_node_that_fails_is_named_with_its_agent() {
        let evidence = [
            row("infra-1", "apps-1", CellOutcome::NoAnswer),
            row("infra-2", "apps-2", CellOutcome::Ok),
        ];
        let text = fill(TEXT, &facts(), &direction(), &evidence);
        assert!(
            text.starts_with("`kubectl --context admin@infra exec cilium-x7k -- x` on infra-1,"),
            "{text}"
        );
    }

    #[test]
    fn a_target_that_no_source_reaches_is_looked_at_first() {
        let on_infra = Instance::Cluster("infra".into());
        let named = |instance: &Instance, to: &str, outcome| {
            let evidence = ["infra-2", "infra-3"].map(|from| row(from, to, outcome));
            fill("NODE AGENT_POD CONTEXT", &facts(), instance, &evidence)
        };
        let silent = CellOutcome::NoAnswer;
        assert_eq!(named(&on_infra, "infra-1", silent), "infra-1 cilium-x7k admin@infra");
        assert_eq!(
            named(&on_infra, "infra-1", CellOutcome::Mismatch),
            "infra-2 ds/cilium admin@infra"
        );
        // Commands go to the cluster that the instance starts from, and so do the node's names.
        assert_eq!(named(&direction(), "apps-1", silent), "infra-2 ds/cilium admin@infra");
    }
}
