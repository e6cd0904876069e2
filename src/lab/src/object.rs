//! What controllers have in common about objects: owners, pods of a template, readiness, conditions.

use jiff::{SignedDuration, Timestamp};
use meshproof_apiserver::{ApiError, DeleteOptions, Object, Store, resource::names::PODS};
use serde_json::{Value, json};

/// Letters that make no words (`k8s.io/apimachinery/pkg/util/rand`).
const SAFE: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";

/// The time as Kubernetes writes it, in seconds.
pub(crate) fn now() -> String {
    at(Timestamp::now())
}

/// A time as Kubernetes writes it, in seconds.
pub(crate) fn at(time: Timestamp) -> String {
    format!("{time:.0}")
}

/// A time that Kubernetes wrote.
pub(crate) fn time(value: &Value) -> Option<Timestamp> {
    value.as_str()?.parse().ok()
}

/// How long ago a time was; zero for the future, none for no time.
pub(crate) fn since(value: &Value) -> Option<std::time::Duration> {
    let past = Timestamp::now().duration_since(time(value)?);
    Some(std::time::Duration::try_from(past.max(SignedDuration::ZERO)).unwrap_or_default())
}

/// An owner reference with `controller: true`.
pub(crate) fn owner_reference(owner: &Object) -> Value {
    json!({
        "apiVersion": owner["apiVersion"], "kind": owner["kind"], "name": owner.name(), "uid": owner.uid(),
        "controller": true, "blockOwnerDeletion": true,
    })
}

/// A short name for a template's content (`pod-template-hash`).
pub(crate) fn template_hash(template: &Value) -> String {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for byte in template.to_string().bytes() {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
    let letter = |place: u32| char::from(SAFE[((hash >> (place * 6)) % SAFE.len() as u64) as usize]);
    (0..10).map(letter).collect()
}

/// Five letters for the end of a name.
pub(crate) fn random_suffix() -> String {
    (0..5)
        .map(|_| char::from(SAFE[rand::random_range(0..SAFE.len())]))
        .collect()
}

/// A pod of a template, owned by `owner`. Its name is `generateName` unless `name` is given.
pub(crate) fn pod_of(owner: &Object, template: &Value, name: Option<&str>) -> Value {
    let mut metadata = json!({
        "namespace": owner.namespace(),
        "ownerReferences": [owner_reference(owner)],
    });
    for part in ["labels", "annotations", "finalizers"] {
        if !template["metadata"][part].is_null() {
            metadata[part] = template["metadata"][part].clone();
        }
    }
    match name {
        Some(name) => metadata["name"] = json!(name),
        None => metadata["generateName"] = json!(format!("{}-", owner.name())),
    }
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"]})
}

/// The pods that an object controls.
pub(crate) fn pods_of(store: &Store, owner: &Object) -> Vec<Object> {
    let mut pods = store.all(&PODS, owner.namespace());
    pods.retain(|pod| pod.controller_uid() == Some(owner.uid()));
    pods
}

/// Neither finished nor going away.
pub(crate) fn is_active(pod: &Object) -> bool {
    !pod.is_terminating() && !matches!(pod["status"]["phase"].as_str(), Some("Succeeded" | "Failed"))
}

/// Condition `Ready` is true.
pub(crate) fn is_ready(pod: &Value) -> bool {
    condition(pod, "Ready").is_some_and(|ready| ready["status"] == "True")
}

/// Ready for at least so many seconds.
pub(crate) fn is_available(pod: &Value, min_ready_seconds: u64) -> bool {
    let since = || condition(pod, "Ready").and_then(|ready| since(&ready["lastTransitionTime"]));
    is_ready(pod) && (min_ready_seconds == 0 || since().is_some_and(|since| since.as_secs() >= min_ready_seconds))
}

/// A condition by type.
pub(crate) fn condition<'a>(object: &'a Value, kind: &str) -> Option<&'a Value> {
    object["status"]["conditions"]
        .as_array()?
        .iter()
        .find(|condition| condition["type"] == kind)
}

/// Sets a condition in `status.conditions`; its transition time changes with its status only.
pub(crate) fn set_condition(object: &mut Value, kind: &str, status: &str, reason: &str, message: &str) {
    let mut new = json!({"type": kind, "status": status});
    if !reason.is_empty() {
        new["reason"] = json!(reason);
    }
    if !message.is_empty() {
        new["message"] = json!(message);
    }
    new["lastTransitionTime"] = match condition(object, kind) {
        Some(old) if old["status"] == status => old["lastTransitionTime"].clone(),
        _ => json!(now()),
    };
    if !object["status"]["conditions"].is_array() {
        object["status"]["conditions"] = json!([]);
    }
    let Some(conditions) = object["status"]["conditions"].as_array_mut() else {
        return;
    };
    match conditions.iter_mut().find(|condition| condition["type"] == kind) {
        Some(old) => *old = new,
        None => conditions.push(new),
    }
}

/// A number of the specification.
pub(crate) fn number(value: &Value, default: i64) -> i64 {
    value.as_i64().unwrap_or(default)
}

/// Deletes a pod with its own grace period; one that is gone already is fine.
pub(crate) fn delete_pod(store: &Store, pod: &Object) -> Result<(), ApiError> {
    let options = DeleteOptions::default().only_uid(pod.uid());
    match store.delete(&PODS, pod.namespace(), pod.name(), &options) {
        Err(error) if !error.is_not_found() && !error.is_conflict() => Err(error),
        _ => Ok(()),
    }
}

/// A number or a share of `total`, as `maxSurge` and `maxUnavailable` are given.
pub(crate) fn share(value: &Value, default: &str, total: i64, rounding: Rounding) -> i64 {
    if let Some(number) = value.as_i64() {
        return number;
    }
    let percent = value
        .as_str()
        .unwrap_or(default)
        .trim_end_matches('%')
        .parse::<i64>()
        .unwrap_or_default();
    match rounding {
        Rounding::Up => (total * percent + 99) / 100,
        Rounding::Down => total * percent / 100,
    }
}

/// Which way a share is rounded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rounding {
    /// `maxSurge`.
    Up,
    /// `maxUnavailable`.
    Down,
}

/// Named container ports: name, protocol, number.
pub(crate) fn named_ports(pod: &Value) -> Vec<(String, String, u16)> {
    let containers = pod["spec"]["containers"].as_array().into_iter().flatten();
    let ports = containers.flat_map(|container| container["ports"].as_array().into_iter().flatten());
    let named = ports.filter_map(|port| {
        let protocol = port["protocol"].as_str().unwrap_or("TCP").to_owned();
        let number = port["containerPort"].as_u64()?.try_into().ok()?;
        Some((port["name"].as_str()?.to_owned(), protocol, number))
    });
    named.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_round_as_deployments_do() {
        assert_eq!(share(&Value::Null, "25%", 3, Rounding::Up), 1);
        assert_eq!(share(&Value::Null, "25%", 3, Rounding::Down), 0);
        assert_eq!(share(&json!(2), "25%", 3, Rounding::Down), 2);
        assert_eq!(share(&json!("50%"), "25%", 4, Rounding::Down), 2);
    }

    #[test]
    fn a_condition_keeps_its_transition_time_while_its_status_stays() {
        let mut object = json!({});
        set_condition(&mut object, "Ready", "True", "", "");
        object["status"]["conditions"][0]["lastTransitionTime"] = json!("2026-01-01T00:00:00Z");
        set_condition(&mut object, "Ready", "True", "Again", "reported again");
        assert_eq!(
            condition(&object, "Ready").unwrap()["lastTransitionTime"],
            "2026-01-01T00:00:00Z"
        );
        set_condition(&mut object, "Ready", "False", "Gone", "");
        assert_ne!(
            condition(&object, "Ready").unwrap()["lastTransitionTime"],
            "2026-01-01T00:00:00Z"
        );
    }

    #[test]
    fn hashes_are_stable_and_differ() {
        let hash = template_hash(&json!({"spec": {"a": 1}}));
        assert_eq!(hash.len(), 10);
        assert_eq!(hash, template_hash(&json!({"spec": {"a": 1}})));
        assert_ne!(hash, template_hash(&json!({"spec": {"a": 2}})));
        assert_eq!(at("2026-01-01T10:00:00.7Z".parse().unwrap()), "2026-01-01T10:00:00Z");
    }
}
