//! Pods that no kubelet terminates: those of a node that is gone or not Ready stay `Terminating`, and their namespace
//! with them. Ours are removed from the API by force. A kubelet that still reports is waited for, however long it takes:
//! forcing would leave containers running on its node.

use crate::{
    ApiError, ProgressSink, api::Operation, cleanup::RunSelector, client::ClusterClient, ready::ready_condition,
};
use jiff::{SignedDuration, Timestamp, Unit};
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::{
    ResourceExt,
    api::{DeleteParams, ListParams, Preconditions},
};
use meshproof_contract::text::counted;
use std::{collections::BTreeMap, convert::Infallible, time::Duration};

/// Before the first sweep and between two: running kubelets are usually done by then, and nothing is asked.
const POLL: Duration = Duration::from_secs(4);
/// How long past its grace period a pod may take where nodes may not be listed, so that nothing is known of its kubelet.
const OVERDUE: SignedDuration = SignedDuration::from_secs(60);

/// Removes such pods in these namespaces as they are found, until dropped.
pub(crate) async fn remove(
    client: &ClusterClient,
    namespaces: &[&str],
    runs: RunSelector<'_>,
    progress: &ProgressSink,
) -> Infallible {
    loop {
        tokio::time::sleep(POLL).await;
        if let Err(error) = sweep(client, namespaces, runs, progress).await {
            tracing::debug!(%error, ?namespaces, "failed to remove the pods of dead nodes");
        }
    }
}

async fn sweep(
    client: &ClusterClient,
    namespaces: &[&str],
    runs: RunSelector<'_>,
    progress: &ProgressSink,
) -> Result<(), ApiError> {
    let nodes = match client.list_global::<Node>(&ListParams::default()).await {
        Err(error) if error.is_forbidden() => None,
        nodes => Some(nodes?),
    };
    let params = ListParams::default().labels(&runs.selector());
    let mut removed: BTreeMap<String, usize> = BTreeMap::new();
    for namespace in namespaces {
        for pod in client.list::<Pod>(Some(namespace), &params).await? {
            if let Some(why) = abandoned(&pod, nodes.as_deref(), Timestamp::now()) {
                remove_one(client, namespace, &pod).await?;
                *removed.entry(why).or_default() += 1;
            }
        }
    }
    for (why, number) in removed {
        let pods = counted(number, "pod");
        progress.warning(format!("{}: removed {pods} of {why}", client.name()));
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

/// Whose pod is removed by force and why, for people, if nobody will terminate it; none while its kubelet still may.
/// Nodes are none where they may not be listed.
fn abandoned(pod: &Pod, nodes: Option<&[Node]>, now: Timestamp) -> Option<String> {
    // The deletion timestamp includes the grace period.
    let ends = pod.metadata.deletion_timestamp.as_ref()?.0;
    let name = pod.spec.as_ref().and_then(|s| s.node_name.as_deref())?;
    let Some(nodes) = nodes else {
        let overdue = now.duration_since(ends) > OVERDUE;
        return overdue.then(|| {
            format!(
                "node {name} by force: its kubelet did not terminate them within {} s, and nodes may not be listed",
                OVERDUE.as_secs()
            )
        });
    };
    let Some(node) = nodes.iter().find(|node| node.name_any() == name) else {
        return Some(format!("node {name} by force: the node does not exist any more"));
    };
    let condition = ready_condition(node);
    if condition.is_some_and(|condition| condition.status == "True") {
        return None;
    }
    let since = condition.and_then(|condition| condition.last_transition_time.as_ref());
    let since = since.and_then(|time| time.0.round(Unit::Second).ok());
    let since = since.map_or(String::new(), |time| format!(" since {time}"));
    Some(format!("node {name} by force: the node is not Ready{since}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_a_deleted_pod_of_a_dead_node_is_abandoned() {
        let at = |second: i64| Timestamp::from_second(1_800_000_000 + second).expect("a time");
        let pod = |deleted: Option<i64>, node: &str| -> Pod {
            serde_json::from_value(json!({
                "metadata": {"name": "p", "deletionTimestamp": deleted.map(|s| at(s).to_string())},
                "spec": {"nodeName": node, "containers": []},
            }))
            .expect("a pod")
        };
        let node = |name: &str, ready: &str| -> Node {
            serde_json::from_value(json!({
                "metadata": {"name": name},
                "status": {"conditions": [
                    {"type": "Ready", "status": ready, "lastTransitionTime": "2026-11-30T14:18:31Z"}
                ]},
            }))
            .expect("a node")
        };
        let nodes = [node("well", "True"), node("dead", "Unknown")];
        let of = |pod: &Pod, second| abandoned(pod, Some(&nodes), at(second));
        assert_eq!(of(&pod(None, "dead"), 100), None);
        assert_eq!(of(&pod(Some(0), "well"), 1000), None, "its kubelet reports");
        assert_eq!(
            of(&pod(Some(0), "dead"), 0).as_deref(),
            Some("node dead by force: the node is not Ready since 2026-11-30T14:18:31Z")
        );
        assert_eq!(
            of(&pod(Some(0), "gone"), 0).as_deref(),
            Some("node gone by force: the node does not exist any more")
        );
        let unlisted = |second| abandoned(&pod(Some(0), "well"), None, at(second));
        assert_eq!(unlisted(60), None);
        let text = unlisted(61).expect("abandoned");
        assert!(text.contains("within 60 s"), "{text}");
    }
}
