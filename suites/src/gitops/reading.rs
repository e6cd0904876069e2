//! What one cluster shows of its installation of Cilium: the Helm release, the objects, and what each agent runs with.
//! Read once for all trials of a run.

use crate::kit::{
    cilium::pods::{AGENT, Pods},
    once::Once,
    paths::sample,
    recent::{self, Age},
};
use jiff::Timestamp;
use meshproof_claims::{
    agent::Question,
    release::{self, Release},
};
use meshproof_contract::{CheckContext, CiliumAnswer, CiliumQuery, ClusterName, EnvironmentError, NodeName, ObjectRef};
use serde_json::Value;
use std::{collections::BTreeMap, convert::Infallible, sync::Arc};

/// So many agents of a cluster are asked for their settings, as suite `state` does.
const NODES: usize = 16;
/// A release that is newer than the one in force, and changed so lately, is an upgrade that still runs.
const UPGRADE_SECONDS: i64 = 600;

/// What was read, or why it could not be.
pub type Read<T> = Result<T, String>;

/// The Helm release of Cilium.
pub enum HelmRelease {
    /// The one in force.
    Found(Box<Release>),
    /// There is none: something else than Helm installed Cilium.
    Absent,
    /// It may not be read.
    NotPermitted,
    /// It could not be read.
    Unreadable(String),
}

/// A release that is newer than the one in force.
pub struct Newer {
    /// Its revision.
    pub revision: u64,
    /// `failed`, `pending-upgrade`.
    pub status: String,
    /// Whether it changed so lately that it may still become the one in force.
    pub is_running: bool,
}

/// How Flux calls the release, by the labels that it puts on its objects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FluxOrigin {
    /// Namespace of the HelmRelease.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

/// One cluster.
pub struct Reading {
    /// Where Cilium is installed.
    pub namespace: String,
    /// The release in force.
    pub release: HelmRelease,
    /// A newer one that did not get so far.
    pub newer: Option<Newer>,
    /// The HelmRelease that the objects come from.
    pub flux: Option<FluxOrigin>,
    /// HelmReleases and OCIRepositories of all namespaces, as far as they can be read.
    pub flux_objects: Vec<Value>,
    /// ConfigMap `cilium-config`.
    pub config: Read<Value>,
    /// DaemonSets and Deployments of all namespaces.
    pub workloads: Read<Vec<Value>>,
    /// CiliumNodeConfigs.
    pub node_configs: Vec<Value>,
    /// The agents' pods.
    pub pods: Read<Vec<Value>>,
    /// What the agents answered, by node; who did not is an error.
    pub answers: BTreeMap<NodeName, Vec<(Question, Read<Value>)>>,
}

impl Reading {
    /// Reads a cluster, or takes what another trial has read.
    pub async fn of(context: &CheckContext, cluster: &ClusterName) -> Arc<Self> {
        let known = context.observed.of::<Once<ClusterName, Arc<Reading>>>();
        let read = async || Ok::<_, Infallible>(Arc::new(read(context, cluster).await));
        let Ok(reading) = known.get(cluster.clone(), read).await;
        reading
    }

    /// The DaemonSet or Deployment of that name where Cilium is installed.
    pub fn workload(&self, kind: &str, name: &str) -> Option<&Value> {
        let all = self.workloads.as_ref().ok()?;
        all.iter().find(|object| {
            let metadata = &object["metadata"];
            object["kind"] == kind && metadata["name"] == name && metadata["namespace"] == *self.namespace
        })
    }
}

async fn read(context: &CheckContext, cluster: &ClusterName) -> Reading {
    let list = |kind| recent::list(context, cluster, kind, Age::OfThisRun);
    let (daemon_sets, deployments, helm_releases, charts, node_configs, pods, answers) = futures::join!(
        list(("apps/v1", "DaemonSet")),
        list(("apps/v1", "Deployment")),
        // The list of `gitops::flux`; without Flux nothing says more than the release.
        list(("helm.toolkit.fluxcd.io/v2", "HelmRelease")),
        list(("source.toolkit.fluxcd.io/v1", "OCIRepository")),
        list(("cilium.io/v2", "CiliumNodeConfig")),
        Pods::read(context, cluster, Age::STATE),
        answers(context, cluster),
    );
    let workloads = daemon_sets.and_then(|sets| Ok([&*sets, &*deployments?].concat()));
    let workloads = workloads.map_err(|error| format!("the workloads of {cluster} cannot be read: {error}"));
    let agent = workloads
        .as_ref()
        .ok()
        .and_then(|all| all.iter().find(is_agent))
        .cloned();
    let agent = agent.unwrap_or_default();
    let namespace = agent["metadata"]["namespace"]
        .as_str()
        .unwrap_or("kube-system")
        .to_owned();
    let object = ObjectRef::namespaced("v1", "ConfigMap", &namespace, "cilium-config");
    let (config, (release, newer)) = futures::join!(
        context.environment.get(cluster, &object),
        release(context, cluster, &namespace, &agent),
    );
    let config = match config {
        Ok(Some(config)) => Ok(config),
        Ok(None) => Err(format!("{cluster} has no ConfigMap {namespace}/cilium-config")),
        Err(error) => Err(format!("cilium-config of {cluster} cannot be read: {error}")),
    };
    let label = |name: &str| agent["metadata"]["labels"][format!("helm.toolkit.fluxcd.io/{name}")].as_str();
    let flux = label("name")
        .zip(label("namespace"))
        .map(|(name, namespace)| FluxOrigin {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        });
    let of_flux = [("HelmRelease", helm_releases), ("OCIRepository", charts)];
    let flux_objects = of_flux.into_iter().flat_map(|(kind, listed)| {
        let objects = listed.map(|objects| objects.to_vec()).unwrap_or_default();
        objects.into_iter().map(move |mut object| {
            // Items of a list do not say their kind.
            object["kind"] = kind.into();
            object
        })
    });
    let pods = pods.map_err(|error| format!("the pods of {cluster} cannot be read: {error}"));
    Reading {
        release,
        newer,
        flux,
        flux_objects: flux_objects.collect(),
        config,
        workloads,
        // Without the kind no node can have a setting of its own.
        node_configs: node_configs.map(|all| all.to_vec()).unwrap_or_default(),
        pods: pods.map(|pods| pods.of(AGENT).unwrap_or_default().into_iter().cloned().collect()),
        answers,
        namespace,
    }
}

fn is_agent(object: &&Value) -> bool {
    object["kind"] == "DaemonSet" && object["spec"]["selector"]["matchLabels"]["k8s-app"] == AGENT
}

/// The release in force, by the labels of its Secrets, of which only that one is read.
async fn release(
    context: &CheckContext,
    cluster: &ClusterName,
    namespace: &str,
    agent: &Value,
) -> (HelmRelease, Option<Newer>) {
    let annotation = |name: &str| agent["metadata"]["annotations"][format!("meta.helm.sh/{name}")].as_str();
    let name = annotation("release-name").unwrap_or("cilium");
    let namespace = annotation("release-namespace").unwrap_or(namespace);
    let labels = format!("owner=helm,name={name}");
    let environment = &context.environment;
    let listed = environment
        .list_metadata(cluster, "v1", "Secret", namespace, &labels)
        .await;
    let secrets = match listed {
        Ok(secrets) => secrets,
        Err(EnvironmentError::Forbidden { .. }) => return (HelmRelease::NotPermitted, None),
        Err(error) => return (HelmRelease::Unreadable(error.to_string()), None),
    };
    let revisions: Vec<(u64, &str, &Value)> = secrets
        .iter()
        .filter_map(|secret| {
            let (_, revision) = release::of_secret(secret["metadata"]["name"].as_str()?)?;
            let labels = &secret["metadata"]["labels"];
            Some((revision, labels["status"].as_str().unwrap_or_default(), labels))
        })
        .collect();
    let states: Vec<(u64, &str)> = revisions
        .iter()
        .map(|(revision, status, _)| (*revision, *status))
        .collect();
    let (deployed, newer) = release::in_force(&states);
    let newer = newer.map(|(revision, status)| {
        let labels = revisions
            .iter()
            .find(|(number, ..)| *number == revision)
            .map(|(.., labels)| *labels);
        let changed = labels.and_then(|labels| labels["modifiedAt"].as_str()?.parse::<i64>().ok());
        let is_recent = |at: i64| Timestamp::now().as_second() - at < UPGRADE_SECONDS;
        Newer {
            revision,
            status: status.to_owned(),
            is_running: status.starts_with("pending") && changed.is_some_and(is_recent),
        }
    });
    let Some(deployed) = deployed else {
        return (HelmRelease::Absent, newer);
    };
    let object = ObjectRef::namespaced(
        "v1",
        "Secret",
        namespace,
        &format!("sh.helm.release.v1.{name}.v{deployed}"),
    );
    let found = match environment.get(cluster, &object).await {
        Ok(Some(secret)) => match Release::decode(secret["data"]["release"].as_str().unwrap_or_default()) {
            Ok(release) => HelmRelease::Found(Box::new(release)),
            Err(error) => HelmRelease::Unreadable(format!("Secret {namespace}/{}: {error}", object.name)),
        },
        Ok(None) => HelmRelease::Unreadable(format!("Secret {namespace}/{} is gone", object.name)),
        Err(EnvironmentError::Forbidden { .. }) => HelmRelease::NotPermitted,
        Err(error) => HelmRelease::Unreadable(error.to_string()),
    };
    (found, newer)
}

/// What the agents run with: their settings of up to 16 nodes, their status of all.
async fn answers(context: &CheckContext, cluster: &ClusterName) -> BTreeMap<NodeName, Vec<(Question, Read<Value>)>> {
    let facts = context.environment.facts();
    let nodes = sample::nodes(&facts, cluster, NODES);
    let age = Age::OfThisRun;
    let (settings, status) = futures::join!(
        recent::cilium_on(context, cluster, CiliumQuery::Configuration, &nodes, age),
        recent::cilium(context, cluster, CiliumQuery::Status, age),
    );
    let one = |answers: &Result<Vec<CiliumAnswer>, EnvironmentError>, node: &NodeName| match answers {
        Err(error) => Err(error.to_string()),
        Ok(answers) => match answers
            .iter()
            .find(|answer| answer.node == *node)
            .map(|answer| &answer.output)
        {
            Some(Ok(output)) => Ok(output.clone()),
            Some(Err(error)) => Err(error.to_string()),
            None => Err(format!("no Cilium agent answered on node {node}")),
        },
    };
    let of_node = |node: NodeName| {
        let all = vec![
            (Question::Configuration, one(&settings, &node)),
            (Question::Status, one(&status, &node)),
        ];
        (node, all)
    };
    nodes.into_iter().map(of_node).collect()
}
