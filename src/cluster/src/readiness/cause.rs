//! Why an agent is missing: its state, and the newest warning event of its pod or its controller.

use super::census::Absent;
use crate::{
    api::{admission, one_line},
    client::ClusterClient,
};
use k8s_openapi::api::core::v1::Event;
use kube::api::ListParams;
use meshproof_contract::facts::MissingAgent;

/// The absent agent with the newest warning about it; events that may not be read are left out.
pub(super) async fn explain(client: &ClusterClient, absent: Absent) -> MissingAgent {
    let about = absent.pod.as_ref().unwrap_or(&absent.owner);
    let params = ListParams::default().fields(&format!("involvedObject.name={about}"));
    let events = client.list::<Event>(Some(&absent.namespace), &params).await;
    let mut events = events.unwrap_or_default();
    if absent.pod.is_none() && events.is_empty() {
        // The pods of a Deployment are refused to its ReplicaSet.
        let params = ListParams::default().fields("involvedObject.kind=ReplicaSet,reason=FailedCreate");
        let refused = client.list::<Event>(Some(&absent.namespace), &params).await;
        events = of_replica_sets(refused.unwrap_or_default(), about);
    }
    let state = with_event(absent.state.text(), &events, about);
    let state = refused(&state, &absent.namespace).unwrap_or(state);
    MissingAgent {
        cluster: client.name().clone(),
        node: absent.node,
        workload: absent.workload,
        state,
    }
}

/// The events of a Deployment's ReplicaSets, as if they were about it.
fn of_replica_sets(events: Vec<Event>, deployment: &str) -> Vec<Event> {
    let is_of = |event: &Event| {
        let name = event.involved_object.name.as_deref().unwrap_or_default();
        name.rsplit_once('-').is_some_and(|(owner, _)| owner == deployment)
    };
    let mut own: Vec<Event> = events.into_iter().filter(is_of).collect();
    own.iter_mut()
        .for_each(|event| event.involved_object.name = Some(deployment.to_owned()));
    own
}

/// One sentence, the same for all pods that an admission controller refuses in a namespace.
fn refused(state: &str, namespace: &str) -> Option<String> {
    let (_, message) = state.split_once("(FailedCreate: ")?;
    let message = message.trim_end_matches(')');
    // A DaemonSet's event repeats what the server said.
    let message = message.trim_start_matches("Error creating: ");
    let reason = admission::refusal(message)?;
    Some(match reason.strip_prefix("exceeded quota: ") {
        Some(quota) => format!("ResourceQuota {namespace}/{quota} admits no more pods"),
        None => format!("pods are refused in namespace {namespace}: {reason}"),
    })
}

fn with_event(state: &str, events: &[Event], about: &str) -> String {
    let newest = events
        .iter()
        .filter(|e| e.involved_object.name.as_deref() == Some(about) && e.type_.as_deref() == Some("Warning"))
        // "Back-off" only repeats an earlier failure.
        .filter(|e| !matches!(e.reason.as_deref(), Some("BackOff")))
        .max_by_key(|e| {
            let last = e.last_timestamp.as_ref().map(|t| t.0);
            last.or(e.event_time.as_ref().map(|t| t.0))
                .or(e.metadata.creation_timestamp.as_ref().map(|t| t.0))
        });
    match newest.and_then(|e| Some((e.reason.as_deref()?, one_line(e.message.as_deref()?)))) {
        // Newer kubelets give the reason of a failed pull in the state itself.
        Some((reason, message)) if !state.contains(&message) && !state.contains("ErrImagePull: ") => {
            format!("{state} ({reason}: {message})")
        }
        _ => state.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_newest_warning_about_it_is_added() {
        let event = |about: &str, kind: &str, reason: &str, message: &str, minute: u8| {
            serde_json::from_value::<Event>(json!({
                "metadata": {"name": "e", "namespace": "meshproof"},
                "involvedObject": {"kind": "DaemonSet", "name": about},
                "type": kind, "reason": reason, "message": message,
                "lastTimestamp": format!("2026-11-21T10:{minute:02}:00Z"),
            }))
            .expect("an event")
        };
        let events = [
            event("set", "Warning", "FailedCreate", "an old story", 1),
            event(
                "set",
                "Warning",
                "FailedCreate",
                "violates PodSecurity \"restricted\"",
                3,
            ),
            event("set", "Normal", "SuccessfulCreate", "created", 4),
            event("other", "Warning", "FailedCreate", "another", 5),
        ];
        assert_eq!(
            with_event("no pod was created for it", &events, "set"),
            "no pod was created for it (FailedCreate: violates PodSecurity \"restricted\")"
        );
        assert_eq!(with_event("Pending", &[], "set"), "Pending");
        let by_quota = "no pod was created for it (FailedCreate: Error creating: pods \"set-x\" is forbidden: exceeded \
                        quota: house, requested: pods=1, used: pods=1, limited: pods=1)";
        assert_eq!(
            refused(by_quota, "meshproof").as_deref(),
            Some("ResourceQuota meshproof/house admits no more pods")
        );
        assert_eq!(refused("Pending (FailedScheduling: 0/3 nodes)", "meshproof"), None);
    }
}
