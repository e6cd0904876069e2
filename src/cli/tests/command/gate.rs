//! `meshproof gate` as users meet it: exit codes, forms, what cannot be read.

use crate::meshproof::{folder, meshproof};
use std::{fs, path::Path};

const TESTDATA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../report/testdata");

/// The log of a run in a folder of its own, under another id.
fn run(folder: &Path, log: &str, name: &str) {
    let text = fs::read_to_string(format!("{TESTDATA}/{log}.ndjson")).expect("the test data");
    let id = text
        .split_once("\"run\":\"")
        .and_then(|(_, rest)| rest.split_once('"'))
        .expect("an id")
        .0;
    let text = text.replace(id, name);
    fs::create_dir_all(folder.join("reports").join(name)).expect("made");
    fs::write(folder.join("reports").join(name).join("events.ndjson"), text).expect("written");
}

#[test]
fn the_exit_code_is_the_decision() {
    let folder = folder();
    run(folder.path(), "green", "one");
    run(folder.path(), "green", "two");
    run(folder.path(), "red", "three");
    let gate = |baseline: &str, current: &str, format: &str| {
        let (baseline, current) = (format!("reports/{baseline}"), format!("reports/{current}"));
        let words = [
            "gate",
            "--baseline",
            &baseline,
            "--current",
            &current,
            "--format",
            format,
        ];
        meshproof(folder.path(), &words)
    };
    gate("one", "two", "text").ends(
        0,
        &[
            "GO  none of ",
            "baseline  one, passed",
            "GO: nothing became worse (exit code 0)",
        ],
    );
    gate("one", "three", "text").ends(1, &["NO-GO  "]);
    gate("one", "three", "markdown").ends(1, &["## ❌ meshproof gate: NO-GO"]);
    let json = gate("one", "three", "json").ends(1, &[]);
    let json: serde_json::Value = serde_json::from_str(&json.out).expect("JSON");
    assert_eq!(
        (&json["decision"], &json["current"]["run"]),
        (&"no_go".into(), &"three".into())
    );
    // A log that ends early.
    let log = folder.path().join("reports/two/events.ndjson");
    let text = fs::read_to_string(&log).expect("the log");
    fs::write(&log, text.lines().take(4).collect::<Vec<_>>().join("\n")).expect("written");
    gate("one", "two", "text").ends(3, &["CANNOT TELL  ", "did not come to its end"]);
}

#[test]
fn a_folder_of_runs_is_a_baseline_without_the_current_one() {
    let folder = folder();
    run(folder.path(), "green", "one");
    let words = ["gate", "--baseline", "reports", "--current", "reports/one"];
    meshproof(folder.path(), &words).ends(2, &["holds no other run than the current one, one"]);
    run(folder.path(), "green", "two");
    meshproof(folder.path(), &words).ends(0, &["baseline  two, passed"]);
    run(folder.path(), "green", "three");
    meshproof(folder.path(), &words).ends(0, &["baseline  2 runs from "]);
}

#[test]
fn what_cannot_be_read_is_told() {
    let folder = folder();
    run(folder.path(), "green", "one");
    run(folder.path(), "green", "two");
    for (baseline, current, told) in [
        ("absent", "reports/one", "failed to read absent"),
        ("reports", "reports", "holds 2 runs: name one of them"),
        (".", "reports/one", ". holds no run"),
    ] {
        let words = ["gate", "--baseline", baseline, "--current", current];
        meshproof(folder.path(), &words).ends(2, &[told]);
    }
    fs::write(folder.path().join("report.json"), "{}").expect("written");
    let words = ["gate", "--baseline", "report.json", "--current", "reports/one"];
    meshproof(folder.path(), &words).ends(2, &["report.json is not a report.json of meshproof"]);
    meshproof(folder.path(), &["gate", "--current", "reports/one"]).ends(2, &["--baseline"]);
}
