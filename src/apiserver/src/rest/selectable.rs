//! Which fields of which kinds can be selected by. Kubernetes knows a few per kind and refuses the others.

use crate::{
    error::ApiError,
    resource::ResourceDef,
    selector::{FieldSelector, LabelSelector},
};

const POD: &[&str] = &[
    "spec.nodeName",
    "spec.restartPolicy",
    "spec.schedulerName",
    "spec.serviceAccountName",
    "spec.hostNetwork",
    "status.phase",
    "status.podIP",
    "status.podIPs",
    "status.nominatedNodeName",
];
const EVENT: &[&str] = &[
    "involvedObject.kind",
    "involvedObject.namespace",
    "involvedObject.name",
    "involvedObject.uid",
    "involvedObject.apiVersion",
    "involvedObject.resourceVersion",
    "involvedObject.fieldPath",
    "reason",
    "reportingComponent",
    "source",
    "type",
];

/// 400 for a field that cannot be selected by.
pub(super) fn check(def: &ResourceDef, labels: &LabelSelector, fields: &FieldSelector) -> Result<(), ApiError> {
    let known: &[&str] = match (&*def.group, &*def.kind) {
        ("", "Pod") => POD,
        ("", "Event") => EVENT,
        ("", "Node") => &["spec.unschedulable"],
        ("", "Namespace") => &["status.phase", "name"],
        ("", "Secret") => &["type"],
        ("", "Service") => &["spec.clusterIP", "spec.type"],
        ("", "ReplicationController") | ("apps", "ReplicaSet") => &["status.replicas"],
        ("batch", "Job") => &["status.successful"],
        _ => &[],
    };
    let common = |field: &str| field == "metadata.name" || (field == "metadata.namespace" && def.is_namespaced());
    match fields.fields().find(|field| !common(field) && !known.contains(field)) {
        None => Ok(()),
        Some(field) => Err(ApiError::bad_request(format!(
            "Unable to find \"{}, Resource={}\" that match label selector \"{labels}\", field selector naming \
             \"{field}\": field label not supported: {field}",
            def.api_version(),
            def.plural,
        ))),
    }
}
