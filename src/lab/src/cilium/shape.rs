//! Are the lab's outputs shaped like the recorded ones? `tests/shapes/*.txt` hold paths and types, extracted from
//! recordings of real Cilium 1.18.3. Everything that the lab produces must be in them, with the same type; everything
//! in them that the lab does not produce must be in `lacking.txt`, with the reason.
//!
//! To extract them again (the recordings are not part of the project):
//! `MESHPROOF_RECORDINGS=<directory> cargo test -p meshproof-lab --lib extract_shapes -- --ignored`

mod extract;
mod fixture;
mod outputs;

use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write,
    path::PathBuf,
};

/// Paths with their types: `clusters[].num-nodes` to `integer`.
type Shape = BTreeMap<String, BTreeSet<&'static str>>;

/// Objects below which keys are data, not names: their keys become `*`.
const MAPS: [&str; 24] = [
    "status.json:ipam.allocations",
    "bpf-ipcache-list.json:",
    "bpf-lb-list.json:",
    "metrics-list.json:[].labels",
    "endpoint-list.json:[].status.policy.realized.l4.ingress[].rules-by-selector",
    "endpoint-list.json:[].status.policy.spec.l4.ingress[].rules-by-selector",
    "endpoint-list.json:[].status.policy.realized.l4.egress[].rules-by-selector",
    "endpoint-list.json:[].status.policy.spec.l4.egress[].rules-by-selector",
    "ciliumnodes.yaml:metadata.labels",
    "ciliumnodes.yaml:metadata.annotations",
    "ciliumendpoints.yaml:metadata.labels",
    "ciliumidentities.yaml:security-labels",
    "secret-cilium-clustermesh.yaml:stringData",
    "secret-cilium-kvstoremesh.yaml:stringData",
    "daemonset-cilium.yaml:metadata.annotations",
    "deployment-cilium-operator.yaml:metadata.annotations",
    "deployment-clustermesh-apiserver.yaml:metadata.annotations",
    "deployment-hubble-relay.yaml:metadata.annotations",
    "service-clustermesh-apiserver.yaml:metadata.annotations",
    "service-hubble-peer.yaml:metadata.annotations",
    "service-hubble-relay.yaml:metadata.annotations",
    "configmap-cilium-config.yaml:metadata.annotations",
    "configmap-hubble-relay-config.yaml:metadata.annotations",
    "observe.jsonpb:flow.l4.TCP.flags",
];

/// The shape of values that were all printed by one command.
fn shape(file: &str, values: &[Value]) -> Shape {
    let mut shape = Shape::new();
    for value in values {
        walk(file, "", value, &mut shape);
    }
    shape
}

fn walk(file: &str, path: &str, value: &Value, shape: &mut Shape) {
    let kind = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    shape.entry(path.to_owned()).or_default().insert(kind);
    match value {
        Value::Array(items) => items
            .iter()
            .for_each(|item| walk(file, &format!("{path}[]"), item, shape)),
        Value::Object(fields) => {
            let is_map = MAPS.contains(&format!("{file}:{path}").as_str());
            for (key, value) in fields {
                let key = if is_map { "*" } else { key };
                let below = if path.is_empty() {
                    key.to_owned()
                } else {
                    format!("{path}.{key}")
                };
                walk(file, &below, value, shape);
            }
        }
        _ => {}
    }
}

fn directory() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/shapes")
}

fn read(file: &str) -> Shape {
    let path = directory().join(format!("{file}.txt"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let lines = text.lines().filter_map(|line| line.rsplit_once(": "));
    let known = ["array", "boolean", "integer", "null", "number", "object", "string"];
    lines
        .map(|(path, kinds)| {
            let kinds = kinds
                .split('|')
                .filter_map(|kind| known.iter().copied().find(|known| *known == kind));
            (path.trim_start_matches('.').to_owned(), kinds.collect())
        })
        .collect()
}

fn write(shape: &Shape) -> String {
    let mut text = String::new();
    for (path, kinds) in shape {
        let kinds: Vec<_> = kinds.iter().copied().collect();
        // Writing to a String cannot fail.
        let _ = writeln!(text, ".{path}: {}", kinds.join("|"));
    }
    text
}

/// Paths that the lab lacks, by file: each with the reason. A line is `file path reason…`; the path stands for
/// everything below it.
fn lacking() -> Vec<(String, String, String)> {
    let text = std::fs::read_to_string(directory().join("lacking.txt")).expect("lacking.txt is committed");
    let lines = text
        .lines()
        .filter(|line| !line.starts_with('#') && !line.trim().is_empty());
    lines
        .map(|line| {
            let mut words = line.splitn(3, ' ');
            let mut word = || words.next().unwrap_or_default().trim().to_owned();
            let entry = (word(), word(), word());
            assert!(!entry.2.is_empty(), "lacking.txt: no reason in {line:?}");
            entry
        })
        .collect()
}

/// `wanted` and everything below it.
fn covers(wanted: &str, path: &str) -> bool {
    path.strip_prefix(wanted.trim_start_matches('.'))
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('.') || rest.starts_with('['))
}

#[tokio::test]
async fn every_output_is_shaped_like_the_recorded_one() {
    let lacking = lacking();
    let mut used = BTreeSet::new();
    let mut wrong = Vec::new();
    for (file, values) in outputs::produced().await {
        let (recorded, produced) = (read(file), shape(file, &values));
        for (path, kinds) in &produced {
            match recorded.get(path) {
                None => wrong.push(format!("{file}: .{path} is not in any recording")),
                Some(known) => {
                    // A number without a fraction is printed as an integer.
                    let fits = |kind: &&str| known.contains(*kind) || **kind == *"integer" && known.contains("number");
                    let strange: Vec<_> = kinds.iter().filter(|kind| !fits(kind)).collect();
                    if !strange.is_empty() {
                        wrong.push(format!("{file}: .{path} is {strange:?}, recorded as {known:?}"));
                    }
                }
            }
        }
        for path in recorded.keys().filter(|path| !produced.contains_key(*path)) {
            match lacking
                .iter()
                .position(|(of, wanted, _)| of == file && covers(wanted, path))
            {
                Some(place) => {
                    used.insert(place);
                }
                None => wrong.push(format!(
                    "{file}: .{path} is recorded, not produced, and not in lacking.txt"
                )),
            }
        }
    }
    for (place, (file, path, _)) in lacking.iter().enumerate() {
        if !used.contains(&place) {
            wrong.push(format!("lacking.txt: {file} {path} is not lacking"));
        }
    }
    assert!(wrong.is_empty(), "{} differences:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
#[ignore = "reads recordings that are not part of the project"]
fn extract_shapes() {
    let recordings = std::env::var("MESHPROOF_RECORDINGS").expect("MESHPROOF_RECORDINGS names their directory");
    for (file, values) in extract::recorded(std::path::Path::new(&recordings)) {
        let shape = shape(file, &values);
        std::fs::write(directory().join(format!("{file}.txt")), write(&shape)).expect("the directory can be written");
    }
}
