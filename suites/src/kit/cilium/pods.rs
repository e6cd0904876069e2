//! Pods of Cilium, as the API shows them: which there are, and why one is not ready.

use crate::kit::recent::{self, Age};
use meshproof_contract::{CheckContext, ClusterName, EnvironmentError};
use serde_json::Value;
use std::sync::Arc;

/// The values of label `k8s-app` (Cilium's chart).
pub const AGENT: &str = "cilium";
/// Of the pods that serve the mesh.
pub const MESH_SERVER: &str = "clustermesh-apiserver";

/// All pods of a cluster. Cilium's namespace is not known here, so none is left out.
pub struct Pods(Arc<[Value]>);

impl Pods {
    /// Reads them, or takes what was read not too long ago.
    pub async fn read(context: &CheckContext, cluster: &ClusterName, age: Age) -> Result<Self, EnvironmentError> {
        Ok(Self(recent::list(context, cluster, ("v1", "Pod"), age).await?))
    }

    /// Those of a component that are not on their way out. None where the list is empty: a run has pods of its own, so
    /// such a list says nothing.
    pub fn of(&self, app: &str) -> Option<Vec<&Value>> {
        let is_one = |pod: &&Value| {
            pod["metadata"]["labels"]["k8s-app"] == app && pod["metadata"]["deletionTimestamp"].is_null()
        };
        (!self.0.is_empty()).then(|| self.0.iter().filter(is_one).collect())
    }
}

/// Why a pod is not ready; none if it is, or if it cannot be told.
pub fn unready(pod: &Value) -> Option<String> {
    let ready = crate::kit::object::pod::ready(pod)?;
    let name = pod["metadata"]["name"].as_str().unwrap_or_default();
    let message = ready["message"].as_str().unwrap_or_default();
    (ready["status"] == "False").then(|| format!("pod {name} is not Ready: {message}"))
}
