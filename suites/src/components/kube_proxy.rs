//! Where Cilium replaces kube-proxy, none is left.

use super::{
    inventory::{AGENT, Inventory, cilium, text},
    looks::{Look, Seen, conclude},
};
use crate::kit::recent::Age;
use async_trait::async_trait;
use meshproof_contract::{Check, CheckContext, CheckId, CheckText, ClaimKind, Needs, Scope, Verdict};
use serde_json::Value;

/// No kube-proxy beside its replacement.
pub struct KubeProxy;

#[async_trait]
impl Check for KubeProxy {
    fn id(&self) -> CheckId {
        CheckId::from("components::kube_proxy")
    }

    fn text(&self) -> CheckText {
        CheckText {
            title: "No kube-proxy runs beside Cilium's replacement of it",
            proves: "Services are translated by Cilium alone. A kube-proxy beside it balances by rules of its own and \
                     knows no backends of other clusters.",
            how: "DaemonSets and pods are searched for kube-proxy, by name, label k8s-app and container. A DaemonSet \
                  whose node selector fits no node is off. What is found is looked for again after 10 s.",
            control: "The same search must find Cilium's own agents; otherwise the check is inconclusive.",
            when_red: "`kubectl --context CONTEXT -n kube-system delete daemonset kube-proxy`, with Talos \
                       `cluster.proxy.disabled: true`; then restart the nodes or run `kube-proxy --cleanup` on them, \
                       since its rules stay.",
        }
    }

    fn scope(&self) -> Scope {
        Scope::Cluster
    }
    fn needs(&self) -> Needs {
        Needs {
            claim: Some(ClaimKind::KubeProxyReplacement),
            ..Needs::default()
        }
    }
    fn faults(&self) -> &'static [&'static str] {
        &["kube-proxy-left"]
    }

    async fn run(&self, context: &CheckContext) -> Verdict {
        let cluster = context.instance.from();
        let facts = context.environment.facts();
        let configured = cilium(context, cluster).and_then(|cilium| cilium.flag("kube-proxy-replacement"));
        if facts.claim(cluster, ClaimKind::KubeProxyReplacement).is_none() && configured != Some(true) {
            return Verdict::skipped(format!("not claimed: Cilium of {cluster} does not replace kube-proxy"));
        }
        conclude(context, self).await
    }
}

#[async_trait]
impl Look for KubeProxy {
    async fn look(&self, context: &CheckContext, age: Age) -> Seen {
        let mut seen = Seen::default();
        let Some(inventory) = Inventory::read(context, age, &mut seen).await else {
            return seen;
        };
        const NONE: &str = "none: Cilium replaces it";
        for workload in inventory.workloads.iter().filter(|one| one.name.contains("kube-proxy")) {
            if workload.kind == "DaemonSet" && workload.object["status"]["desiredNumberScheduled"] == 0 {
                seen.note(format!("{} fits no node, so it is off", workload.label()));
                continue;
            }
            let pods = inventory.pods_of(workload).count();
            let observed = format!("{} with {pods} pods", workload.label());
            seen.deviates("kube-proxy", NONE, observed, workload.describe());
        }
        let is_owned = |pod: &Value| inventory.workloads.iter().any(|one| one.owns(pod));
        let alone = inventory.pods.iter().filter(|pod| is_kube_proxy(pod) && !is_owned(pod));
        for pod in alone {
            let (namespace, name) = (text(&pod["metadata"]["namespace"]), text(&pod["metadata"]["name"]));
            let observed = format!("pod {namespace}/{name} on {}", text(&pod["spec"]["nodeName"]));
            seen.deviates(
                "kube-proxy",
                NONE,
                observed,
                format!("-n {namespace} get pod {name} -o yaml"),
            );
        }
        let agents: usize = inventory.of(&AGENT).map(|one| inventory.pods_of(one).count()).sum();
        if agents > 0 {
            seen.witness(format!(
                "the search that finds no kube-proxy finds {agents} agents of Cilium"
            ));
        }
        seen
    }
}

fn is_kube_proxy(pod: &Value) -> bool {
    let mut containers = pod["spec"]["containers"].as_array().into_iter().flatten();
    pod["metadata"]["labels"]["k8s-app"] == "kube-proxy" || containers.any(|one| one["name"] == "kube-proxy")
}
