//! The manifests of a run: the objects that it deploys, as they are applied. Pure.

mod allowance;
mod pod;

use crate::{
    name::{
        MANAGED_BY, MANAGED_BY_VALUE, NAMESPACE, PEER_NAMESPACE, RUN, SCENARIO, WORKLOAD, label_value,
        operators_namespace, run_labels, workload_namespace,
    },
    registry::RegistryCredentials,
    schedulable::SchedulableNodes,
};
use meshproof_contract::{ClusterName, NodeName, PullPolicy, RunId, facts::PodNetwork, port};
use meshproof_scenario::{Placement, Scenario, Service, ServiceType, SessionAffinity, Workload};
use serde_json::{Map, Value, json};

/// The agents' image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// Its reference, as the nodes' container runtime resolves it.
    pub reference: String,
    /// When nodes pull it.
    pub pull: PullPolicy,
    /// With which credentials; none: those that nodes have by themselves.
    pub credentials: Option<RegistryCredentials>,
}

/// Makes the manifests of one deployment on one cluster.
#[derive(Clone, Copy, Debug)]
pub struct ManifestBuilder<'a> {
    /// The run.
    pub run: &'a RunId,
    /// The cluster.
    pub cluster: &'a ClusterName,
    /// The agents' image.
    pub image: &'a Image,
    /// Nodes for replicas; none: any node.
    pub schedulable: Option<&'a SchedulableNodes>,
    /// Nodes that get no pod, since they are not Cilium's.
    pub foreign: &'a [NodeName],
}

/// Name of a workload's DaemonSet or Deployment.
pub fn workload_name(scenario: &str, workload: &str) -> String {
    format!("{scenario}-{workload}")
}

/// What an agent that captures needs besides root.
pub const CAPTURE_CAPABILITY: &str = "NET_RAW";

/// What is added to an agent's port on that network.
pub fn port_offset(network: PodNetwork) -> u16 {
    match network {
        PodNetwork::Pod => 0,
        PodNetwork::Host => port::HOST_OFFSET,
        PodNetwork::HostCapture => port::CAPTURE_OFFSET,
    }
}

/// A namespace of a run, with the Pod Security level that its pods meet.
pub fn namespace(name: &str, run: &RunId) -> Value {
    let level = match name {
        NAMESPACE | PEER_NAMESPACE => "restricted",
        _ => "privileged",
    };
    let mut labels = run_labels(run);
    for mode in ["enforce", "audit", "warn"] {
        labels.insert(format!("pod-security.kubernetes.io/{mode}"), level.to_owned());
    }
    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}})
}

impl ManifestBuilder<'_> {
    /// The DaemonSet or Deployment of a workload.
    pub fn workload(&self, scenario: &Scenario, workload: &Workload) -> Value {
        let name = workload_name(&scenario.name, &workload.name);
        let labels = self.labels(&scenario.name, Some(&workload.name));
        let pod_labels = self.pod_labels(scenario, workload);
        let selector = json!({"matchLabels": selector(&scenario.name, &workload.name)});
        let metadata = json!({"name": name, "namespace": workload_namespace(workload), "labels": labels});
        let template = json!({"metadata": {"labels": pod_labels}, "spec": self.pod(scenario, workload)});
        match workload.placement {
            Placement::EveryNode => json!({
                "apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": metadata,
                "spec": {"selector": selector, "template": template},
            }),
            Placement::Replicas(replicas) => json!({
                "apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata,
                "spec": {"replicas": replicas, "selector": selector, "template": template},
            }),
        }
    }

    /// The labels of a workload's pods.
    pub fn pod_labels(&self, scenario: &Scenario, workload: &Workload) -> Map<String, Value> {
        let own = workload.labels.iter().map(|(key, value)| (key.clone(), json!(value)));
        let mut labels: Map<String, Value> = own.collect();
        labels.extend(self.labels(&scenario.name, Some(&workload.name)));
        labels.extend(allowance::label(workload.allowance));
        labels
    }

    /// The service account of a workload, if it has one of its own; it has no rights.
    pub fn service_account(&self, scenario: &Scenario, workload: &Workload) -> Option<Value> {
        let name = workload.service_account.as_ref()?;
        if operators_namespace(workload).is_some() {
            return None;
        }
        let labels = self.labels(&scenario.name, None);
        Some(json!({
            "apiVersion": "v1", "kind": "ServiceAccount",
            "metadata": {"name": name, "namespace": workload_namespace(workload), "labels": labels},
            "automountServiceAccountToken": false,
        }))
    }

    /// A Service in front of a workload.
    pub fn service(&self, scenario: &Scenario, service: &Service, workload: &Workload) -> Value {
        let offset = port_offset(workload.network);
        let ports: Vec<Value> = service
            .ports
            .iter()
            .map(|p| {
                let mut port = json!({
                    "port": p.port, "targetPort": p.target.saturating_add(offset), "protocol": p.protocol.as_str(),
                });
                if let Some(name) = &p.name {
                    port["name"] = json!(name);
                }
                port
            })
            .collect();
        let mut spec = json!({"selector": selector(&scenario.name, &workload.name), "ports": ports});
        if service.kind == ServiceType::Headless {
            spec["clusterIP"] = json!("None");
        }
        if service.session_affinity == SessionAffinity::ClientIp {
            spec["sessionAffinity"] = json!("ClientIP");
        }
        let mut metadata = json!({
            "name": service.name,
            "namespace": workload_namespace(workload),
            "labels": self.labels(&scenario.name, None),
        });
        if !service.annotations.is_empty() {
            metadata["annotations"] = json!(service.annotations);
        }
        json!({"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec})
    }

    fn labels(&self, scenario: &str, workload: Option<&str>) -> Map<String, Value> {
        let mut labels: Map<String, Value> = [
            (MANAGED_BY, MANAGED_BY_VALUE.to_owned()),
            (RUN, label_value(self.run.as_str())),
            (SCENARIO, scenario.to_owned()),
        ]
        .map(|(key, value)| (key.to_owned(), json!(value)))
        .into_iter()
        .collect();
        if let Some(workload) = workload {
            labels.insert(WORKLOAD.to_owned(), json!(workload));
        }
        labels
    }
}

/// The labels that select a workload's pods.
fn selector(scenario: &str, workload: &str) -> Value {
    json!({SCENARIO: scenario, WORKLOAD: workload})
}

#[cfg(test)]
mod tests;
