//! Services of one name drawn at random in several clusters, made and taken away by a check: what others observe stays as it is.

use super::side::Side;
use crate::kit::cilium::namespace;
use crate::kit::unique_name;
use meshproof_contract::{CheckContext, ClusterName, EnvironmentError, ObjectRef, Target, Verdict, port};
use serde_json::{Value, json};

/// The annotation that makes a service global.
pub const GLOBAL: &str = "service.cilium.io/global";
/// The annotation that keeps a cluster's pods at home.
pub const SHARED: &str = "service.cilium.io/shared";

/// Which pods stand behind a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Behind {
    /// The scenario's backends of that cluster.
    Backends,
    /// None.
    Nobody,
}

/// Services of one name.
pub struct Namesakes<'a> {
    context: &'a CheckContext,
    namespace: String,
    name: String,
    selector: Value,
}

impl<'a> Namesakes<'a> {
    /// A name that nothing else has, and what selects the scenario's backends.
    pub async fn draw(context: &'a CheckContext, side: &Side, clusters: &[&ClusterName]) -> Result<Self, Verdict> {
        let service = side.service("svc-plain")?;
        let namespace = service.namespace.clone();
        for cluster in clusters {
            if let Some(cilium) = side.facts.cluster(cluster).and_then(|c| c.cilium.as_ref()) {
                namespace::is_global(context, cluster, cilium, &namespace).await?;
            }
        }
        let object = reference("Service", "v1", &namespace, &service.name);
        let found = context.environment.get(&side.cluster, &object).await;
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
                "service `svc-plain` in {} has no selector, so its pods cannot be put behind another service",
                side.cluster
            ))),
        }
    }

    /// Makes the service in a cluster; where it is reached there.
    pub async fn create(
        &self,
        cluster: &ClusterName,
        annotations: &[(&str, &str)],
        behind: Behind,
    ) -> Result<Target, EnvironmentError> {
        let annotations: serde_json::Map<String, Value> =
            annotations.iter().map(|(k, v)| ((*k).to_owned(), json!(v))).collect();
        let selector = match behind {
            Behind::Backends => self.selector.clone(),
            Behind::Nobody => json!({"meshproof.dev/selects": "nothing"}),
        };
        let object = json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": {"name": self.name, "namespace": self.namespace, "annotations": annotations},
            "spec": {"selector": selector, "ports": [{"name": "http", "port": 80, "targetPort": port::HTTP, "protocol": "TCP"}]},
        });
        let made = self.context.environment.apply(cluster, object).await?;
        match made.pointer("/spec/clusterIP").and_then(Value::as_str) {
            Some(address) => Ok(Target::new(address, 80)),
            None => Err(EnvironmentError::Api {
                cluster: cluster.clone(),
                operation: format!("create service {}", self.name),
                reason: "it got no cluster IP".to_owned(),
            }),
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

    /// Takes the services away.
    pub async fn delete(&self, clusters: &[&ClusterName]) {
        for cluster in clusters {
            let object = reference("Service", "v1", &self.namespace, &self.name);
            if let Err(error) = self.context.environment.delete(cluster, &object).await {
                self.context.note(format!(
                    "service {} is left in {cluster} until the run's end: {error}",
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
