//! ci/upgrade.sh: the steps around an upgrade, with stubs instead of clusters.

use crate::stubs::Stubs;
use std::{fs, path::Path};

/// A command whose runs end with the code in the file `code`, and nodes with a kernel of the file `kernel`.
fn tools() -> Stubs {
    let meshproof = r#"
here=$(dirname "$0")/..
folder=
for word in "$@"; do
    [ "$folder" = next ] && folder=$word
    [ "$word" = --report-dir ] && folder=next
done
[ -n "$folder" ] && mkdir -p "$folder/latest" && echo '{}' > "$folder/latest/report.json"
exit "$(cat "$here/code" 2> /dev/null || echo 0)""#;
    let kubectl = r#"
case "$*" in
    *"--context a get nodes"*) [ -e "$(dirname "$0")/../away" ] || echo 'node-2 6.12.0' ;;
    *"get nodes"*) echo "node-1 $(cat "$(dirname "$0")/../kernel" 2> /dev/null || echo 6.8.0-45-generic)" ;;
    *customresourcedefinitions*)
        echo 'ciliumbgppeeringpolicies.cilium.io v2alpha1 v2'
        echo 'ciliumnodes.cilium.io v2' ;;
esac"#;
    Stubs::new(&[("meshproof", meshproof), ("kubectl", kubectl)])
}

const CONTEXTS: [&str; 4] = ["--infra-context", "i", "--apps-context=a", "--image=x"];

fn step(name: &str) -> Vec<&str> {
    [&[name][..], &CONTEXTS].concat()
}

#[test]
fn the_steps_lead_to_a_decision_about_their_own_runs() {
    let tools = tools();
    let run = |name: &str| tools.run("ci/upgrade.sh", &step(name), &[("GITOPS", Path::new("git"))]);
    assert!(run("gate").ending(2).err.contains("no baseline run"));
    let baseline = run("baseline").ending(0);
    // The repository is ahead of what runs.
    assert!(!baseline.calls[0].contains("--gitops"), "{:?}", baseline.calls);
    fs::write(tools.path("code"), "1").expect("writes");
    let verify = run("verify").ending(0);
    assert!(
        verify.calls[0].contains("--gitops git --infra-context i"),
        "{:?}",
        verify.calls
    );
    assert!(verify.out.contains("exit code 1"), "{}", verify.out);
    for code in [0, 1, 3] {
        fs::write(tools.path("code"), code.to_string()).expect("writes");
        let gate = run("gate").ending(code);
        let folders = "--baseline reports/upgrade/baseline/latest --current reports/upgrade/verify/latest";
        assert_eq!(gate.calls, [format!("meshproof gate {folders}")]);
    }
}

#[test]
fn an_unhealthy_mesh_and_a_usage_error_end_it() {
    let tools = tools();
    let run = |name: &str| tools.run("ci/upgrade.sh", &step(name), &[]);
    fs::write(tools.path("code"), "1").expect("writes");
    assert!(run("baseline").ending(1).err.contains("not healthy before the upgrade"));
    for code in [2, 130] {
        fs::write(tools.path("code"), code.to_string()).expect("writes");
        run("verify").ending(code);
    }
    run("unknown").ending(2);
}

#[test]
fn the_pre_flight_reads_kernels_versions_and_the_compatibility() {
    let tools = tools();
    fs::create_dir(tools.path("git")).expect("a folder");
    let values = tools.path("git/values.yaml");
    let run = || {
        let environment = [("GITOPS", Path::new("git")), ("UPGRADING_FROM", Path::new("1.17"))];
        tools.run("ci/upgrade.sh", &step("preflight"), &environment)
    };
    fs::write(&values, "upgradeCompatibility: \"1.17\"\n").expect("writes");
    let good = run().ending(0);
    assert!(good.out.contains("upgradeCompatibility is 1.17"), "{}", good.out);
    assert!(
        good.out
            .contains("ciliumbgppeeringpolicies.cilium.io is stored as v2alpha1 v2"),
        "{}",
        good.out
    );
    assert!(!good.out.contains("ciliumnodes"), "{}", good.out);
    let contexts: Vec<bool> = ["i", "a"]
        .map(|context| !good.calls_of(&format!("kubectl --context {context} ")).is_empty())
        .into();
    assert_eq!(contexts, [true, true]);

    fs::write(&values, "upgradeCompatibility: '1.16'\n").expect("writes");
    assert!(
        run()
            .ending(1)
            .out
            .contains("upgradeCompatibility is 1.16: set it to \"1.17\"")
    );
    fs::remove_file(&values).expect("is there");
    assert!(run().ending(1).out.contains("upgradeCompatibility is not set"));
    fs::write(&values, "upgradeCompatibility: \"1.17\"\n").expect("writes");
    fs::write(tools.path("away"), "").expect("writes");
    assert!(run().ending(1).out.contains("no node can be read"));
    fs::remove_file(tools.path("away")).expect("is there");
    fs::write(tools.path("kernel"), "5.4.0-1").expect("writes");
    assert!(
        run()
            .ending(1)
            .out
            .contains("node node-1 has kernel 5.4.0-1, older than 5.10")
    );
}
