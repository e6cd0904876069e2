//! What an agent knows of its own endpoints, and of the names that they looked up.

use super::{Gatherer, RESERVED};
use crate::{
    cilium::{
        agent::HEALTH_IDENTITY,
        object::label_list,
        view::{EndpointKind, EndpointPolicy, EndpointView, NameView, NodeView, PolicyEnabled},
    },
    enforcement::PolicyState,
    fault::Fault,
    object::named_ports,
    state::{ClusterState, PodNetwork, PodState},
};
use meshproof_apiserver::{
    Object,
    resource::names::{PODS, REPLICA_SETS},
};
use meshproof_datapath::{Direction, Identity};
use std::net::Ipv4Addr;

impl Gatherer<'_> {
    pub(super) fn endpoints(&self, own: &NodeView) -> Vec<EndpointView> {
        let known = PolicyState::of(&self.container.node);
        let policy = |identity: Identity| {
            let enforces = |direction| known.enforces(identity, direction);
            EndpointPolicy {
                revision: if self.acts(Fault::PolicyEndpointsBehind) {
                    0
                } else {
                    known.realized()
                },
                enabled: match (enforces(Direction::Ingress), enforces(Direction::Egress)) {
                    (true, true) => PolicyEnabled::Both,
                    (true, false) => PolicyEnabled::Ingress,
                    (false, true) => PolicyEnabled::Egress,
                    (false, false) => PolicyEnabled::None,
                },
            }
        };
        let reserved = |kind: EndpointKind, key: &str, identity: Identity, address: Option<Ipv4Addr>| EndpointView {
            id: self.agent.endpoint_id(key),
            labels: RESERVED[identity.0 as usize - 1]
                .1
                .iter()
                .map(|label| (*label).to_owned())
                .collect(),
            kind,
            identity: identity.0,
            derived: Vec::new(),
            address,
            named_ports: Vec::new(),
            created: self.agent.started,
            policy: policy(identity),
        };
        let mut found = vec![
            reserved(EndpointKind::Host, "host", Identity::HOST, None),
            reserved(EndpointKind::Health, "health", HEALTH_IDENTITY, Some(own.health)),
        ];
        let pods = self.container.node.pods();
        found.extend(
            pods.iter()
                .filter_map(|pod| self.pod_endpoint(pod, policy(pod.identity()))),
        );
        found.sort_by_key(|endpoint| endpoint.id);
        found
    }

    fn pod_endpoint(&self, state: &PodState, policy: EndpointPolicy) -> Option<EndpointView> {
        let PodNetwork::Own { identity, .. } = &state.network else {
            return None;
        };
        let cluster = &self.container.cluster;
        let labels = cluster
            .identities
            .labels(*identity)
            .map(|labels| label_list(&labels))
            .unwrap_or_default();
        let pod = cluster.store.find(&PODS, Some(&state.namespace), &state.name);
        let of_pod = pod.as_ref().map(|pod| pod.labels()).unwrap_or_default();
        let derived = of_pod.iter().map(|(key, value)| format!("k8s:{key}={value}"));
        Some(EndpointView {
            id: self.agent.endpoint_id(&state.uid),
            derived: derived.filter(|label| !labels.contains(label)).collect(),
            kind: EndpointKind::Pod {
                namespace: state.namespace.clone(),
                name: state.name.clone(),
                uid: state.uid.clone(),
                workload: pod.as_ref().and_then(|pod| workload(cluster, pod)),
            },
            identity: identity.0,
            labels,
            address: Some(state.address),
            named_ports: pod.as_ref().map(|pod| named_ports(pod)).unwrap_or_default(),
            created: state.created,
            policy,
        })
    }

    pub(super) fn names(&self) -> Vec<NameView> {
        let pods = self.container.node.pods();
        let known = PolicyState::of(&self.container.node)
            .names()
            .all()
            .into_iter()
            .filter_map(|known| {
                let pod = pods.iter().find(|pod| pod.address == known.client)?;
                Some(NameView {
                    endpoint: self.agent.endpoint_id(&pod.uid),
                    name: known.name,
                    address: known.address,
                    looked_up: known.at,
                    ttl: known.ttl,
                })
            });
        known.collect()
    }
}

/// Name and kind of what made a pod: a ReplicaSet stands for its Deployment.
fn workload(cluster: &ClusterState, pod: &Object) -> Option<(String, String)> {
    let owner = |object: &Object| {
        let owner = &object["metadata"]["ownerReferences"][0];
        Some((owner["name"].as_str()?.to_owned(), owner["kind"].as_str()?.to_owned()))
    };
    let (name, kind) = owner(pod)?;
    if kind != "ReplicaSet" {
        return Some((name, kind));
    }
    let set = cluster.store.find(&REPLICA_SETS, pod.namespace(), &name);
    set.and_then(|set| owner(&set)).or(Some((name, kind)))
}
