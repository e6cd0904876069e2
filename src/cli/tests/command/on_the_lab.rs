//! `meshproof.yaml` and runs on a lab; ignored where this machine cannot run one.

use crate::meshproof::{Ended, folder, folder_with, meshproof};
use std::fs;

impl Ended {
    /// Whether this machine forbids the namespaces of a lab, and may.
    fn has_no_lab(&self) -> bool {
        self.code == 3
            && self.text().contains("namespace")
            && std::env::var("MESHPROOF_REQUIRE_LAB").as_deref() != Ok("1")
    }
}

#[test]
fn what_init_writes_of_the_lab_is_what_a_run_then_claims() {
    let folder = folder();
    let init = meshproof(folder.path(), &["init", "--lab"]);
    if init.has_no_lab() {
        return;
    }
    init.ends(0, &["meshproof.yaml"]);
    let run = meshproof(
        folder.path(),
        &["run", "--lab", "dns::service_name", "connectivity::http_same_node"],
    );
    let run = run.ends(0, &[]).text();
    assert!(!run.contains("live configuration"), "all claims are the file's:\n{run}");
}

#[test]
fn the_required_minimum_and_claims_of_a_file_are_in_every_report() {
    let folder = folder_with(
        "claims:\n  infra:\n    encryption: ipsec\n    cluster-mesh: false\nrequired:\n  suites: [dns, mesh]\n  \
         checks: [dns::latency]\n  trials: 500\n",
    );
    let run = meshproof(folder.path(), &["run", "--lab", "dns::service_name"]);
    if run.has_no_lab() {
        return;
    }
    run.ends(
        4,
        &[
            "REQUIRED AND NOT RUN  suite mesh (meshproof.yaml:6)",
            "infra: no check of the suite was selected",
            "REQUIRED AND NOT RUN  check dns::latency (meshproof.yaml:7)",
            "dns::latency[apps]: was not selected",
            "at least 500 trials (meshproof.yaml)",
            "claims of apps come from the live configuration",
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
fn a_feature_that_a_file_claims_is_off_is_skipped_and_has_not_run() {
    let folder = folder_with(
        "claims:\n  infra: {cluster-mesh: false}\n  apps: {cluster-mesh: false}\nrequired: {suites: [mesh]}\n",
    );
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

const ABSENT: [&str; 5] = ["run", "--lab", "dns::absent_name", "dns::service_name", "--lab-fault"];

fn waiver(until: &str) -> String {
    format!("waivers:\n- check: dns::absent_name\n  reason: an old resolver\n  until: {until}\n")
}

#[test]
fn a_waived_failure_is_shown_and_counted_and_does_not_fail_the_run() {
    let folder = folder_with(&waiver("2999-01-31"));
    let words = [&ABSENT[..], &["dns-absent-name-resolves"]].concat();
    let run = meshproof(folder.path(), &words);
    if run.has_no_lab() {
        return;
    }
    let run = run.ends(
        0,
        &[
            "WAIVED  dns::absent_name",
            "until 2999-01-31: an old resolver",
            " waived",
        ],
    );
    assert!(
        run.out.lines().last().is_some_and(|line| line.starts_with("PASSED")),
        "{}",
        run.out
    );
    let reports = folder.path().join("reports/latest");
    let read = |file: &str| fs::read_to_string(reports.join(file)).expect(file);
    let report: serde_json::Value = serde_json::from_str(&read("report.json")).expect("JSON");
    let waived = report["counts"]["waived"].as_u64().expect("a number");
    assert!(waived > 0 && report["counts"]["failed"] == 0, "{}", report["counts"]);
    let junit = read("junit.xml");
    assert!(
        junit.contains("<skipped message=\"waived until 2999-01-31: an old resolver; fail: "),
        "{junit}"
    );
    assert!(!junit.contains("<failure") && !junit.contains("<error"), "{junit}");
    // The truth stays in the log.
    let log = read("events.ndjson");
    let told = log
        .lines()
        .filter(|line| line.contains("\"verdict\":\"fail\"") && line.contains("\"waiver\":{"));
    assert_eq!(told.count() as u64, waived);
    for (file, text) in [
        ("summary.md", "- Waived `dns::absent_name"),
        ("report.html", "Waived checks"),
    ] {
        assert!(read(file).contains(text), "{file}:\n{}", read(file));
    }
    assert!(read("metrics.prom").contains("meshproof_trial_waived{check=\"dns::absent_name\""));
}

#[test]
fn a_waiver_whose_day_is_over_does_not_waive() {
    let folder = folder_with(&waiver("2020-01-31"));
    let words = [&ABSENT[..], &["dns-absent-name-resolves"]].concat();
    let run = meshproof(folder.path(), &words);
    if run.has_no_lab() {
        return;
    }
    let over = "the waiver of dns::absent_name (meshproof.yaml:2) expired on 2020-01-31";
    run.ends(1, &["FAILED  dns::absent_name", over]);
}

#[test]
fn a_waiver_that_is_no_longer_needed_fails_the_run() {
    let folder = folder_with(&waiver("2999-01-31"));
    let run = meshproof(folder.path(), &ABSENT[..4]);
    if run.has_no_lab() {
        return;
    }
    let gone = "remove the waiver of dns::absent_name (meshproof.yaml:2): it passed";
    run.ends(1, &[gone, "nothing failed that is not waived, but a waiver must go"]);
    let junit = fs::read_to_string(folder.path().join("reports/latest/junit.xml")).expect("JUnit");
    assert!(junit.contains("<failure") && junit.contains(gone), "{junit}");
}

#[test]
fn a_node_that_is_lost_is_one_sentence() {
    let folder = folder();
    let run = meshproof(
        folder.path(),
        &[
            "run",
            "--lab",
            "--lab-fault",
            "node-lost",
            "mesh::",
            "connectivity::http",
            "dns::service_name",
        ],
    );
    if run.has_no_lab() {
        return;
    }
    let text = run.text();
    assert!(text.contains("node apps-3 of apps has not been Ready since "), "{text}");
    let causes = run
        .out
        .lines()
        .filter(|line| line.contains("could not observe because of it"));
    assert!(causes.count() <= 1, "{text}");
}

#[test]
fn a_lab_with_the_values_of_a_repository_is_green_with_that_repository() {
    let folder = folder();
    let house = concat!(env!("CARGO_MANIFEST_DIR"), "/../claims/testdata/gitops-example/clean");
    let run = ["run", "--lab", "--lab-nodes", "2", "--gitops", house];
    let suites = ["--suite", "gitops", "--suite", "components"];
    let ended = meshproof(folder.path(), &[&run[..], &suites[..]].concat());
    if ended.has_no_lab() {
        return;
    }
    ended.ends(0, &["the lab stores these values", "gatewayAPI.enabled"]);
    let report = fs::read_to_string(folder.path().join("reports/latest/report.json")).expect("report.json");
    let report: serde_json::Value = serde_json::from_str(&report).expect("JSON");
    let claims = report["claims"].as_array().expect("a list of claims");
    let has = |claim: &str| claims.iter().any(|one| one.to_string().contains(claim));
    assert!(
        has("encryption.nodeEncryption") && has("cilium-values.yaml"),
        "{claims:#?}"
    );
}
