//! Workflows and templates of CI systems: actions are pinned, no run needs more rights than it says, and they only call
//! what is in the repository.

use crate::root;
use serde_json::Value;
use std::fs;

fn workflows() -> Vec<(String, String)> {
    let folder = root().join(".github/workflows");
    let entries = fs::read_dir(folder)
        .expect("workflows")
        .map(|entry| entry.expect("a file").path());
    let named = |path: &std::path::Path| path.file_name().expect("a name").to_string_lossy().into_owned();
    let found: Vec<_> = entries
        .map(|path| (named(&path), fs::read_to_string(&path).expect("text")))
        .collect();
    assert!(found.len() >= 2);
    found
}

#[test]
fn actions_are_pinned_to_commits_with_their_version() {
    for (name, text) in workflows() {
        for line in text.lines().filter(|line| line.contains("uses:")) {
            let (_, action) = line
                .split_once('@')
                .unwrap_or_else(|| panic!("{name}: not pinned: {line}"));
            let (commit, version) = action
                .split_once(" # v")
                .unwrap_or_else(|| panic!("{name}: no version: {line}"));
            assert!(
                commit.len() == 40 && commit.chars().all(|c| c.is_ascii_hexdigit()),
                "{name}: {line}"
            );
            assert!(version.starts_with(|c: char| c.is_ascii_digit()), "{name}: {line}");
        }
    }
}

#[test]
fn workflows_state_their_rights_and_time_limits() {
    for (name, text) in workflows() {
        let workflow: Value = serde_saphyr::from_str(&text).expect("YAML");
        assert_eq!(
            workflow["permissions"],
            serde_json::json!({"contents": "read"}),
            "{name}"
        );
        for (id, job) in workflow["jobs"].as_object().expect("jobs") {
            assert!(job["timeout-minutes"].is_u64(), "{name}: job {id} has no time limit");
        }
    }
}

#[test]
fn what_they_call_is_in_the_repository() {
    let template = fs::read_to_string(root().join("ci/gitlab/meshproof.yml")).expect("the template");
    let _: Value = serde_saphyr::from_str(&template).expect("YAML");
    for (name, text) in workflows() {
        let words = text.split(|c: char| c.is_whitespace() || matches!(c, '"' | '\'' | ';'));
        for script in words.filter(|word| word.starts_with("ci/") && word.ends_with(".sh")) {
            assert!(root().join(script).is_file(), "{name} calls {script}");
        }
    }
    // Both sides of the matrix: every version that it names is pinned.
    let pins = fs::read_to_string(root().join("ci/kind/versions.env")).expect("versions.env");
    let (_, kind) = workflows()
        .into_iter()
        .find(|(name, _)| name == "kind.yaml")
        .expect("kind.yaml");
    let kind: Value = serde_saphyr::from_str(&kind).expect("YAML");
    for version in kind["jobs"]["run"]["strategy"]["matrix"]["cilium"]
        .as_array()
        .expect("versions")
    {
        let pin = version.as_str().expect("text").replace('.', "_");
        assert!(pins.contains(&format!("\nCILIUM_{pin}=")) && pins.contains(&format!("\nGATEWAY_API_{pin}=")));
    }
}
