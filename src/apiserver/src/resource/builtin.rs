//! The table of built-in resources.

use super::{
    ResourceDef, ScalePaths,
    Scope::{self, Cluster, Namespaced},
    StrategicMerge,
    Subresource::{
        self, Attach, Binding, EphemeralContainers, Eviction, Exec, Finalize, Log, PortForward, Scale, Status, Token,
    },
    Verbs,
};
use std::borrow::Cow;

/// One line of the table: group, version, kind, plural, short names, categories, scope, subresources.
struct Row(
    &'static str,
    &'static str,
    &'static str,
    &'static str,
    &'static [&'static str],
    &'static [&'static str],
    Scope,
    &'static [Subresource],
);

const ALL: &[&str] = &["all"];
const NONE: &[&str] = &[];
const RBAC: &str = "rbac.authorization.k8s.io";
const ADMISSION: &str = "admissionregistration.k8s.io";

#[rustfmt::skip]
const STORED: &[Row] = &[
    Row("", "v1", "Pod", "pods", &["po"], ALL, Namespaced,
        &[Status, Log, Exec, Attach, PortForward, Binding, Eviction, EphemeralContainers]),
    Row("", "v1", "Service", "services", &["svc"], ALL, Namespaced, &[Status]),
    Row("", "v1", "Endpoints", "endpoints", &["ep"], NONE, Namespaced, &[]),
    Row("", "v1", "Namespace", "namespaces", &["ns"], NONE, Cluster, &[Status, Finalize]),
    Row("", "v1", "Node", "nodes", &["no"], NONE, Cluster, &[Status]),
    Row("", "v1", "ConfigMap", "configmaps", &["cm"], NONE, Namespaced, &[]),
    Row("", "v1", "Secret", "secrets", &[], NONE, Namespaced, &[]),
    Row("", "v1", "ServiceAccount", "serviceaccounts", &["sa"], NONE, Namespaced, &[Token]),
    Row("", "v1", "Event", "events", &["ev"], NONE, Namespaced, &[]),
    Row("", "v1", "PersistentVolume", "persistentvolumes", &["pv"], NONE, Cluster, &[Status]),
    Row("", "v1", "PersistentVolumeClaim", "persistentvolumeclaims", &["pvc"], NONE, Namespaced, &[Status]),
    Row("", "v1", "ReplicationController", "replicationcontrollers", &["rc"], ALL, Namespaced, &[Status, Scale]),
    Row("", "v1", "LimitRange", "limitranges", &["limits"], NONE, Namespaced, &[]),
    Row("", "v1", "ResourceQuota", "resourcequotas", &["quota"], NONE, Namespaced, &[Status]),
    Row("apps", "v1", "Deployment", "deployments", &["deploy"], ALL, Namespaced, &[Status, Scale]),
    Row("apps", "v1", "ReplicaSet", "replicasets", &["rs"], ALL, Namespaced, &[Status, Scale]),
    Row("apps", "v1", "DaemonSet", "daemonsets", &["ds"], ALL, Namespaced, &[Status]),
    Row("apps", "v1", "StatefulSet", "statefulsets", &["sts"], ALL, Namespaced, &[Status, Scale]),
    Row("apps", "v1", "ControllerRevision", "controllerrevisions", &[], NONE, Namespaced, &[]),
    Row("batch", "v1", "Job", "jobs", &[], ALL, Namespaced, &[Status]),
    Row("batch", "v1", "CronJob", "cronjobs", &["cj"], ALL, Namespaced, &[Status]),
    Row("discovery.k8s.io", "v1", "EndpointSlice", "endpointslices", &[], NONE, Namespaced, &[]),
    Row("coordination.k8s.io", "v1", "Lease", "leases", &[], NONE, Namespaced, &[]),
    Row("networking.k8s.io", "v1", "NetworkPolicy", "networkpolicies", &["netpol"], NONE, Namespaced, &[]),
    Row("networking.k8s.io", "v1", "Ingress", "ingresses", &["ing"], NONE, Namespaced, &[Status]),
    Row("networking.k8s.io", "v1", "IngressClass", "ingressclasses", &[], NONE, Cluster, &[]),
    Row("policy", "v1", "PodDisruptionBudget", "poddisruptionbudgets", &["pdb"], NONE, Namespaced, &[Status]),
    Row(RBAC, "v1", "Role", "roles", &[], NONE, Namespaced, &[]),
    Row(RBAC, "v1", "RoleBinding", "rolebindings", &[], NONE, Namespaced, &[]),
    Row(RBAC, "v1", "ClusterRole", "clusterroles", &[], NONE, Cluster, &[]),
    Row(RBAC, "v1", "ClusterRoleBinding", "clusterrolebindings", &[], NONE, Cluster, &[]),
    Row("storage.k8s.io", "v1", "StorageClass", "storageclasses", &["sc"], NONE, Cluster, &[]),
    Row("scheduling.k8s.io", "v1", "PriorityClass", "priorityclasses", &["pc"], NONE, Cluster, &[]),
    Row("apiextensions.k8s.io", "v1", "CustomResourceDefinition", "customresourcedefinitions", &["crd", "crds"],
        &["api-extensions"], Cluster, &[Status]),
    Row("apiregistration.k8s.io", "v1", "APIService", "apiservices", &[], &["api-extensions"], Cluster, &[Status]),
    Row(ADMISSION, "v1", "MutatingWebhookConfiguration", "mutatingwebhookconfigurations", &[], &["api-extensions"],
        Cluster, &[]),
    Row(ADMISSION, "v1", "ValidatingWebhookConfiguration", "validatingwebhookconfigurations", &[],
        &["api-extensions"], Cluster, &[]),
];

#[rustfmt::skip]
const REVIEWS: &[Row] = &[
    Row("authentication.k8s.io", "v1", "TokenReview", "tokenreviews", &[], NONE, Cluster, &[]),
    Row("authentication.k8s.io", "v1", "SelfSubjectReview", "selfsubjectreviews", &[], NONE, Cluster, &[]),
    Row("authorization.k8s.io", "v1", "SelfSubjectAccessReview", "selfsubjectaccessreviews", &[], NONE, Cluster, &[]),
    Row("authorization.k8s.io", "v1", "SubjectAccessReview", "subjectaccessreviews", &[], NONE, Cluster, &[]),
    Row("authorization.k8s.io", "v1", "LocalSubjectAccessReview", "localsubjectaccessreviews", &[], NONE, Namespaced,
        &[]),
    Row("authorization.k8s.io", "v1", "SelfSubjectRulesReview", "selfsubjectrulesreviews", &[], NONE, Cluster, &[]),
];

/// Kinds whose `metadata.generation` counts changes of the specification.
const GENERATION: &[&str] = &[
    "Pod",
    "Deployment",
    "ReplicaSet",
    "DaemonSet",
    "StatefulSet",
    "ReplicationController",
    "Job",
    "CronJob",
    "EndpointSlice",
    "NetworkPolicy",
    "Ingress",
    "IngressClass",
    "PodDisruptionBudget",
    "CustomResourceDefinition",
];

/// Every built-in resource, in the order in which discovery shows them.
pub fn definitions() -> Vec<ResourceDef> {
    let stored = STORED.iter().map(|row| definition(row, Verbs::Stored));
    stored
        .chain(REVIEWS.iter().map(|row| definition(row, Verbs::Review)))
        .collect()
}

fn definition(row: &Row, verbs: Verbs) -> ResourceDef {
    let Row(group, version, kind, plural, short_names, categories, scope, subresources) = *row;
    let scale = subresources.contains(&Scale).then(|| ScalePaths {
        spec_replicas: "/spec/replicas".to_owned(),
        status_replicas: "/status/replicas".to_owned(),
        selector: None,
    });
    ResourceDef {
        group: Cow::Borrowed(group),
        version: Cow::Borrowed(version),
        served: vec![Cow::Borrowed(version)],
        kind: Cow::Borrowed(kind),
        plural: Cow::Borrowed(plural),
        singular: Cow::Owned(kind.to_lowercase()),
        short_names: short_names.iter().copied().map(Cow::Borrowed).collect(),
        categories: categories.iter().copied().map(Cow::Borrowed).collect(),
        scope,
        verbs,
        subresources: subresources.to_vec(),
        printer_columns: Vec::new(),
        strategic_merge: StrategicMerge::Supported,
        generation: GENERATION.contains(&kind),
        scale,
        schema: None,
    }
}

#[cfg(test)]
mod tests {
    use super::definitions;
    use std::collections::HashSet;

    #[test]
    fn resources_are_unique() {
        let mut seen = HashSet::new();
        for def in definitions() {
            assert!(seen.insert(def.resource()), "{} is listed twice", def.qualified());
        }
    }
}
