//! What breaks the chain from the repository to the agents: releases, configuration, Flux.

use super::{
    SYSTEM,
    edit::{Edit, Target},
    pod,
};
use crate::{
    cilium::{opened_release, sealed_release},
    fault::Fault,
    injection::targets::Missing,
    state::{ClusterState, Place},
};
use meshproof_apiserver::{
    Resource,
    resource::names::{CONFIG_MAPS, PODS, SECRETS},
};
use serde_json::{Value, json};

const NODE_CONFIGS: Resource = Resource::of("cilium.io", "ciliumnodeconfigs");
const KUSTOMIZATIONS: Resource = Resource::of("kustomize.toolkit.fluxcd.io", "kustomizations");
const OCI_REPOSITORIES: Resource = Resource::of("source.toolkit.fluxcd.io", "ocirepositories");
const HELM_RELEASES: Resource = Resource::of("helm.toolkit.fluxcd.io", "helmreleases");
/// A setting that nothing in the lab depends on: its value, and its key in `cilium-config`.
const KEY: &str = "enable-source-ip-verification";
const FIRST: &str = "sh.helm.release.v1.cilium.v1";

pub(super) fn edits(cluster: &ClusterState, fault: Fault, place: &Place) -> Result<Option<Vec<Edit>>, Missing> {
    Ok(Some(match fault {
        Fault::AgentsNotRestarted => {
            let mut all = upgrade_by_flux(cluster)?;
            all.push(configured(config().by("helm")));
            all
        }
        Fault::ChartPinDiffers => {
            let charts = Target::in_namespace(OCI_REPOSITORIES, crate::flux::NAMESPACE, "cilium-charts");
            vec![Edit::Change(
                charts.by("kustomize-controller"),
                Box::new(|object| object["spec"]["ref"]["semver"] = json!(">=1.16.0 <1.17.0")),
            )]
        }
        Fault::ReleaseUpgradedByHand => upgrade(cluster, |release| {
            release["config"]["operator"]["rollOutPods"] = json!(true);
        })?,
        Fault::ValuesNewerThanRelease => {
            let release = Target::in_namespace(HELM_RELEASES, SYSTEM, "cilium");
            vec![Edit::Change(
                release.by("kustomize-controller"),
                Box::new(|object| object["spec"]["values"]["debug"]["enabled"] = json!(true)),
            )]
        }
        Fault::CiliumConfigEdited => vec![configured(config())],
        Fault::ReleaseNewerThanObjects => upgrade_by_flux(cluster)?,
        Fault::NodeConfigDiffers => {
            let name = format!("tuning-{}", place.node);
            let object = json!({
                "apiVersion": "cilium.io/v2", "kind": "CiliumNodeConfig",
                "metadata": {"name": name, "namespace": SYSTEM},
                "spec": {
                    "nodeSelector": {"matchLabels": {"kubernetes.io/hostname": place.node}},
                    "defaults": {KEY: "false"},
                },
            });
            let agent = Target::in_namespace(PODS, SYSTEM, &name_of_agent(cluster, place)?);
            vec![
                Edit::Create(NODE_CONFIGS, object),
                Edit::Renew(agent),
                Edit::RenewAgentAfterwards(place.node.clone()),
            ]
        }
        Fault::FluxReleaseFailed => {
            let message = "Helm upgrade failed for release kube-system/cilium with chart cilium: resource \
                           Deployment/kube-system/hubble-relay not ready. status: InProgress";
            let release = Target::in_namespace(HELM_RELEASES, SYSTEM, "cilium");
            vec![Edit::ChangeStatus(
                release.by("helm-controller"),
                Box::new(move |object| {
                    let ready = &mut object["status"]["conditions"][0];
                    ready["status"] = json!("False");
                    ready["reason"] = json!("UpgradeFailed");
                    ready["message"] = json!(message);
                }),
            )]
        }
        Fault::FluxRevisionBehind => {
            let old = json!("main@sha1:0b1e7b9f3a52c1d0e4f6a7b8c9d0e1f2a3b4c5d6");
            vec![Edit::ChangeStatus(
                kustomization().by("kustomize-controller"),
                Box::new(move |object| {
                    object["status"]["lastAppliedRevision"].clone_from(&old);
                }),
            )]
        }
        Fault::FluxSuspended => {
            vec![Edit::Change(
                kustomization().by("flux"),
                Box::new(|object| object["spec"]["suspend"] = json!(true)),
            )]
        }
        _ => return Ok(None),
    }))
}

fn kustomization() -> Target {
    Target::in_namespace(KUSTOMIZATIONS, crate::flux::NAMESPACE, "infrastructure")
}

fn config() -> Target {
    Target::in_namespace(CONFIG_MAPS, SYSTEM, "cilium-config")
}

fn configured(config: Target) -> Edit {
    Edit::Change(config, Box::new(|map| map["data"][KEY] = json!("false")))
}

fn name_of_agent(cluster: &ClusterState, place: &Place) -> Result<String, Missing> {
    Ok(pod(cluster, "cilium", Some(&place.node))?.name().to_owned())
}

/// What helm-controller does when Git has another value.
fn upgrade_by_flux(cluster: &ClusterState) -> Result<Vec<Edit>, Missing> {
    let release = || Target::in_namespace(HELM_RELEASES, SYSTEM, "cilium");
    let mut all = upgrade(cluster, with_other_key)?;
    all.push(Edit::Change(
        release().by("kustomize-controller"),
        Box::new(|object| object["spec"]["values"]["daemon"] = json!({"enableSourceIPVerification": false})),
    ));
    all.push(Edit::ChangeStatus(
        release().by("helm-controller"),
        Box::new(|object| object["status"]["history"][0]["version"] = json!(2)),
    ));
    Ok(all)
}

/// A release with another value, and what the chart makes of it.
fn with_other_key(release: &mut Value) {
    release["config"]["daemon"] = json!({"enableSourceIPVerification": false});
    let old = format!("\"{KEY}\":\"true\"");
    let manifest = release["manifest"].as_str().unwrap_or_default();
    release["manifest"] = json!(manifest.replace(&old, &format!("\"{KEY}\":\"false\"")));
}

/// The Secret of a second revision, changed, and the first one superseded.
fn upgrade(cluster: &ClusterState, change: fn(&mut Value)) -> Result<Vec<Edit>, Missing> {
    let first = cluster
        .store
        .get(&SECRETS, Some(SYSTEM), FIRST)
        .map_err(|error| error.to_string())?;
    let mut release = opened_release(&first).ok_or("the release cannot be read")?;
    let mut superseded = release.clone();
    superseded["info"]["status"] = json!("superseded");
    release["version"] = json!(2);
    release["info"]["description"] = json!("Upgrade complete");
    change(&mut release);
    let target = Target::in_namespace(SECRETS, SYSTEM, FIRST).by("helm");
    let supersede = move |secret: &mut Value| {
        let sealed = sealed_release(&superseded);
        secret["metadata"]["labels"] = sealed["metadata"]["labels"].clone();
        secret["data"] = sealed["data"].clone();
    };
    Ok(vec![
        Edit::Create(SECRETS, sealed_release(&release)),
        Edit::Change(target, Box::new(supersede)),
    ])
}
