//! Watches the nodes of a cluster while a run lasts, and tells what changes: a node that is not Ready, that came or
//! went. One watch a cluster, no polling. A run without the right to watch nodes goes on without it.

use crate::{ProgressSink, client::ClusterClient};
use futures::StreamExt;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Node;
use kube::{
    Api, ResourceExt,
    runtime::{WatchStreamExt, watcher, watcher::Event},
};
use meshproof_contract::{ClusterChange, ClusterName, NodeName};
use std::{
    collections::{BTreeMap, BTreeSet},
    pin::pin,
    sync::{Arc, Mutex, PoisonError},
};
use tokio_util::task::AbortOnDropHandle;

/// Nodes that the run itself takes away: their loss is no news.
#[derive(Clone, Debug, Default)]
pub(crate) struct TakenNodes(Arc<Mutex<BTreeSet<(ClusterName, NodeName)>>>);

impl TakenNodes {
    /// From now on the run's own doing.
    pub(crate) fn take(&self, cluster: &ClusterName, node: &NodeName) {
        self.with(|taken| taken.insert((cluster.clone(), node.clone())));
    }
    /// Given back.
    pub(crate) fn give_back(&self, cluster: &ClusterName, node: &NodeName) {
        self.with(|taken| taken.remove(&(cluster.clone(), node.clone())));
    }
    fn holds(&self, cluster: &ClusterName, node: &NodeName) -> bool {
        self.with(|taken| taken.contains(&(cluster.clone(), node.clone())))
    }
    fn with<T>(&self, f: impl FnOnce(&mut BTreeSet<(ClusterName, NodeName)>) -> T) -> T {
        f(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Watches until dropped; `known` are the nodes of the discovery.
pub(crate) fn watch(
    client: &ClusterClient,
    known: Vec<NodeName>,
    taken: TakenNodes,
    progress: ProgressSink,
) -> AbortOnDropHandle<()> {
    let client = client.clone();
    AbortOnDropHandle::new(tokio::spawn(async move {
        let nodes = Api::<Node>::all(client.kube());
        let mut seen = Seen::of(known);
        let mut changes = pin!(watcher(nodes, watcher::Config::default()).default_backoff());
        while let Some(change) = changes.next().await {
            match change {
                Ok(event) => {
                    let is_taken = |node: &NodeName| taken.holds(client.name(), node);
                    for change in seen.take(event, is_taken) {
                        progress.changed(client.name(), change);
                    }
                }
                Err(error) => tracing::debug!(%error, "watch of nodes failed, retrying"),
            }
        }
    }))
}

/// A node as last told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    Ready,
    NotReady,
    /// Not Ready, and nobody was told: it is new, or the run took it away.
    Untold,
}

/// The nodes seen so far.
#[derive(Debug, Default)]
struct Seen {
    nodes: BTreeMap<NodeName, Told>,
    /// Whether it is known which nodes there were before.
    complete: bool,
    /// Those of the list that is being read.
    listed: BTreeSet<NodeName>,
}

impl Seen {
    fn of(known: Vec<NodeName>) -> Self {
        Self {
            complete: !known.is_empty(),
            nodes: known.into_iter().map(|node| (node, Told::Ready)).collect(),
            listed: BTreeSet::new(),
        }
    }

    fn take(&mut self, event: Event<Node>, is_taken: impl Fn(&NodeName) -> bool) -> Vec<ClusterChange> {
        match event {
            Event::Init => {
                self.listed.clear();
                Vec::new()
            }
            Event::InitApply(node) => {
                self.listed.insert(name(&node));
                self.apply(&node, is_taken)
            }
            Event::InitDone => {
                self.complete = true;
                let listed = std::mem::take(&mut self.listed);
                let gone: Vec<NodeName> = self
                    .nodes
                    .keys()
                    .filter(|node| !listed.contains(*node))
                    .cloned()
                    .collect();
                gone.into_iter().flat_map(|node| self.gone(node, &is_taken)).collect()
            }
            Event::Apply(node) => self.apply(&node, is_taken),
            Event::Delete(node) => self.gone(name(&node), &is_taken),
        }
    }

    fn apply(&mut self, node: &Node, is_taken: impl Fn(&NodeName) -> bool) -> Vec<ClusterChange> {
        let (name, ready) = (name(node), ready(node));
        let before = self.nodes.get(&name).copied();
        let came = before.is_none() && self.complete;
        let (told, changes) = match (before, ready) {
            (None, Ok(())) if came => (Told::Ready, vec![ClusterChange::NodeCame { node: name.clone() }]),
            (None, Err(_)) if came => (Told::Untold, vec![ClusterChange::NodeCame { node: name.clone() }]),
            (Some(Told::NotReady), Ok(())) => (Told::Ready, vec![ClusterChange::NodeReady { node: name.clone() }]),
            (_, Ok(())) => (Told::Ready, Vec::new()),
            (Some(Told::NotReady | Told::Untold), Err(_)) => (before.unwrap_or(Told::Untold), Vec::new()),
            (_, Err(_)) if is_taken(&name) => (Told::Untold, Vec::new()),
            (_, Err(since)) => {
                let node = name.clone();
                (Told::NotReady, vec![ClusterChange::NodeNotReady { node, since }])
            }
        };
        self.nodes.insert(name, told);
        changes
    }

    fn gone(&mut self, node: NodeName, is_taken: impl Fn(&NodeName) -> bool) -> Vec<ClusterChange> {
        let known = self.nodes.remove(&node).is_some();
        if known && !is_taken(&node) {
            vec![ClusterChange::NodeWent { node }]
        } else {
            Vec::new()
        }
    }
}

fn name(node: &Node) -> NodeName {
    NodeName::new(node.name_any())
}

/// Whether a node is Ready; if it is not, since when.
fn ready(node: &Node) -> Result<(), Option<Timestamp>> {
    let conditions = node.status.as_ref().and_then(|status| status.conditions.as_ref());
    let ready = conditions
        .into_iter()
        .flatten()
        .find(|condition| condition.type_ == "Ready");
    match ready {
        Some(condition) if condition.status == "True" => Ok(()),
        Some(condition) => Err(condition.last_transition_time.as_ref().map(|time| time.0)),
        None => Err(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn node(name: &str, ready: &str) -> Node {
        serde_json::from_value(json!({
            "metadata": {"name": name},
            "status": {"conditions": [
                {"type": "Ready", "status": ready, "lastTransitionTime": "2026-11-21T14:18:31Z"},
            ]},
        }))
        .expect("a node")
    }

    fn nobody(_: &NodeName) -> bool {
        false
    }

    fn since() -> Option<Timestamp> {
        Some("2026-11-21T14:18:31Z".parse().expect("a time"))
    }

    #[test]
    fn a_node_that_is_not_ready_is_told_once_with_since_when_and_its_return() {
        let mut seen = Seen::of(vec!["a".into()]);
        let not_ready = ClusterChange::NodeNotReady {
            node: "a".into(),
            since: since(),
        };
        assert_eq!(seen.take(Event::Apply(node("a", "True")), nobody), []);
        assert_eq!(seen.take(Event::Apply(node("a", "Unknown")), nobody), [not_ready]);
        assert_eq!(seen.take(Event::Apply(node("a", "Unknown")), nobody), []);
        let back = ClusterChange::NodeReady { node: "a".into() };
        assert_eq!(seen.take(Event::Apply(node("a", "True")), nobody), [back]);
    }

    #[test]
    fn nodes_that_come_and_go_are_told_also_when_the_watch_was_interrupted() {
        let mut seen = Seen::of(vec!["a".into(), "b".into()]);
        let mut changes = Vec::new();
        // A new node is not Ready at first, which is no trouble.
        for event in [
            Event::Init,
            Event::InitApply(node("a", "True")),
            Event::InitApply(node("c", "False")),
            Event::InitDone,
            Event::Apply(node("c", "True")),
            Event::Delete(node("a", "True")),
        ] {
            changes.extend(seen.take(event, nobody));
        }
        assert_eq!(
            changes,
            [
                ClusterChange::NodeCame { node: "c".into() },
                ClusterChange::NodeWent { node: "b".into() },
                ClusterChange::NodeWent { node: "a".into() },
            ]
        );
    }

    #[test]
    fn without_a_discovery_the_first_list_is_what_was_there() {
        let mut seen = Seen::of(Vec::new());
        let mut changes = Vec::new();
        for event in [
            Event::Init,
            Event::InitApply(node("a", "True")),
            Event::InitApply(node("b", "False")),
            Event::InitDone,
        ] {
            changes.extend(seen.take(event, nobody));
        }
        let not_ready = ClusterChange::NodeNotReady {
            node: "b".into(),
            since: since(),
        };
        assert_eq!(changes, [not_ready]);
    }

    #[test]
    fn what_the_run_takes_away_is_no_news() {
        let (cluster, mut seen) = (ClusterName::from("infra"), Seen::of(vec!["a".into()]));
        let taken = TakenNodes::default();
        taken.take(&cluster, &"a".into());
        let is_taken = |node: &NodeName| taken.holds(&cluster, node);
        assert_eq!(seen.take(Event::Apply(node("a", "Unknown")), is_taken), []);
        taken.give_back(&cluster, &"a".into());
        assert_eq!(seen.take(Event::Apply(node("a", "Unknown")), nobody), []);
        assert_eq!(seen.take(Event::Apply(node("a", "True")), nobody), []);
        assert_eq!(seen.take(Event::Apply(node("a", "False")), nobody).len(), 1);
    }
}
