//! Reads recordings: every file of a name, wherever it is, is one more example of the same output.

use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// Names of recorded files, and under which other names the same output was recorded.
const FILES: [(&str, &[&str]); 30] = [
    (
        "status.json",
        &["agent-status.json", "status-verbose.json", "agent-apps-1-status.json"],
    ),
    ("encrypt-status.json", &[]),
    ("debuginfo-excerpt.json", &[]),
    ("endpoint-list.json", &[]),
    ("service-list.json", &["agent-infra-1-service-list.json"]),
    ("node-list.json", &[]),
    ("policy-get.json", &[]),
    ("identity-list.json", &[]),
    ("ip-list.json", &[]),
    ("bpf-ipcache-list.json", &[]),
    ("bpf-lb-list.json", &[]),
    ("cilium-health-status.json", &["agent-apps-1-cilium-health.json"]),
    ("metrics-list.json", &[]),
    ("kvstoremesh-status.json", &[]),
    (
        "observe.jsonpb",
        &[
            "observe-dropped.jsonpb",
            "observe-forwarded.jsonpb",
            "observe-policy-verdict.jsonpb",
            "observe-dns.jsonpb",
        ],
    ),
    ("configmap-cilium-config.yaml", &[]),
    ("configmap-hubble-relay-config.yaml", &[]),
    ("daemonset-cilium.yaml", &[]),
    ("deployment-cilium-operator.yaml", &[]),
    ("deployment-clustermesh-apiserver.yaml", &[]),
    ("deployment-hubble-relay.yaml", &[]),
    ("service-clustermesh-apiserver.yaml", &[]),
    ("service-hubble-peer.yaml", &[]),
    ("service-hubble-relay.yaml", &[]),
    ("ciliumnodes.yaml", &[]),
    ("ciliumendpoints.yaml", &[]),
    ("ciliumidentities.yaml", &[]),
    ("secret-cilium-clustermesh.yaml", &[]),
    ("secret-cilium-kvstoremesh.yaml", &[]),
    ("crds.txt", &[]),
];

pub(super) fn recorded(directory: &Path) -> Vec<(&'static str, Vec<Value>)> {
    let mut paths = Vec::new();
    find(directory, &mut paths);
    let all = FILES.iter().map(|(name, others)| {
        let named = |path: &&PathBuf| {
            let file = path.file_name().and_then(|file| file.to_str()).unwrap_or_default();
            // The command line's own status has the same name as the agent's.
            let elsewhere = path.components().any(|part| part.as_os_str() == "cli");
            !elsewhere && (file == *name || others.contains(&file))
        };
        let values: Vec<_> = paths.iter().filter(named).flat_map(|path| values(path)).collect();
        assert!(!values.is_empty(), "no recording of {name} in {}", directory.display());
        (*name, values)
    });
    all.collect()
}

fn find(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(directory)
        .expect("the recordings can be read")
        .flatten()
    {
        let path = entry.path();
        if path.is_dir() {
            find(&path, found)
        } else {
            found.push(path)
        }
    }
}

fn values(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).expect("a recording can be read");
    let parsed = match path.extension().and_then(|extension| extension.to_str()) {
        Some("jsonpb") => {
            return text
                .lines()
                .filter_map(|line| serde_json::from_str(line).ok())
                .collect();
        }
        Some("yaml") => serde_saphyr::from_str::<Value>(&text).expect("a recording is YAML"),
        Some("txt") => return vec![table(&text)],
        _ => serde_json::from_str(&text).expect("a recording is JSON"),
    };
    match parsed["kind"].as_str() {
        Some("List") => parsed["items"].as_array().cloned().unwrap_or_default(),
        _ => vec![parsed],
    }
}

/// `crds.txt`: name to scope and versions, which are names here, not types.
fn table(text: &str) -> Value {
    let rows = text.lines().skip(1).filter_map(|line| {
        let mut words = line.split_whitespace();
        let (name, scope, versions) = (words.next()?, words.next()?, words.next()?);
        let versions: serde_json::Map<_, _> = versions
            .split(',')
            .map(|version| (version.to_owned(), json!(true)))
            .collect();
        Some((name.to_owned(), json!({scope: versions})))
    });
    Value::Object(rows.collect())
}
