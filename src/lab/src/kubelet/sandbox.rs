//! A pod's sandbox: its address and network, or the node's.

use super::{Kubelet, PodRuntime, sysctl};
use crate::{
    identity::security_labels,
    state::{PodNetwork, PodState},
    sync::lock,
};
use meshproof_apiserver::{Object, resource::names::NAMESPACES};
use meshproof_datapath::{EndpointName, Identity, PodConfig, PodError};
use std::{net::Ipv4Addr, sync::Arc, time::SystemTime};

/// Why a sandbox could not be made.
#[derive(Debug, thiserror::Error)]
pub(super) enum SandboxError {
    #[error("no free address is left in the pod CIDR of node {0}")]
    NoAddress(String),
    #[error("{0}: {cause}", cause = std::error::Error::source(.0).map_or_else(String::new, ToString::to_string))]
    Network(#[from] PodError),
}

/// A pod's network, in place.
pub(super) struct Sandbox {
    pub(super) address: Ipv4Addr,
    pub(super) runtime: Arc<PodRuntime>,
}

/// Makes a sandbox.
pub(super) async fn make(kubelet: &Kubelet, pod: &Object) -> Result<Sandbox, SandboxError> {
    let (network, address, namespace) = if pod["spec"]["hostNetwork"] == true {
        (
            PodNetwork::Host,
            kubelet.node.spec.address,
            kubelet.node.handle.namespace().clone(),
        )
    } else {
        let identity = identity(kubelet, pod);
        let taken = lock(&kubelet.addresses).take();
        let address = taken.ok_or_else(|| SandboxError::NoAddress(kubelet.node.name().to_owned()))?;
        let name = EndpointName::new(format!("{}/{}", pod.namespace().unwrap_or_default(), pod.name()));
        let net = kubelet
            .node
            .handle
            .add_pod(PodConfig {
                name,
                address,
                identity,
            })
            .await;
        let net = net.inspect_err(|_| give_back(kubelet, address))?;
        for (name, value) in sysctl::settings(&pod["spec"]) {
            net.set_sysctl(&name, &value).await;
        }
        let namespace = net.namespace().clone();
        (PodNetwork::Own { net, identity }, address, namespace)
    };
    let runtime = Arc::new(PodRuntime::new(pod.uid(), namespace));
    kubelet.put_runtime(Arc::clone(&runtime));
    kubelet.node.put_pod(PodState {
        uid: pod.uid().to_owned(),
        namespace: pod.namespace().unwrap_or_default().to_owned(),
        name: pod.name().to_owned(),
        address,
        network,
        created: SystemTime::now(),
    });
    kubelet.lab.announce_pods();
    Ok(Sandbox { address, runtime })
}

/// Takes a sandbox down; its containers have ended.
pub(super) async fn remove(kubelet: &Kubelet, uid: &str) {
    kubelet.drop_runtime(uid);
    let Some(pod) = kubelet.node.take_pod(uid) else { return };
    if let PodNetwork::Own { net, .. } = &pod.network {
        let address = net.address();
        if let Err(error) = kubelet.node.handle.remove_pod(address).await {
            tracing::debug!(%error, pod = pod.name, "the pod's network was gone already");
        }
        give_back(kubelet, address);
    }
    kubelet.lab.announce_pods();
}

/// Follows a change of the pod's labels.
pub(super) fn update_identity(kubelet: &Kubelet, pod: &Object) {
    let Some(mut state) = kubelet.node.pod(pod.uid()) else {
        return;
    };
    let new = identity(kubelet, pod);
    if let PodNetwork::Own { identity, net } = &mut state.network
        && *identity != new
    {
        *identity = new;
        kubelet.node.handle.set_pod_identity(net.address(), new);
        kubelet.node.put_pod(state);
        kubelet.lab.announce_pods();
    }
}

fn identity(kubelet: &Kubelet, pod: &Object) -> Identity {
    let namespace = pod
        .namespace()
        .and_then(|name| kubelet.store.find(&NAMESPACES, None, name));
    kubelet
        .cluster
        .identities
        .of(security_labels(kubelet.cluster.name(), pod, namespace.as_ref()))
}

fn give_back(kubelet: &Kubelet, address: Ipv4Addr) {
    lock(&kubelet.addresses).give_back(address);
}
