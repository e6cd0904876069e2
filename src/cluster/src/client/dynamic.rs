//! The API of kinds that are known by name only: found by discovery, and remembered. Kinds that every supported version
//! of Kubernetes has are known without asking.

use super::{ClusterClient, dynamic_name};
use crate::{
    ApiError,
    api::{Cause, DISCOVER, Operation},
    name::FIELD_MANAGER,
};
use k8s_openapi::{
    api::{
        admissionregistration::v1::{MutatingWebhookConfiguration, ValidatingWebhookConfiguration},
        apps::v1::{DaemonSet, Deployment, StatefulSet},
        coordination::v1::Lease,
        core::v1::{Namespace, Node, Pod, Secret, Service, ServiceAccount},
        discovery::v1::EndpointSlice,
        networking::v1::NetworkPolicy,
    },
    apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
    kube_aggregator::pkg::apis::apiregistration::v1::APIService,
};
use kube::{
    Api, Resource,
    api::{DynamicObject, GroupVersionKind, Patch, PatchParams},
    core::{ClusterResourceScope, GroupVersion, NamespaceResourceScope},
    discovery::{ApiResource, Scope, pinned_group},
    error::DiscoveryError,
};
use meshproof_contract::ObjectRef;
use serde_json::Value;
use std::collections::HashMap;

/// Kinds, each with its resource and whether its objects are in namespaces.
pub(super) type Kinds = HashMap<GroupVersionKind, (ApiResource, Scope)>;

/// The API of one kind, in one namespace or in all.
pub struct DynamicApi {
    /// Its calls.
    pub api: Api<DynamicObject>,
    /// Whether its objects are in namespaces.
    pub scope: Scope,
    /// As RBAC names it.
    resource: String,
    namespace: Option<String>,
}

impl DynamicApi {
    /// A call to the collection, for errors.
    pub fn operation(&self, verb: &'static str) -> Operation {
        Operation {
            namespace: self.namespace.clone(),
            ..Operation::on(verb, &self.resource)
        }
    }
}

impl ClusterClient {
    /// The API of a kind in that namespace; of a cluster-wide kind, or without a namespace, of all objects.
    pub async fn dynamic(&self, kind: &GroupVersionKind, namespace: Option<&str>) -> Result<DynamicApi, ApiError> {
        let mut known = self.kinds.lock().await;
        let (resource, scope) = match known.get(kind) {
            Some(found) => found.clone(),
            None => {
                let operation = Operation::on(DISCOVER, format!("{} {}", kind.api_version(), kind.kind));
                let version = GroupVersion::gv(&kind.group, &kind.version);
                // All kinds of the group and version come in one answer.
                let group = self
                    .call_again(operation.clone(), || pinned_group(&self.kube, &version))
                    .await?;
                for (resource, capabilities) in group.versioned_resources(&kind.version) {
                    let key = kind_of(&resource.api_version, &resource.kind);
                    known.insert(key, (resource, capabilities.scope));
                }
                let missing = || DiscoveryError::MissingKind(format!("{kind:?}"));
                match known.get(kind) {
                    Some(found) => found.clone(),
                    None => return Err(self.failed(operation, Cause::NotFound(missing().to_string()))),
                }
            }
        };
        let api = match (&scope, namespace) {
            (Scope::Namespaced, Some(ns)) => Api::namespaced_with(self.kube(), ns, &resource),
            _ => Api::all_with(self.kube(), &resource),
        };
        Ok(DynamicApi {
            api,
            scope,
            resource: dynamic_name(&resource.plural, &resource.group),
            namespace: namespace.map(str::to_owned),
        })
    }

    /// The API of an object's kind, in its namespace.
    pub async fn dynamic_of(&self, object: &ObjectRef) -> Result<DynamicApi, ApiError> {
        let kind = kind_of(&object.api_version, &object.kind);
        self.dynamic(&kind, object.namespace.as_deref()).await
    }

    /// Applies an object (server-side).
    pub async fn apply(&self, object: Value) -> Result<DynamicObject, ApiError> {
        let target = ObjectRef::of(&object);
        let kind = self.dynamic_of(&target).await?;
        let (params, patch) = (PatchParams::apply(FIELD_MANAGER).force(), Patch::Apply(&object));
        let operation = kind.operation("patch").named(&target.name);
        self.call_again(operation, || kind.api.patch(&target.name, &params, &patch))
            .await
    }
}

/// The kinds that are used most, all of them in every supported version of Kubernetes.
pub(super) fn built_in() -> Kinds {
    type Known = (GroupVersionKind, (ApiResource, Scope));
    fn known<K: Resource<DynamicType = ()>>(scope: Scope) -> Known {
        let resource = ApiResource::erase::<K>(&());
        let kind = kind_of(&resource.api_version, &resource.kind);
        (kind, (resource, scope))
    }
    fn namespaced<K: Resource<DynamicType = (), Scope = NamespaceResourceScope>>() -> Known {
        known::<K>(Scope::Namespaced)
    }
    fn cluster_wide<K: Resource<DynamicType = (), Scope = ClusterResourceScope>>() -> Known {
        known::<K>(Scope::Cluster)
    }
    Kinds::from([
        namespaced::<DaemonSet>(),
        namespaced::<Deployment>(),
        namespaced::<EndpointSlice>(),
        namespaced::<Lease>(),
        namespaced::<NetworkPolicy>(),
        namespaced::<Pod>(),
        namespaced::<Secret>(),
        namespaced::<Service>(),
        namespaced::<ServiceAccount>(),
        namespaced::<StatefulSet>(),
        cluster_wide::<APIService>(),
        cluster_wide::<CustomResourceDefinition>(),
        cluster_wide::<MutatingWebhookConfiguration>(),
        cluster_wide::<Namespace>(),
        cluster_wide::<Node>(),
        cluster_wide::<ValidatingWebhookConfiguration>(),
    ])
}

/// `apps/v1` and `Deployment` taken apart.
pub(crate) fn kind_of(api_version: &str, kind: &str) -> GroupVersionKind {
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    GroupVersionKind::gvk(group, version, kind)
}
