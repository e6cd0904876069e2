//! The Secret in which Helm keeps the release that it installed (semantics E7): values as given, the chart's own, and
//! the objects as rendered.

use super::{NAMESPACE, values};
use crate::topology::{ClusterSpec, Topology};
use base64::{Engine, engine::general_purpose::STANDARD};
use flate2::{Compression, write::GzEncoder};
use jiff::Timestamp;
use serde_json::{Value, json};
use std::io::Write;

/// The release's name.
const NAME: &str = "cilium";

/// The name of the Secret of a revision.
pub(crate) fn secret_name(revision: u64) -> String {
    format!("sh.helm.release.v1.{NAME}.v{revision}")
}

/// The first revision, deployed now, with these objects.
pub(super) fn secret(topology: &Topology, cluster: &ClusterSpec, objects: &[Value]) -> Value {
    let version = topology.settings().version;
    let release = json!({
        "name": NAME,
        "namespace": NAMESPACE,
        "version": 1,
        "info": {
            "status": "deployed", "description": "Install complete",
            "first_deployed": now(), "last_deployed": now(), "deleted": "",
        },
        "chart": {
            "metadata": {"name": "cilium", "version": version, "appVersion": version, "apiVersion": "v2"},
            "values": values::defaults(),
        },
        "config": values::of(topology, cluster),
        "manifest": manifest(objects),
        "hooks": [],
    });
    sealed(&release)
}

fn now() -> String {
    Timestamp::now().to_string()
}

/// The Secret that holds a release.
pub(crate) fn sealed(release: &Value) -> Value {
    let revision = release["version"].as_u64().unwrap_or(1);
    let labels = json!({
        "owner": "helm", "name": release["name"], "version": revision.to_string(), "status": release["info"]["status"],
        "modifiedAt": Timestamp::now().as_second().to_string(),
    });
    json!({
        "apiVersion": "v1", "kind": "Secret", "type": "helm.sh/release.v1",
        "metadata": {"name": secret_name(revision), "namespace": NAMESPACE, "labels": labels},
        "data": {"release": pack(release)},
    })
}

/// Kubernetes' base64 of Helm's base64 of gzip of JSON.
fn pack(release: &Value) -> String {
    let mut packed = GzEncoder::new(Vec::new(), Compression::best());
    let written = packed.write_all(release.to_string().as_bytes());
    let bytes = written.and_then(|()| packed.finish());
    // Memory takes every byte.
    STANDARD.encode(STANDARD.encode(bytes.unwrap_or_default()))
}

/// The release that a Secret holds; none if it holds something else.
pub(crate) fn opened(secret: &Value) -> Option<Value> {
    let inner = STANDARD.decode(secret["data"]["release"].as_str()?).ok()?;
    let packed = STANDARD.decode(inner).ok()?;
    serde_json::from_reader(flate2::read::GzDecoder::new(&packed[..])).ok()
}

/// The objects as `helm template` separates them. JSON is YAML. Definitions are the operator's, and Secrets' data are
/// not the lab's to repeat.
fn manifest(objects: &[Value]) -> String {
    let is_of_chart = |object: &&Value| object["kind"] != "CustomResourceDefinition" && object["kind"] != "Secret";
    let documents = objects.iter().filter(is_of_chart).map(|object| {
        let (kind, name) = (object["kind"].as_str(), object["metadata"]["name"].as_str());
        let path = format!("{}-{}", kind.unwrap_or_default(), name.unwrap_or_default()).to_lowercase();
        format!("---\n# Source: cilium/templates/{path}.yaml\n{object}\n")
    });
    documents.collect()
}
