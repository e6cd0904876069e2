//! A Service with a random name that a check creates in several clusters and deletes again, so that what others observe
//! stays as it is.

use super::side::Side;
use crate::kit::{
    cilium::namespace,
    recent, unique_name,
    wait::{self, Waited},
};
use meshproof_contract::{AgentFacts, CheckContext, ClusterName, EnvironmentError, ObjectRef, Target, Verdict, port};
use serde_json::{Value, json};
use std::time::Duration;

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

/// Ports of a Service of type NodePort, at every node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NodePorts {
    /// HTTP.
    pub http: u16,
    /// Echo of datagrams.
    pub udp: u16,
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
        let object = ObjectRef::namespaced("v1", "Service", &namespace, &service.name);
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
            .apply(
                cluster,
                annotations.collect(),
                json!({"selector": selector, "ports": [http()]}),
            )
            .await?;
        let address = created.pointer("/spec/clusterIP").and_then(Value::as_str);
        let address = address.ok_or_else(|| self.incomplete(cluster, "it was assigned no cluster IP"))?;
        Ok(Target::new(address, PORT))
    }

    /// Creates the Service in a cluster as one of type NodePort for the scenario's backends, with these NodePorts if
    /// any are wanted; those that it has.
    pub async fn create_node_port(
        &self,
        cluster: &ClusterName,
        wanted: Option<NodePorts>,
    ) -> Result<NodePorts, EnvironmentError> {
        let mut ports = [http(), udp()];
        if let Some(wanted) = wanted {
            ports[0]["nodePort"] = json!(wanted.http);
            ports[1]["nodePort"] = json!(wanted.udp);
        }
        let spec = json!({"type": "NodePort", "selector": self.selector, "ports": ports});
        let created = self.apply(cluster, serde_json::Map::new(), spec).await?;
        self.node_ports(cluster, &created)
    }

    /// Creates the Service in a cluster as one of type LoadBalancer for the scenario's backends; its address with the
    /// ports for HTTP and for datagrams, or what its status says if it has none in time.
    pub async fn create_load_balancer(
        &self,
        cluster: &ClusterName,
        within: Duration,
    ) -> Result<Result<[Target; 2], String>, EnvironmentError> {
        let spec = json!({
            "type": "LoadBalancer", "allocateLoadBalancerNodePorts": false, "selector": self.selector,
            "ports": [http(), udp()],
        });
        self.apply(cluster, serde_json::Map::new(), spec).await?;
        let object = ObjectRef::namespaced("v1", "Service", &self.namespace, &self.name);
        let given = wait::once(within, Duration::from_millis(200), || async {
            let found = self.context.environment.get(cluster, &object).await;
            let status = found.map(|found| found.map_or(Value::Null, |found| found["status"].clone()));
            match status {
                Ok(status) => match status["loadBalancer"]["ingress"][0]["ip"].as_str() {
                    Some(address) => Ok(address.to_owned()),
                    None => Err(Ok(why_none(&status))),
                },
                Err(error) => Err(Err(error)),
            }
        });
        match given.await {
            Waited::Seen(_, address) => Ok(Ok([
                Target::new(address.as_str(), PORT),
                Target::new(address.as_str(), PORT + 1),
            ])),
            Waited::GaveUp(Ok(why)) => Ok(Err(why)),
            Waited::GaveUp(Err(error)) => Err(error),
        }
    }

    /// Creates the Service in a cluster without selector, with an EndpointSlice that has this pod alone, as one of type
    /// NodePort whose requests from outside stay on their node; its cluster IP with the port, and its NodePorts.
    pub async fn create_for(
        &self,
        cluster: &ClusterName,
        pod: &AgentFacts,
    ) -> Result<(Target, NodePorts), EnvironmentError> {
        let spec = json!({"type": "NodePort", "externalTrafficPolicy": "Local", "ports": [http(), udp()]});
        let created = self.apply(cluster, serde_json::Map::new(), spec).await?;
        let address = created.pointer("/spec/clusterIP").and_then(Value::as_str);
        let address = address.ok_or_else(|| self.incomplete(cluster, "it was assigned no cluster IP"))?;
        let node_ports = self.node_ports(cluster, &created)?;
        // It goes with its Service.
        let owner = created
            .pointer("/metadata/uid")
            .and_then(Value::as_str)
            .map(|uid| json!({"apiVersion": "v1", "kind": "Service", "name": self.name, "uid": uid}));
        let port =
            |port: &Value| json!({"name": port["name"], "port": port["targetPort"], "protocol": port["protocol"]});
        let slice = json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
            "metadata": {
                "name": format!("of-{}", self.name), "namespace": self.namespace,
                "labels": {"kubernetes.io/service-name": self.name},
                "ownerReferences": owner.into_iter().collect::<Vec<_>>(),
            },
            "addressType": if pod.address.is_ipv6() { "IPv6" } else { "IPv4" },
            "ports": [port(&http()), port(&udp())],
            "endpoints": [{
                "addresses": [pod.address], "nodeName": pod.node, "conditions": {"ready": true},
            }],
        });
        self.context.environment.apply(cluster, slice).await?;
        Ok((Target::new(address, PORT), node_ports))
    }

    /// Keeps requests from inside the cluster on their node, too.
    pub async fn keep_inside(&self, cluster: &ClusterName) -> Result<(), EnvironmentError> {
        let object = ObjectRef::namespaced("v1", "Service", &self.namespace, &self.name);
        let change = json!({"spec": {"internalTrafficPolicy": "Local"}});
        self.context.environment.patch(cluster, &object, change).await.map(drop)
    }

    fn node_ports(&self, cluster: &ClusterName, service: &Value) -> Result<NodePorts, EnvironmentError> {
        let of = |index: usize| {
            let port = service.pointer(&format!("/spec/ports/{index}/nodePort"))?;
            port.as_u64()?.try_into().ok()
        };
        match (of(0), of(1)) {
            (Some(http), Some(udp)) => Ok(NodePorts { http, udp }),
            _ => Err(self.incomplete(cluster, "it was assigned no NodePort")),
        }
    }

    async fn apply(
        &self,
        cluster: &ClusterName,
        annotations: serde_json::Map<String, Value>,
        spec: Value,
    ) -> Result<Value, EnvironmentError> {
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
        let object = ObjectRef::namespaced("v1", "Service", &self.namespace, &self.name);
        let change = json!({"metadata": {"annotations": {key: value}}});
        self.context.environment.patch(cluster, &object, change).await.map(drop)
    }

    /// Deletes the Service in these clusters.
    pub async fn delete(&self, clusters: &[&ClusterName]) {
        for cluster in clusters {
            let object = ObjectRef::namespaced("v1", "Service", &self.namespace, &self.name);
            if let Err(error) = self.context.environment.discard(cluster, &object).await {
                self.context.note(format!(
                    "Service {} stays in {cluster} until the end of the run: {error}",
                    self.name
                ));
            }
        }
    }
}

/// Why a Service has no address, as far as its conditions say.
fn why_none(status: &Value) -> String {
    let conditions = status["conditions"].as_array().into_iter().flatten();
    let told = conditions.filter_map(|one| {
        let (kind, reason) = (one["type"].as_str()?, one["reason"].as_str()?);
        Some(format!("{kind} {} ({reason})", one["status"].as_str()?))
    });
    let told: Vec<String> = told.collect();
    if told.is_empty() {
        "its status says nothing".to_owned()
    } else {
        told.join(", ")
    }
}

fn http() -> Value {
    json!({"name": "http", "port": PORT, "targetPort": port::HTTP, "protocol": "TCP"})
}

fn udp() -> Value {
    json!({"name": "udp", "port": PORT + 1, "targetPort": port::UDP, "protocol": "UDP"})
}
