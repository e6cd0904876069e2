//! The objects that a run deploys, as they are applied. Pure: what goes in decides what comes out.

use crate::home::Homes;
use crate::name::{
    AGENT_COMMAND, CONTAINER, MANAGED_BY, MANAGED_BY_VALUE, NAMESPACE, PEER_NAMESPACE, RUN, SCENARIO, WORKLOAD,
    home_of, label_value, run_labels,
};
use meshproof_contract::{ClusterName, RunId, facts::PodNetwork, port};
use meshproof_scenario::{Placement, Scenario, Service, ServiceType, SessionAffinity, Workload};
use serde_json::{Map, Value, json};

/// The agents' image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// Its reference, as the nodes' container runtime understands it.
    pub reference: String,
    /// When nodes pull it.
    pub pull: PullPolicy,
}

/// `imagePullPolicy`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum PullPolicy {
    Always,
    #[default]
    IfNotPresent,
    Never,
}

impl PullPolicy {
    /// As Kubernetes writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            PullPolicy::Always => "Always",
            PullPolicy::IfNotPresent => "IfNotPresent",
            PullPolicy::Never => "Never",
        }
    }
}

/// What all objects of one deployment on one cluster share.
#[derive(Clone, Copy, Debug)]
pub struct Maker<'a> {
    /// The run.
    pub run: &'a RunId,
    /// The cluster.
    pub cluster: &'a ClusterName,
    /// The agents' image.
    pub image: &'a Image,
    /// Where replicas may go; none: anywhere.
    pub homes: Option<&'a Homes>,
}

/// Name of a workload's DaemonSet or Deployment.
pub fn workload_name(scenario: &str, workload: &str) -> String {
    format!("{scenario}-{workload}")
}

/// What an agent that captures needs besides root.
pub const CAPTURE_CAPABILITY: &str = "NET_RAW";

/// What an agent's port is increased by on that network.
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

impl Maker<'_> {
    /// The DaemonSet or Deployment of a workload.
    pub fn workload(&self, scenario: &Scenario, workload: &Workload) -> Value {
        let name = workload_name(&scenario.name, &workload.name);
        let labels = self.labels(&scenario.name, Some(&workload.name));
        let mut pod_labels: Map<String, Value> = workload
            .labels
            .iter()
            .map(|(key, value)| (key.clone(), json!(value)))
            .collect();
        pod_labels.extend(labels.clone());
        let selector = json!({"matchLabels": selector(&scenario.name, &workload.name)});
        let metadata = json!({"name": name, "namespace": home_of(workload), "labels": labels});
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

    /// The service account of a workload, if it has one of its own; it has no rights.
    pub fn service_account(&self, scenario: &Scenario, workload: &Workload) -> Option<Value> {
        let name = workload.service_account.as_ref()?;
        let labels = self.labels(&scenario.name, None);
        Some(json!({
            "apiVersion": "v1", "kind": "ServiceAccount",
            "metadata": {"name": name, "namespace": home_of(workload), "labels": labels},
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
                json!({
                    "name": p.name, "port": p.port, "targetPort": p.target.saturating_add(offset), "protocol": p.protocol.as_str(),
                })
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
            "namespace": home_of(workload),
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

    /// Meets the *restricted* Pod Security Standard but for the node's network, which only *privileged* allows, and for what
    /// capturing needs there: the capability, and root, since a capability that is added takes effect for no other user.
    fn pod(&self, scenario: &Scenario, workload: &Workload) -> Value {
        let offset = port_offset(workload.network);
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
                {"name": "mp-http", "containerPort": port::HTTP + offset, "protocol": "TCP"},
                {"name": "mp-tcp", "containerPort": port::TCP + offset, "protocol": "TCP"},
                {"name": "mp-udp", "containerPort": port::UDP + offset, "protocol": "UDP"},
            ],
            "readinessProbe": {
                "httpGet": {"path": "/readyz", "port": port::HTTP + offset},
                "periodSeconds": 1, "timeoutSeconds": 2, "failureThreshold": 3,
            },
            "resources": {"requests": {"cpu": "5m", "memory": "16Mi"}},
            "securityContext": {
                "allowPrivilegeEscalation": false,
                "capabilities": {"drop": ["ALL"]},
                "readOnlyRootFilesystem": true,
            },
        });
        let mut security = json!({
            "runAsNonRoot": true, "runAsUser": 65532, "runAsGroup": 65532,
            "seccompProfile": {"type": "RuntimeDefault"},
        });
        if workload.network == PodNetwork::HostCapture {
            container["securityContext"]["capabilities"]["add"] = json!([CAPTURE_CAPABILITY]);
            security = json!({"runAsUser": 0, "runAsGroup": 0, "seccompProfile": {"type": "RuntimeDefault"}});
        }
        if workload.network == PodNetwork::Pod {
            // Container runtimes leave the kernel's `1 0`, with which no group may ping. A kubelet admits this one unasked.
            security["sysctls"] = json!([{"name": "net.ipv4.ping_group_range", "value": "65532 65532"}]);
        }
        let mut pod = json!({
            "automountServiceAccountToken": false,
            "enableServiceLinks": false,
            "terminationGracePeriodSeconds": 1,
            "securityContext": security,
            // Every node is to be observed, whatever keeps ordinary pods away from it.
            "tolerations": [{"operator": "Exists"}],
            "containers": [container],
        });
        if let Some(account) = &workload.service_account {
            pod["serviceAccountName"] = json!(account);
        }
        if workload.network != PodNetwork::Pod {
            pod["hostNetwork"] = json!(true);
            // Cluster DNS also from the node's network; without this the pod gets the node's resolv.conf.
            pod["dnsPolicy"] = json!("ClusterFirstWithHostNet");
        }
        if matches!(workload.placement, Placement::Replicas(_)) {
            pod["topologySpreadConstraints"] = json!([{
                "maxSkew": 1, "topologyKey": "kubernetes.io/hostname", "whenUnsatisfiable": "ScheduleAnyway",
                "labelSelector": {"matchLabels": selector(&scenario.name, &workload.name)},
            }]);
            if let Some(homes) = self.homes {
                pod["affinity"] = homes.affinity();
                pod["tolerations"] = homes.tolerations();
            }
        }
        pod
    }
}

fn selector(scenario: &str, workload: &str) -> Value {
    json!({SCENARIO: scenario, WORKLOAD: workload})
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::home::tests::node;
    use k8s_openapi::api::{apps, core};
    use meshproof_scenario::parse;

    const OWN: &str = "name: own\nworkloads:\n- {name: a, placement: every-node, labels: {tier: web}}\n- {name: b, placement: {replicas: 2}}\n- {name: n, placement: every-node, network: host}\nservices:\n- {name: s, workload: n, ports: [{name: http, port: 80, target: 8080}]}\n- {name: h, workload: a, type: headless, session-affinity: client-ip, annotations: {service.cilium.io/global: 'true'}, ports: [{name: http, port: 8080}]}\n";

    fn make(f: impl Fn(Maker<'_>, &Scenario) -> Value) -> Value {
        let image = Image {
            reference: "registry.example/agent:1".into(),
            pull: PullPolicy::default(),
        };
        let scenario = parse("own.yaml", OWN).expect("resolves");
        let maker = Maker {
            run: &"run-1".into(),
            cluster: &"infra".into(),
            image: &image,
            homes: None,
        };
        f(maker, &scenario)
    }

    #[test]
    fn a_workload_of_every_node_is_a_daemon_set_that_reads_as_one() {
        let value = make(|m, s| m.workload(s, &s.workloads[0]));
        let set: apps::v1::DaemonSet = serde_json::from_value(value).expect("a DaemonSet");
        assert_eq!(set.metadata.namespace.as_deref(), Some("meshproof"));
        let spec = set.spec.expect("spec");
        let labels = spec.template.metadata.expect("metadata").labels.expect("labels");
        for (key, value) in spec.selector.match_labels.expect("selector") {
            assert_eq!(
                labels.get(&key),
                Some(&value),
                "the template has the selector's label {key}"
            );
        }
        assert_eq!(labels.get("tier").map(String::as_str), Some("web"));
        assert_eq!(labels.get(RUN).map(String::as_str), Some("run-1"));
        let pod = spec.template.spec.expect("pod");
        assert_eq!(pod.host_network, None);
        assert_eq!(pod.automount_service_account_token, Some(false));
        assert_eq!(pod.containers[0].image_pull_policy.as_deref(), Some("IfNotPresent"));
    }

    /// Each rule of the restricted Pod Security Standard
    /// (kubernetes.io/docs/concepts/security/pod-security-standards), baseline rules included.
    fn breaks_restricted(pod: &Value) -> Vec<&'static str> {
        let container = &pod["containers"][0];
        let (outer, inner) = (&pod["securityContext"], &container["securityContext"]);
        let rules = [
            (
                "one container, no others",
                pod["containers"].as_array().map(Vec::len) == Some(1) && pod["initContainers"].is_null(),
            ),
            (
                "no host namespaces",
                ["hostNetwork", "hostPID", "hostIPC"]
                    .iter()
                    .all(|k| pod[k] != json!(true)),
            ),
            (
                "no host ports",
                container["ports"]
                    .as_array()
                    .into_iter()
                    .flatten()
                    .all(|p| p["hostPort"].is_null()),
            ),
            ("no volumes but the harmless", pod["volumes"].is_null()),
            ("not privileged", inner["privileged"] != json!(true)),
            (
                "no privilege escalation",
                inner["allowPrivilegeEscalation"] == json!(false),
            ),
            (
                "runs as non-root",
                outer["runAsNonRoot"] == json!(true) && outer["runAsUser"].as_u64() != Some(0),
            ),
            ("seccomp", outer["seccompProfile"]["type"] == json!("RuntimeDefault")),
            (
                "drops all capabilities",
                inner["capabilities"] == json!({"drop": ["ALL"]}),
            ),
            (
                "no sysctls but one of the safe ones, no SELinux or AppArmor of its own",
                (outer["sysctls"].as_array().into_iter().flatten()).all(|s| s["name"] == "net.ipv4.ping_group_range")
                    && outer["seLinuxOptions"].is_null(),
            ),
        ];
        rules
            .into_iter()
            .filter(|(_, holds)| !holds)
            .map(|(rule, _)| rule)
            .collect()
    }

    #[test]
    fn pods_meet_the_restricted_standard_but_for_the_nodes_network() {
        let broken =
            |n: usize| breaks_restricted(&make(|m, s| m.workload(s, &s.workloads[n]))["spec"]["template"]["spec"]);
        assert_eq!(broken(0), [""; 0]);
        assert_eq!(broken(1), [""; 0]);
        assert_eq!(broken(2), ["no host namespaces"]);
    }

    #[test]
    fn replicas_go_to_homes_and_daemons_everywhere() {
        let nodes = [node("apps-1", "True", json!({})), node("apps-2", "Unknown", json!({}))];
        let homes = Homes::of(&nodes).expect("a home");
        let pod = |n: usize| {
            let homed = |m: Maker<'_>, s: &Scenario| {
                Maker {
                    homes: Some(&homes),
                    ..m
                }
                .workload(s, &s.workloads[n])
            };
            make(homed)["spec"]["template"]["spec"].clone()
        };
        let everywhere = json!([{"operator": "Exists"}]);
        assert_eq!(
            (&pod(0)["tolerations"], &pod(0)["affinity"]),
            (&everywhere, &Value::Null)
        );
        assert_eq!(pod(1)["affinity"], homes.affinity());
        assert_ne!(pod(1)["tolerations"], everywhere);
        let unknown = make(|m, s| m.workload(s, &s.workloads[1]))["spec"]["template"]["spec"].clone();
        assert_eq!(
            (&unknown["tolerations"], &unknown["affinity"]),
            (&everywhere, &Value::Null)
        );
    }

    #[test]
    fn pods_of_the_pod_network_may_ping_and_sysctls_of_nodes_stay_as_they_are() {
        let security = |n: usize| {
            make(|m, s| m.workload(s, &s.workloads[n]))["spec"]["template"]["spec"]["securityContext"].clone()
        };
        let own = security(0);
        let range = format!("{0} {0}", own["runAsGroup"]);
        assert_eq!(
            own["sysctls"],
            json!([{"name": "net.ipv4.ping_group_range", "value": range}])
        );
        assert!(security(2)["sysctls"].is_null(), "hostNetwork");
    }

    #[test]
    fn an_agent_that_captures_has_one_capability_and_ports_beside_the_others() {
        let text = "name: own\nworkloads:\n- {name: c, placement: every-node, network: host-capture}\n";
        let scenario = parse("own.yaml", text).expect("resolves");
        let value = make(|m, _| m.workload(&scenario, &scenario.workloads[0]));
        assert_eq!(value["metadata"]["namespace"], "meshproof-node");
        let pod = &value["spec"]["template"]["spec"];
        assert_eq!(pod["hostNetwork"], true);
        let container = &pod["containers"][0];
        assert_eq!(
            container["securityContext"]["capabilities"],
            json!({"drop": ["ALL"], "add": ["NET_RAW"]})
        );
        assert_eq!(container["securityContext"]["allowPrivilegeEscalation"], false);
        assert_eq!(container["ports"][0]["containerPort"], 29080);
        assert_eq!(
            breaks_restricted(pod),
            ["no host namespaces", "runs as non-root", "drops all capabilities"]
        );
    }

    #[test]
    fn replicas_are_a_deployment() {
        let value = make(|m, s| m.workload(s, &s.workloads[1]));
        let deployment: apps::v1::Deployment = serde_json::from_value(value).expect("a Deployment");
        assert_eq!(deployment.spec.expect("spec").replicas, Some(2));
    }

    #[test]
    fn agents_of_the_node_have_ports_of_their_own_and_cluster_dns() {
        let value = make(|m, s| m.workload(s, &s.workloads[2]));
        assert_eq!(value["metadata"]["namespace"], "meshproof-node");
        let set: apps::v1::DaemonSet = serde_json::from_value(value).expect("a DaemonSet");
        let pod = set.spec.expect("spec").template.spec.expect("pod");
        assert_eq!(pod.host_network, Some(true));
        assert_eq!(pod.dns_policy.as_deref(), Some("ClusterFirstWithHostNet"));
        let ports: Vec<i32> = pod.containers[0]
            .ports
            .iter()
            .flatten()
            .map(|p| p.container_port)
            .collect();
        assert_eq!(ports, [28080, 28081, 28082]);
    }

    #[test]
    fn a_services_target_follows_the_network_of_its_workload() {
        let value = make(|m, s| m.service(s, &s.services[0], &s.workloads[2]));
        assert_eq!(value["spec"]["ports"][0]["targetPort"], 28080);
        assert_eq!(value["metadata"]["namespace"], "meshproof-node");
        let value = make(|m, s| m.service(s, &s.services[1], &s.workloads[0]));
        let service: core::v1::Service = serde_json::from_value(value).expect("a Service");
        let spec = service.spec.expect("spec");
        assert_eq!(spec.cluster_ip.as_deref(), Some("None"));
        assert_eq!(spec.session_affinity.as_deref(), Some("ClientIP"));
        assert_eq!(
            service.metadata.annotations.expect("annotations")["service.cilium.io/global"],
            "true"
        );
    }

    #[test]
    fn namespaces_carry_the_level_that_their_pods_meet() {
        let level =
            |name| namespace(name, &"r".into())["metadata"]["labels"]["pod-security.kubernetes.io/enforce"].clone();
        assert_eq!(level("meshproof"), "restricted");
        assert_eq!(level("meshproof-node"), "privileged");
    }
}
