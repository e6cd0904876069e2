//! How faults make one node's ipcache differ from what is true. The data path and the agent's lists use the same.

use crate::{
    fault::Fault,
    state::{ClusterState, LabState, NodeState, Place, PodState},
};
use ipnet::Ipv4Net;
use meshproof_datapath::Identity;
use std::net::Ipv4Addr;

/// What is wrong in the ipcache of one node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Distortion {
    missing: Option<Ipv4Net>,
    wrong: Option<(Ipv4Net, Identity)>,
    stale: Option<(Ipv4Net, Identity)>,
}

impl Distortion {
    /// What is wrong on this node now.
    pub(crate) fn of(lab: &LabState, cluster: &ClusterState, node: &NodeState) -> Self {
        let acts = |fault| lab.acts_on(fault, cluster, node.name());
        let pods = || remote_pods(lab, node);
        let mut found = Self::default();
        if acts(Fault::IpcacheEntryMissing) {
            found.missing = victim(lab, Fault::IpcacheEntryMissing, &pods()).map(|pod| pod.address.into());
        }
        if acts(Fault::IpcacheEntryWrong) {
            let pods = pods();
            found.wrong = victim(lab, Fault::IpcacheEntryWrong, &pods).and_then(|pod| {
                let another = pods.iter().find(|other| other.identity() != pod.identity())?;
                Some((pod.address.into(), another.identity()))
            });
        }
        if acts(Fault::IpcacheEntryStale) {
            let pods = pods();
            found.stale = victim(lab, Fault::IpcacheEntryStale, &pods).and_then(|pod| {
                let mut nodes = lab.nodes();
                let (_, home) = nodes.find(|(_, home)| home.spec.pod_cidr.contains(&pod.address))?;
                Some((home.spec.unused_address().into(), pod.identity()))
            });
        }
        found
    }

    /// Whether the node lacks this entry.
    pub(crate) fn lacks(&self, range: Ipv4Net) -> bool {
        self.missing == Some(range)
    }

    /// The identity that the node has for an entry, where the right one is `identity`.
    pub(crate) fn seen(&self, range: Ipv4Net, identity: Identity) -> Identity {
        match self.wrong {
            Some((wrong, seen)) if wrong == range => seen,
            _ => identity,
        }
    }

    /// An entry that only this node has.
    pub(crate) fn extra(&self) -> Option<(Ipv4Net, Identity)> {
        self.stale
    }
}

/// The uid of the pod of a node whose CiliumEndpoint is missing: other nodes do not learn of that pod.
pub(crate) fn unannounced(lab: &LabState, node: &NodeState) -> Option<String> {
    let fault = Fault::CiliumEndpointMissing;
    let is_there = lab.faults.is_active(fault) && lab.drawn.place(fault).is_some_and(|place| place.node == node.name());
    if !is_there {
        return None;
    }
    let pods = node.pods().into_iter().filter(|pod| pod.identity() != Identity::HOST);
    lab.drawn.victim(fault, &pods.map(|pod| pod.uid).collect::<Vec<_>>())
}

/// The identity whose labels a node does not know.
pub(crate) fn unknown_identity(lab: &LabState, cluster: &ClusterState, node: &NodeState) -> Option<Identity> {
    let fault = Fault::IdentityUnknownOnNode;
    if !lab.acts_on(fault, cluster, node.name()) {
        return None;
    }
    let pods = remote_pods(lab, node);
    victim(lab, fault, &pods).map(PodState::identity)
}

/// The address of a pod of another node for which a node has no key.
pub(crate) fn keyless(lab: &LabState, cluster: &ClusterState, node: &NodeState) -> Option<Ipv4Addr> {
    let fault = Fault::IpcacheKeyMissing;
    let is_there = |place: Place| place.cluster == cluster.name() && place.node == node.name();
    if !lab.drawn.place(fault).is_some_and(is_there) {
        return None;
    }
    victim(lab, fault, &remote_pods(lab, node)).map(|pod| pod.address)
}

/// The pods of other nodes with a network of their own.
fn remote_pods(lab: &LabState, node: &NodeState) -> Vec<PodState> {
    let others = lab.nodes().filter(|(_, other)| other.name() != node.name());
    let pods = others.flat_map(|(_, other)| other.pods());
    pods.filter(|pod| pod.identity() != Identity::HOST).collect()
}

fn victim<'a>(lab: &LabState, fault: Fault, pods: &'a [PodState]) -> Option<&'a PodState> {
    let uids: Vec<String> = pods.iter().map(|pod| pod.uid.clone()).collect();
    let uid = lab.drawn.victim(fault, &uids)?;
    pods.iter().find(|pod| pod.uid == uid)
}
