//! The client of one cluster: every call has a deadline, and an error that names cluster and call.

mod dynamic;
mod requests;
mod retry;

pub use dynamic::DynamicApi;
pub(crate) use dynamic::kind_of;
use dynamic::{Kinds, built_in};
pub use requests::RequestCounter;

use crate::{
    api::{ApiError, CALL_DEADLINE, Cause, Endpoint, Operation, Outage},
    kubelet_reachability::KubeletReachability,
    silent_pods::SilentPods,
};
use k8s_openapi::api::core::v1::Namespace;
use kube::{
    Api, Client, Resource,
    api::ListParams,
    core::{ClusterResourceScope, NamespaceResourceScope},
};
use meshproof_contract::{ApiRequests, ClusterName, NodeName};
use serde::de::DeserializeOwned;
use std::{fmt::Debug, sync::Arc};
use tokio::{
    sync::{Mutex, OnceCell},
    time::Instant,
};

/// What a cluster is and does not change while a run lasts, once it was read.
#[derive(Default)]
struct Identity {
    version: OnceCell<String>,
    uid: OnceCell<String>,
}

/// A cluster and the client for it; cheap to clone.
#[derive(Clone)]
pub struct ClusterClient {
    endpoint: Arc<Endpoint>,
    kube: Client,
    kinds: Arc<Mutex<Kinds>>,
    identity: Arc<Identity>,
    kubelets: Arc<KubeletReachability>,
    requests: RequestCounter,
    silent: Arc<SilentPods>,
}

impl ClusterClient {
    /// The cluster that `kube` talks to.
    pub fn new(endpoint: Endpoint, kube: Client) -> Self {
        Self {
            endpoint: Arc::new(endpoint),
            kube,
            kinds: Arc::new(Mutex::new(built_in())),
            identity: Arc::default(),
            kubelets: Arc::default(),
            requests: RequestCounter::default(),
            silent: Arc::default(),
        }
    }
    /// The same with the counter that counts the requests of `kube`.
    pub fn counted_by(self, requests: RequestCounter) -> Self {
        Self { requests, ..self }
    }
    /// The requests made so far.
    pub fn requests(&self) -> Vec<ApiRequests> {
        self.requests.requests(self.name())
    }
    /// Its role name.
    pub fn name(&self) -> &ClusterName {
        &self.endpoint.cluster
    }
    /// Its context and address.
    pub fn endpoint(&self) -> &Arc<Endpoint> {
        &self.endpoint
    }
    /// The client of the kube crate.
    pub fn kube(&self) -> Client {
        self.kube.clone()
    }

    /// The API server's version, `v1.34.1`, read once. Every authenticated user may read it.
    pub async fn version(&self) -> Result<String, ApiError> {
        let read = || async {
            let operation = Operation::on("get", "/version");
            let info = self.call(operation, self.kube.apiserver_version()).await?;
            Ok(info.git_version)
        };
        self.identity.version.get_or_try_init(read).await.cloned()
    }

    /// The UID of namespace kube-system, which is the cluster's for ever, read once; none where it may not be read.
    pub(crate) async fn uid(&self) -> Option<String> {
        let read = || async {
            let namespaces: Api<Namespace> = Api::all(self.kube());
            let operation = Operation::on("get", "namespaces").named("kube-system");
            let found = self.call(operation, namespaces.get("kube-system")).await.ok();
            found.and_then(|found| found.metadata.uid).ok_or(())
        };
        self.identity.uid.get_or_try_init(read).await.ok().cloned()
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

    /// Makes an idempotent call; a temporary failure is retried twice.
    pub(crate) async fn call_again<T, F>(&self, operation: Operation, call: impl Fn() -> F) -> Result<T, ApiError>
    where
        F: Future<Output = kube::Result<T>>,
    {
        retry::again(|| self.call(operation.clone(), call())).await
    }

    /// The kubelets that the API server cannot reach.
    pub(crate) fn kubelets(&self) -> &KubeletReachability {
        &self.kubelets
    }

    /// The containers that did not answer commands.
    pub(crate) fn silent(&self) -> &SilentPods {
        &self.silent
    }

    /// Records that a stream to a pod of that node was not answered, if the API server itself answers.
    pub(crate) async fn note_unreached(&self, node: &NodeName, reason: &str) {
        let operation = Operation::on("get", "/version");
        if self.call(operation, self.kube.apiserver_version()).await.is_ok() {
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
        Api::namespaced(self.kube(), namespace)
    }

    /// The API of a namespaced kind, in one namespace or in all.
    pub(crate) fn within_or_all<K>(&self, namespace: Option<&str>) -> Api<K>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
    {
        match namespace {
            Some(namespace) => self.within(namespace),
            None => Api::all(self.kube()),
        }
    }

    /// Lists a namespaced kind, in one namespace or in all.
    pub async fn list<K>(&self, namespace: Option<&str>, params: &ListParams) -> Result<Vec<K>, ApiError>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Clone + Debug + DeserializeOwned,
    {
        let operation = Operation::on("list", resource_name::<K>());
        let api = self.within_or_all::<K>(namespace);
        let operation = match namespace {
            Some(namespace) => operation.within(namespace),
            None => operation,
        };
        Ok(self.call_again(operation, || api.list(params)).await?.items)
    }

    /// Lists a cluster-wide kind.
    pub async fn list_global<K>(&self, params: &ListParams) -> Result<Vec<K>, ApiError>
    where
        K: Resource<Scope = ClusterResourceScope, DynamicType = ()> + Clone + Debug + DeserializeOwned,
    {
        let operation = Operation::on("list", resource_name::<K>());
        let api = Api::<K>::all(self.kube());
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
}

/// The resource as RBAC names it: `pods`, `daemonsets.apps`.
pub(crate) fn resource_name<K: Resource<DynamicType = ()>>() -> String {
    dynamic_name(&K::plural(&()), &K::group(&()))
}

fn dynamic_name(plural: &str, group: &str) -> String {
    match group {
        "" => plural.to_owned(),
        group => format!("{plural}.{group}"),
    }
}
