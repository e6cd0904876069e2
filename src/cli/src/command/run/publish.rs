//! Where else a run's reports go: a ConfigMap of a cluster, a Prometheus Pushgateway. What cannot be published is said,
//! and leaves the verdict as it is.

use crate::{args::RunArgs, session::target::Target};
use anyhow::{Context, anyhow};
use base64::{Engine, prelude::BASE64_STANDARD};
use flate2::{Compression, write::GzEncoder};
use meshproof_cluster::{Contexts, ProgressSink};
use meshproof_report::RunFolder;
use serde_json::{Map, Value, json};
use std::{
    fs,
    io::{self, Write},
    time::Duration,
};

/// What the reports in a ConfigMap may have together: the API server takes 1 MiB, names and metadata included.
const ROOM: usize = 1_000_000;
/// What stands there as text, so that `kubectl get` shows it.
const SUMMARY: &str = "summary.md";
/// Longest summary, in bytes.
const LONGEST_SUMMARY: usize = 200_000;
/// What is compressed, the most useful first.
const COMPRESSED: [&str; 6] = [
    "junit.xml",
    "report.json",
    "claims.sarif",
    "report.html",
    "metrics.prom",
    "events.ndjson",
];
/// How long a Pushgateway may take.
const PUSH: Duration = Duration::from_secs(15);

/// Publishes the reports in the folder wherever the command line asks for it.
pub async fn publish(args: &RunArgs, target: Option<&Target>, folder: &RunFolder) {
    if let (Some((namespace, name)), Some(target)) = (&args.report_configmap, target) {
        let kept = keep(target, namespace, name, folder).await;
        warn(
            kept,
            &format!("failed to keep the reports in ConfigMap {namespace}/{name}"),
        );
    }
    if let Some(gateway) = &args.push_metrics {
        let pushed = push(gateway, folder).await;
        warn(pushed, &format!("failed to push the metrics to {gateway}"));
    }
}

fn warn(result: anyhow::Result<()>, what: &str) {
    if let Err(error) = result.context(what.to_owned()) {
        eprintln!("meshproof: {error:#}");
    }
}

async fn keep(target: &Target, namespace: &str, name: &str, folder: &RunFolder) -> anyhow::Result<()> {
    let map = config_map(namespace, name, folder)?;
    let quiet = ProgressSink::new(|_| ());
    // The first cluster alone: another one that went away must not keep the reports from being read here.
    let contexts = Contexts::connect(&target.roles[..1], target.kubeconfig.clone(), &quiet).await?;
    contexts.clients()[0].apply(map).await?;
    Ok(())
}

/// The ConfigMap: the summary as text, the rest compressed as long as there is room, and the names of what found none.
fn config_map(namespace: &str, name: &str, folder: &RunFolder) -> anyhow::Result<Value> {
    let summary = fs::read_to_string(folder.file(SUMMARY)).with_context(|| format!("failed to read {SUMMARY}"))?;
    let end = summary.floor_char_boundary(LONGEST_SUMMARY);
    let mut room = ROOM - end;
    let (mut packed, mut left_out) = (Map::new(), Vec::new());
    for file in COMPRESSED {
        // Not every run has every report.
        let Ok(content) = fs::read(folder.file(file)) else {
            continue;
        };
        let content = compress(&content)?;
        match room.checked_sub(content.len()) {
            Some(rest) => {
                room = rest;
                packed.insert(format!("{file}.gz"), json!(BASE64_STANDARD.encode(content)));
            }
            None => left_out.push(file),
        }
    }
    let run = folder.path().file_name().unwrap_or_default().to_string_lossy();
    Ok(json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {
            "name": name, "namespace": namespace,
            "labels": {"app.kubernetes.io/name": "meshproof-report"},
            "annotations": {"meshproof.dev/run": run, "meshproof.dev/left-out": left_out.join(",")},
        },
        "data": {SUMMARY: summary[..end]},
        "binaryData": packed,
    }))
}

fn compress(content: &[u8]) -> io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(content)?;
    encoder.finish()
}

/// As the Pushgateway's documentation has it: PUT replaces the group `job="meshproof"`. A URL that names a group of its
/// own is taken as it is.
async fn push(gateway: &str, folder: &RunFolder) -> anyhow::Result<()> {
    let metrics = fs::read(folder.file("metrics.prom")).context("failed to read metrics.prom")?;
    let url = if gateway.contains("/metrics/job/") {
        gateway.to_owned()
    } else {
        format!("{}/metrics/job/meshproof", gateway.trim_end_matches('/'))
    };
    let client = reqwest::Client::builder().timeout(PUSH).build()?;
    let answer = client.put(url).body(metrics).send().await?;
    let status = answer.status();
    if status.is_success() {
        return Ok(());
    }
    let why = answer.text().await.unwrap_or_default();
    Err(anyhow!("{status}: {}", why.lines().next().unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::read::GzDecoder;
    use std::io::Read;
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
    };

    fn folder(reports: &[(&str, Vec<u8>)]) -> (tempfile::TempDir, RunFolder) {
        let parent = tempfile::tempdir().expect("a folder");
        let folder = RunFolder::create(parent.path(), &"run-1".into()).expect("a folder");
        for (name, content) in reports {
            fs::write(folder.file(name), content).expect("writes");
        }
        (parent, folder)
    }

    /// Bytes that no compression makes smaller.
    fn noise(length: usize) -> Vec<u8> {
        let mut state = 7u64;
        let mut next = || {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (state >> 56) as u8
        };
        (0..length).map(|_| next()).collect()
    }

    #[test]
    fn the_summary_can_be_read_and_the_rest_unpacked() {
        let (_parent, folder) = folder(&[(SUMMARY, b"## passed".to_vec()), ("junit.xml", b"<x/>".to_vec())]);
        let map = config_map("runner", "report", &folder).expect("a map");
        assert_eq!(map["data"][SUMMARY], "## passed");
        assert_eq!(map["metadata"]["annotations"]["meshproof.dev/run"], "run-1");
        let packed = BASE64_STANDARD
            .decode(map["binaryData"]["junit.xml.gz"].as_str().expect("text"))
            .expect("base64");
        let mut text = String::new();
        GzDecoder::new(&packed[..]).read_to_string(&mut text).expect("gzip");
        assert_eq!(text, "<x/>");
    }

    #[test]
    fn what_finds_no_room_is_named() {
        let (_parent, folder) = folder(&[
            // A character of two bytes across the limit.
            (SUMMARY, "é".repeat(LONGEST_SUMMARY).into_bytes()),
            ("report.json", noise(700_000)),
            ("report.html", noise(300_000)),
            ("metrics.prom", b"small".to_vec()),
        ]);
        let map = config_map("runner", "report", &folder).expect("a map");
        assert_eq!(map["metadata"]["annotations"]["meshproof.dev/left-out"], "report.html");
        let names: Vec<&String> = map["binaryData"].as_object().expect("a map").keys().collect();
        assert_eq!(names, ["metrics.prom.gz", "report.json.gz"]);
        assert_eq!(map["data"][SUMMARY].as_str().map(str::len), Some(LONGEST_SUMMARY));
    }

    /// Answers one request with this status and gives back what was asked.
    async fn gateway(status: &'static str) -> (String, tokio::task::JoinHandle<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let served = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.expect("a connection");
            let mut request = Vec::new();
            while !request.ends_with(b"exit_code 0\n") {
                let mut part = [0; 1024];
                let read = stream.read(&mut part).await.expect("a request");
                request.extend_from_slice(&part[..read]);
            }
            let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 5\r\nconnection: close\r\n\r\nwhy\nx");
            stream.write_all(answer.as_bytes()).await.expect("an answer");
            String::from_utf8(request).expect("text")
        });
        (format!("http://{address}"), served)
    }

    #[tokio::test]
    async fn metrics_replace_those_of_the_run_before() {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let (_parent, folder) = folder(&[("metrics.prom", b"exit_code 0\n".to_vec())]);
        let (url, served) = gateway("202 Accepted").await;
        push(&url, &folder).await.expect("pushes");
        let request = served.await.expect("served");
        assert!(request.starts_with("PUT /metrics/job/meshproof HTTP/1.1"), "{request}");
        let (url, served) = gateway("400 Bad Request").await;
        let grouped = format!("{url}/metrics/job/meshproof/mesh/lab");
        let error = push(&grouped, &folder).await.expect_err("refused");
        assert!(error.to_string().ends_with("400 Bad Request: why"), "{error}");
        assert!(
            served
                .await
                .expect("served")
                .starts_with("PUT /metrics/job/meshproof/mesh/lab ")
        );
    }

    #[test]
    fn a_run_without_a_report_publishes_nothing() {
        let (_parent, folder) = folder(&[]);
        let error = config_map("runner", "report", &folder).expect_err("nothing to keep");
        assert!(error.to_string().contains(SUMMARY), "{error}");
    }
}
