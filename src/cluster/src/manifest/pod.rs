//! The pod of an agent: what it may do, and where it may run.

use super::{CAPTURE_CAPABILITY, ManifestBuilder, port_offset, selector};
use crate::name::{AGENT_COMMAND, CONTAINER, NEVER_READY, PULL_SECRET};
use meshproof_contract::{facts::PodNetwork, port};
use meshproof_scenario::{Exposure, Placement, Scenario, Workload};
use serde_json::{Value, json};

impl ManifestBuilder<'_> {
    /// Meets the *restricted* Pod Security Standard but for the node's network and ports, which only *privileged*
    /// allows, and for what capturing needs there: the capability, and root, since a capability that is added takes
    /// effect for no other user.
    pub(super) fn pod(&self, scenario: &Scenario, workload: &Workload) -> Value {
        let mut pod = json!({
            "automountServiceAccountToken": false,
            "enableServiceLinks": false,
            "terminationGracePeriodSeconds": 1,
            "securityContext": security_context(workload.network),
            // Every node is to be observed, whatever keeps ordinary pods away from it.
            "tolerations": [{"operator": "Exists"}],
            "containers": [self.container(workload)],
        });
        if self.image.credentials.is_some() {
            pod["imagePullSecrets"] = json!([{"name": PULL_SECRET}]);
        }
        if let Some(account) = &workload.service_account {
            pod["serviceAccountName"] = json!(account);
        }
        if workload.stand_in.is_some() {
            pod["readinessGates"] = json!([{"conditionType": NEVER_READY}]);
        }
        if workload.network != PodNetwork::Pod {
            pod["hostNetwork"] = json!(true);
            // Cluster DNS also from the node's network; without this the pod gets the node's resolv.conf.
            pod["dnsPolicy"] = json!("ClusterFirstWithHostNet");
        }
        if workload.placement == Placement::EveryNode && !self.foreign.is_empty() {
            let expressions: Vec<Value> = self
                .foreign
                .iter()
                .map(|node| json!({"key": "metadata.name", "operator": "NotIn", "values": [node]}))
                .collect();
            pod["affinity"] = json!({"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {
                "nodeSelectorTerms": [{"matchFields": expressions}],
            }}});
        }
        if matches!(workload.placement, Placement::Replicas(_)) {
            pod["topologySpreadConstraints"] = json!([{
                "maxSkew": 1, "topologyKey": "kubernetes.io/hostname", "whenUnsatisfiable": "ScheduleAnyway",
                "labelSelector": {"matchLabels": selector(&scenario.name, &workload.name)},
            }]);
            if let Some(schedulable) = self.schedulable {
                pod["affinity"] = schedulable.affinity();
                pod["tolerations"] = schedulable.tolerations();
            }
        }
        pod
    }

    fn container(&self, workload: &Workload) -> Value {
        let network = workload.network;
        let offset = port_offset(network);
        let port = |name: &str, number: u16, protocol: &str| {
            let mut port = json!({"name": name, "containerPort": number + offset, "protocol": protocol});
            if workload.exposure == Exposure::HostPort {
                port["hostPort"] = json!(number + port::HOST_PORT_OFFSET);
            }
            port
        };
        let field = |name: &str, path: &str| json!({"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}});
        let mut container = json!({
            "name": CONTAINER,
            "image": self.image.reference,
            "imagePullPolicy": self.image.pull.as_str(),
            "command": [AGENT_COMMAND],
            "env": [
                {"name": "MESHPROOF_CLUSTER", "value": self.cluster.as_str()},
                field("MESHPROOF_NODE", "spec.nodeName"),
                field("MESHPROOF_NAMESPACE", "metadata.namespace"),
                field("MESHPROOF_POD", "metadata.name"),
                {"name": "MESHPROOF_PORT_OFFSET", "value": offset.to_string()},
            ],
            "ports": [
                port("mp-http", port::HTTP, "TCP"), port("mp-tcp", port::TCP, "TCP"), port("mp-udp", port::UDP, "UDP"),
            ],
            "readinessProbe": {
                "httpGet": {"path": "/readyz", "port": port::HTTP + offset},
                "periodSeconds": 1, "timeoutSeconds": 2, "failureThreshold": 3,
            },
            // Limits since quotas and admission policies may demand them; none that a burst of probes comes near to.
            "resources": {
                "requests": {"cpu": "5m", "memory": "16Mi"}, "limits": {"cpu": "500m", "memory": "128Mi"},
            },
            "securityContext": {
                "allowPrivilegeEscalation": false,
                "capabilities": {"drop": ["ALL"]},
                "readOnlyRootFilesystem": true,
            },
        });
        if network == PodNetwork::HostCapture {
            container["securityContext"]["capabilities"]["add"] = json!([CAPTURE_CAPABILITY]);
        }
        container
    }
}

fn security_context(network: PodNetwork) -> Value {
    let seccomp = json!({"type": "RuntimeDefault"});
    if network == PodNetwork::HostCapture {
        return json!({"runAsUser": 0, "runAsGroup": 0, "seccompProfile": seccomp});
    }
    let mut security = json!({
        "runAsNonRoot": true, "runAsUser": 65532, "runAsGroup": 65532, "seccompProfile": seccomp,
    });
    if network == PodNetwork::Pod {
        // Container runtimes leave the kernel's `1 0`, with which no group may ping. A kubelet admits this one unasked.
        security["sysctls"] = json!([{"name": "net.ipv4.ping_group_range", "value": "65532 65532"}]);
    }
    security
}
