//! Flux has done what Git says: nothing is suspended, failed, or behind its source.

use super::{helm_release, reading::Reading};
use crate::kit::{
    next_steps,
    recent::{self, Age},
};
use async_trait::async_trait;
use meshproof_contract::{
    Check, CheckContext, CheckId, CheckText, ClusterName, EnvironmentError, Facts, Scope, Tally, Verdict,
};
use serde_json::Value;
use std::sync::Arc;

/// HelmReleases, Kustomizations and their sources.
pub struct Flux;

/// What applies: version, kind.
const APPLIERS: [(&str, &str); 2] = [
    ("kustomize.toolkit.fluxcd.io/v1", "Kustomization"),
    ("helm.toolkit.fluxcd.io/v2", "HelmRelease"),
];
/// What is fetched. One that no applier names is checked as well.
const SOURCES: [(&str, &str); 3] = [
    ("source.toolkit.fluxcd.io/v1", "GitRepository"),
    ("source.toolkit.fluxcd.io/v1", "OCIRepository"),
    ("source.toolkit.fluxcd.io/v1", "HelmRepository"),
];

type Objects = Result<Arc<[Value]>, EnvironmentError>;

#[async_trait]
impl Check for Flux {
    fn id(&self) -> CheckId {
        CheckId::from("gitops::flux")
    }

    fn text(&self) -> CheckText {
        CheckText {
            title: "Flux has fetched every source and applied its newest revision",
            proves: "What is in Git reaches the cluster: no HelmRelease, Kustomization or source is suspended or \
                     failed, each was reconciled at its newest generation, and each Kustomization has applied the \
                     revision that its source has fetched. The Helm release of Cilium in force is the one that its \
                     HelmRelease made last.",
            how: "Lists Kustomizations, HelmReleases, GitRepositories, OCIRepositories and HelmRepositories of all \
                  namespaces once and reads their conditions and revisions, of HelmReleases also the last release in \
                  their history. One that reconciles right now is not judged. Without Flux the check is skipped.",
            control: "At least one HelmRelease or Kustomization must be Ready at its newest generation. A list that \
                      cannot be read makes it inconclusive.",
            when_red: "`flux --context CONTEXT get all --all-namespaces` shows every object with its message. A \
                       suspended one: `flux --context CONTEXT resume KIND NAME -n NAMESPACE`, with the names in the \
                       finding.",
        }
    }

    fn scope(&self) -> Scope {
        Scope::Cluster
    }
    fn faults(&self) -> &'static [&'static str] {
        &[
            "flux-release-failed",
            "flux-revision-behind",
            "flux-suspended",
            "release-upgraded-by-hand",
            "values-newer-than-release",
        ]
    }

    async fn run(&self, context: &CheckContext) -> Verdict {
        let facts = context.environment.facts();
        let cluster = context.instance.from();
        let list = |kind| recent::list(context, cluster, kind, Age::OfThisRun);
        let appliers = futures::future::join_all(APPLIERS.map(list)).await;
        if appliers.iter().all(is_absent) {
            return Verdict::skipped(format!(
                "{cluster} has no Flux: neither Kustomizations nor HelmReleases"
            ));
        }
        let sources = futures::future::join_all(SOURCES.map(list)).await;
        let mut tally = Tally::new();
        let sources = read(cluster, SOURCES.map(|(_, kind)| kind), sources, &mut tally);
        let appliers = read(cluster, APPLIERS.map(|(_, kind)| kind), appliers, &mut tally);
        for (kind, object) in sources.iter().chain(&appliers) {
            let one = Object { cluster, kind, object };
            one.judge(&mut tally);
            match *kind {
                "Kustomization" => one.judge_revision(&sources, &mut tally),
                "HelmRelease" => one.judge_history(&mut tally),
                _ => {}
            }
        }
        if facts.cluster(cluster).is_some_and(|found| found.cilium.is_some()) {
            let reading = Reading::of(context, cluster).await;
            helm_release::judge(cluster, &reading, &mut tally);
        }
        if tally.has_findings() {
            context.suggest(command(&facts, cluster));
        }
        tally.verdict()
    }
}

fn is_absent(objects: &Objects) -> bool {
    match objects {
        Ok(objects) => objects.is_empty(),
        Err(error) => matches!(error, EnvironmentError::NoSuchKind { .. }),
    }
}

/// Objects with their kind; what could not be read goes to the tally.
fn read<const N: usize>(
    cluster: &ClusterName,
    kinds: [&'static str; N],
    listed: Vec<Objects>,
    tally: &mut Tally,
) -> Vec<(&'static str, Value)> {
    let mut all = Vec::new();
    for (kind, objects) in kinds.into_iter().zip(listed) {
        match objects {
            Ok(objects) => all.extend(objects.iter().map(|object| (kind, object.clone()))),
            Err(EnvironmentError::NoSuchKind { .. }) => {}
            Err(error) => tally.unknown(format!("the {kind} objects of {cluster} cannot be read: {error}")),
        }
    }
    all
}

fn command(facts: &Facts, cluster: &ClusterName) -> String {
    let kinds = "kustomizations,helmreleases,gitrepositories,ocirepositories,helmrepositories";
    next_steps::kubectl(facts, cluster, &format!("get {kinds} --all-namespaces"))
}

/// One object of Flux.
struct Object<'a> {
    cluster: &'a ClusterName,
    kind: &'a str,
    object: &'a Value,
}

impl Object<'_> {
    fn name(&self) -> String {
        let metadata = &self.object["metadata"];
        let text = |field: &str| metadata[field].as_str().unwrap_or_default();
        format!("{} {} {}/{}", self.cluster, self.kind, text("namespace"), text("name"))
    }

    fn condition(&self, kind: &str) -> Option<&Value> {
        let all = self.object["status"]["conditions"].as_array()?;
        all.iter().find(|condition| condition["type"] == kind)
    }

    fn has(&self, condition: &str, status: &str) -> bool {
        self.condition(condition).is_some_and(|found| found["status"] == status)
    }

    /// Whether its controller works on it now: nothing is decided.
    fn is_reconciling(&self) -> bool {
        self.has("Reconciling", "True") && !self.has("Ready", "False")
    }

    /// A HelmRepository of type `oci` is only an address, and has no status.
    fn has_no_status(&self) -> bool {
        self.kind == "HelmRepository" && self.object["spec"]["type"] == "oci"
    }

    fn judge(&self, tally: &mut Tally) {
        let name = self.name();
        if self.object["spec"]["suspend"] == true {
            tally.finding(
                &name,
                "it is not suspended",
                "`spec.suspend` is true: what Git says from now on is not applied",
            );
            return;
        }
        if self.has_no_status() {
            return;
        }
        if self.is_reconciling() {
            tally.unknown(format!("{name} is being reconciled"));
            return;
        }
        let (generation, observed) = (
            &self.object["metadata"]["generation"],
            &self.object["status"]["observedGeneration"],
        );
        match self.condition("Ready") {
            None => tally.finding(&name, "its controller has reconciled it", "it has no condition Ready"),
            Some(ready) if ready["status"] == "True" => {
                let of_condition = ready["observedGeneration"].as_i64();
                let observed = observed.as_i64().into_iter().chain(of_condition).min();
                if generation.as_i64() > observed {
                    let observed = observed.unwrap_or_default();
                    let observed = format!("generation {generation} is there, its controller has seen {observed}");
                    tally.finding(&name, "it is Ready at its newest generation", observed);
                } else if APPLIERS.iter().any(|(_, kind)| *kind == self.kind) {
                    tally.witness(format!("{name} is Ready at generation {generation}"));
                }
            }
            Some(ready) => {
                let text = |field: &str| ready[field].as_str().unwrap_or_default();
                let observed = format!(
                    "Ready is {}: {}: {}",
                    text("status"),
                    text("reason"),
                    clip(text("message"))
                );
                tally.finding(&name, "it is Ready", observed);
            }
        }
    }

    /// The last release of a HelmRelease that is Ready was deployed, and is of the chart and the values that were
    /// attempted last (Flux, HelmRelease v2, `status.history`).
    fn judge_history(&self, tally: &mut Tally) {
        let status = &self.object["status"];
        let last = &status["history"][0];
        if !self.has("Ready", "True") || self.is_reconciling() || last.is_null() {
            return;
        }
        let text = |field: &str| last[field].as_str().unwrap_or_default();
        if text("status") != "deployed" {
            let observed = format!("revision {} is {}", last["version"], text("status"));
            tally.finding(self.name(), "its last release is deployed", observed);
        }
        for (what, attempted, deployed) in [
            ("chart version", "lastAttemptedRevision", "chartVersion"),
            ("values with digest", "lastAttemptedConfigDigest", "configDigest"),
        ] {
            let attempted = status[attempted].as_str().filter(|text| !text.is_empty());
            let deployed = last[deployed].as_str().filter(|text| !text.is_empty());
            if let (Some(attempted), Some(deployed)) = (attempted, deployed)
                && !is_same_version(attempted, deployed)
            {
                tally.finding(
                    self.name(),
                    format!("{what} {attempted}, which it attempted last, is deployed"),
                    format!("{what} {deployed} is deployed"),
                );
            }
        }
    }

    /// A Kustomization applies what its source has fetched within seconds of the fetch.
    fn judge_revision(&self, sources: &[(&'static str, Value)], tally: &mut Tally) {
        let reference = &self.object["spec"]["sourceRef"];
        let own = &self.object["metadata"]["namespace"];
        let namespace = reference.get("namespace").unwrap_or(own);
        let is_meant = |(kind, source): &&(&str, Value)| {
            let metadata = &source["metadata"];
            reference["kind"] == *kind && metadata["name"] == reference["name"] && metadata["namespace"] == *namespace
        };
        let Some((kind, source)) = sources.iter().find(is_meant) else {
            return;
        };
        let fetched = source["status"]["artifact"]["revision"].as_str();
        let applied = self.object["status"]["lastAppliedRevision"].as_str();
        let settled = self.object["spec"]["suspend"] != true && self.has("Ready", "True") && !self.is_reconciling();
        if let (Some(fetched), Some(applied), true) = (fetched, applied, settled)
            && fetched != applied
        {
            let name = source["metadata"]["name"].as_str().unwrap_or_default();
            tally.finding(
                self.name(),
                format!("it has applied `{fetched}`, which {kind} {name} has fetched"),
                format!("it has applied `{applied}`"),
            );
        }
    }
}

/// Whether two revisions are one: an OCI artifact's has its digest behind a `+` or `@`.
fn is_same_version(one: &str, other: &str) -> bool {
    let version = |text: &str| {
        let end = text.find('@').unwrap_or(text.len());
        text[..end]
            .split_once('+')
            .map_or(&text[..end], |(version, _)| version)
            .to_owned()
    };
    one == other || (!one.starts_with("sha256:") && version(one) == version(other))
}

/// The beginning of a controller's message, which may quote an object at length.
fn clip(text: &str) -> String {
    match text.char_indices().nth(200) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}
