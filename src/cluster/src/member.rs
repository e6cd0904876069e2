//! One cluster of the run: its client, and every call with a deadline and an error that names itself.

use crate::api::{ApiError, CALL_DEADLINE, Cause, Endpoint, Operation, Outage};
use kube::{
    Api, Client, Resource,
    api::{DynamicObject, GroupVersionKind, ListParams},
    core::{ClusterResourceScope, NamespaceResourceScope},
    discovery::{ApiResource, Scope, pinned_kind},
};
use meshproof_contract::ClusterName;
use serde::de::DeserializeOwned;
use std::{collections::HashMap, fmt::Debug, sync::Arc};
use tokio::sync::Mutex;

/// A cluster and the client for it; cheap to clone.
#[derive(Clone)]
pub struct Member {
    endpoint: Arc<Endpoint>,
    client: Client,
    kinds: Arc<Mutex<HashMap<GroupVersionKind, (ApiResource, Scope)>>>,
}

impl Member {
    /// A cluster behind that client.
    pub fn new(endpoint: Endpoint, client: Client) -> Self {
        Self {
            endpoint: Arc::new(endpoint),
            client,
            kinds: Arc::default(),
        }
    }
    /// Its role name.
    pub fn name(&self) -> &ClusterName {
        &self.endpoint.cluster
    }
    /// Its context and address.
    pub fn endpoint(&self) -> &Arc<Endpoint> {
        &self.endpoint
    }
    /// Its client.
    pub fn client(&self) -> Client {
        self.client.clone()
    }

    /// Makes a call, within its deadline.
    pub async fn call<T>(
        &self,
        operation: Operation,
        call: impl Future<Output = kube::Result<T>>,
    ) -> Result<T, ApiError> {
        let cause = match tokio::time::timeout(CALL_DEADLINE, call).await {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(error)) => Cause::of(&error),
            Err(_) => Cause::Unreachable(Outage::Timeout),
        };
        Err(self.failed(operation, cause))
    }

    /// The error of a call to this cluster.
    pub fn failed(&self, operation: Operation, cause: Cause) -> ApiError {
        ApiError {
            endpoint: self.endpoint.clone(),
            operation: Box::new(operation),
            cause,
        }
    }

    /// The API of a namespaced kind.
    pub fn within<K>(&self, namespace: &str) -> Api<K>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
    {
        Api::namespaced(self.client(), namespace)
    }

    /// Lists a namespaced kind, in one namespace or in all.
    pub async fn list<K>(&self, namespace: Option<&str>, params: &ListParams) -> Result<Vec<K>, ApiError>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Clone + Debug + DeserializeOwned,
    {
        let operation = Operation::on("list", resource_name::<K>());
        let (api, operation) = match namespace {
            Some(ns) => (Api::<K>::namespaced(self.client(), ns), operation.within(ns)),
            None => (Api::all(self.client()), operation),
        };
        Ok(self.call(operation, api.list(params)).await?.items)
    }

    /// Lists a cluster-wide kind.
    pub async fn list_global<K>(&self, params: &ListParams) -> Result<Vec<K>, ApiError>
    where
        K: Resource<Scope = ClusterResourceScope, DynamicType = ()> + Clone + Debug + DeserializeOwned,
    {
        let operation = Operation::on("list", resource_name::<K>());
        let api = Api::<K>::all(self.client());
        Ok(self.call(operation, api.list(params)).await?.items)
    }

    /// Reads an object of a namespaced kind; none if it does not exist.
    pub async fn get<K>(&self, namespace: &str, name: &str) -> Result<Option<K>, ApiError>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Clone + Debug + DeserializeOwned,
    {
        let operation = Operation::on("get", resource_name::<K>()).within(namespace).named(name);
        self.call(operation, self.within::<K>(namespace).get_opt(name)).await
    }

    /// The API of any kind, found by discovery and remembered.
    pub async fn dynamic(
        &self,
        kind: &GroupVersionKind,
        namespace: Option<&str>,
    ) -> Result<(Api<DynamicObject>, ApiResource, Scope), ApiError> {
        let mut known = self.kinds.lock().await;
        let (resource, scope) = match known.get(kind) {
            Some(found) => found.clone(),
            None => {
                let operation = Operation::on("discover", format!("{} {}", kind.api_version(), kind.kind));
                let (resource, capabilities) = self.call(operation, pinned_kind(&self.client, kind)).await?;
                known.insert(kind.clone(), (resource.clone(), capabilities.scope.clone()));
                (resource, capabilities.scope)
            }
        };
        let api = match (&scope, namespace) {
            (Scope::Namespaced, Some(ns)) => Api::namespaced_with(self.client(), ns, &resource),
            _ => Api::all_with(self.client(), &resource),
        };
        Ok((api, resource, scope))
    }
}

/// The resource as RBAC names it: `pods`, `daemonsets.apps`.
pub(crate) fn resource_name<K: Resource<DynamicType = ()>>() -> String {
    dynamic_name(&K::plural(&()), &K::group(&()))
}

pub(crate) fn dynamic_name(plural: &str, group: &str) -> String {
    match group {
        "" => plural.to_owned(),
        group => format!("{plural}.{group}"),
    }
}
