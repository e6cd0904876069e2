//! ci/kind: what `up.sh` and `down.sh` ask of Docker, kind, Helm and kubectl, and what they say where one is missing.

use crate::{
    root,
    stubs::{Ran, Stubs},
};
use serde_json::Value;
use std::{collections::BTreeMap, fs, process::Command};

/// Tools whose clusters are as a first run finds them: none yet, healthy once made.
fn tools() -> Stubs {
    let kind = r#"
here=$(dirname "$0")/..
case "$1 $2" in
    "get clusters") cat "$here/clusters" 2> /dev/null || true ;;
    "create cluster") case "$*" in *infra.yaml*) echo infra ;; *) echo apps ;; esac >> "$here/clusters" ;;
    "delete cluster") rm -f "$here/clusters" ;;
esac"#;
    let kubectl = r#"
case "$*" in
    *"kind-infra get nodes"*) printf '172.18.0.2\n172.18.0.3\nfc00::2\n' ;;
    *"kind-apps get nodes"*) printf '172.18.0.4\n172.18.0.5\n' ;;
    *cilium-dbg*) echo 'ClusterMesh:             1/1 remote clusters ready, 1 global-services' ;;
esac"#;
    let openssl = r#"
case "$1" in
    req) while [ $# -gt 1 ]; do case $1 in -keyout | -out) echo pem > "$2" ;; esac; shift; done ;;
    base64) echo cGVtCg== ;;
esac"#;
    let docker = "echo \"${CGROUPS:-2}\"";
    Stubs::new(&[
        ("docker", docker),
        ("kind", kind),
        ("kubectl", kubectl),
        ("helm", ""),
        ("openssl", openssl),
    ])
}

fn up(tools: &Stubs, arguments: &[&str]) -> Ran {
    let state = tools.path("state");
    tools.run("ci/kind/up.sh", arguments, &[("MESHPROOF_KIND_STATE", &state)])
}

/// What `versions.env` pins.
fn pins() -> BTreeMap<String, String> {
    let text = fs::read_to_string(root().join("ci/kind/versions.env")).expect("versions.env");
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let pairs = lines.filter_map(|line| line.split_once('='));
    pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

#[test]
fn both_clusters_are_made_joined_and_given_the_image() {
    let tools = tools();
    fs::write(tools.path("probe.tar"), "image").expect("writes");
    let image = tools.path("probe.tar");
    let image = image.to_str().expect("text");
    let ran = up(&tools, &["--cilium", "1.19", "--routing", "native", "--image", image]).ending(0);
    let pins = pins();

    let created = ran.calls_of("kind create cluster");
    assert_eq!(created.len(), 2, "{created:?}");
    assert!(
        created.iter().all(|call| call.contains(&pins["NODE_IMAGE"])),
        "{created:?}"
    );
    let installed = ran.calls_of("helm upgrade --install cilium");
    assert_eq!(installed.len(), 2, "{installed:?}");
    for (call, cluster) in installed.iter().zip(["infra", "apps"]) {
        assert!(call.contains(&format!("--version {}", pins["CILIUM_1_19"])), "{call}");
        assert!(call.contains(&format!("--kube-context kind-{cluster} ")), "{call}");
        for file in ["common", "native", cluster] {
            assert!(call.contains(&format!("values/{file}.yaml")), "{call}");
        }
    }
    // Cilium's operator looks for them once.
    let of = |part: &str| ran.calls.iter().position(|call| call.contains(part));
    assert!(of("experimental-install.yaml") < of("helm upgrade"), "{:#?}", ran.calls);
    assert!(ran.calls.iter().any(|call| call.contains(&pins["GATEWAY_API_1_19"])));
    assert_eq!(ran.calls_of("kind load image-archive").len(), 2);
    assert!(
        ran.out
            .contains("meshproof run --infra-context kind-infra --apps-context kind-apps"),
        "{}",
        ran.out
    );

    let peers = fs::read_to_string(tools.path("state/peers.yaml")).expect("peers");
    let peers: Value = serde_saphyr::from_str(&peers).expect("YAML");
    let clusters = peers["clustermesh"]["config"]["clusters"].as_array().expect("a list");
    assert_eq!(clusters[0]["ips"], serde_json::json!(["172.18.0.2", "172.18.0.3"]));
    assert_eq!(clusters[1]["name"], "apps");
    let authority = fs::read_to_string(tools.path("state/authority.yaml")).expect("an authority");
    let authority: Value = serde_saphyr::from_str(&authority).expect("YAML");
    assert_eq!(authority["tls"]["ca"]["key"], "cGVtCg==");
}

#[test]
fn a_second_call_changes_what_is_there_and_keeps_the_authority() {
    let tools = tools();
    up(&tools, &[]).ending(0);
    let ran = up(&tools, &[]).ending(0);
    assert_eq!(ran.calls_of("kind create"), Vec::<&str>::new());
    assert_eq!(ran.calls_of("openssl"), Vec::<&str>::new());
    assert_eq!(ran.calls_of("helm upgrade").len(), 2);
}

#[test]
fn a_missing_tool_is_named_before_anything_is_made() {
    for tool in ["docker", "kind", "kubectl", "helm", "openssl"] {
        let ran = up(&tools().without(tool), &[]).ending(2);
        assert!(
            ran.err.starts_with(&format!("up.sh: {tool} is missing: ")),
            "{}",
            ran.err
        );
        assert_eq!(ran.calls_of("kind create"), Vec::<&str>::new());
    }
    let ran = tools()
        .run("ci/kind/up.sh", &[], &[("CGROUPS", "1".as_ref())])
        .ending(1);
    assert!(ran.err.contains("cgroup version 1"), "{}", ran.err);
}

#[test]
fn wrong_arguments_end_with_code_2() {
    for arguments in [
        &["--cilium", "1.12.0"][..],
        &["--routing", "bgp"],
        &["--image", "absent.tar"],
        &["--what", "x"],
    ] {
        let ran = up(&tools(), arguments).ending(2);
        assert_eq!(ran.calls_of("kind create"), Vec::<&str>::new());
    }
}

#[test]
fn down_removes_both_and_what_is_gone_is_no_error() {
    let tools = tools();
    up(&tools, &[]).ending(0);
    let state = tools.path("state");
    let down = || {
        tools
            .run("ci/kind/down.sh", &[], &[("MESHPROOF_KIND_STATE", &state)])
            .ending(0)
    };
    assert!(!down().calls_of("kind delete cluster").is_empty());
    assert!(!state.exists());
    assert_eq!(down().calls_of("kind delete cluster"), Vec::<&str>::new());
}

#[test]
fn the_values_hold_what_they_should_claim() {
    for routing in ["tunnel", "native"] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_meshproof"));
        command
            .args(["claims", "check", "--gitops", "ci/kind"])
            .current_dir(root());
        for role in ["infra", "apps"] {
            for file in ["common", routing, role] {
                command
                    .arg("--values")
                    .arg(format!("{role}=ci/kind/values/{file}.yaml"));
            }
        }
        let output = command.output().expect("runs");
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(text.contains("0 errors, 0 warnings"), "{routing}: {text}");
    }
    let read = |file: &str| -> Value {
        let text = fs::read_to_string(root().join("ci/kind").join(file)).expect(file);
        serde_saphyr::from_str(&text).expect(file)
    };
    let common = read("values/common.yaml");
    assert_eq!(
        common["encryption"],
        serde_json::json!({"enabled": true, "type": "wireguard"})
    );
    for (claim, path) in [
        ("kubeProxyReplacement", "/kubeProxyReplacement"),
        ("Hubble", "/hubble/enabled"),
    ]
    .into_iter()
    .chain([
        ("Cluster Mesh", "/clustermesh/useAPIServer"),
        ("Gateway API", "/gatewayAPI/enabled"),
    ]) {
        assert_eq!(common.pointer(path), Some(&Value::Bool(true)), "{claim}");
    }
    for (role, id, pods) in [("infra", 1, "10.244.0.0/16"), ("apps", 2, "10.246.0.0/16")] {
        assert_eq!(read(&format!("values/{role}.yaml"))["cluster"]["id"], id);
        let cluster = read(&format!("{role}.yaml"));
        assert_eq!(cluster["networking"]["podSubnet"], pods);
        assert_eq!(cluster["networking"]["kubeProxyMode"], "none");
    }
}
