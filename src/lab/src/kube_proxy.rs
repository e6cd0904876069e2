//! kube-proxy where Cilium does not replace it: its DaemonSet as kubeadm installs it. What its rules do with packets,
//! the switch does, as it does Cilium's.

use crate::{
    state::{ClusterState, LabState},
    system::{Addon, SystemContainer, SystemImage},
    topology::KUBERNETES_VERSION,
};
use async_trait::async_trait;
use serde_json::{Value, json};
use std::sync::Arc;

/// kube-proxy in every cluster, in the profiles that have it.
pub(crate) struct KubeProxyAddon;

fn image() -> String {
    format!("registry.k8s.io/kube-proxy:{KUBERNETES_VERSION}")
}

fn metadata() -> Value {
    json!({"name": "kube-proxy", "namespace": "kube-system", "labels": {"k8s-app": "kube-proxy"}})
}

/// Its DaemonSet.
pub(crate) fn daemon_set() -> Value {
    let container = json!({
        "name": "kube-proxy",
        "image": image(),
        "imagePullPolicy": "IfNotPresent",
        "command": ["/usr/local/bin/kube-proxy", "--config=/var/lib/kube-proxy/config.conf"],
    });
    json!({
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "metadata": metadata(),
        "spec": {
            "selector": {"matchLabels": {"k8s-app": "kube-proxy"}},
            "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1}},
            "template": {
                "metadata": {"labels": {"k8s-app": "kube-proxy"}},
                "spec": {
                    "hostNetwork": true,
                    "nodeSelector": {"kubernetes.io/os": "linux"},
                    "priorityClassName": "system-node-critical",
                    "terminationGracePeriodSeconds": 1,
                    "tolerations": [{"operator": "Exists"}],
                    "containers": [container],
                },
            },
        },
    })
}

#[async_trait]
impl Addon for KubeProxyAddon {
    fn name(&self) -> &'static str {
        "kube-proxy"
    }

    fn manifests(&self, lab: &LabState, cluster: &ClusterState) -> Vec<Value> {
        if lab.topology.settings().kube_proxy_replacement {
            return Vec::new();
        }
        let config = format!(
            "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\nmode: iptables\nclusterCIDR: \
             {}\n",
            cluster.spec.pod_cidr
        );
        vec![
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata(), "data": {"config.conf": config}}),
            daemon_set(),
        ]
    }

    fn images(&self) -> Vec<Arc<dyn SystemImage>> {
        vec![Arc::new(Image)]
    }
}

struct Image;

#[async_trait]
impl SystemImage for Image {
    fn matches(&self, image: &str) -> bool {
        image == self::image()
    }

    async fn run(&self, container: SystemContainer) -> i32 {
        container.stop.cancelled().await;
        0
    }
}
