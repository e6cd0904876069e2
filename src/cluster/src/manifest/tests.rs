//! Manifests read back as the Kubernetes types that they are.

use super::*;
use crate::schedulable::tests::node;
use k8s_openapi::api::{apps, core};
use meshproof_scenario::parse;

const OWN: &str = "\
name: own
workloads:
- {name: a, placement: every-node, labels: {tier: web}}
- {name: b, placement: {replicas: 2}}
- {name: n, placement: every-node, network: host}
services:
- {name: s, workload: n, ports: [{name: http, port: 80, target: 8080}]}
- name: h
  workload: a
  type: headless
  session-affinity: client-ip
  annotations: {service.cilium.io/global: 'true'}
  ports: [{name: http, port: 8080}]
";

fn make(f: impl Fn(ManifestBuilder<'_>, &Scenario) -> Value) -> Value {
    let image = Image {
        reference: "registry.example/agent:1".into(),
        pull: PullPolicy::default(),
        credentials: None,
    };
    let scenario = parse("own.yaml", OWN).expect("resolves");
    let manifests = ManifestBuilder {
        run: &"run-1".into(),
        cluster: &"infra".into(),
        image: &image,
        schedulable: None,
        foreign: &[],
    };
    f(manifests, &scenario)
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
    let broken = |n: usize| breaks_restricted(&make(|m, s| m.workload(s, &s.workloads[n]))["spec"]["template"]["spec"]);
    assert_eq!(broken(0), [""; 0]);
    assert_eq!(broken(1), [""; 0]);
    assert_eq!(broken(2), ["no host namespaces"]);
}

#[test]
fn replicas_go_to_homes_and_daemons_everywhere() {
    let nodes = [node("apps-1", "True", json!({})), node("apps-2", "Unknown", json!({}))];
    let schedulable = SchedulableNodes::of(&nodes).expect("a schedulable node");
    let pod = |n: usize| {
        let restricted = |m: ManifestBuilder<'_>, s: &Scenario| {
            ManifestBuilder {
                schedulable: Some(&schedulable),
                ..m
            }
            .workload(s, &s.workloads[n])
        };
        make(restricted)["spec"]["template"]["spec"].clone()
    };
    let everywhere = json!([{"operator": "Exists"}]);
    assert_eq!(
        (&pod(0)["tolerations"], &pod(0)["affinity"]),
        (&everywhere, &Value::Null)
    );
    assert_eq!(pod(1)["affinity"], schedulable.affinity());
    assert_ne!(pod(1)["tolerations"], everywhere);
    let unknown = make(|m, s| m.workload(s, &s.workloads[1]))["spec"]["template"]["spec"].clone();
    assert_eq!(
        (&unknown["tolerations"], &unknown["affinity"]),
        (&everywhere, &Value::Null)
    );
}

#[test]
fn pods_of_the_pod_network_may_ping_and_sysctls_of_nodes_stay_as_they_are() {
    let security =
        |n: usize| make(|m, s| m.workload(s, &s.workloads[n]))["spec"]["template"]["spec"]["securityContext"].clone();
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
fn host_ports_are_of_pods_with_networks_of_their_own_in_the_privileged_namespace() {
    let text = "name: own\nworkloads:\n- {name: e, placement: every-node, exposure: host-port}\nservices:\n- {name: s, \
                workload: e, ports: [{port: 80, target: 8080}]}\n";
    let scenario = parse("own.yaml", text).expect("resolves");
    let value = make(|m, _| m.workload(&scenario, &scenario.workloads[0]));
    assert_eq!(value["metadata"]["namespace"], "meshproof-node");
    let pod = &value["spec"]["template"]["spec"];
    let ports = &pod["containers"][0]["ports"];
    assert_eq!(
        (&ports[0]["containerPort"], &ports[0]["hostPort"]),
        (&json!(8080), &json!(27080))
    );
    assert_eq!(ports[2]["hostPort"], 27082);
    assert_eq!(breaks_restricted(pod), ["no host ports"]);
    let service = make(|m, _| m.service(&scenario, &scenario.services[0], &scenario.workloads[0]));
    assert_eq!(service["metadata"]["namespace"], "meshproof-node");
    assert_eq!(service["spec"]["ports"][0]["name"], Value::Null);
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
    let level = |name| namespace(name, &"r".into())["metadata"]["labels"]["pod-security.kubernetes.io/enforce"].clone();
    assert_eq!(level("meshproof"), "restricted");
    assert_eq!(level("meshproof-node"), "privileged");
}
