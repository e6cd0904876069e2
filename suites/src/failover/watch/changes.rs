//! What changes in the clusters while they are watched: pods of the system and of the probes, Nodes, cilium-config.

use super::clock::wall;
use crate::kit::object::pod::{is_ready, ready};
use jiff::{SignedDuration, Timestamp};
use meshproof_contract::{CheckContext, ClusterName, EnvironmentError, ObjectRef};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// So many changes are kept, the first ones.
const MOST: usize = 2_000;
/// What changed so long before a gap may explain it.
const BEFORE: SignedDuration = SignedDuration::from_secs(30);
const SECOND: SignedDuration = SignedDuration::from_secs(1);

/// A change, seen between two looks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// It was not so yet.
    pub after: Timestamp,
    /// It was so.
    pub by: Timestamp,
    /// In which cluster.
    pub cluster: ClusterName,
    /// `pod kube-system/cilium-x on infra-2 is terminating`.
    pub what: String,
}

/// What is compared of a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Pod {
    node: String,
    ready: bool,
    ending: bool,
    restarts: u64,
    images: Vec<String>,
    times: Times,
}

/// When things happened to an object, by its own word; equal whatever they are.
#[derive(Clone, Copy, Debug, Default)]
struct Times {
    created: Option<Timestamp>,
    turned: Option<Timestamp>,
    ended: Option<Timestamp>,
}

impl PartialEq for Times {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Times {}

impl Times {
    fn of(object: &Value) -> Self {
        let metadata = &object["metadata"];
        let grace = metadata["deletionGracePeriodSeconds"].as_i64().unwrap_or(0);
        Self {
            created: time(&metadata["creationTimestamp"]),
            turned: ready(object).and_then(|condition| time(&condition["lastTransitionTime"])),
            // The API server adds the time that the pod has to end.
            ended: time(&metadata["deletionTimestamp"]).map(|at| at - SignedDuration::from_secs(grace)),
        }
    }
}

fn time(value: &Value) -> Option<Timestamp> {
    value.as_str()?.parse().ok()
}

/// What is compared of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Node {
    ready: bool,
    cordoned: bool,
    kubelet: String,
    times: Times,
}

/// A cluster at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Snapshot {
    pods: BTreeMap<String, Pod>,
    nodes: BTreeMap<String, Node>,
    config: String,
}

/// The clusters over time.
pub struct Course {
    namespaces: BTreeSet<String>,
    clusters: BTreeMap<ClusterName, (Timestamp, Snapshot)>,
    /// Clusters whose API server does not answer, with since when.
    silent: BTreeMap<ClusterName, Timestamp>,
    /// What changed, in order.
    pub changes: Vec<Change>,
}

impl Course {
    /// The clusters as they are now.
    pub async fn begin(context: &CheckContext, clusters: &BTreeSet<ClusterName>, namespaces: BTreeSet<String>) -> Self {
        let mut course = Self {
            namespaces,
            clusters: BTreeMap::new(),
            silent: BTreeMap::new(),
            changes: Vec::new(),
        };
        for cluster in clusters {
            let at = wall(context);
            let snapshot = read(context, cluster, &course.namespaces).await.unwrap_or_default();
            course.clusters.insert(cluster.clone(), (at, snapshot));
        }
        course
    }

    /// Looks again.
    pub async fn look(&mut self, context: &CheckContext) {
        let clusters: Vec<ClusterName> = self.clusters.keys().cloned().collect();
        for cluster in clusters {
            let at = wall(context);
            let read = read(context, &cluster, &self.namespaces).await;
            match read {
                Ok(now) => {
                    if let Some(since) = self.silent.remove(&cluster) {
                        self.push(since, at, &cluster, "the API server answers again".to_owned());
                    }
                    let Some((after, before)) = self.clusters.insert(cluster.clone(), (at, now.clone())) else {
                        continue;
                    };
                    if before != Snapshot::default() {
                        for (known, what) in differences(&before, &now) {
                            // An object's own times are whole seconds, by the clock of its API server.
                            let (after, by) = match known.filter(|known| *known >= after - SECOND && *known <= at) {
                                Some(known) => (known, known + SECOND),
                                None => (after, at),
                            };
                            self.push(after, by, &cluster, what);
                        }
                    }
                }
                Err(error) if !self.silent.contains_key(&cluster) => {
                    let after = self.clusters.get(&cluster).map_or(at, |(at, _)| *at);
                    self.push(after, at, &cluster, format!("the API server does not answer: {error}"));
                    self.silent.insert(cluster, at);
                }
                Err(_) => {}
            }
        }
    }

    fn push(&mut self, after: Timestamp, by: Timestamp, cluster: &ClusterName, what: String) {
        if self.changes.len() < MOST {
            let cluster = cluster.clone();
            self.changes.push(Change {
                after,
                by,
                cluster,
                what,
            });
        }
    }

    /// What changed near a time.
    pub fn near(&self, from: Timestamp, until: Timestamp) -> impl Iterator<Item = &Change> {
        let changes = self.changes.iter();
        changes.filter(move |change| change.by >= from - BEFORE && change.after <= until)
    }
}

async fn read(
    context: &CheckContext,
    cluster: &ClusterName,
    namespaces: &BTreeSet<String>,
) -> Result<Snapshot, EnvironmentError> {
    let environment = &context.environment;
    let mut snapshot = Snapshot::default();
    for namespace in namespaces {
        let pods = environment.list(cluster, "v1", "Pod", Some(namespace)).await?;
        snapshot.pods.extend(pods.iter().map(pod));
    }
    let nodes = environment.list(cluster, "v1", "Node", None).await?;
    snapshot.nodes.extend(nodes.iter().map(node));
    let config = ObjectRef::namespaced("v1", "ConfigMap", "kube-system", "cilium-config");
    // Not everybody may read it.
    let config = environment.get(cluster, &config).await.ok().flatten();
    snapshot.config = config.map(|config| config["data"].to_string()).unwrap_or_default();
    Ok(snapshot)
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn pod(object: &Value) -> (String, Pod) {
    let metadata = &object["metadata"];
    let statuses = object["status"]["containerStatuses"].as_array().into_iter().flatten();
    let containers = object["spec"]["containers"].as_array().into_iter().flatten();
    let pod = Pod {
        node: text(&object["spec"]["nodeName"]),
        ready: is_ready(object),
        ending: !metadata["deletionTimestamp"].is_null(),
        restarts: statuses.filter_map(|status| status["restartCount"].as_u64()).sum(),
        images: containers.map(|container| text(&container["image"])).collect(),
        times: Times::of(object),
    };
    (
        format!("{}/{}", text(&metadata["namespace"]), text(&metadata["name"])),
        pod,
    )
}

fn node(object: &Value) -> (String, Node) {
    let node = Node {
        ready: is_ready(object),
        cordoned: object["spec"]["unschedulable"] == true,
        kubelet: text(&object["status"]["nodeInfo"]["kubeletVersion"]),
        times: Times::of(object),
    };
    (text(&object["metadata"]["name"]), node)
}

/// What differs, each with its time where the object tells it.
fn differences(before: &Snapshot, now: &Snapshot) -> Vec<(Option<Timestamp>, String)> {
    let mut found: Vec<(Option<Timestamp>, String)> = Vec::new();
    for (name, is) in &now.pods {
        let at = format!("pod {name} on {}", is.node);
        let Some(was) = before.pods.get(name) else {
            let ready = if is.ready { ", ready" } else { "" };
            found.push((
                is.times.created,
                format!("{at} is new{ready}: {}", is.images.join(", ")),
            ));
            continue;
        };
        if is.ending && !was.ending {
            found.push((is.times.ended, format!("{at} is terminating")));
        } else if is.restarts > was.restarts {
            found.push((is.times.turned, format!("{at}: a container restarted")));
        } else if is.ready != was.ready {
            let state = if is.ready { "ready" } else { "not ready" };
            found.push((is.times.turned, format!("{at} is {state}")));
        }
        if is.images != was.images {
            let (is, was) = (is.images.join(", "), was.images.join(", "));
            found.push((None, format!("{at} runs {is}, before {was}")));
        }
    }
    let gone = before.pods.iter().filter(|(name, _)| !now.pods.contains_key(*name));
    found.extend(gone.map(|(name, was)| (None, format!("pod {name} on {} has gone", was.node))));
    for (name, is) in &now.nodes {
        let Some(was) = before.nodes.get(name) else {
            found.push((is.times.created, format!("node {name} is new")));
            continue;
        };
        if is.ready != was.ready {
            let state = if is.ready { "ready" } else { "not ready" };
            found.push((is.times.turned, format!("node {name} is {state}")));
        }
        if is.cordoned != was.cordoned {
            let state = if is.cordoned {
                "cordoned"
            } else {
                "not cordoned any more"
            };
            found.push((None, format!("node {name} is {state}")));
        }
        if is.kubelet != was.kubelet {
            let (is, was) = (&is.kubelet, &was.kubelet);
            found.push((None, format!("node {name} has kubelet {is}, before {was}")));
        }
    }
    let gone = before.nodes.keys().filter(|name| !now.nodes.contains_key(*name));
    found.extend(gone.map(|name| (None, format!("node {name} has gone"))));
    if now.config != before.config && !now.config.is_empty() && !before.config.is_empty() {
        found.push((None, "ConfigMap kube-system/cilium-config changed".to_owned()));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn snapshot(change: impl FnOnce(&mut Value, &mut Value)) -> Snapshot {
        let ready = json!([{"type": "Ready", "status": "True"}]);
        let mut agent = json!({
            "metadata": {"namespace": "kube-system", "name": "cilium-a"},
            "spec": {"nodeName": "infra-1", "containers": [{"image": "cilium:v1.18.3"}]},
            "status": {"conditions": ready, "containerStatuses": [{"restartCount": 0}]},
        });
        let mut one = json!({"metadata": {"name": "infra-1"}, "spec": {},
            "status": {"conditions": ready, "nodeInfo": {"kubeletVersion": "v1.33.1"}}});
        change(&mut agent, &mut one);
        Snapshot {
            pods: [pod(&agent)].into(),
            nodes: [node(&one)].into(),
            config: String::new(),
        }
    }

    fn said(change: impl FnOnce(&mut Value, &mut Value)) -> Vec<String> {
        let found = differences(&snapshot(|_, _| {}), &snapshot(change));
        found.into_iter().map(|(_, what)| what).collect()
    }

    #[test]
    fn each_change_is_told_in_words() {
        assert!(said(|_, _| {}).is_empty());
        let on = "pod kube-system/cilium-a on infra-1";
        let ending = said(|pod, _| pod["metadata"]["deletionTimestamp"] = json!("2026-12-01T10:00:00Z"));
        assert_eq!(ending, [format!("{on} is terminating")]);
        let restarted = said(|pod, _| pod["status"]["containerStatuses"][0]["restartCount"] = json!(1));
        assert_eq!(restarted, [format!("{on}: a container restarted")]);
        let unready = said(|pod, _| pod["status"]["conditions"][0]["status"] = json!("False"));
        assert_eq!(unready, [format!("{on} is not ready")]);
        let newer = said(|pod, _| pod["spec"]["containers"][0]["image"] = json!("cilium:v1.18.4"));
        assert_eq!(newer, [format!("{on} runs cilium:v1.18.4, before cilium:v1.18.3")]);
        let replaced = said(|pod, _| pod["metadata"]["name"] = json!("cilium-b"));
        let expected = [
            "pod kube-system/cilium-b on infra-1 is new, ready: cilium:v1.18.3".to_owned(),
            format!("{on} has gone"),
        ];
        assert_eq!(replaced, expected);
        let node = said(|_, node| {
            node["spec"]["unschedulable"] = json!(true);
            node["status"]["nodeInfo"]["kubeletVersion"] = json!("v1.34.0");
        });
        assert_eq!(
            node,
            [
                "node infra-1 is cordoned",
                "node infra-1 has kubelet v1.34.0, before v1.33.1"
            ]
        );
    }
}
