//! The format, its errors with their positions, and the committed schema.

use crate::{Clusters, Placement, Problem, ScenarioError, ServiceType, builtin, builtin_names, parse, read, schema};
use meshproof_contract::{ClusterName, facts::PodNetwork};

fn invalid(text: &str) -> (u64, u64, Problem) {
    match parse("own.yaml", text) {
        Err(ScenarioError::Invalid {
            line, column, problem, ..
        }) => (line, column, problem),
        other => panic!("expected an invalid scenario, got {other:?}"),
    }
}

#[test]
fn every_built_in_scenario_resolves_and_is_named_after_its_file() {
    for name in builtin_names() {
        assert_eq!(builtin(name).expect("resolves").name, name);
    }
}

#[test]
fn connectivity_has_two_pod_workloads_and_one_of_the_node() {
    let scenario = builtin("connectivity").expect("resolves");
    let network: Vec<_> = scenario
        .workloads
        .iter()
        .map(|w| (w.name.as_str(), w.network))
        .collect();
    assert_eq!(
        network,
        [
            ("client", PodNetwork::Pod),
            ("server", PodNetwork::Pod),
            ("node", PodNetwork::Host)
        ]
    );
    assert!(scenario.workloads.iter().all(|w| w.placement == Placement::EveryNode));
    let kinds: Vec<_> = scenario.services.iter().map(|s| (s.name.as_str(), s.kind)).collect();
    assert_eq!(
        kinds,
        [
            ("server", ServiceType::ClusterIp),
            ("server-headless", ServiceType::Headless)
        ]
    );
}

#[test]
fn only_encryption_captures() {
    for name in builtin_names() {
        let scenario = builtin(name).expect("resolves");
        let captures = scenario.workloads.iter().any(|w| w.network == PodNetwork::HostCapture);
        assert_eq!(captures, name == "encryption", "{name}");
    }
}

#[test]
fn an_unknown_built_in_is_reported_with_those_that_exist() {
    let error = builtin("nosuch").expect_err("unknown").to_string();
    assert!(error.contains("connectivity"), "{error}");
}

#[test]
fn an_own_scenario_may_differ_by_cluster() {
    let scenario = parse(
        "own.yaml",
        "\
name: gitlab
workloads:
- name: runner
  placement: {replicas: 2}
  labels: {app: gitlab}
  clusters: [apps]
services:
- name: git
  workload: runner
  clusters: [apps]
  ports: [{name: web, port: 80, target: 8080}]
",
    )
    .expect("resolves");
    assert_eq!(scenario.workloads[0].placement, Placement::Replicas(2));
    assert_eq!(scenario.workloads[0].clusters, Clusters::Only(vec!["apps".into()]));
    assert_eq!(scenario.services[0].ports[0].target, 8080);
    assert_eq!(scenario.clusters_named(), [&ClusterName::new("apps")]);
    assert_eq!(scenario.workloads_in(&"infra".into()).count(), 0);
}

#[test]
fn a_reference_to_no_workload_is_reported_with_line_and_column() {
    let (line, column, problem) = invalid(
        "\
name: own
workloads:
- {name: client, placement: every-node}
services:
- name: web
  workload: sever
  ports: [{name: http, port: 80}]
",
    );
    assert_eq!((line, column), (6, 13));
    assert_eq!(
        problem,
        Problem::UnknownWorkload {
            name: "sever".into(),
            known: vec!["client".into()]
        }
    );
}

#[test]
fn contradictions_are_found() {
    let with = |rest: &str| invalid(&format!("name: own\nworkloads:\n{rest}")).2;
    assert_eq!(
        with("- {name: a, placement: every-node}\n- {name: a, placement: every-node}\n"),
        Problem::Duplicate {
            kind: "workload",
            name: "a".into()
        }
    );
    assert_eq!(
        with("- {name: A, placement: every-node}\n"),
        Problem::NotADnsLabel("A".into())
    );
    assert_eq!(with("- {name: a, placement: {replicas: 0}}\n"), Problem::NoReplicas);
    assert_eq!(
        with("- {name: a, placement: every-node, clusters: []}\n"),
        Problem::NoClusters
    );
    assert_eq!(
        with("- {name: a, placement: every-node, network: host}\n- {name: b, placement: every-node, network: host}\n"),
        Problem::SecondHostWorkload("a".into())
    );
    assert_eq!(
        with("- {name: a, placement: every-node, labels: {meshproof.dev/run: x}}\n"),
        Problem::ReservedLabel("meshproof.dev/run".into())
    );
    assert_eq!(
        with(
            "- {name: a, placement: every-node, clusters: [infra]}\nservices:\n- {name: s, workload: a, clusters: \
             [apps], ports: [{name: p, port: 1}]}\n"
        ),
        Problem::WorkloadElsewhere {
            workload: "a".into(),
            cluster: "apps".into()
        }
    );
    assert_eq!(invalid("name: own\nworkloads: []\n").2, Problem::NoWorkloads);
    assert_eq!(
        with("- {name: a, placement: every-node, network: host, exposure: host-port}\n"),
        Problem::HostPortOfHost
    );
    assert_eq!(
        with(
            "- {name: a, placement: every-node, exposure: host-port}\n- {name: b, placement: every-node, exposure: \
             host-port}\n"
        ),
        Problem::SecondHostPort
    );
    assert_eq!(
        with(
            "- {name: a, placement: every-node}\nservices:\n- {name: s, workload: a, ports: [{port: 1}, {name: p, \
             port: 2}]}\n"
        ),
        Problem::UnnamedPort
    );
}

#[test]
fn the_only_port_of_a_service_needs_no_name() {
    let text = "name: own\nworkloads:\n- {name: a, placement: every-node}\nservices:\n- {name: s, workload: a, ports: \
                [{port: 80, target: 8080}]}\n";
    let scenario = parse("own.yaml", text).expect("resolves");
    let port = &scenario.services[0].ports[0];
    assert_eq!((port.name.as_deref(), port.port, port.target), (None, 80, 8080));
}

#[test]
fn malformed_yaml_and_unknown_keys_are_reported_in_one_line_with_their_position() {
    for (text, line, word) in [
        ("name: own\nworkloads: [\n", 2, ""),
        (
            "name: own\nworkloads:\n- {name: a, placement: every-node, netwrok: host}\n",
            3,
            "netwrok",
        ),
        (
            "name: own\nworkloads:\n- {name: a, placement: everywhere}\n",
            3,
            "everywhere",
        ),
        (
            "name: own\nworkloads:\n- {name: a, placement: every-node, clusters: some}\n",
            3,
            "some",
        ),
    ] {
        match parse("own.yaml", text) {
            Err(error @ ScenarioError::Malformed { line: found, .. }) => {
                let message = error.to_string();
                assert_eq!(found, line, "{message}");
                assert!(message.starts_with(&format!("own.yaml:{line}:")), "{message}");
                assert!(message.contains(word), "{message}");
                assert_eq!(message.lines().count(), 1, "{message}");
            }
            other => panic!("expected malformed for {text:?}, got {other:?}"),
        }
    }
}

#[test]
fn a_missing_file_is_reported_by_name() {
    let folder = tempfile::tempdir().expect("folder");
    let error = read(&folder.path().join("absent.yaml"))
        .expect_err("absent")
        .to_string();
    assert!(error.contains("absent.yaml"), "{error}");
}

#[test]
fn the_committed_schema_is_current() {
    let committed: serde_json::Value =
        serde_json::from_str(include_str!("../../../scenarios/scenario.schema.json")).expect("JSON");
    if std::env::var_os("MESHPROOF_UPDATE").is_some() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../scenarios/scenario.schema.json");
        let text = serde_json::to_string_pretty(&schema()).expect("JSON") + "\n";
        std::fs::write(path, text).expect("written");
        return;
    }
    assert!(
        committed == schema(),
        "scenarios/scenario.schema.json is out of date: run the test with MESHPROOF_UPDATE=1"
    );
}

#[test]
fn the_built_in_scenarios_meet_the_schema() {
    let validator = jsonschema::validator_for(&schema()).expect("a schema");
    let text = include_str!("../../../scenarios/connectivity.yaml");
    let value: serde_json::Value = serde_saphyr::from_str(text).expect("YAML");
    let errors: Vec<String> = validator.iter_errors(&value).map(|e| e.to_string()).collect();
    assert!(errors.is_empty(), "{errors:?}");
}
