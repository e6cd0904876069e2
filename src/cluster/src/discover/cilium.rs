//! Finds Cilium, in any namespace, by the names and labels of its Helm chart.

use super::{
    allowed,
    proxy::{self, Proxy},
};
use crate::{ApiError, ProgressSink, client::ClusterClient, environment::query::CiliumPods};
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret};
use kube::{ResourceExt, api::ListParams};
use meshproof_contract::{NodeName, facts::CiliumFacts};
use std::collections::BTreeMap;
use tokio::time::Instant;

/// Namespaces searched for Cilium when objects of all namespaces may not be listed.
const LIKELY: [&str; 3] = ["kube-system", "cilium", "cilium-system"];

/// Labels of its pods (Helm chart, the same in 1.16 to 1.19).
pub(crate) const AGENT_LABEL: &str = "k8s-app=cilium";
const ENVOY_LABEL: &str = "k8s-app=cilium-envoy";
pub(crate) const MESH_LABEL: &str = "k8s-app=clustermesh-apiserver";
/// Any of them.
const ANY_LABEL: &str = "k8s-app in (cilium, cilium-envoy, clustermesh-apiserver)";

/// Cilium as found, with what claims need beside the facts.
pub(crate) struct Found {
    pub(crate) facts: CiliumFacts,
    /// Its pods, and their namespace.
    pub(crate) pods: CiliumPods,
    /// What serves HTTP rules.
    pub(crate) proxy: Proxy,
    /// Whether a `clustermesh-apiserver` is there.
    pub(crate) mesh_server: bool,
}

/// Cilium, if it is there.
pub(crate) async fn find(client: &ClusterClient, progress: &ProgressSink) -> Result<Option<Found>, ApiError> {
    let Some((namespace, config)) = config(client, progress).await? else {
        return Ok(None);
    };
    let listed = Instant::now();
    let labels = ListParams::default().labels(ANY_LABEL);
    let secret = client.get::<Secret>(&namespace, "cilium-clustermesh");
    let (pods, secret) = tokio::join!(client.list::<Pod>(Some(&namespace), &labels), secret);
    let pods = allowed(pods, progress, "checks that ask Cilium will be inconclusive")?;
    let of = |label: &str| -> Vec<Pod> {
        let has = |pod: &&Pod| {
            pod.labels()
                .iter()
                .any(|(key, value)| Some((&**key, &**value)) == label.split_once('='))
        };
        pods.iter().flatten().filter(has).cloned().collect()
    };
    let (agents, envoy, mesh) = (of(AGENT_LABEL), of(ENVOY_LABEL), of(MESH_LABEL));
    let secret = allowed(
        secret,
        progress,
        "the clusters that this one should join are unknown, and a missing one is not noticed",
    )?;
    let secret = secret.flatten();
    let remotes = secret
        .as_ref()
        .map(|secret| remotes(secret, config.get("cluster-name")));
    let reads_a_copy = secret.as_ref().is_some_and(|secret| reads_a_copy(secret, &namespace));
    let facts = CiliumFacts {
        version: agents.iter().find_map(version).unwrap_or_default(),
        agents: agents.iter().filter_map(agent).collect(),
        kvstoremesh: reads_a_copy || mesh.iter().any(|pod| has_container(pod, "kvstoremesh")),
        remotes,
        config,
    };
    let proxy = proxy::find(client, &namespace, &facts.config, &agents, envoy.len(), progress).await;
    let mesh_server = !mesh.is_empty();
    let known = match pods {
        Some(_) => vec![(AGENT_LABEL, agents), (MESH_LABEL, mesh)],
        None => Vec::new(),
    };
    Ok(Some(Found {
        facts,
        proxy,
        mesh_server,
        pods: CiliumPods::new(namespace, listed, known),
    }))
}

/// Namespace and content of `cilium-config`.
async fn config(
    client: &ClusterClient,
    progress: &ProgressSink,
) -> Result<Option<(String, BTreeMap<String, String>)>, ApiError> {
    let everywhere = ListParams::default().fields("metadata.name=cilium-config");
    match client.list::<ConfigMap>(None, &everywhere).await {
        Ok(found) => {
            let named = found.into_iter().find(|c| c.name_any() == "cilium-config");
            Ok(named.map(|c| (c.namespace().unwrap_or_default(), c.data.unwrap_or_default())))
        }
        Err(error) if error.is_forbidden() => {
            for namespace in LIKELY {
                let found = client.get::<ConfigMap>(namespace, "cilium-config").await;
                if let Ok(Some(found)) = found {
                    return Ok(Some((namespace.to_owned(), found.data.unwrap_or_default())));
                }
            }
            allowed::<()>(Err(error), progress, "Cilium's configuration was not found")?;
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

fn agent(pod: &Pod) -> Option<(NodeName, String)> {
    let node = pod.spec.as_ref()?.node_name.as_deref().filter(|n| !n.is_empty())?;
    let ended = pod.metadata.deletion_timestamp.is_some();
    (has_container(pod, "cilium-agent") && !ended).then(|| (node.into(), pod.name_any()))
}

pub(crate) fn has_container(pod: &Pod, name: &str) -> bool {
    pod.spec.iter().flat_map(|s| &s.containers).any(|c| c.name == name)
}

/// The version in the tag of the agent's image: `…/cilium:v1.18.3@sha256:…` gives `1.18.3`. None without a tag that is
/// a version.
fn version(pod: &Pod) -> Option<String> {
    let agent = pod
        .spec
        .iter()
        .flat_map(|s| &s.containers)
        .find(|c| c.name == "cilium-agent")?;
    let image = agent.image.as_deref()?.split('@').next()?;
    let (_, tag) = image.rsplit_once(':').filter(|(_, tag)| !tag.contains('/'))?;
    let version = tag.trim_start_matches('v');
    let digits = version.split('.').next()?;
    let is_version = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()) && version.contains('.');
    is_version.then(|| version.to_owned())
}

/// The keys of `cilium-clustermesh` that hold an etcd configuration, less the cluster's own name (as cilium-cli does).
fn remotes(secret: &Secret, own: Option<&String>) -> Vec<String> {
    let data = secret.data.iter().flatten();
    data.filter(|(name, _)| Some(*name) != own)
        .filter(|(_, value)| String::from_utf8_lossy(&value.0).contains("endpoints:"))
        .map(|(name, _)| name.clone())
        .collect()
}

/// Whether agents read other clusters' state from the cluster's own `clustermesh-apiserver`, into which KVStoreMesh
/// copies it.
fn reads_a_copy(secret: &Secret, namespace: &str) -> bool {
    let own = format!("://clustermesh-apiserver.{namespace}.svc");
    let mut values = secret.data.iter().flatten().map(|(_, value)| value);
    values.any(|value| String::from_utf8_lossy(&value.0).contains(&own))
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::ByteString;
    use serde_json::json;

    fn pod(image: &str) -> Pod {
        serde_json::from_value(json!({
            "metadata": {"name": "cilium-7jxgx"},
            "spec": {"nodeName": "apps-2", "containers": [{"name": "cilium-agent", "image": image}]},
        }))
        .expect("a pod")
    }

    #[test]
    fn the_version_is_in_the_images_tag() {
        let of = |image| version(&pod(image));
        assert_eq!(of("quay.io/cilium/cilium:v1.18.3@sha256:aa").as_deref(), Some("1.18.3"));
        assert_eq!(
            of("registry.example:5000/cilium:v1.19.0-rc.1").as_deref(),
            Some("1.19.0-rc.1")
        );
        assert_eq!(of("registry.example:5000/cilium"), None);
        assert_eq!(of("cilium:latest"), None);
        assert_eq!(of("cilium@sha256:aa"), None);
    }

    #[test]
    fn an_agent_is_known_by_its_container() {
        assert_eq!(agent(&pod("x")), Some(("apps-2".into(), "cilium-7jxgx".into())));
        let mut other = pod("x");
        other.spec.as_mut().expect("spec").containers[0].name = "other".into();
        assert_eq!(agent(&other), None);
    }

    #[test]
    fn kvstoremesh_is_configured_where_agents_read_the_clusters_own_copy() {
        let secret = |endpoint: &str| Secret {
            data: Some(
                [(
                    "apps".to_owned(),
                    ByteString(format!("endpoints:\n- {endpoint}\n").into_bytes()),
                )]
                .into(),
            ),
            ..Secret::default()
        };
        let own = secret("https://clustermesh-apiserver.kube-system.svc:2379");
        assert!(reads_a_copy(&own, "kube-system") && !reads_a_copy(&own, "cilium"));
        assert!(!reads_a_copy(
            &secret("https://apps.mesh.cilium.io:32379"),
            "kube-system"
        ));
    }

    #[test]
    fn remotes_are_etcd_configurations_of_others() {
        let data = [
            ("infra", "endpoints:\n- https://a:2379\n"),
            ("apps", "endpoints:\n- https://b:2379\n"),
            ("common-etcd-client-ca.crt", "PEM"),
        ];
        let secret = Secret {
            data: Some(
                data.map(|(k, v)| (k.to_owned(), ByteString(v.as_bytes().to_vec())))
                    .into(),
            ),
            ..Secret::default()
        };
        assert_eq!(remotes(&secret, Some(&"apps".to_owned())), ["infra"]);
        assert_eq!(remotes(&secret, None), ["apps", "infra"]);
    }
}
