//! Pods that no kubelet terminates: those of a dead node stay `Terminating` for ever, and their namespace with them.
//! Ours are removed from the API by force.

use crate::{
    ApiError, ProgressSink, api::Operation, cleanup::RunSelector, client::ClusterClient, ready::is_node_ready,
};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::{
    ResourceExt,
    api::{DeleteParams, ListParams, Preconditions},
};
use std::{collections::BTreeMap, convert::Infallible, time::Duration};

/// How long past its grace period a pod may take: a running kubelet needs a few seconds.
const OVERDUE: SignedDuration = SignedDuration::from_secs(15);
/// Pause between two sweeps.
const POLL: Duration = Duration::from_secs(3);

/// Removes such pods in a namespace as they are found, until dropped.
pub(crate) async fn remove(
    client: &ClusterClient,
    namespace: &str,
    runs: RunSelector<'_>,
    progress: &ProgressSink,
) -> Infallible {
    loop {
        tokio::time::sleep(POLL).await;
        if let Err(error) = sweep(client, namespace, runs, progress).await {
            tracing::debug!(%error, namespace, "failed to list pods of dead nodes");
        }
    }
}

async fn sweep(
    client: &ClusterClient,
    namespace: &str,
    runs: RunSelector<'_>,
    progress: &ProgressSink,
) -> Result<(), ApiError> {
    let params = ListParams::default().labels(&runs.selector());
    let mut pods = client.list::<Pod>(Some(namespace), &params).await?;
    pods.retain(|pod| pod.metadata.deletion_timestamp.is_some());
    if pods.is_empty() {
        return Ok(());
    }
    let nodes = match client.list_global::<Node>(&ListParams::default()).await {
        Err(error) if error.is_forbidden() => Vec::new(),
        nodes => nodes?,
    };
    let ready = nodes
        .iter()
        .map(|node| (node.name_any(), is_node_ready(node)))
        .collect();
    for pod in &pods {
        if let Some(why) = abandoned(pod, &ready, Timestamp::now()) {
            remove_one(client, namespace, pod).await?;
            progress.warning(format!(
                "{}: removed Pod {namespace}/{} by force: {why}",
                client.name(),
                pod.name_any()
            ));
        }
    }
    Ok(())
}

async fn remove_one(client: &ClusterClient, namespace: &str, pod: &Pod) -> Result<(), ApiError> {
    let name = pod.name_any();
    let params = DeleteParams::default().grace_period(0).preconditions(Preconditions {
        uid: pod.uid(),
        resource_version: None,
    });
    let operation = Operation::on("delete", "pods").within(namespace).named(&name);
    match client
        .call(operation, client.within::<Pod>(namespace).delete(&name, &params))
        .await
    {
        // Another pod of the same name stays.
        Err(error) if !error.is_not_found() && !error.is_conflict() => Err(error),
        _ => Ok(()),
    }
}

/// Why nobody will terminate a pod that is being deleted; none while its kubelet still may. Nodes are true when Ready;
/// none are known where they may not be listed.
fn abandoned(pod: &Pod, nodes: &BTreeMap<String, bool>, now: Timestamp) -> Option<String> {
    // The deletion timestamp includes the grace period.
    let ends = pod.metadata.deletion_timestamp.as_ref()?.0;
    let node = pod.spec.as_ref().and_then(|s| s.node_name.as_deref());
    if let Some(node) = node.filter(|node| nodes.get(*node) == Some(&false)) {
        return Some(format!("node {node} is not Ready"));
    }
    (now.duration_since(ends) > OVERDUE).then(|| match node {
        Some(node) => format!(
            "the kubelet of node {node} did not terminate it within {} s",
            OVERDUE.as_secs()
        ),
        None => format!("it was not terminated within {} s", OVERDUE.as_secs()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_a_deleted_pod_of_a_dead_node_or_an_overdue_one_is_abandoned() {
        let at = |second: i64| Timestamp::from_second(1_800_000_000 + second).expect("a time");
        let pod = |deleted: Option<i64>, node: &str| -> Pod {
            serde_json::from_value(json!({
                "metadata": {"name": "p", "deletionTimestamp": deleted.map(|s| at(s).to_string())},
                "spec": {"nodeName": node, "containers": []},
            }))
            .expect("a pod")
        };
        let nodes = [("well".to_owned(), true), ("dead".to_owned(), false)].into();
        assert_eq!(abandoned(&pod(None, "dead"), &nodes, at(100)), None);
        assert_eq!(abandoned(&pod(Some(0), "well"), &nodes, at(15)), None);
        assert_eq!(
            abandoned(&pod(Some(0), "dead"), &nodes, at(0)).as_deref(),
            Some("node dead is not Ready")
        );
        assert_eq!(
            abandoned(&pod(Some(0), "well"), &nodes, at(16)).as_deref(),
            Some("the kubelet of node well did not terminate it within 15 s")
        );
    }
}
