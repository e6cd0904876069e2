//! What users type wrong, and what cannot be reached: each a one-line cause with a next step, and the documented exit
//! code.

use crate::meshproof::{Ended, folder, meshproof};
use std::{fs, net::TcpListener, path::Path};

impl Ended {
    #[track_caller]
    fn fails(self, code: i32, cause: &str) -> Self {
        self.ends(code, &[cause])
    }
}

fn kubeconfig(folder: &Path, server: &str) {
    let text = format!(
        "apiVersion: v1\nkind: Config\nclusters:\n- name: c\n  cluster: {{server: '{server}', \
         insecure-skip-tls-verify: true}}\nusers:\n- name: u\n  user: {{token: t}}\ncontexts:\n- name: a\n  context: \
         {{cluster: c, user: u}}\n- name: b\n  context: {{cluster: c, user: u}}\n"
    );
    fs::write(folder.join("kubeconfig"), text).expect("written");
}

const CONTEXTS: [&str; 5] = ["run", "--infra-context", "a", "--apps-context", "b"];

#[test]
fn no_cluster_is_a_usage_error_and_never_a_default() {
    let folder = folder();
    kubeconfig(folder.path(), "https://127.0.0.1:1");
    meshproof(folder.path(), &["run"]).fails(2, "--infra-context");
}

#[test]
fn a_missing_kubeconfig_says_where_it_was_looked_for() {
    let folder = folder();
    meshproof(folder.path(), &CONTEXTS).fails(2, "kubeconfig");
}

#[test]
fn a_wrong_context_names_those_that_exist() {
    let folder = folder();
    kubeconfig(folder.path(), "https://127.0.0.1:1");
    let ran = meshproof(
        folder.path(),
        &["run", "--infra-context", "nosuch", "--apps-context", "b"],
    )
    .fails(2, "nosuch");
    assert!(ran.text().contains('b'), "{}", ran.text());
}

#[test]
fn an_unreachable_server_is_named_with_its_cluster() {
    let folder = folder();
    // A port that was just free: nobody listens there.
    let port = TcpListener::bind("127.0.0.1:0")
        .expect("a port")
        .local_addr()
        .expect("an address")
        .port();
    kubeconfig(folder.path(), &format!("https://127.0.0.1:{port}"));
    meshproof(folder.path(), &CONTEXTS).fails(3, &format!("127.0.0.1:{port}"));
}

#[test]
fn malformed_yaml_is_an_error_with_line_and_column() {
    let folder = folder();
    fs::write(folder.path().join("kubeconfig"), "clusters: [\n  - broken\n").expect("written");
    let ran = meshproof(folder.path(), &CONTEXTS).fails(2, "kubeconfig:");
    assert!(ran.text().contains("kubeconfig:"), "{}", ran.text());
    fs::write(folder.path().join("meshproof.yaml"), "image: x\njobs: [1\n").expect("written");
    meshproof(folder.path(), &["run", "--lab", "--list"]).fails(2, "meshproof.yaml:");
}

#[test]
fn a_filter_that_matches_nothing_is_not_green() {
    let folder = folder();
    meshproof(folder.path(), &["run", "--lab", "no-such-check"]).fails(4, "no-such-check");
}

#[test]
fn an_unknown_suite_is_a_usage_error() {
    let folder = folder();
    meshproof(folder.path(), &["run", "--lab", "--suite", "connectivty"]).fails(2, "connectivity");
}

#[test]
fn an_unwritable_report_folder_is_an_error_before_anything_is_touched() {
    let folder = folder();
    fs::write(folder.path().join("reports"), "a file, no folder").expect("written");
    meshproof(folder.path(), &["run", "--lab", "--report-dir", "reports"]).fails(2, "reports");
}

#[test]
fn the_list_is_the_same_twice_and_has_no_duplicates() {
    let folder = folder();
    let [first, second] = [(); 2].map(|()| meshproof(folder.path(), &["run", "--lab", "--list"]));
    assert_eq!(first.code, 0, "{}", first.err);
    assert_eq!(first.out, second.out);
    let mut names: Vec<&str> = first.out.lines().collect();
    let count = names.len();
    names.sort_unstable();
    names.dedup();
    assert!(
        count > 30 && names.len() == count,
        "{} names, {} different",
        count,
        names.len()
    );
}

#[test]
fn explain_knows_every_listed_trial() {
    let folder = folder();
    let list = meshproof(folder.path(), &["run", "--lab", "--list"]).out;
    let trial = list.lines().next().expect("a trial").trim_end_matches(": test");
    let explained = meshproof(folder.path(), &["explain", trial]);
    assert_eq!(explained.code, 0, "{}", explained.err);
    assert!(explained.out.contains("Control"), "{}", explained.out);
    meshproof(folder.path(), &["explain", "no-such-check"]).fails(2, "no-such-check");
}

#[test]
fn completions_are_there() {
    let folder = folder();
    meshproof(folder.path(), &["completions", "bash"]).ends(0, &["meshproof"]);
}

#[test]
fn every_command_has_a_man_page() {
    let folder = folder();
    meshproof(folder.path(), &["man", "pages"]).ends(0, &["pages/meshproof.1"]);
    for page in [
        "meshproof.1",
        "meshproof-run.1",
        "meshproof-gate.1",
        "meshproof-lab-up.1",
    ] {
        let text = fs::read_to_string(folder.path().join("pages").join(page)).expect(page);
        assert!(text.contains(".SH NAME"), "{page}: {text}");
    }
    meshproof(folder.path(), &["man", "/dev/null/pages"]).fails(2, "failed to write man pages to /dev/null/pages");
}

#[test]
fn doctor_tells_what_is_wrong_before_a_run_does() {
    let folder = folder();
    let words = ["doctor", "--infra-context", "a", "--apps-context", "b"];
    meshproof(folder.path(), &["doctor"]).fails(2, "--infra-context");
    meshproof(folder.path(), &words).fails(2, "found no kubeconfig");
    // A server that takes connections and never answers.
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    kubeconfig(
        folder.path(),
        &format!("https://{}", silent.local_addr().expect("an address")),
    );
    let begun = std::time::Instant::now();
    let ended = meshproof(folder.path(), &words).ends(2, &["infra  FAILED", "apps   FAILED", "a run cannot start yet"]);
    assert!(begun.elapsed().as_secs() < 10, "{}", ended.text());
}

/// Names of trials are the interface of baselines: a change of one shows in review.
#[test]
fn the_names_of_all_trials_are_those_of_docs_trials_txt() {
    let listed = meshproof(folder().path(), &["run", "--lab", "--list"]).ends(0, &[]).out;
    let names: String = listed
        .lines()
        .filter_map(|line| Some(format!("{}\n", line.strip_suffix(": test")?)))
        .collect();
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/trials.txt");
    if std::env::var("MESHPROOF_UPDATE").as_deref() == Ok("1") {
        fs::write(&file, &names).expect("docs/trials.txt can be written");
    }
    let written = fs::read_to_string(&file).expect("docs/trials.txt");
    assert!(
        written == names,
        "docs/trials.txt is out of date: run `MESHPROOF_UPDATE=1 cargo test -p meshproof --test command names_of_all`"
    );
}
