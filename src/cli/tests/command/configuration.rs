//! `meshproof.yaml` from the outside: what a team writes, and what the command says of it before it touches anything.

use crate::meshproof::{folder, folder_with, meshproof};
use std::{fs, process::Command};

const LIST: [&str; 3] = ["run", "--lab", "--list"];

#[test]
fn what_is_wrong_is_an_error_before_anything_is_touched() {
    for (config, error) in [
        (
            "required:\n  suites: [dns, conectivity]\n",
            "meshproof.yaml:2:17: unknown suite 'conectivity'; did you mean connectivity?",
        ),
        (
            "required:\n  checks: [dns::latancy]\n",
            "meshproof.yaml:2:12: unknown check 'dns::latancy'; did you mean dns::latency?",
        ),
        (
            "claims:\n  ifra: {encryption: wireguard}\n",
            "meshproof.yaml:2:3: claims for unknown cluster 'ifra'; did you mean infra?",
        ),
        (
            "waivers:\n- {check: dns::latancy, reason: known, until: 2999-01-31}\n",
            "meshproof.yaml:2:11: the waiver of 'dns::latancy' matches no check; did you mean dns::latency?",
        ),
        (
            "waivers:\n- {check: dns::latency, instance: ifra, reason: known, until: 2999-01-31}\n",
            "'dns::latency' does not run on 'ifra'; did you mean infra?",
        ),
        (
            "waivers:\n- {check: dns::latency, reason: known, until: tomorrow}\n",
            "invalid date 'tomorrow'",
        ),
        ("thresholds: {recovery: later}\n", "invalid duration \"later\""),
        ("disruptive: maybe\n", "meshproof.yaml:1:13: "),
    ] {
        meshproof(folder_with(config).path(), &LIST).ends(2, &[error]);
    }
}

#[test]
fn an_own_file_can_be_named_and_a_missing_one_is_an_error() {
    let folder = folder_with("imgae: x\n");
    fs::write(folder.path().join("other.yaml"), "jobs: 2\n").expect("written");
    meshproof(folder.path(), &[&LIST[..], &["--config", "other.yaml"]].concat()).ends(0, &[]);
    meshproof(folder.path(), &[&LIST[..], &["--config", "absent.yaml"]].concat()).ends(2, &["absent.yaml"]);
}

#[test]
fn init_does_not_replace_a_file_and_prints_the_schema_without_clusters() {
    let folder = folder_with("jobs: 2\n");
    meshproof(folder.path(), &["init", "--infra-context", "a"]).ends(2, &["meshproof.yaml already exists", "--force"]);
    assert_eq!(
        fs::read_to_string(folder.path().join("meshproof.yaml")).expect("kept"),
        "jobs: 2\n"
    );
    meshproof(folder.path(), &["init", "--output", "new.yaml"]).ends(2, &["--infra-context"]);
    let schema = meshproof(folder.path(), &["init", "--schema"]).ends(0, &["kube-proxy-replacement"]);
    serde_json::from_str::<serde_json::Value>(&schema.out).expect("JSON");
}

#[test]
fn an_image_without_an_agent_says_what_to_do() {
    let folder = folder();
    let copy = folder.path().join("meshproof");
    fs::copy(env!("CARGO_BIN_EXE_meshproof"), &copy).expect("copied away from any agent");
    let output = Command::new(copy)
        .args(["image", "--output", "p.tar"])
        .current_dir(folder.path())
        .output()
        .expect("starts");
    assert_eq!(output.status.code(), Some(2));
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(error.contains("ci/image.sh") && error.lines().count() == 1, "{error}");
}

#[test]
fn waivers_are_named_where_checks_are_listed_and_explained() {
    let folder = folder_with("waivers:\n- {check: 'dns::lat*', instance: infra, reason: known, until: 2999-01-31}\n");
    let waiver = "(meshproof.yaml:2) until 2999-01-31: known";
    let list = meshproof(folder.path(), &LIST).ends(0, &[]);
    assert!(
        list.err
            .contains("dns::latency[infra]: waiver (meshproof.yaml:2) until"),
        "{}",
        list.err
    );
    assert!(
        !list.out.contains("waiver"),
        "the list stays one of names:\n{}",
        list.out
    );
    meshproof(folder.path(), &["explain", "dns::latency"]).ends(0, &["Waivers of meshproof.yaml", waiver]);
}
