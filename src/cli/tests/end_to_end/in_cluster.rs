//! `run` as a Job runs it: with a pod's service account for its own cluster, a kubeconfig for the other one, and the
//! reports in a ConfigMap. The pod's files are laid out in a mount namespace of a process of its own.

use crate::{Result, clusters::Clusters, text};
use nix::{
    mount::{MsFlags, mount},
    sched::{CloneFlags, unshare},
    unistd::{Gid, Uid},
};
use serde_json::{Value, json};
use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
};

type Test = fn(&Clusters) -> Result<()>;

pub const ALL: &[(&str, Test)] = &[("a_service_account_and_a_kubeconfig_are_enough", as_a_job)];

const IN_A_POD: &str = "in-a-pod";
/// Tells the process in the pod where its service account's files are.
const ACCOUNT: &str = "MESHPROOF_TEST_ACCOUNT";
/// Where every pod has them.
const SECRETS: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
const FILES: [&str; 3] = ["token", "ca.crt", "namespace"];

/// What this executable does when it is started in a mode.
pub fn mode(word: &str) -> Option<fn() -> Result<()>> {
    (word == IN_A_POD).then_some(in_a_pod as fn() -> Result<()>)
}

fn in_a_pod() -> Result<()> {
    let account = std::env::var_os(ACCOUNT).ok_or("no service account")?;
    let files: Vec<Vec<u8>> = FILES
        .iter()
        .map(|file| fs::read(Path::new(&account).join(file)).map_err(text))
        .collect::<Result<_>>()?;
    let (uid, gid) = (Uid::current(), Gid::current());
    unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNS).map_err(text)?;
    fs::write("/proc/self/setgroups", "deny").map_err(text)?;
    fs::write("/proc/self/uid_map", format!("{uid} {uid} 1")).map_err(text)?;
    fs::write("/proc/self/gid_map", format!("{gid} {gid} 1")).map_err(text)?;
    // /var/run leads to /run on every system of today.
    let none: Option<&str> = None;
    mount(Some("tmpfs"), "/run", Some("tmpfs"), MsFlags::empty(), none).map_err(text)?;
    fs::create_dir_all(SECRETS).map_err(text)?;
    for (name, content) in FILES.iter().zip(files) {
        fs::write(Path::new(SECRETS).join(name), content).map_err(text)?;
    }
    let status = Command::new(env!("CARGO_BIN_EXE_meshproof"))
        .args(std::env::args_os().skip(2))
        .status()
        .map_err(text)?;
    if status.success() {
        Ok(())
    } else {
        Err(status.to_string())
    }
}

fn as_a_job(clusters: &Clusters) -> Result<()> {
    let folder = tempfile::tempdir().map_err(text)?;
    let file = |name: &str, content: &[u8]| fs::write(folder.path().join(name), content).map_err(text);
    let mut role = meshproof_cluster::rights::cluster_role();
    role["metadata"]["name"] = json!("meshproof-runner");
    file("token", clusters.token("infra", "runner", Some(role))?.as_bytes())?;
    file("namespace", b"default")?;
    let (server, authority) = clusters.server("infra")?;
    file("ca.crt", &authority)?;
    let (host, port) = server
        .trim_start_matches("https://")
        .rsplit_once(':')
        .ok_or("a server without a port")?;
    file(
        "registry.json",
        br#"{"auths": {"registry.example": {"auth": "cHVzaGVyOnNlY3JldA=="}}}"#,
    )?;

    // The lab's own is in memory, and for the user outside of the namespace only.
    let kubeconfig = folder.path().join("kubeconfig");
    fs::copy(clusters.kubeconfig(), &kubeconfig).map_err(text)?;

    let output = Command::new(std::env::current_exe().map_err(text)?)
        .arg(IN_A_POD)
        .args(["run", "--infra-context", "in-cluster", "--apps-context", "apps"])
        .args([
            "--image",
            meshproof_lab::AGENT_IMAGE,
            "--image-pull-secret",
            "registry.json",
        ])
        .args(["--report-configmap", "default/meshproof-report"])
        .args(["http_same_node", "mesh::agents_ready"])
        .current_dir(folder.path())
        .env(ACCOUNT, folder.path())
        .env("KUBERNETES_SERVICE_HOST", host)
        .env("KUBERNETES_SERVICE_PORT", port)
        .env("KUBECONFIG", kubeconfig)
        .stdin(Stdio::null())
        .output()
        .map_err(text)?;
    let printed = [output.stdout, output.stderr].map(|part| String::from_utf8_lossy(&part).into_owned());
    if !output.status.success() {
        return Err(format!("{}: {}", output.status, printed.concat()));
    }
    let map = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "meshproof-report", "namespace": "default"},
    });
    let kept = clusters.read("infra", &map)?;
    clusters.remove("infra", &map)?;
    let summary = kept["data"]["summary.md"].as_str().unwrap_or_default();
    if !summary.contains("passed") || kept["binaryData"]["report.json.gz"] == Value::Null {
        return Err(format!("expected the reports, got {kept:#}"));
    }
    clusters.hold_nothing()
}
