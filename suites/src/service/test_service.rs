//! A Service with a random name that a check creates in several clusters and deletes again, so that what others observe
//! stays as it is.

use super::side::Side;
use crate::kit::{cilium::namespace, recent, unique_name};
use meshproof_contract::{CheckContext, ClusterName, EnvironmentError, ObjectRef, Target, Verdict, port};
use serde_json::{Value, json};

/// The annotation that makes a Service global.
pub const GLOBAL: &str = "service.cilium.io/global";
/// The annotation that keeps a cluster's pods from answering in other clusters.
pub const SHARED: &str = "service.cilium.io/shared";

/// The Service's port.
const PORT: u16 = 80;

/// Which pods a Service selects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backends {
    /// The scenario's backends of that cluster.
    Scenario,
    /// None.
    None,
}

/// A Service of the same name in several clusters.
pub struct TestService<'a> {
    context: &'a CheckContext,
    namespace: String,
    name: String,
    selector: Value,
}

impl<'a> TestService<'a> {
    /// With a name that nothing else has, and the selector of the scenario's backends.
    pub async fn named_at_random(
        context: &'a CheckContext,
        side: &Side,
        clusters: &[&ClusterName],
    ) -> Result<Self, Verdict> {
        let service = side.service("svc-plain")?;
        let namespace = service.namespace.clone();
        for cluster in clusters {
            if let Some(cilium) = side.facts.cluster(cluster).and_then(|c| c.cilium.as_ref()) {
                namespace::is_global(context, cluster, cilium, &namespace).await?;
            }
        }
        let object = reference("Service", "v1", &namespace, &service.name);
        let found = recent::object(context, &side.cluster, &object).await;
        let found = found.map_err(|error| Verdict::inconclusive(error.to_string()))?;
        let selector = found.and_then(|s| s.pointer("/spec/selector").cloned());
        match selector.filter(Value::is_object) {
            Some(selector) => Ok(Self {
                context,
                namespace,
                name: unique_name::label("svc"),
                selector,
            }),
            None => Err(Verdict::inconclusive(format!(
                "Service `svc-plain` in {} has no selector, so no other Service can select its pods",
                side.cluster
            ))),
        }
    }

    /// Creates the Service in a cluster; its cluster IP and port there.
    pub async fn create(
        &self,
        cluster: &ClusterName,
        annotations: &[(&str, &str)],
        backends: Backends,
    ) -> Result<Target, EnvironmentError> {
        let selector = match backends {
            Backends::Scenario => self.selector.clone(),
            Backends::None => json!({"meshproof.dev/selects": "nothing"}),
        };
        let annotations = annotations.iter().map(|(k, v)| ((*k).to_owned(), json!(v)));
        let created = self
            .apply(cluster, annotations.collect(), json!({"selector": selector}))
            .await?;
        let address = created.pointer("/spec/clusterIP").and_then(Value::as_str);
        let address = address.ok_or_else(|| self.incomplete(cluster, "it was assigned no cluster IP"))?;
        Ok(Target::new(address, PORT))
    }

    /// Creates the Service in a cluster as one of type NodePort for the scenario's backends; its NodePort.
    pub async fn create_node_port(&self, cluster: &ClusterName) -> Result<u16, EnvironmentError> {
        let spec = json!({"type": "NodePort", "selector": self.selector});
        let created = self.apply(cluster, serde_json::Map::new(), spec).await?;
        let port = created.pointer("/spec/ports/0/nodePort").and_then(Value::as_u64);
        let port = port.and_then(|port| port.try_into().ok());
        port.ok_or_else(|| self.incomplete(cluster, "it was assigned no NodePort"))
    }

    async fn apply(
        &self,
        cluster: &ClusterName,
        annotations: serde_json::Map<String, Value>,
        mut spec: Value,
    ) -> Result<Value, EnvironmentError> {
        spec["ports"] = json!([{"name": "http", "port": PORT, "targetPort": port::HTTP, "protocol": "TCP"}]);
        let object = json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": {"name": self.name, "namespace": self.namespace, "annotations": annotations},
            "spec": spec,
        });
        self.context.environment.apply(cluster, object).await
    }

    fn incomplete(&self, cluster: &ClusterName, reason: &str) -> EnvironmentError {
        EnvironmentError::Api {
            cluster: cluster.clone(),
            operation: format!("create Service {}", self.name),
            reason: reason.to_owned(),
        }
    }

    /// Sets or removes an annotation.
    pub async fn annotate(
        &self,
        cluster: &ClusterName,
        key: &str,
        value: Option<&str>,
    ) -> Result<(), EnvironmentError> {
        let object = reference("Service", "v1", &self.namespace, &self.name);
        let change = json!({"metadata": {"annotations": {key: value}}});
        self.context.environment.patch(cluster, &object, change).await.map(drop)
    }

    /// Deletes the Service in these clusters.
    pub async fn delete(&self, clusters: &[&ClusterName]) {
        for cluster in clusters {
            let object = reference("Service", "v1", &self.namespace, &self.name);
            if let Err(error) = self.context.environment.discard(cluster, &object).await {
                self.context.note(format!(
                    "Service {} stays in {cluster} until the end of the run: {error}",
                    self.name
                ));
            }
        }
    }
}

/// Names an object of the run.
pub fn reference(kind: &str, api_version: &str, namespace: &str, name: &str) -> ObjectRef {
    ObjectRef {
        api_version: api_version.to_owned(),
        kind: kind.to_owned(),
        namespace: Some(namespace.to_owned()),
        name: name.to_owned(),
    }
}
