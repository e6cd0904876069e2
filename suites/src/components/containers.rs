//! Pods of components run their own containers only.

use super::{
    inventory::{Inventory, text},
    looks::{Look, Seen, conclude},
    other_meshes::all_containers,
};
use crate::kit::recent::Age;
use async_trait::async_trait;
use meshproof_contract::{Check, CheckContext, CheckId, CheckText, Scope, Verdict};
use serde_json::Value;
use std::collections::BTreeSet;

/// No injected containers.
pub struct OwnContainers;

#[async_trait]
impl Check for OwnContainers {
    fn id(&self) -> CheckId {
        CheckId::from("components::own_containers")
    }

    fn text(&self) -> CheckText {
        CheckText {
            title: "Every pod of a component runs the containers of its template and no others",
            proves: "Nothing was put into the platform's pods on their way through the API: no sidecar, no agent of a \
                     security tool, no debug container that somebody left.",
            how: "The containers, init containers and ephemeral containers of the components' pods are compared by \
                  name with the template of their workload. What differs is read again after 10 s.",
            control: "At least one pod must have exactly the containers of its template; otherwise the check is \
                      inconclusive.",
            when_red: "`kubectl --context CONTEXT get mutatingwebhookconfigurations` lists what changes pods when they \
                       are created; exclude the namespace by its selector, then delete the pod. An ephemeral container \
                       is gone with its pod, too.",
        }
    }

    fn scope(&self) -> Scope {
        Scope::Cluster
    }
    fn faults(&self) -> &'static [&'static str] {
        &["debug-container-left"]
    }

    async fn run(&self, context: &CheckContext) -> Verdict {
        conclude(context, self).await
    }
}

#[async_trait]
impl Look for OwnContainers {
    async fn look(&self, context: &CheckContext, age: Age) -> Seen {
        let mut seen = Seen::default();
        let Some(inventory) = Inventory::read(context, age, &mut seen).await else {
            return seen;
        };
        let mut same = 0;
        for (component, workload) in inventory.components() {
            let template: BTreeSet<&str> = names(&workload.object["spec"]["template"]);
            for pod in inventory.pods_of(workload) {
                let others: Vec<&str> = names(pod).difference(&template).copied().collect();
                if others.is_empty() {
                    same += 1;
                    continue;
                }
                let name = text(&pod["metadata"]["name"]);
                let own: Vec<&str> = template.iter().copied().collect();
                seen.deviates(
                    format!(
                        "{}, pod {}/{name} on {}",
                        component.name,
                        workload.namespace,
                        text(&pod["spec"]["nodeName"])
                    ),
                    format!("its own containers only: {}", own.join(", ")),
                    format!("beside them {}", others.join(", ")),
                    format!("-n {} get pod {name} -o yaml", workload.namespace),
                );
            }
        }
        if same > 0 {
            seen.witness(format!("{same} pods of components run their own containers only"));
        }
        seen
    }
}

fn names(pod: &Value) -> BTreeSet<&str> {
    let ephemeral = pod["spec"]["ephemeralContainers"].as_array().into_iter().flatten();
    all_containers(pod)
        .chain(ephemeral)
        .map(|container| text(&container["name"]))
        .collect()
}
