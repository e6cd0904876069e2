//! `meshproof.yaml` from the outside: what a team writes, and what its runs make of it. The lab's part is ignored where there can be no lab.

use std::{
    fs,
    path::Path,
    process::{Command, Output},
};

struct Ran {
    code: i32,
    told: String,
}

/// Runs the command in a folder.
fn meshproof(folder: &Path, words: &[&str]) -> Ran {
    let output: Output = Command::new(env!("CARGO_BIN_EXE_meshproof"))
        .args(words)
        .current_dir(folder)
        .env("KUBECONFIG", folder.join("kubeconfig"))
        .env("HOME", folder)
        .env_remove("RUST_LOG")
        .output()
        .expect("the command starts");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ran {
        code: output.status.code().unwrap_or(-1),
        told: text(&output.stdout) + &text(&output.stderr),
    }
}

impl Ran {
    #[track_caller]
    fn ends(self, code: i32, told: &[&str]) -> Self {
        assert_eq!(self.code, code, "{}", self.told);
        for part in told {
            assert!(self.told.contains(part), "expected '{part}' in:\n{}", self.told);
        }
        self
    }
    /// On a machine that forbids namespaces nothing can be said.
    fn has_no_lab(&self) -> bool {
        self.code == 3
            && self.told.contains("namespace")
            && std::env::var("MESHPROOF_REQUIRE_LAB").as_deref() != Ok("1")
    }
}

fn folder(config: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    fs::write(folder.path().join("meshproof.yaml"), config).expect("written");
    folder
}

const LIST: [&str; 3] = ["run", "--lab", "--list"];

#[test]
fn what_is_wrong_is_told_before_anything_is_touched() {
    for (config, told) in [
        (
            "required:\n  suites: [dns, conectivity]\n",
            "meshproof.yaml:2:17: unknown suite 'conectivity'; did you mean connectivity?",
        ),
        (
            "required:\n  checks: [dns::latancy]\n",
            "meshproof.yaml:2:12: there is no check 'dns::latancy'; did you mean dns::latency?",
        ),
        (
            "claims:\n  ifra: {encryption: wireguard}\n",
            "meshproof.yaml:2:3: claims about 'ifra', which is no cluster of this run; did you mean infra?",
        ),
        ("thresholds: {recovery: later}\n", "'later' is no duration"),
        ("disruptive: maybe\n", "meshproof.yaml:1:13: "),
    ] {
        meshproof(folder(config).path(), &LIST).ends(2, &[told]);
    }
}

#[test]
fn an_own_file_can_be_named_and_a_missing_one_is_an_error() {
    let folder = folder("imgae: x\n");
    fs::write(folder.path().join("other.yaml"), "jobs: 2\n").expect("written");
    meshproof(folder.path(), &[&LIST[..], &["--config", "other.yaml"]].concat()).ends(0, &[]);
    meshproof(folder.path(), &[&LIST[..], &["--config", "absent.yaml"]].concat()).ends(2, &["absent.yaml"]);
}

#[test]
fn init_does_not_replace_a_file_and_prints_the_schema_without_clusters() {
    let folder = folder("jobs: 2\n");
    meshproof(folder.path(), &["init", "--infra-context", "a"])
        .ends(2, &["meshproof.yaml is there already", "--force"]);
    assert_eq!(
        fs::read_to_string(folder.path().join("meshproof.yaml")).expect("kept"),
        "jobs: 2\n"
    );
    meshproof(folder.path(), &["init", "--output", "new.yaml"]).ends(2, &["--infra-context"]);
    let schema = meshproof(folder.path(), &["init", "--schema"]).ends(0, &["kube-proxy-replacement"]);
    serde_json::from_str::<serde_json::Value>(&schema.told).expect("JSON");
}

#[test]
fn an_image_without_an_agent_says_what_to_do() {
    let folder = folder("");
    let copy = folder.path().join("meshproof");
    fs::copy(env!("CARGO_BIN_EXE_meshproof"), &copy).expect("copied away from any agent");
    let output = Command::new(copy)
        .args(["image", "--output", "p.tar"])
        .current_dir(folder.path())
        .output()
        .expect("starts");
    assert_eq!(output.status.code(), Some(2));
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(told.contains("ci/image.sh") && told.lines().count() == 1, "{told}");
}

#[test]
fn what_init_writes_of_the_lab_is_what_a_run_then_claims() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let init = meshproof(folder.path(), &["init", "--lab"]);
    if init.has_no_lab() {
        return;
    }
    init.ends(0, &["meshproof.yaml"]);
    let run = meshproof(
        folder.path(),
        &["run", "--lab", "dns::service_name", "connectivity::http_same_node"],
    );
    let run = run.ends(0, &[]);
    assert!(
        !run.told.contains("live configuration"),
        "all claims are the file's:\n{}",
        run.told
    );
}

#[test]
fn the_required_minimum_and_claims_of_a_file_are_in_every_report() {
    let folder = folder(
        "claims:\n  infra:\n    encryption: ipsec\n    cluster-mesh: false\n\
         required:\n  suites: [dns, mesh]\n  checks: [dns::latency]\n  trials: 500\n",
    );
    let run = meshproof(folder.path(), &["run", "--lab", "dns::service_name"]);
    if run.has_no_lab() {
        return;
    }
    run.ends(
        4,
        &[
            "REQUIRED AND NOT RUN  suite mesh (meshproof.yaml:6)",
            "infra: none of its checks was selected",
            "REQUIRED AND NOT RUN  check dns::latency (meshproof.yaml:7)",
            "dns::latency[apps]: was not selected",
            "at least 500 trials (meshproof.yaml)",
            "live configuration of apps,",
            "infra: policy is default",
            "exit code 4",
        ],
    );
    let reports = folder.path().join("reports/latest");
    for file in ["report.json", "report.html", "summary.md", "junit.xml"] {
        let text = fs::read_to_string(reports.join(file)).expect(file);
        assert!(
            text.replace('\\', "").contains("suite mesh (meshproof.yaml:6)"),
            "{file}:\n{text}"
        );
    }
    let junit = fs::read_to_string(reports.join("junit.xml")).expect("JUnit");
    assert!(
        junit.contains("value=\"ipsec (meshproof.yaml:3)\""),
        "claimed as written, though WireGuard runs:\n{junit}"
    );
    assert!(junit.contains("value=\"false (meshproof.yaml:4)\""), "{junit}");
}

#[test]
fn what_a_file_says_is_not_there_is_skipped_and_has_not_run() {
    let folder =
        folder("claims:\n  infra: {cluster-mesh: false}\n  apps: {cluster-mesh: false}\nrequired: {suites: [mesh]}\n");
    let run = meshproof(
        folder.path(),
        &["run", "--lab", "mesh::change_propagates", "dns::service_name"],
    );
    if run.has_no_lab() {
        return;
    }
    run.ends(
        4,
        &[
            "not claimed: cluster-mesh (meshproof.yaml:2 says false)",
            "REQUIRED AND NOT RUN  suite mesh",
            "skipped",
        ],
    );
}
