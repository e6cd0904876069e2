//! Flux as the operators have it: it applies what a repository says, and has done so. Nothing changes in the
//! repository; where somebody changes the spec of one of its objects, its controllers say that they have seen it.

use crate::{
    cilium::helm_values,
    fault::Fault,
    object::now,
    state::{ClusterState, LabState},
    system::{Addon, SystemContainer, SystemImage},
};
use async_trait::async_trait;
use meshproof_apiserver::Resource;
use serde_json::{Value, json};
use std::{sync::Arc, time::Duration};
use tokio_util::sync::CancellationToken;

/// Its namespace.
pub(crate) const NAMESPACE: &str = "flux-system";
/// What it has fetched and applied.
const REVISION: &str = "main@sha1:5f2c6f0c1f3d0a6b7e2f4f5d7a1c9b8e0d3a2b41";
const CONTROLLERS: [(&str, &str); 3] = [
    ("helm-controller", "v1.3.0"),
    ("kustomize-controller", "v1.6.1"),
    ("source-controller", "v1.6.2"),
];
/// Group, version, kind and plural of what it defines.
const KINDS: [(&str, &str, &str, &str); 5] = [
    ("helm.toolkit.fluxcd.io", "v2", "HelmRelease", "helmreleases"),
    ("kustomize.toolkit.fluxcd.io", "v1", "Kustomization", "kustomizations"),
    ("source.toolkit.fluxcd.io", "v1", "GitRepository", "gitrepositories"),
    ("source.toolkit.fluxcd.io", "v1", "HelmRepository", "helmrepositories"),
    ("source.toolkit.fluxcd.io", "v1", "OCIRepository", "ocirepositories"),
];

/// How often its controllers look for changed specs.
const LOOK: Duration = Duration::from_millis(500);

/// What controllers do with a spec that changed: they apply it anew, unless it is suspended.
fn observe(lab: &LabState, cluster: &ClusterState) {
    for (group, _, kind, plural) in KINDS {
        if kind == "HelmRelease" && lab.acts_in(Fault::ValuesNewerThanRelease, cluster.name()) {
            continue;
        }
        let kind = Resource::of(group, plural);
        for object in cluster.store.all(&kind, None) {
            let generation = &object["metadata"]["generation"];
            let seen = &object["status"]["observedGeneration"];
            if object["spec"]["suspend"] == true || generation.is_null() || seen == generation {
                continue;
            }
            let generation = generation.clone();
            let applied = cluster
                .store
                .modify_status(&kind, object.namespace(), object.name(), |object| {
                    object["status"]["observedGeneration"].clone_from(&generation);
                    object["status"]["conditions"][0]["observedGeneration"].clone_from(&generation);
                });
            if let Err(error) = applied {
                tracing::debug!(%error, "a controller of Flux met a conflict");
            }
        }
    }
}

/// Flux in every cluster.
pub(crate) struct FluxAddon;

#[async_trait]
impl Addon for FluxAddon {
    fn name(&self) -> &'static str {
        "flux"
    }

    fn manifests(&self, lab: &LabState, cluster: &ClusterState) -> Vec<Value> {
        let mut objects: Vec<Value> = KINDS.iter().map(definition).collect();
        objects.push(json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}));
        objects.extend(CONTROLLERS.map(controller));
        let version = lab.topology.settings().version;
        objects.extend([git_repository(), charts(version), kustomization(cluster.name())]);
        objects.push(release(version, helm_values(&lab.topology, &cluster.spec)));
        objects
    }

    fn images(&self) -> Vec<Arc<dyn SystemImage>> {
        vec![Arc::new(Image)]
    }

    async fn run(&self, lab: Arc<LabState>, stop: CancellationToken) {
        let mut tick = tokio::time::interval(LOOK);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = tick.tick() => lab.clusters.iter().for_each(|cluster| observe(&lab, cluster)),
            }
        }
    }
}

fn definition(&(group, version, kind, plural): &(&str, &str, &str, &str)) -> Value {
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("{plural}.{group}"), "labels": {"app.kubernetes.io/part-of": "flux"}},
        "spec": {
            "group": group, "scope": "Namespaced",
            "names": {
                "kind": kind, "listKind": format!("{kind}List"), "plural": plural, "singular": kind.to_lowercase(),
            },
            "versions": [{
                "name": version, "served": true, "storage": true, "subresources": {"status": {}},
                "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}},
            }],
        },
    })
}

fn image(name: &str, version: &str) -> String {
    format!("ghcr.io/fluxcd/{name}:{version}")
}

fn controller((name, version): (&str, &str)) -> Value {
    let labels = json!({"app": name, "app.kubernetes.io/part-of": "flux", "app.kubernetes.io/component": name});
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": name, "namespace": NAMESPACE, "labels": labels},
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": {"app": name}},
            "strategy": {"type": "Recreate"},
            "template": {
                "metadata": {"labels": labels},
                "spec": {
                    "nodeSelector": {"kubernetes.io/os": "linux"},
                    "priorityClassName": "system-cluster-critical",
                    "terminationGracePeriodSeconds": 1,
                    "containers": [{
                        "name": "manager", "image": image(name, version), "imagePullPolicy": "IfNotPresent",
                        "args": ["--watch-all-namespaces=true", "--enable-leader-election"],
                    }],
                },
            },
        },
    })
}

/// Metadata, and the status of what was done without a mistake.
fn done(api: &str, kind: &str, name: &str, namespace: &str, spec: Value, reason: &str, message: &str) -> Value {
    let condition = json!({
        "type": "Ready", "status": "True", "reason": reason, "message": message, "observedGeneration": 1,
        "lastTransitionTime": now(),
    });
    json!({
        "apiVersion": api, "kind": kind, "metadata": {"name": name, "namespace": namespace}, "spec": spec,
        "status": {"observedGeneration": 1, "conditions": [condition]},
    })
}

fn with_artifact(mut source: Value, revision: &str) -> Value {
    source["status"]["artifact"] = json!({"revision": revision, "lastUpdateTime": now()});
    source
}

fn git_repository() -> Value {
    let spec = json!({"url": "https://git.example/platform.git", "interval": "1m0s", "ref": {"branch": "main"}});
    let message = format!("stored artifact for revision '{REVISION}'");
    let api = "source.toolkit.fluxcd.io/v1";
    with_artifact(
        done(
            api,
            "GitRepository",
            "flux-system",
            NAMESPACE,
            spec,
            "Succeeded",
            &message,
        ),
        REVISION,
    )
}

fn charts(version: &str) -> Value {
    let spec = json!({
        "url": "oci://registry.example/charts/cilium", "interval": "12h0m0s", "ref": {"semver": version},
    });
    let digest = format!("{version}@sha256:8d2a7c2f7b0c3b0a5d9c0d6a1b7f5e4c3a2b1d0e9f8a7b6c5d4e3f2a1b0c9d8e");
    let message = format!("stored artifact for digest '{digest}'");
    let api = "source.toolkit.fluxcd.io/v1";
    with_artifact(
        done(
            api,
            "OCIRepository",
            "cilium-charts",
            NAMESPACE,
            spec,
            "Succeeded",
            &message,
        ),
        &digest,
    )
}

fn kustomization(cluster: &str) -> Value {
    let spec = json!({
        "interval": "10m0s", "path": format!("./kubernetes/clusters/{cluster}"), "prune": true, "wait": true,
        "sourceRef": {"kind": "GitRepository", "name": "flux-system"},
    });
    let message = format!("Applied revision: {REVISION}");
    let api = "kustomize.toolkit.fluxcd.io/v1";
    let reason = "ReconciliationSucceeded";
    let mut object = done(
        api,
        "Kustomization",
        "infrastructure",
        NAMESPACE,
        spec,
        reason,
        &message,
    );
    object["status"]["lastAppliedRevision"] = json!(REVISION);
    object["status"]["lastAttemptedRevision"] = json!(REVISION);
    object
}

fn release(version: &str, values: Value) -> Value {
    let spec = json!({
        "interval": "1h0m0s", "releaseName": "cilium", "values": values,
        "chartRef": {"kind": "OCIRepository", "name": "cilium-charts", "namespace": NAMESPACE},
    });
    let message = format!("Helm install succeeded for release kube-system/cilium.v1 with chart cilium@{version}");
    let api = "helm.toolkit.fluxcd.io/v2";
    let mut object = done(
        api,
        "HelmRelease",
        "cilium",
        "kube-system",
        spec,
        "InstallSucceeded",
        &message,
    );
    object["status"]["lastAttemptedRevision"] = json!(version);
    object["status"]["storageNamespace"] = json!("kube-system");
    object["status"]["history"] = json!([{
        "name": "cilium", "namespace": "kube-system", "version": 1, "status": "deployed", "chartName": "cilium",
        "chartVersion": version, "appVersion": version, "firstDeployed": now(), "lastDeployed": now(),
    }]);
    object
}

struct Image;

#[async_trait]
impl SystemImage for Image {
    fn matches(&self, reference: &str) -> bool {
        CONTROLLERS
            .iter()
            .any(|(name, version)| reference == image(name, version))
    }

    async fn run(&self, container: SystemContainer) -> i32 {
        container.stop.cancelled().await;
        0
    }
}
