//! Every pod of a component runs the same image, and Cilium's parts are of one release.

use super::{
    inventory::{Inventory, Workload, text},
    looks::{Look, Seen, conclude},
};
use crate::kit::{image::Image, recent::Age};
use async_trait::async_trait;
use meshproof_contract::{Check, CheckContext, CheckId, CheckText, Scope, Verdict};
use serde_json::Value;
use std::collections::BTreeMap;

/// Images of components.
pub struct Versions;

#[async_trait]
impl Check for Versions {
    fn id(&self) -> CheckId {
        CheckId::from("components::versions")
    }

    fn text(&self) -> CheckText {
        CheckText {
            title: "All pods of a component run its image, and all parts of Cilium are of one version",
            proves: "No node runs another agent than its neighbours, and agents, operator, Hubble relay and \
                     clustermesh-apiserver come from one release of Cilium: no rollout or rollback stopped half way.",
            how: "The images of the components' pods are compared with the template of their workload, and the tags of \
                  Cilium's own images with each other. Envoy and Hubble UI have versions of their own. What differs is \
                  read again after 10 s.",
            control: "At least one pod of a component must have the image of its template; otherwise the check is \
                      inconclusive.",
            when_red: "`kubectl --context CONTEXT -n kube-system get pods -l app.kubernetes.io/part-of=cilium -o wide \
                       -o custom-columns=POD:.metadata.name,NODE:.spec.nodeName,IMAGE:.spec.containers[*].image` lists \
                       all of them. A pod with another image than its template was changed by hand, or is left over \
                       from a rollout: delete it, and its controller creates a new one.",
        }
    }

    fn scope(&self) -> Scope {
        Scope::Cluster
    }
    fn faults(&self) -> &'static [&'static str] {
        &["agent-rollout-stopped"]
    }

    async fn run(&self, context: &CheckContext) -> Verdict {
        conclude(context, self).await
    }
}

#[async_trait]
impl Look for Versions {
    async fn look(&self, context: &CheckContext, age: Age) -> Seen {
        let mut seen = Seen::default();
        let Some(inventory) = Inventory::read(context, age, &mut seen).await else {
            return seen;
        };
        for (_, workload) in inventory.components() {
            let templates: BTreeMap<&str, &str> = workload
                .containers()
                .map(|container| (text(&container["name"]), text(&container["image"])))
                .collect();
            let mut same = 0;
            for pod in inventory.pods_of(workload) {
                same += usize::from(compare(workload, pod, &templates, &mut seen));
            }
            if same > 0 {
                seen.witness(format!(
                    "{}: {same} pods run the images of its template",
                    workload.title()
                ));
            }
        }
        release(&inventory, &mut seen);
        seen
    }
}

/// Whether a pod has the images of its template.
fn compare(workload: &Workload, pod: &Value, templates: &BTreeMap<&str, &str>, seen: &mut Seen) -> bool {
    let containers = pod["spec"]["containers"].as_array().into_iter().flatten();
    let mut same = true;
    for container in containers {
        let (name, image) = (text(&container["name"]), text(&container["image"]));
        let Some(expected) = templates.get(name).filter(|expected| **expected != image) else {
            continue;
        };
        same = false;
        let (pod_name, node) = (text(&pod["metadata"]["name"]), text(&pod["spec"]["nodeName"]));
        seen.deviates(
            format!("{}, pod {pod_name} on {node}", workload.title()),
            format!("container {name} with image {expected}, as its template says"),
            format!("image {image}"),
            format!(
                "-n {} get pod {pod_name} -o yaml --show-managed-fields",
                workload.namespace
            ),
        );
    }
    same
}

/// The tags of Cilium's own images.
fn release(inventory: &Inventory, seen: &mut Seen) {
    let mut tags: BTreeMap<&str, Vec<&Workload>> = BTreeMap::new();
    for (_, workload) in inventory.components() {
        let images = workload
            .containers()
            .map(|container| Image::of(text(&container["image"])));
        let mut of_release = images.filter(|image| image.is_of_release());
        match of_release.next().map(|image| image.tag) {
            Some(Some(tag)) => tags.entry(tag).or_default().push(workload),
            Some(None) => seen.note(format!(
                "{} is pinned by digest only: its version is not compared",
                workload.title()
            )),
            None => {}
        }
    }
    let Some((most, _)) = tags.iter().max_by_key(|(_, workloads)| weight(workloads)) else {
        return;
    };
    for (tag, workloads) in tags.iter().filter(|(tag, _)| *tag != most) {
        for workload in workloads {
            seen.deviates(
                workload.title(),
                format!("{most}, as the other parts of Cilium"),
                *tag,
                workload.describe(),
            );
        }
    }
}

/// The agents' version is the one to which the others are compared.
fn weight(workloads: &[&Workload]) -> usize {
    let has_agents = workloads
        .iter()
        .any(|workload| workload.component.is_some_and(|one| one.name == "Cilium agent"));
    usize::from(has_agents) * 100 + workloads.len()
}
