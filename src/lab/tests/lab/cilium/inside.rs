//! Commands in Cilium's pods.

use crate::client::{Result, expect, name, text};
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Client,
    api::{Api, AttachParams, ListParams},
};
use serde_json::Value;
use tokio::io::AsyncReadExt;

/// What a command wrote, and its exit code.
#[derive(Debug)]
pub struct Ran {
    pub stdout: String,
    pub stderr: String,
    pub code: i32,
}

/// The pods of kube-system with a label, by name.
pub async fn pods(client: &Client, label: &str) -> Result<Vec<Pod>> {
    let api: Api<Pod> = Api::namespaced(client.clone(), "kube-system");
    let mut found = api
        .list(&ListParams::default().labels(label))
        .await
        .map_err(text)?
        .items;
    found.sort_by_key(|pod| pod.spec.as_ref().and_then(|spec| spec.node_name.clone()));
    Ok(found)
}

/// Runs a command.
pub async fn run(client: &Client, pod: &Pod, container: &str, command: &str) -> Result<Ran> {
    let api: Api<Pod> = Api::namespaced(client.clone(), "kube-system");
    let attach = AttachParams::default().container(container).stdout(true).stderr(true);
    let mut process = api
        .exec(name(pod), command.split_whitespace(), &attach)
        .await
        .map_err(text)?;
    let (mut out, mut err) = (
        process.stdout().ok_or("no stdout")?,
        process.stderr().ok_or("no stderr")?,
    );
    let (mut stdout, mut stderr) = (String::new(), String::new());
    let read = async { tokio::try_join!(out.read_to_string(&mut stdout), err.read_to_string(&mut stderr)) };
    tokio::time::timeout(std::time::Duration::from_secs(10), read)
        .await
        .map_err(text)?
        .map_err(text)?;
    let status = process.take_status().ok_or("no status")?.await;
    let cause = status
        .as_ref()
        .and_then(|s| s.details.as_ref()?.causes.as_ref()?.first()?.message.clone());
    let code = cause.and_then(|code| code.parse().ok()).unwrap_or_default();
    Ok(Ran { stdout, stderr, code })
}

/// Runs a command that prints JSON.
pub async fn json(client: &Client, pod: &Pod, container: &str, command: &str) -> Result<Value> {
    let ran = run(client, pod, container, command).await?;
    match ran.code {
        0 => serde_json::from_str(&ran.stdout).map_err(|error| format!("{command}: {error} in {}", ran.stdout)),
        code => Err(format!("{command}: exit code {code}, {}", ran.stderr)),
    }
}

pub async fn agents(client: &Client) -> Result<Vec<Pod>> {
    let pods = pods(client, "k8s-app=cilium").await?;
    expect("three agents", pods.len() == 3, &pods.len())?;
    Ok(pods)
}

pub async fn status(client: &Client, agent: &Pod) -> Result<Value> {
    json(client, agent, "cilium-agent", "cilium-dbg status -o json").await
}

pub async fn kvstoremesh(client: &Client) -> Result<Vec<Value>> {
    let mut found = Vec::new();
    for pod in pods(client, "k8s-app=clustermesh-apiserver").await? {
        let command = "clustermesh-apiserver kvstoremesh-dbg status -o json";
        found.push(json(client, &pod, "kvstoremesh", command).await?[0].clone());
    }
    Ok(found)
}

pub fn is_complete(remote: &Value) -> bool {
    remote["ready"] == true
        && remote["connected"] == true
        && remote["num-nodes"] == 3
        && remote["synced"]["services"] == true
}
