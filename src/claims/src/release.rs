//! Helm's release, as it stands in a Secret of the cluster: what was installed last, with which values. Decodes what it
//! is given; reading the Secret is for others.

mod manifest;

use crate::{chart, yaml::Node};
use base64::{Engine, engine::general_purpose::STANDARD};
use flate2::read::GzDecoder;
use serde_json::Value;
use std::io::Read;

/// A release larger than this when unpacked is refused (Kubernetes stores at most 1 MiB packed).
const LARGEST: u64 = 64 << 20;

/// A text that is no release. It quotes nothing: values may be secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReleaseError {
    /// Not base64, at one of two levels.
    #[error("the release is not base64 of base64")]
    Base64,
    /// Not gzip, or broken.
    #[error("the release is not packed by gzip, or damaged")]
    Gzip,
    /// Too large.
    #[error("the release is larger than 64 MiB")]
    TooLarge,
    /// Not the JSON of a release.
    #[error("the release is not the JSON that Helm writes: {0} is missing")]
    Json(&'static str),
}

/// A release.
#[derive(Clone, PartialEq)]
pub struct Release {
    /// Its name: `cilium`.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// Its revision, from 1.
    pub revision: u64,
    /// `deployed`, `superseded`, `failed`, `pending-upgrade`, ...
    pub status: String,
    /// When it was deployed, as written.
    pub last_deployed: Option<String>,
    /// The chart's name.
    pub chart: String,
    /// The chart's version.
    pub chart_version: String,
    /// The version of what the chart installs.
    pub app_version: Option<String>,
    /// The chart's own values.
    pub defaults: Value,
    /// What the user gave.
    pub config: Value,
    /// The objects, rendered.
    pub manifest: String,
    /// The chart's templates, one after the other.
    templates: String,
}

impl std::fmt::Debug for Release {
    /// Without values and objects, which may be secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let chart = format!("{} {}", self.chart, self.chart_version);
        let mut shown = f.debug_struct("Release");
        shown
            .field("name", &self.name)
            .field("revision", &self.revision)
            .field("status", &self.status);
        shown.field("chart", &chart).finish_non_exhaustive()
    }
}

impl Release {
    /// Decodes `data.release` of a Secret of type `helm.sh/release.v1` as the API gives it: base64 of what Helm wrote,
    /// which is base64 of gzip of JSON. Old releases that are not packed are read as well.
    ///
    /// # Errors
    /// At which step the text is not a release.
    pub fn decode(data: &str) -> Result<Self, ReleaseError> {
        let outer = STANDARD.decode(data.trim()).map_err(|_| ReleaseError::Base64)?;
        let inner = STANDARD.decode(outer.trim_ascii()).map_err(|_| ReleaseError::Base64)?;
        let text = if inner.starts_with(&[0x1f, 0x8b]) {
            unpacked(&inner)?
        } else {
            inner
        };
        let json: Value = serde_json::from_slice(&text).map_err(|_| ReleaseError::Json("JSON"))?;
        Self::of(&json)
    }

    fn of(json: &Value) -> Result<Self, ReleaseError> {
        let text =
            |value: &Value, field: &'static str| value.as_str().map(str::to_owned).ok_or(ReleaseError::Json(field));
        let metadata = &json["chart"]["metadata"];
        Ok(Self {
            name: text(&json["name"], "name")?,
            namespace: text(&json["namespace"], "namespace")?,
            revision: json["version"].as_u64().ok_or(ReleaseError::Json("version"))?,
            status: text(&json["info"]["status"], "info.status")?,
            last_deployed: json["info"]["last_deployed"].as_str().map(str::to_owned),
            chart: text(&metadata["name"], "chart.metadata.name")?,
            chart_version: text(&metadata["version"], "chart.metadata.version")?,
            app_version: metadata["appVersion"].as_str().map(str::to_owned),
            defaults: json["chart"]["values"].clone(),
            config: json["config"].clone(),
            manifest: json["manifest"].as_str().unwrap_or_default().to_owned(),
            templates: templates(&json["chart"]["templates"]),
        })
    }

    /// What the user gave, as values are read from files; nothing in it has a place.
    pub fn given(&self) -> Node {
        chart::node(&self.config)
    }

    /// Whether a template of the chart reads this value, which its defaults need not list.
    pub fn reads(&self, path: &str) -> bool {
        let is_end = |rest: &str| !rest.starts_with(|c: char| c.is_alphanumeric() || c == '_');
        let found = self.templates.match_indices(path);
        found
            .into_iter()
            .any(|(at, _)| self.templates[..at].ends_with(".Values.") && is_end(&self.templates[at + path.len()..]))
    }
}

/// The texts of the templates; what is no text is left out.
fn templates(files: &Value) -> String {
    let files = files.as_array().into_iter().flatten();
    let texts = files.filter_map(|file| STANDARD.decode(file["data"].as_str()?).ok());
    texts
        .map(|bytes| String::from_utf8_lossy(&bytes).into_owned() + "\n")
        .collect()
}

fn unpacked(bytes: &[u8]) -> Result<Vec<u8>, ReleaseError> {
    let mut text = Vec::new();
    let read = GzDecoder::new(bytes).take(LARGEST + 1).read_to_end(&mut text);
    read.map_err(|_| ReleaseError::Gzip)?;
    if text.len() as u64 > LARGEST {
        return Err(ReleaseError::TooLarge);
    }
    Ok(text)
}

/// A release's name and revision from the name of its Secret, `sh.helm.release.v1.NAME.vN`.
pub fn of_secret(name: &str) -> Option<(&str, u64)> {
    let (release, revision) = name.strip_prefix("sh.helm.release.v1.")?.rsplit_once(".v")?;
    Some((release, revision.parse().ok()?))
}

/// The revision in force, and a newer one that did not get so far, from revisions and their label `status`.
pub fn in_force<'a>(revisions: &[(u64, &'a str)]) -> (Option<u64>, Option<(u64, &'a str)>) {
    let deployed = revisions
        .iter()
        .filter(|(_, status)| *status == "deployed")
        .map(|(revision, _)| *revision)
        .max();
    let newest = revisions.iter().max_by_key(|(revision, _)| *revision).copied();
    (
        deployed,
        newest.filter(|(revision, _)| deployed.is_none_or(|deployed| *revision > deployed)),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::{Compression, write::GzEncoder};
    use serde_json::json;
    use std::io::Write;

    fn packed(json: &Value) -> String {
        let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
        gzip.write_all(json.to_string().as_bytes()).expect("written");
        STANDARD.encode(STANDARD.encode(gzip.finish().expect("packed")))
    }

    fn json() -> Value {
        json!({
            "name": "cilium", "namespace": "kube-system", "version": 7,
            "info": {"status": "deployed", "last_deployed": "2026-11-01T10:00:00Z"},
            "chart": {"metadata": {"name": "cilium", "version": "1.18.3", "appVersion": "1.18.3"},
                      "values": {"l7Proxy": true}},
            "config": {"l7Proxy": false, "password": "hunter2"},
            "manifest": "kind: ConfigMap\n",
        })
    }

    #[test]
    fn a_release_is_decoded_and_its_debug_form_shows_no_values() {
        let release = Release::decode(&packed(&json())).expect("a release");
        assert_eq!(
            (release.name.as_str(), release.revision, release.status.as_str()),
            ("cilium", 7, "deployed")
        );
        assert_eq!(
            (release.chart_version.as_str(), &release.config["l7Proxy"]),
            ("1.18.3", &Value::Bool(false))
        );
        assert_eq!(release.manifest, "kind: ConfigMap\n");
        assert!(!format!("{release:?}").contains("hunter2"));
    }

    #[test]
    fn a_release_that_is_not_packed_is_read_too() {
        let plain = STANDARD.encode(STANDARD.encode(json().to_string()));
        assert!(Release::decode(&plain).is_ok());
    }

    #[test]
    fn what_templates_read_is_known_to_the_release() {
        let mut json = json();
        json["chart"]["templates"] = json!([{"data": STANDARD.encode("{{ .Values.loadBalancer.mode }}")}]);
        let release = Release::decode(&packed(&json)).expect("a release");
        assert!(release.reads("loadBalancer.mode"));
        assert!(!release.reads("loadBalancer.mod") && !release.reads("mode"));
    }

    #[test]
    fn what_is_no_release_is_told_by_the_step_that_fails() {
        assert_eq!(Release::decode("!"), Err(ReleaseError::Base64));
        assert_eq!(Release::decode(&STANDARD.encode("!")), Err(ReleaseError::Base64));
        let broken = STANDARD.encode(STANDARD.encode([0x1f, 0x8b, 8, 0, 1]));
        assert_eq!(Release::decode(&broken), Err(ReleaseError::Gzip));
        let mut json = json();
        json["info"] = Value::Null;
        assert_eq!(Release::decode(&packed(&json)), Err(ReleaseError::Json("info.status")));
    }

    #[test]
    fn a_bomb_is_refused() {
        let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
        let zeros = vec![0; 1 << 20];
        for _ in 0..70 {
            gzip.write_all(&zeros).expect("written");
        }
        let bomb = STANDARD.encode(STANDARD.encode(gzip.finish().expect("packed")));
        assert_eq!(Release::decode(&bomb), Err(ReleaseError::TooLarge));
    }

    #[test]
    fn the_newest_deployed_revision_is_in_force_and_a_newer_one_is_told() {
        assert_eq!(of_secret("sh.helm.release.v1.cilium.v12"), Some(("cilium", 12)));
        assert_eq!(of_secret("cilium-ca"), None);
        let revisions = [(5, "superseded"), (6, "deployed"), (7, "failed")];
        assert_eq!(in_force(&revisions), (Some(6), Some((7, "failed"))));
        assert_eq!(in_force(&revisions[..2]), (Some(6), None));
        assert_eq!(in_force(&[]), (None, None));
    }
}
