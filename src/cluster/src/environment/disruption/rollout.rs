//! Components whose pods are replaced by a rollout of their Deployment. Nothing of it has to be undone: the Deployment
//! itself finishes what was begun, whoever is killed meanwhile.

use super::{Site, cilium::patch, failed};
use crate::{ApiError, client::ClusterClient, discover::cilium::MESH_LABEL};
use jiff::Timestamp;
use k8s_openapi::api::{apps::v1::Deployment, core::v1::Service};
use kube::{ResourceExt, api::ListParams};
use meshproof_contract::{Component, Disruption, EnvironmentError};
use serde_json::json;
use std::collections::BTreeMap;

/// The label of the operator's pods, by Cilium's chart.
const OPERATOR_LABEL: &str = "io.cilium/app=operator";
/// What `kubectl rollout restart` sets on the pods' template.
const RESTARTED: &str = "kubectl.kubernetes.io/restartedAt";

/// The Deployment whose pods are the component's.
pub(super) async fn find(
    site: Site<'_>,
    disruption: &Disruption,
    component: &Component,
) -> Result<Deployment, EnvironmentError> {
    let client = site.client;
    let absent = |what: String| failed(client, disruption, what);
    let (namespace, labels) = match component {
        Component::ClusterDns { namespace, service } => {
            let found = client.get::<Service>(namespace, service).await?;
            let selector = found
                .and_then(|found| found.spec?.selector)
                .filter(|one| !one.is_empty());
            let selector = selector.ok_or_else(|| absent(format!("Service {namespace}/{service} selects no pods")))?;
            (namespace.as_str(), selector)
        }
        Component::MeshApiServer => (site.cilium_namespace(disruption)?, label(MESH_LABEL)),
        Component::Operator => (site.cilium_namespace(disruption)?, label(OPERATOR_LABEL)),
    };
    let mut listed = client
        .list::<Deployment>(Some(namespace), &ListParams::default())
        .await?
        .into_iter();
    let found = listed.find(|deployment| has(deployment, &labels));
    found.ok_or_else(|| absent(format!("no Deployment in {namespace} makes these pods")))
}

fn label(text: &str) -> BTreeMap<String, String> {
    let (key, value) = text.split_once('=').unwrap_or((text, ""));
    BTreeMap::from([(key.to_owned(), value.to_owned())])
}

/// Whether the Deployment's pods have these labels.
fn has(deployment: &Deployment, labels: &BTreeMap<String, String>) -> bool {
    let spec = deployment.spec.as_ref();
    let metadata = spec.and_then(|spec| spec.template.metadata.as_ref());
    let own = metadata.and_then(|metadata| metadata.labels.as_ref());
    own.is_some_and(|own| labels.iter().all(|(key, value)| own.get(key) == Some(value)))
}

/// Begins the rollout.
pub(super) async fn restart(client: &ClusterClient, deployment: &Deployment) -> Result<(), ApiError> {
    let (namespace, name) = (deployment.namespace().unwrap_or_default(), deployment.name_any());
    let annotations = json!({RESTARTED: Timestamp::now().to_string()});
    let change = json!({"spec": {"template": {"metadata": {"annotations": annotations}}}});
    patch(client, &namespace, &name, change).await
}

/// What is still missing until all pods are new and available.
pub(super) async fn pending(client: &ClusterClient, deployment: &Deployment) -> Result<Option<String>, ApiError> {
    let (namespace, name) = (deployment.namespace().unwrap_or_default(), deployment.name_any());
    let Some(now) = client.get::<Deployment>(&namespace, &name).await? else {
        return Ok(Some(format!("Deployment {namespace}/{name} does not exist")));
    };
    Ok(unfinished(&now))
}

fn unfinished(deployment: &Deployment) -> Option<String> {
    let wanted = deployment.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
    let status = deployment.status.clone().unwrap_or_default();
    if status.observed_generation < deployment.metadata.generation {
        return Some("the rollout has not begun".to_owned());
    }
    let of = |count: Option<i32>| count.unwrap_or_default();
    let (updated, available, all) = (
        of(status.updated_replicas),
        of(status.available_replicas),
        of(status.replicas),
    );
    let is_over = updated >= wanted && available >= wanted && all <= updated;
    (!is_over).then(|| format!("{updated} of {wanted} pods are new, {available} of {all} are available"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn deployment(observed: i64, [updated, available, all]: [i32; 3]) -> Deployment {
        let value = json!({
            "metadata": {"name": "dns", "generation": 4},
            "spec": {
                "replicas": 2, "selector": {},
                "template": {"metadata": {"labels": {"k8s-app": "kube-dns", "pod": "x"}}, "spec": {"containers": []}},
            },
            "status": {
                "observedGeneration": observed, "updatedReplicas": updated, "availableReplicas": available,
                "replicas": all,
            },
        });
        serde_json::from_value(value).expect("a Deployment")
    }

    #[test]
    fn a_rollout_is_over_when_all_pods_are_new_and_available() {
        let word = |observed, counts| unfinished(&deployment(observed, counts));
        assert_eq!(word(4, [2, 2, 2]), None);
        assert!(word(3, [2, 2, 2]).is_some(), "not begun");
        assert!(word(4, [1, 2, 3]).is_some());
        assert!(word(4, [2, 1, 2]).is_some());
        assert!(word(4, [2, 3, 3]).is_some(), "an old pod is left");
    }

    #[test]
    fn a_deployment_is_known_by_the_labels_of_its_pods() {
        let found = deployment(4, [2, 2, 2]);
        assert!(has(&found, &label("k8s-app=kube-dns")));
        assert!(!has(&found, &label(MESH_LABEL)) && !has(&found, &label(OPERATOR_LABEL)));
    }
}
