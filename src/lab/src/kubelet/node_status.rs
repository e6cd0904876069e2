//! What a kubelet says about its node: the Node object, its conditions, and the Lease that shows it alive.

use super::Kubelet;
use crate::{
    fault::Fault,
    object::{now, set_condition},
    topology::{AGENT_IMAGE, KUBERNETES_VERSION},
};
use jiff::Timestamp;
use meshproof_apiserver::{
    ApiError,
    resource::names::{LEASES, NODES},
};
use serde_json::{Value, json};
use std::time::Duration;

/// How many renewals of the Lease fit into the grace period of a silent node (`nodeLeaseDurationSeconds` /
/// 4).
const RENEWALS: u32 = 4;
/// How often the conditions are posted although nothing changed is a matter of minutes; every so many renewals here.
const POST_EVERY: u32 = 6;
/// What a node shows that an upgrade left behind.
const OLD_KUBELET: &str = "v1.32.9";
const OLD_KERNEL: &str = "4.19.0-27-amd64";
const RETRY: Duration = Duration::from_millis(200);

/// Creates the Node; a refusal is tried again by [`report`].
pub(super) fn register(kubelet: &Kubelet) {
    if let Err(error) = create(kubelet) {
        tracing::warn!(%error, node = kubelet.node.name(), "failed to register a node");
    }
}

/// Keeps the node registered and alive until dropped.
pub(super) async fn report(kubelet: &Kubelet) {
    while create(kubelet).is_err() {
        tokio::time::sleep(RETRY).await;
    }
    let mut renewals = 0;
    let mut online = kubelet.node.online();
    let mut faults = kubelet.lab.faults.subscribe();
    loop {
        let is_news = faults.has_changed().unwrap_or(false);
        faults.mark_unchanged();
        let was_offline = !*online.borrow_and_update();
        if online.wait_for(|online| *online).await.is_err() {
            return;
        }
        let posted = if was_offline || is_news || renewals % POST_EVERY == 0 {
            post(kubelet)
        } else {
            Ok(())
        };
        if let Err(error) = posted.and_then(|()| renew(kubelet)) {
            tracing::debug!(%error, node = kubelet.node.name(), "failed to renew a node's lease");
            tokio::time::sleep(RETRY).await;
            continue;
        }
        renewals += 1;
        tokio::select! {
            () = tokio::time::sleep(kubelet.grace.0 / RENEWALS) => {}
            changed = online.changed() => if changed.is_err() { return },
            changed = faults.changed() => {
                if changed.is_err() {
                    return;
                }
                faults.mark_changed();
            }
        }
    }
}

fn create(kubelet: &Kubelet) -> Result<(), ApiError> {
    let (spec, cluster) = (&kubelet.node.spec, &kubelet.cluster.spec);
    let number = spec.name.rsplit('-').next().unwrap_or("1");
    let node = json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": {
            "name": spec.name,
            "annotations": {
                "node.alpha.kubernetes.io/ttl": "0",
                "volumes.kubernetes.io/controller-managed-attach-detach": "true",
            },
            "labels": {
                "beta.kubernetes.io/arch": arch(), "beta.kubernetes.io/os": "linux", "kubernetes.io/arch": arch(),
                "kubernetes.io/hostname": spec.name, "kubernetes.io/os": "linux",
                "topology.kubernetes.io/region": cluster.name,
                "topology.kubernetes.io/zone": format!("{}-z{number}", cluster.name),
            },
        },
        "spec": {"podCIDR": spec.pod_cidr, "podCIDRs": [spec.pod_cidr]},
    });
    match kubelet.store.create(&NODES, node) {
        Err(error) if !error.is_already_exists() => Err(error),
        _ => post(kubelet),
    }
}

fn post(kubelet: &Kubelet) -> Result<(), ApiError> {
    let spec = &kubelet.node.spec;
    let has = |fault| kubelet.lab.acts_on(fault, &kubelet.cluster, &spec.name);
    let version = if has(Fault::NodeKubeletOld) {
        OLD_KUBELET.to_owned()
    } else {
        KUBERNETES_VERSION.to_owned()
    };
    let kernel = if has(Fault::NodeKernelOld) {
        OLD_KERNEL.to_owned()
    } else {
        kernel()
    };
    let disk = if has(Fault::NodeDiskPressure) {
        (
            "DiskPressure",
            "True",
            "KubeletHasDiskPressure",
            "kubelet has disk pressure",
        )
    } else {
        (
            "DiskPressure",
            "False",
            "KubeletHasNoDiskPressure",
            "kubelet has no disk pressure",
        )
    };
    let written = kubelet
        .store
        .modify_status(&NODES, None, &spec.name, |node: &mut Value| {
            let conditions = node["status"]["conditions"].take();
            node["status"] = json!({
                "addresses": [
                    {"type": "InternalIP", "address": spec.address}, {"type": "Hostname", "address": spec.name},
                ],
                "allocatable": capacity(), "capacity": capacity(),
                "daemonEndpoints": {"kubeletEndpoint": {"Port": 10250}},
                "images": [{"names": [AGENT_IMAGE], "sizeBytes": 4_194_304}],
                "nodeInfo": {
                    "architecture": arch(), "bootID": uuid::Uuid::new_v4().to_string(),
                    "containerRuntimeVersion": "lab://1",
                    "kernelVersion": kernel, "kubeProxyVersion": "", "kubeletVersion": version,
                    "machineID": "", "operatingSystem": "linux", "osImage": "meshproof lab", "systemUUID": "",
                },
            });
            if conditions.is_array() {
                node["status"]["conditions"] = conditions;
            }
            for (kind, status, reason, message) in [
                (
                    "NetworkUnavailable",
                    "False",
                    "CiliumIsUp",
                    "Cilium is running on this node",
                ),
                (
                    "MemoryPressure",
                    "False",
                    "KubeletHasSufficientMemory",
                    "kubelet has sufficient memory available",
                ),
                disk,
                (
                    "PIDPressure",
                    "False",
                    "KubeletHasSufficientPID",
                    "kubelet has sufficient PID available",
                ),
                ("Ready", "True", "KubeletReady", "kubelet is posting ready status"),
            ] {
                set_condition(node, kind, status, reason, message);
            }
            for condition in node["status"]["conditions"].as_array_mut().into_iter().flatten() {
                condition["lastHeartbeatTime"] = json!(now());
            }
        });
    written.map(|_| ())
}

fn renew(kubelet: &Kubelet) -> Result<(), ApiError> {
    let name = kubelet.node.name();
    let time = json!(format!("{:.6}", Timestamp::now() + wrong_by(kubelet)));
    let namespace = Some("kube-node-lease");
    if kubelet.store.find(&LEASES, namespace, name).is_some() {
        return kubelet
            .store
            .modify(&LEASES, namespace, name, |lease| {
                lease["spec"]["renewTime"] = time.clone()
            })
            .map(|_| ());
    }
    let lease = json!({
        "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
        "metadata": {"name": name, "namespace": "kube-node-lease"},
        "spec": {"holderIdentity": name, "leaseDurationSeconds": 40, "renewTime": time},
    });
    kubelet.store.create(&LEASES, lease).map(|_| ())
}

/// By how much the node's clock is ahead.
fn wrong_by(kubelet: &Kubelet) -> Duration {
    let (lab, fault) = (&kubelet.lab, Fault::ClockWrong);
    match lab.acts_on(fault, &kubelet.cluster, kubelet.node.name()) {
        true => lab.faults.time(fault),
        false => Duration::ZERO,
    }
}

fn capacity() -> Value {
    json!({"cpu": "2", "memory": "4194304Ki", "ephemeral-storage": "16777216Ki", "pods": "110"})
}

fn arch() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

fn kernel() -> String {
    std::fs::read_to_string("/proc/sys/kernel/osrelease")
        .map(|text| text.trim().to_owned())
        .unwrap_or_default()
}
