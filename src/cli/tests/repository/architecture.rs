//! Who may import whom (ARCHITECTURE.md), held to by a test.

use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    process::Command,
};

/// Each of our crates with those of ours that it may name; the command may name all.
const ALLOWED: &[(&str, &[&str])] = &[
    ("contract", &[]),
    ("wire", &["contract"]),
    ("agent", &["contract", "wire"]),
    ("exchange", &["contract"]),
    ("image", &[]),
    ("scenario", &["contract"]),
    ("claims", &["contract"]),
    ("engine", &["contract"]),
    ("progress", &["contract"]),
    ("report", &["contract"]),
    ("oracle", &[]),
    ("suites", &["contract", "oracle", "claims"]),
    ("cluster", &["contract", "exchange", "wire", "scenario"]),
    ("apiserver", &[]),
    ("datapath", &[]),
    ("lab", &["apiserver", "datapath"]),
];

/// Crates from outside that only one room (or these rooms) may name.
const RESERVED: &[(&str, &[&str])] = &[
    ("libtest-mimic", &["engine"]),
    ("indicatif", &["progress"]),
    ("kube", &["cluster"]),
    ("k8s-openapi", &["cluster"]),
    ("quick-junit", &["report"]),
    ("boringtun", &["datapath"]),
    ("granit-parser", &["claims"]),
    ("axum", &["apiserver"]),
];

fn dependencies() -> BTreeMap<String, BTreeSet<String>> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version=1", "--no-deps", "--offline"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo runs");
    assert!(
        output.status.success(),
        "cargo metadata: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("cargo metadata prints JSON");
    metadata["packages"]
        .as_array()
        .expect("packages")
        .iter()
        .map(|package| {
            let normal = package["dependencies"].as_array().expect("dependencies").iter();
            let names = normal
                .filter(|d| d["kind"].is_null())
                .map(|d| short(d["name"].as_str().expect("a name")));
            (short(package["name"].as_str().expect("a name")), names.collect())
        })
        .collect()
}

fn short(package: &str) -> String {
    package.strip_prefix("meshproof-").unwrap_or(package).to_owned()
}

#[test]
fn rooms_import_only_what_the_architecture_allows() {
    let found = dependencies();
    let ours: BTreeSet<&str> = found.keys().map(String::as_str).collect();
    for (room, imports) in found.iter().filter(|(room, _)| *room != "meshproof") {
        let allowed = ALLOWED.iter().find(|(name, _)| name == room);
        let (_, allowed) = allowed.unwrap_or_else(|| panic!("the crate {room} is not in ARCHITECTURE.md's table"));
        for import in imports.iter().filter(|i| ours.contains(i.as_str())) {
            assert!(allowed.contains(&import.as_str()), "{room} must not import {import}");
        }
    }
}

#[test]
fn reserved_crates_stay_in_their_room() {
    for (room, imports) in dependencies() {
        for (reserved, rooms) in RESERVED {
            assert!(
                !imports.contains(*reserved) || rooms.contains(&room.as_str()),
                "{room} must not name {reserved}: it belongs to {rooms:?}"
            );
        }
    }
}

#[test]
fn suites_reach_the_world_only_through_the_contract() {
    let suites = &dependencies()["suites"];
    for forbidden in ["kube", "reqwest", "cluster", "lab", "hyper", "nix"] {
        assert!(!suites.contains(forbidden), "suites must not import {forbidden}");
    }
}
