//! One cluster of the run: its client, and every call with a deadline and an error that names itself.

use crate::{
    api::{ApiError, CALL_DEADLINE, Cause, Endpoint, Operation, Outage},
    kubelets::Kubelets,
};
use kube::{
    Api, Client, Resource,
    api::{DynamicObject, GroupVersionKind, ListParams},
    core::{ClusterResourceScope, NamespaceResourceScope},
    discovery::{ApiResource, Scope, pinned_kind},
};
use meshproof_contract::{ClusterName, NodeName};
use serde::de::DeserializeOwned;
use std::{collections::HashMap, fmt::Debug, sync::Arc, time::Duration};
use tokio::{sync::Mutex, time::Instant};

/// Pauses between tries of a call that may be made again.
const PAUSES: [Duration; 2] = [Duration::from_millis(300), Duration::from_millis(1200)];

/// A cluster and the client for it; cheap to clone.
#[derive(Clone)]
pub struct Member {
    endpoint: Arc<Endpoint>,
    client: Client,
    kinds: Arc<Mutex<HashMap<GroupVersionKind, (ApiResource, Scope)>>>,
    kubelets: Arc<Kubelets>,
}

impl Member {
    /// A cluster behind that client.
    pub fn new(endpoint: Endpoint, client: Client) -> Self {
        Self {
            endpoint: Arc::new(endpoint),
            client,
            kinds: Arc::default(),
            kubelets: Arc::default(),
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

    /// Makes a call that does the same when it is made again: what passes by itself is tried twice more.
    pub(crate) async fn call_again<T, F>(&self, operation: Operation, call: impl Fn() -> F) -> Result<T, ApiError>
    where
        F: Future<Output = kube::Result<T>>,
    {
        again(|| self.call(operation.clone(), call())).await
    }

    /// The kubelets that the API server does not reach.
    pub(crate) fn kubelets(&self) -> &Kubelets {
        &self.kubelets
    }

    /// Remembers that a stream to a pod of that node was not answered, if the API server itself answers.
    pub(crate) async fn note_unreached(&self, node: &NodeName, reason: &str) {
        let operation = Operation::on("get", "/version");
        if self.call(operation, self.client.apiserver_version()).await.is_ok() {
            self.kubelets.note(node, reason, Instant::now());
        }
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
        Ok(self.call_again(operation, || api.list(params)).await?.items)
    }

    /// Lists a cluster-wide kind.
    pub async fn list_global<K>(&self, params: &ListParams) -> Result<Vec<K>, ApiError>
    where
        K: Resource<Scope = ClusterResourceScope, DynamicType = ()> + Clone + Debug + DeserializeOwned,
    {
        let operation = Operation::on("list", resource_name::<K>());
        let api = Api::<K>::all(self.client());
        Ok(self.call_again(operation, || api.list(params)).await?.items)
    }

    /// Reads an object of a namespaced kind; none if it does not exist.
    pub async fn get<K>(&self, namespace: &str, name: &str) -> Result<Option<K>, ApiError>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Clone + Debug + DeserializeOwned,
    {
        let operation = Operation::on("get", resource_name::<K>()).within(namespace).named(name);
        let api = self.within::<K>(namespace);
        self.call_again(operation, || api.get_opt(name)).await
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
                let (resource, capabilities) = self.call_again(operation, || pinned_kind(&self.client, kind)).await?;
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

async fn again<T, F>(call: impl Fn() -> F) -> Result<T, ApiError>
where
    F: Future<Output = Result<T, ApiError>>,
{
    for pause in PAUSES {
        match call().await {
            Err(error) if error.cause.is_passing() => {
                tracing::debug!(%error, "trying again");
                tokio::time::sleep(pause).await;
            }
            ended => return ended,
        }
    }
    call().await
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    /// The number of tries of a call that fails so often with this cause, and whether it succeeded.
    async fn tries(cause: Cause, failures: u32) -> (u32, bool) {
        let made = Cell::new(0);
        let ended = again(|| async {
            made.set(made.get() + 1);
            match made.get() > failures {
                true => Ok(()),
                false => Err(ApiError {
                    endpoint: Arc::new(Endpoint {
                        cluster: "infra".into(),
                        context: "infra".into(),
                        server: "https://192.0.2.1".into(),
                    }),
                    operation: Box::new(Operation::on("list", "pods")),
                    cause: cause.clone(),
                }),
            }
        })
        .await;
        (made.get(), ended.is_ok())
    }

    #[tokio::test(start_paused = true)]
    async fn what_passes_by_itself_is_tried_twice_more() {
        let refused = |code, message: &str| Cause::Refused {
            code,
            message: message.to_owned(),
        };
        for passing in [
            refused(500, "etcdserver: leader changed"),
            refused(500, "rpc error: request timed out"),
            refused(500, "Internal error occurred: failed calling webhook \"x\": EOF"),
            refused(503, "the server is shutting down"),
            Cause::Unreachable(Outage::Other("connection closed before message completed".into())),
        ] {
            assert_eq!(tries(passing.clone(), 2).await, (3, true), "{passing:?}");
            assert_eq!(tries(passing.clone(), 9).await, (3, false), "{passing:?}");
        }
        for lasting in [
            refused(500, "a field is wrong"),
            refused(422, "invalid"),
            Cause::Forbidden("no".into()),
            Cause::NotFound("no".into()),
            Cause::Unreachable(Outage::Timeout),
            Cause::Unreachable(Outage::Refused),
        ] {
            assert_eq!(tries(lasting.clone(), 9).await, (1, false), "{lasting:?}");
        }
    }
}
