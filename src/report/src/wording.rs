//! Markdown and JUnit of a red, an inconclusive and a green run, so that a change of wording is seen in review.

use crate::{RunReport, attachment::attachments, fixture, html, json, junit, markdown, snapshot};
use meshproof_contract::Exit;

#[test]
fn the_logs_end_as_they_are_called() {
    let exit = |name: &str| fixture::log(name).exit();
    assert_eq!(
        ["red", "inconclusive", "green"].map(exit),
        [Exit::Failed, Exit::CouldNotTell, Exit::Passed].map(Some)
    );
}

#[test]
fn a_red_run() {
    snapshot::assert("markdown_of_a_red_run", &markdown(&fixture::log("red")));
    snapshot::assert("junit_of_a_red_run", &junit(&fixture::log("red")));
}

#[test]
fn an_inconclusive_run() {
    snapshot::assert(
        "markdown_of_an_inconclusive_run",
        &markdown(&fixture::log("inconclusive")),
    );
    snapshot::assert("junit_of_an_inconclusive_run", &junit(&fixture::log("inconclusive")));
}

#[test]
fn a_green_run() {
    snapshot::assert("markdown_of_a_green_run", &markdown(&fixture::log("green")));
    snapshot::assert("junit_of_a_green_run", &junit(&fixture::log("green")));
}

#[test]
fn bytes_of_packets_are_in_the_attachment_and_in_no_text() {
    let red = fixture::log("red");
    let bytes = "4500008e000040004011b2c30a190b0b0a190b0c";
    let attachment = attachments(&red)
        .into_iter()
        .find(|attachment| attachment.path == "attachments/encryption-pod_traffic-infra.txt")
        .expect("the trial's attachment");
    assert!(attachment.text.contains(bytes), "{}", attachment.text);
    for text in [markdown(&red), junit(&red), html(&red)] {
        assert!(
            text.contains("unencrypted VXLAN tunnel"),
            "says what the packet means: {text}"
        );
        assert!(!text.contains(bytes), "{text}");
    }
}

#[test]
fn a_reader_of_the_json_finds_every_cell() {
    let report: serde_json::Value = serde_json::from_str(&json(&fixture::log("red"))).expect("JSON");
    let row = &report["suites"][0]["trials"][0]["evidence"][0];
    assert_eq!(row["evidence"], "row");
    assert_eq!((&row["what"], &row["from"]["node"]), (&"UDP".into(), &"infra-1".into()));
    assert_eq!(
        row["cells"],
        serde_json::json!([
            {
                "to": { "cluster": "apps", "node": "apps-1" },
                "outcome": "ok", "value": 2210.0, "unit": "microseconds",
            },
            {
                "to": { "cluster": "apps", "node": "apps-2" },
                "outcome": "no_answer", "detail": "no answer within 1500 ms",
            },
        ])
    );
}

#[test]
fn the_reports_of_all_three_can_be_read_back() {
    for name in ["red", "inconclusive", "green"] {
        let report = fixture::log(name);
        assert_eq!(
            serde_json::from_str::<RunReport>(&json(&report)).expect("reads back"),
            report
        );
    }
}
