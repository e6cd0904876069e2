//! `meshproof claims check` as users meet it: exit codes, forms, where files are named.

use crate::meshproof::{folder, folder_with, meshproof};
use std::{fs, path::Path};

const EXAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../claims/testdata/gitops-example");

fn write(folder: &Path, path: &str, text: &str) {
    let path = folder.join(path);
    fs::create_dir_all(path.parent().expect("a folder")).expect("created");
    fs::write(path, text).expect("written");
}

#[test]
fn errors_end_with_1_and_are_named_with_file_and_line() {
    let folder = folder();
    let house = format!("{EXAMPLE}/as-written");
    let line = "bootstrap/clusters/infra/cilium-values.yaml:44  error: encryption.strictMode.cidr";
    meshproof(folder.path(), &["claims", "check", "--gitops", &house]).ends(1, &[line, "21 errors, 13 warnings"]);
}

#[test]
fn a_repository_without_mistakes_ends_with_0() {
    let folder = folder();
    let house = format!("{EXAMPLE}/clean");
    let ended = meshproof(folder.path(), &["claims", "check", "--gitops", &house]);
    ended.ends(0, &["infra    HelmRelease", "0 errors, 0 warnings"]);
}

#[test]
fn warnings_alone_end_with_0_and_paths_can_be_opened_from_here() {
    let folder = folder();
    write(
        folder.path(),
        "git/clusters/infra/cilium-values.yaml",
        "cluster: {name: infra}\nwrong: 1\n",
    );
    let ended = meshproof(
        folder.path(),
        &["claims", "check", "--gitops", "git", "--format", "github"],
    );
    ended.ends(
        0,
        &["::warning file=git/clusters/infra/cilium-values.yaml,line=2,col=1,title=meshproof unknown-key::"],
    );
}

#[test]
fn what_cannot_be_read_ends_with_2() {
    let folder = folder();
    meshproof(folder.path(), &["claims", "check", "--gitops", "nowhere"]).ends(2, &["nowhere"]);
    meshproof(
        folder.path(),
        &["claims", "check", "--gitops", ".", "--values", "infra=none.yaml"],
    )
    .ends(2, &["none.yaml"]);
    meshproof(
        folder.path(),
        &["claims", "check", "--gitops", ".", "--values", "none.yaml"],
    )
    .ends(2, &["ROLE=FILE"]);
    meshproof(folder.path(), &["claims", "check"]).ends(2, &["--gitops"]);
}

#[test]
fn meshproof_yaml_names_files_of_values_and_the_command_line_replaces_them() {
    let folder = folder_with("claims:\n  infra: {values: [one.yaml]}\n");
    write(folder.path(), "one.yaml", "cluster: {name: infra}\nfirst: 1\n");
    write(folder.path(), "two.yaml", "cluster: {name: infra}\nsecond: 1\n");
    let check = ["claims", "check", "--gitops", "."];
    meshproof(folder.path(), &check).ends(0, &["one.yaml:2  warning: first is no key", "named by the user"]);
    let words = [&check[..], &["--values", "infra=two.yaml"]].concat();
    let ended = meshproof(folder.path(), &words).ends(0, &["two.yaml:2  warning: second is no key"]);
    assert!(!ended.out.contains("first"), "{}", ended.out);
}

#[test]
fn a_helm_value_and_a_rule_are_explained() {
    let folder = folder();
    let ended = meshproof(folder.path(), &["explain", "encryption.nodeEncryption"]);
    ended.ends(0, &["encrypt-node", "encryption::node_traffic"]);
    meshproof(folder.path(), &["explain", "dsr-with-wireguard"]).ends(0, &["rule of claims check, error"]);
    meshproof(folder.path(), &["explain", "no-such-thing"]).ends(2, &["no check id, Helm value or rule"]);
}
