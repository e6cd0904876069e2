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
