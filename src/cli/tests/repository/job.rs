//! ci/job: the rights are those that are printed, the Job is the same everywhere, and what rules and dashboards read
//! exists.

use crate::root;
use meshproof_cluster::rights;
use meshproof_contract::Consent;
use serde_json::Value;
use std::{
    collections::BTreeSet,
    fs,
    process::{Command, Stdio},
};

fn read(file: &str) -> String {
    fs::read_to_string(root().join("ci/job").join(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
}

/// The documents of a YAML file.
fn documents(file: &str) -> Vec<Value> {
    serde_saphyr::from_multiple(&read(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
}

#[test]
fn the_rights_are_what_meshproof_rbac_prints() {
    let [plain, disruptive] = [Consent::Withheld, Consent::Given].map(rights::manifest);
    let helm = rights::helm_release_manifest();
    for (file, printed) in [
        ("rights/clusterrole.yaml", &plain),
        ("rights/helm-release-role.yaml", &helm),
        ("chart/files/clusterrole.yaml", &plain),
        ("chart/files/clusterrole-disruptive.yaml", &disruptive),
        ("chart/files/helm-release-role.yaml", &helm),
    ] {
        if std::env::var_os("MESHPROOF_UPDATE").is_some() {
            fs::write(root().join("ci/job").join(file), printed).expect("writes");
        }
        assert_eq!(
            &read(file),
            printed,
            "{file}: MESHPROOF_UPDATE=1 cargo test --workspace the_rights_are writes it"
        );
    }
}

#[test]
fn the_nightly_run_is_the_same_job() {
    let job = &documents("base/job.yaml")[0]["spec"];
    let nightly = &documents("nightly/cronjob.yaml")[0]["spec"]["jobTemplate"]["spec"];
    assert_eq!(job, nightly);
    assert_eq!(read("base/meshproof.yaml"), read("nightly/meshproof.yaml"));
}

#[test]
fn the_command_takes_the_arguments_of_the_job() {
    let spec = &documents("base/job.yaml")[0]["spec"]["template"]["spec"];
    let arguments = spec["containers"][0]["args"].as_array().expect("arguments");
    let folder = tempfile::tempdir().expect("a folder");
    fs::copy(
        root().join("ci/job/base/meshproof.yaml"),
        folder.path().join("meshproof.yaml"),
    )
    .expect("copies");
    let output = Command::new(env!("CARGO_BIN_EXE_meshproof"))
        .args(
            arguments
                .iter()
                .filter_map(Value::as_str)
                .map(|argument| match argument {
                    "--config=/etc/meshproof/meshproof.yaml" => "--config=meshproof.yaml",
                    other => other,
                }),
        )
        .arg("--list")
        .current_dir(folder.path())
        .output()
        .expect("runs");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{error}");
}

#[test]
fn rules_and_dashboard_read_metrics_that_runs_write() {
    let sample = fs::read_to_string(root().join("reports/sample/metrics.prom")).expect("the sample");
    let written: BTreeSet<&str> = sample
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next())
        .collect();
    for file in ["monitoring/rules.yaml", "monitoring/dashboard.json"] {
        let text = read(file);
        let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        let named: BTreeSet<&str> = words.filter(|word| word.starts_with("meshproof_")).collect();
        let unknown: Vec<_> = named.difference(&written).collect();
        assert!(
            named.len() > 2 && unknown.is_empty(),
            "{file} reads {unknown:?}, which no run writes"
        );
    }
    let _: Value = serde_json::from_str(&read("monitoring/dashboard.json")).expect("JSON");
    assert_eq!(documents("monitoring/rules.yaml").len(), 1);
}

#[test]
fn kustomize_builds_each_folder() {
    let kubectl = Command::new("kubectl")
        .args(["kustomize", "--help"])
        .stdout(Stdio::null())
        .status();
    if !kubectl.is_ok_and(|status| status.success()) {
        eprintln!("skipped: kubectl with kustomize is not installed");
        return;
    }
    for (folder, kinds) in [
        ("base", ["Job", "ConfigMap", "ClusterRole"]),
        ("nightly", ["CronJob", "ConfigMap", "ClusterRole"]),
        ("peer", ["Secret", "ServiceAccount", "ClusterRole"]),
        ("argocd", ["Job", "ConfigMap", "ClusterRole"]),
    ] {
        let output = Command::new("kubectl")
            .arg("kustomize")
            .arg(root().join("ci/job").join(folder))
            .output()
            .expect("runs");
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{folder}: {error}");
        let objects: Vec<Value> =
            serde_saphyr::from_multiple(&String::from_utf8_lossy(&output.stdout)).expect("documents");
        for kind in kinds {
            assert!(
                objects.iter().any(|object| object["kind"] == kind),
                "{folder} has no {kind}"
            );
        }
        let hook = objects.iter().find(|object| object["kind"] == "Job");
        let hook = hook.map(|job| &job["metadata"]["annotations"]["argocd.argoproj.io/hook"]);
        assert_eq!(hook.is_some_and(|hook| hook == "PostSync"), folder == "argocd");
    }
}
