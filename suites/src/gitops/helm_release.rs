//! Flux's HelmRelease of Cilium: what of Git it holds in the cluster, which versions it allows, and whether the release
//! in force is the one that it made.

use super::reading::{HelmRelease, Reading};
use meshproof_claims::{release::Release, stated::stated_by_object};
use meshproof_contract::{ClaimSource, ClusterName, GitFacts, Tally, chain::Pin};
use serde_json::Value;

/// The HelmRelease that a release comes from.
pub fn of<'a>(reading: &'a Reading, release: &Release) -> Option<&'a Value> {
    let mut all = reading
        .flux_objects
        .iter()
        .filter(|object| object["kind"] == "HelmRelease");
    all.find(|object| makes(object, release))
}

/// Whether it makes this release: by what it made last, or else by its spec (Flux, HelmRelease v2, `releaseName`).
fn makes(object: &Value, release: &Release) -> bool {
    let (spec, metadata) = (&object["spec"], &object["metadata"]);
    let last = &object["status"]["history"][0];
    if let (Some(name), Some(namespace)) = (last["name"].as_str(), last["namespace"].as_str()) {
        return name == release.name && namespace == release.namespace;
    }
    let own = metadata["name"].as_str().unwrap_or_default();
    let target = spec["targetNamespace"].as_str();
    let name = match (spec["releaseName"].as_str(), target) {
        (Some(name), _) => name.to_owned(),
        (None, Some(namespace)) => format!("{namespace}-{own}"),
        (None, None) => own.to_owned(),
    };
    let namespace = target.or(metadata["namespace"].as_str()).unwrap_or_default();
    name == release.name && namespace == release.namespace
}

fn title(object: &Value) -> String {
    let text = |field: &str| object["metadata"][field].as_str().unwrap_or_default();
    let kind = object["kind"].as_str().unwrap_or_default();
    format!("{kind} {}/{}", text("namespace"), text("name"))
}

/// The release in force and its HelmRelease.
fn found(reading: &Reading) -> Option<(&Release, &Value)> {
    let HelmRelease::Found(release) = &reading.release else {
        return None;
    };
    Some((release, of(reading, release)?))
}

/// What Flux has applied of Git: the values of the HelmRelease. They win over those that `valuesFrom` names, which are
/// not read.
pub fn stated(cluster: &ClusterName, reading: &Reading) -> Option<GitFacts> {
    let (_, object) = found(reading)?;
    let spec = &object["spec"];
    let is_complete = spec["valuesFrom"].as_array().is_none_or(Vec::is_empty);
    let facts = stated_by_object(cluster, &title(object), &spec["values"], is_complete);
    (!facts.stated.is_empty()).then_some(facts)
}

/// The versions that the HelmRelease, or the source that it names, allows.
pub fn pins(reading: &Reading) -> Vec<Pin> {
    let Some((_, object)) = found(reading) else {
        return Vec::new();
    };
    let pin = |of: &Value, version: &Value, field: &str| {
        Some(Pin {
            clusters: Vec::new(),
            version: version.as_str()?.to_owned(),
            by: title(of),
            source: ClaimSource::Live {
                object: field.to_owned(),
            },
        })
    };
    let own = pin(
        object,
        &object["spec"]["chart"]["spec"]["version"],
        "spec.chart.spec.version",
    );
    let reference = &object["spec"]["chartRef"];
    let namespace = reference.get("namespace").unwrap_or(&object["metadata"]["namespace"]);
    let source = reading.flux_objects.iter().find(|source| {
        source["kind"] == reference["kind"]
            && source["metadata"]["name"] == reference["name"]
            && source["metadata"]["namespace"] == *namespace
    });
    let of_source = source.and_then(|source| {
        let reference = &source["spec"]["ref"];
        // A digest wins over a range, and a range over a tag (Flux, OCIRepository).
        if !reference["digest"].is_null() {
            return None;
        }
        pin(source, &reference["semver"], "spec.ref.semver").or_else(|| pin(source, &reference["tag"], "spec.ref.tag"))
    });
    own.into_iter().chain(of_source).collect()
}

/// Whether the release in force is the one that the HelmRelease made last.
pub fn judge(cluster: &ClusterName, reading: &Reading, tally: &mut Tally) {
    let Some((release, object)) = found(reading) else {
        return;
    };
    let last = &object["status"]["history"][0];
    let Some(made) = last["version"].as_u64() else { return };
    let subject = format!("{cluster} {}", title(object));
    if made != release.revision {
        tally.finding(
            &subject,
            format!("revision {made}, its last one, is in force"),
            format!(
                "revision {} is in force: somebody else than Flux installed it",
                release.revision
            ),
        );
    } else if let Some(version) = last["chartVersion"]
        .as_str()
        .filter(|version| *version != release.chart_version)
    {
        tally.finding(
            &subject,
            format!("chart version {version}, its last one, is in force"),
            format!("revision {made} is of chart version {}", release.chart_version),
        );
    }
}
