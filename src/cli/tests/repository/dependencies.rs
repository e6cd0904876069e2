//! The rules of deny.toml, held without cargo-deny too; and no dependency that nobody uses.

use crate::root;
use serde_json::Value;
use std::{collections::BTreeSet, fs, path::Path, process::Command};

/// `cargo metadata` of this machine's platform: packages of other platforms need not have been downloaded.
fn metadata(arguments: &[&str]) -> Value {
    let host = Command::new("rustc").arg("-vV").output().expect("rustc runs").stdout;
    let host = String::from_utf8(host).expect("rustc prints text");
    let host = host
        .lines()
        .find_map(|line| line.strip_prefix("host: "))
        .expect("a host");
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version=1", "--offline", "--filter-platform", host])
        .args(arguments)
        .current_dir(root())
        .output()
        .expect("cargo runs");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "cargo metadata: {errors}");
    serde_json::from_slice(&output.stdout).expect("cargo metadata prints JSON")
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}

/// deny.toml as a value.
fn policy() -> toml::Table {
    let text = fs::read_to_string(root().join("deny.toml")).expect("deny.toml");
    text.parse().expect("deny.toml is TOML")
}

#[test]
fn every_licence_is_allowed_by_deny_toml() {
    let policy = policy();
    let allowed: BTreeSet<&str> = policy["licenses"]["allow"]
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(toml::Value::as_str)
        .collect();
    let mut refused = Vec::new();
    for package in metadata(&[])["packages"].as_array().expect("packages") {
        let (name, licence) = (text(package, "name"), text(package, "license"));
        let expression = spdx::Expression::parse_mode(licence, spdx::ParseMode::LAX);
        let is_allowed = expression.is_ok_and(|expression| {
            expression.evaluate(|requirement| allowed.contains(requirement.to_string().as_str()))
        });
        if !is_allowed {
            refused.push(format!("{name}: {licence:?}"));
        }
    }
    assert!(refused.is_empty(), "not in deny.toml's [licenses] allow: {refused:?}");
}

#[test]
fn no_package_is_banned_by_deny_toml_or_comes_from_elsewhere() {
    let policy = policy();
    let banned = policy["bans"]["deny"].as_array().expect("a list").iter();
    let banned: BTreeSet<&str> = banned.filter_map(|entry| entry["crate"].as_str()).collect();
    let lock: toml::Table = fs::read_to_string(root().join("Cargo.lock"))
        .expect("Cargo.lock")
        .parse()
        .expect("Cargo.lock is TOML");
    for package in lock["package"].as_array().expect("packages") {
        let name = package["name"].as_str().expect("a name");
        assert!(!banned.contains(name), "{name} is banned by deny.toml");
        let source = package.get("source").and_then(toml::Value::as_str);
        assert!(
            source.is_none_or(|source| source == "registry+https://github.com/rust-lang/crates.io-index"),
            "{name} comes from {source:?}"
        );
    }
}

#[test]
fn every_dependency_is_named_by_the_crate_that_has_it() {
    let mut unused = Vec::new();
    for package in metadata(&["--no-deps"])["packages"].as_array().expect("packages") {
        let folder = Path::new(text(package, "manifest_path")).parent().expect("a folder");
        let mut sources = String::new();
        read(folder, &mut sources);
        for dependency in package["dependencies"].as_array().expect("dependencies") {
            let name = dependency["rename"].as_str().unwrap_or(text(dependency, "name"));
            if !names(&sources, &name.replace('-', "_")) {
                unused.push(format!("{} has {name}", text(package, "name")));
            }
        }
    }
    assert!(unused.is_empty(), "dependencies that no source names: {unused:?}");
}

#[test]
fn every_dependency_of_the_workspace_is_used_by_a_crate() {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).expect("Cargo.toml");
    let manifest: toml::Table = manifest.parse().expect("Cargo.toml is TOML");
    let metadata = metadata(&["--no-deps"]);
    let packages = metadata["packages"].as_array().expect("packages").iter();
    let used: BTreeSet<&str> = packages
        .flat_map(|package| package["dependencies"].as_array().expect("dependencies"))
        .map(|dependency| text(dependency, "name"))
        .collect();
    let shared = manifest["workspace"]["dependencies"].as_table().expect("a table");
    let unused: Vec<&String> = shared.keys().filter(|name| !used.contains(name.as_str())).collect();
    assert!(
        unused.is_empty(),
        "[workspace.dependencies] that no crate uses: {unused:?}"
    );
}

/// Appends every Rust source below the folder, with the sources of other crates that a `#[path]` takes in.
fn read(folder: &Path, sources: &mut String) {
    for entry in fs::read_dir(folder).expect("a readable folder") {
        let path = entry.expect("a readable folder").path();
        if path.is_dir() {
            read(&path, sources);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).expect("a readable source");
            let elsewhere = text.split("#[path = \"../").skip(1);
            for file in elsewhere.filter_map(|rest| rest.split('"').next()) {
                sources.push_str(&fs::read_to_string(folder.join("..").join(file)).unwrap_or_default());
            }
            sources.push_str(&text);
        }
    }
}

/// Whether the sources have the name as a word of its own.
fn names(sources: &str, name: &str) -> bool {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    sources.match_indices(name).any(|(at, _)| {
        let before = sources[..at].chars().next_back();
        let after = sources[at + name.len()..].chars().next();
        !before.is_some_and(is_word) && !after.is_some_and(is_word)
    })
}
