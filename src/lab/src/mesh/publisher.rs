//! What `apiserver` publishes of a cluster, and when changes of it leave the pod's etcd.

use super::{
    etcd::{Gate, Propagation},
    global::{is_global, is_shared},
    keyspace::{KeyKind, Snapshot, of_kind},
    publish::Published,
};
use crate::{
    crd::{CILIUM_ENDPOINTS, CILIUM_IDENTITIES, CILIUM_NODES},
    fault::Fault,
    informer::Informer,
    state::{ClusterState, LabState},
};
use meshproof_apiserver::resource::names::{ENDPOINT_SLICES, SERVICES};
use std::{collections::BTreeSet, sync::Arc};
use tokio::sync::watch;

/// Everything that the cluster publishes now.
pub(super) fn snapshot(lab: &LabState, cluster: &ClusterState, informer: &Informer) -> Snapshot {
    let mut nodes = informer.all(&CILIUM_NODES);
    if lab.acts_in(Fault::MeshNodeCountShort, cluster.name()) {
        nodes.pop();
    }
    let published = Published {
        cluster: cluster.name(),
        id: cluster.spec.id,
        nodes: &nodes,
        identities: &informer.all(&CILIUM_IDENTITIES),
        endpoints: &informer.all(&CILIUM_ENDPOINTS),
        services: &informer.all(&SERVICES),
        slices: &informer.all(&ENDPOINT_SLICES),
        unready: lab.acts_in(Fault::GlobalUnreadyBackendPublished, cluster.name()),
    };
    // The publisher has to publish what the cluster where these faults act then merges.
    let (any, unshared) = (
        lab.faults.is_active(Fault::GlobalAnnotationIgnored),
        lab.faults.is_active(Fault::GlobalSharedIgnored),
    );
    let mut snapshot = published.snapshot(|service| {
        let system = service
            .namespace()
            .is_some_and(|namespace| namespace.starts_with("kube-") || namespace == "default");
        (is_global(service) || any && !system) && (is_shared(service) || unshared)
    });
    if lab.acts_in(Fault::MeshEndpointStale, cluster.name()) {
        publish_departed(cluster, &mut snapshot);
    }
    snapshot
}

/// Publishes a pod that has gone, with the identity of one that is there.
fn publish_departed(cluster: &ClusterState, snapshot: &mut Snapshot) {
    let present = of_kind(snapshot, KeyKind::Endpoint)
        .next()
        .map(|(_, value)| value.clone());
    if let (Some(mut endpoint), Some(node)) = (present, cluster.spec.nodes.first()) {
        let address = node.unused_address().to_string();
        endpoint["IP"] = address.as_str().into();
        endpoint["K8sPodName"] = "departed".into();
        snapshot.insert(KeyKind::Endpoint.key(&address), Arc::new(endpoint));
    }
}

/// Lets changes of what a cluster publishes pass at once, late or not at all.
pub(super) struct Publisher {
    lab: Arc<LabState>,
    cluster: String,
}

impl Publisher {
    pub(super) fn new(lab: &Arc<LabState>, cluster: &str) -> Self {
        Self {
            lab: Arc::clone(lab),
            cluster: cluster.to_owned(),
        }
    }
}

impl Gate for Publisher {
    fn propagation(&self) -> Propagation {
        if self.lab.acts_in(Fault::MeshPropagationStopped, &self.cluster) {
            Propagation::Stopped
        } else if self.lab.acts_in(Fault::MeshPropagationSlow, &self.cluster) {
            Propagation::Late(self.lab.faults.time(Fault::MeshPropagationSlow))
        } else {
            Propagation::Prompt
        }
    }

    fn subscribe(&self) -> watch::Receiver<BTreeSet<Fault>> {
        self.lab.faults.subscribe()
    }
}
