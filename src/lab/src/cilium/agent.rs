//! Cilium's agent on one node: writes the node's CiliumNode, CiliumEndpoints and CiliumIdentities and runs the health
//! daemon. Without it on a node, nothing of that happens there.

mod configuration;

use super::{
    health::{self, Findings},
    object::{Endpoint, cilium_identity, cilium_node, label_list},
    view::{NodeSource, NodeView},
};
use crate::{
    crd::{CILIUM_ENDPOINTS, CILIUM_IDENTITIES, CILIUM_NODES},
    fault::Fault,
    health::http_endpoint,
    ipcache,
    state::{LabState, PodNetwork, PodState},
    sync::lock,
    system::SystemContainer,
};
use meshproof_apiserver::{
    DeleteOptions, ListOptions, Object, Store,
    resource::names::{NODES, PODS},
};
use meshproof_datapath::{
    Direction, Effect, Fault as DatapathFault, FaultId, Identity, Impairment, Nodes, PodConfig, Traffic,
};
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
    time::{Duration, SystemTime},
};

/// The identity of health endpoints (`reserved:health`).
pub(super) const HEALTH_IDENTITY: Identity = Identity(4);
/// Endpoint ids are 1 to 4095.
const IDS: u32 = 4095;

/// The agents that run, by their nodes' names. Cheap to clone.
#[derive(Clone, Default)]
pub(super) struct Agents(Arc<Mutex<BTreeMap<String, Arc<Agent>>>>);

/// A running agent.
pub(super) struct Agent {
    /// When it was started.
    pub(super) started: SystemTime,
    /// What its health daemon found.
    pub(super) findings: Findings,
    /// What it was started with: later changes do not reach it.
    pub(super) configuration: BTreeMap<String, String>,
    ids: Mutex<BTreeMap<String, u16>>,
}

impl Agents {
    /// The agent on that node, while it runs.
    pub(super) fn of(&self, node: &str) -> Option<Arc<Agent>> {
        lock(&self.0).get(node).cloned()
    }

    fn set(&self, node: &str, agent: Option<Arc<Agent>>) {
        let mut agents = lock(&self.0);
        match agent {
            Some(agent) => agents.insert(node.to_owned(), agent),
            None => agents.remove(node),
        };
    }

    /// Runs the agent of a container until that stops.
    pub(super) async fn run(&self, container: &SystemContainer) -> i32 {
        let node = container.node.name().to_owned();
        let agent = Arc::new(Agent {
            started: SystemTime::now(),
            findings: Findings::default(),
            configuration: configuration::read(container),
            ids: Mutex::default(),
        });
        self.set(&node, Some(Arc::clone(&agent)));
        container.log.line(format!(
            "level=info msg=\"Cilium {} agent starting\" node={node}",
            container.lab.topology.settings().version
        ));
        let code = agent.run(container).await;
        self.set(&node, None);
        code
    }
}

impl Agent {
    /// The number of an endpoint on this node: scattered, unique, and the same as long as the agent runs.
    pub(super) fn endpoint_id(&self, key: &str) -> u16 {
        let mut ids = lock(&self.ids);
        if let Some(id) = ids.get(key) {
            return *id;
        }
        let hash = key.bytes().fold(0x811c_9dc5_u32, |hash, byte| {
            (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
        });
        let taken: BTreeSet<_> = ids.values().copied().collect();
        let candidates = (0..IDS).map(|n| (hash.wrapping_add(n) % IDS + 1) as u16);
        let id = candidates
            .into_iter()
            .find(|id| !taken.contains(id))
            .unwrap_or_default();
        ids.insert(key.to_owned(), id);
        id
    }

    async fn run(&self, container: &SystemContainer) -> i32 {
        let node = &container.node;
        let address = node.spec.health_address();
        let config = PodConfig {
            name: "cilium-health".into(),
            address,
            identity: HEALTH_IDENTITY,
        };
        let health_net = match node.handle.add_pod(config).await {
            Ok(net) => net,
            Err(error) => {
                container.log.line(format!(
                    "level=fatal msg=\"failed to launch cilium-health\" error=\"{error}\""
                ));
                return 1;
            }
        };
        for namespace in [health_net.namespace(), &container.namespace] {
            if let Err(error) = http_endpoint(namespace, health::PORT, container.stop.clone()) {
                container.log.line(format!(
                    "level=warning msg=\"cilium-health cannot listen\" error=\"{error}\""
                ));
            }
        }
        if container.lab.faults.is_active(Fault::AgentRestartDrops) {
            drop_for_a_moment(container);
        }
        if container.lab.faults.is_active(Fault::AgentRestartPlaintext) {
            leak_for_a_moment(container);
        }
        let nodes = known_nodes(&container.lab, container.cluster.name(), node.name());
        let probes = health::run(container.namespace.clone(), nodes, self.findings.clone());
        tokio::select! {
            () = container.stop.cancelled() => {}
            () = probes => {}
            () = self.follow_pods(container) => {}
        }
        if let Err(error) = node.handle.remove_pod(address).await {
            tracing::debug!(%error, node = node.name(), "the health endpoint is gone already");
        }
        0
    }

    async fn follow_pods(&self, container: &SystemContainer) {
        let store = container.cluster.store.writing_as("cilium-agent");
        let mut pods = container.lab.pods_changed();
        let mut faults = container.lab.faults.follow();
        loop {
            pods.mark_unchanged();
            faults.mark_unchanged();
            write_node(container, &store);
            self.write_endpoints(container, &store);
            tokio::select! {
                changed = pods.changed() => if changed.is_err() { return },
                changed = faults.changed() => if changed.is_err() { return },
            }
        }
    }

    /// Brings the CiliumEndpoints of the node's pods, and their identities, to what the data path has.
    fn write_endpoints(&self, container: &SystemContainer, store: &Store) {
        let (cluster, node) = (&container.cluster, &container.node);
        let mut wanted = BTreeSet::new();
        let unannounced = ipcache::unannounced(&container.lab, node);
        for state in node
            .pods()
            .into_iter()
            .filter(|state| unannounced.as_ref() != Some(&state.uid))
        {
            let PodNetwork::Own { identity, .. } = &state.network else {
                continue;
            };
            let Some(pod) = store.find(&PODS, Some(&state.namespace), &state.name) else {
                continue;
            };
            if pod.uid() != state.uid
                || pod.is_terminating()
                    && store
                        .find(&CILIUM_ENDPOINTS, Some(&state.namespace), &state.name)
                        .is_none()
            {
                continue;
            }
            let Some(labels) = cluster.identities.labels(*identity) else {
                continue;
            };
            if store.find(&CILIUM_IDENTITIES, None, &identity.0.to_string()).is_none() {
                create(store, &CILIUM_IDENTITIES, cilium_identity(identity.0, &labels));
            }
            let endpoint = Endpoint {
                pod: &pod,
                id: self.endpoint_id(&state.uid),
                address: state.address,
                node: node.spec.address,
                identity: identity.0,
                labels: &label_list(&labels),
                encryption: container.lab.topology.settings().encryption,
            };
            wanted.insert((state.namespace.clone(), state.name.clone()));
            write_endpoint(store, &state, endpoint.object());
        }
        let own = node.spec.address.to_string();
        let Ok(present) = store.list(&CILIUM_ENDPOINTS, None, &ListOptions::default()) else {
            return;
        };
        for object in present
            .items
            .iter()
            .filter(|o| o["status"]["networking"]["node"] == own.as_str())
        {
            let key = (
                object.namespace().unwrap_or_default().to_owned(),
                object.name().to_owned(),
            );
            if !wanted.contains(&key) {
                // Already gone is as good: the garbage collector removes it with its pod, too.
                let _ = store.delete(&CILIUM_ENDPOINTS, Some(&key.0), &key.1, &DeleteOptions::now());
            }
        }
    }
}

fn write_endpoint(store: &Store, state: &PodState, object: Value) {
    match store.find(&CILIUM_ENDPOINTS, Some(&state.namespace), &state.name) {
        None => create(store, &CILIUM_ENDPOINTS, object),
        Some(present) if present["metadata"]["ownerReferences"][0]["uid"] != state.uid.as_str() => {
            let _ = store.delete(
                &CILIUM_ENDPOINTS,
                Some(&state.namespace),
                &state.name,
                &DeleteOptions::now(),
            );
            create(store, &CILIUM_ENDPOINTS, object);
        }
        Some(present) if differs(&present, &object) => {
            let changed = store.modify(&CILIUM_ENDPOINTS, Some(&state.namespace), &state.name, |value| {
                value["status"] = object["status"].clone();
                value["metadata"]["labels"] = object["metadata"]["labels"].clone();
            });
            if let Err(error) = changed {
                tracing::warn!(%error, pod = state.name, "a CiliumEndpoint cannot be updated");
            }
        }
        Some(_) => {}
    }
}

fn differs(present: &Object, wanted: &Value) -> bool {
    present["status"] != wanted["status"] || present["metadata"]["labels"] != wanted["metadata"]["labels"]
}

fn write_node(container: &SystemContainer, store: &Store) {
    let spec = &container.node.spec;
    if store.find(&CILIUM_NODES, None, &spec.name).is_some() {
        return;
    }
    let Some(node) = store.find(&NODES, None, &spec.name) else {
        return;
    };
    let handle = &container.node.handle;
    let encryption = container.lab.topology.settings().encryption;
    let key = handle.public_key().to_string();
    create(
        store,
        &CILIUM_NODES,
        cilium_node(&node, spec, handle.config().router, encryption, &key),
    );
}

fn create(store: &Store, resource: &meshproof_apiserver::Resource, object: Value) {
    let name = object["metadata"]["name"].to_string();
    if let Err(error) = store.create(resource, object) {
        // Two nodes may give one identity at the same time; the second learns that it exists.
        tracing::debug!(%error, %resource, name, "not created");
    }
}

/// The nodes of the lab as an agent knows them.
pub(super) fn known_nodes(lab: &LabState, cluster: &str, own: &str) -> Vec<NodeView> {
    let all = lab.nodes().map(|(of, node)| NodeView {
        cluster: of.name().to_owned(),
        name: node.name().to_owned(),
        address: node.spec.address,
        router: node.handle.config().router,
        health: node.spec.health_address(),
        pod_cidr: node.spec.pod_cidr,
        source: match () {
            () if node.name() == own => NodeSource::Local,
            () if of.name() == cluster => NodeSource::CustomResource,
            () => NodeSource::ClusterMesh,
        },
    });
    all.collect()
}
/// How long the node's pods are cut off with the fault `agent-restart-drops`.
const CUT: Duration = Duration::from_millis(600);
/// For how long a started agent lets packets out unencrypted.
const LEAK: Duration = Duration::from_millis(300);

fn drop_for_a_moment(container: &SystemContainer) {
    let fault = |pod: &PodState| DatapathFault::Endpoint {
        address: pod.address,
        direction: Direction::Egress,
        impairment: Impairment::all(Effect::Drop),
    };
    let pods = container.node.pods();
    let pods = pods.iter().filter(|pod| matches!(pod.network, PodNetwork::Own { .. }));
    let ids: Vec<_> = pods.map(|pod| container.lab.fabric.inject(fault(pod))).collect();
    heal_after(container, ids, CUT);
}

/// What a started agent must not do: have no peers for a moment.
fn leak_for_a_moment(container: &SystemContainer) {
    let id = container.lab.fabric.inject(DatapathFault::Plaintext {
        from: Nodes::one(container.node.handle.name().clone()),
        to: Nodes::Any,
        traffic: Traffic::All,
    });
    heal_after(container, vec![id], LEAK);
}

fn heal_after(container: &SystemContainer, ids: Vec<FaultId>, moment: Duration) {
    let (lab, stop) = (Arc::clone(&container.lab), container.stop.clone());
    tokio::spawn(async move {
        let _ = tokio::time::timeout(moment, stop.cancelled()).await;
        for id in ids {
            lab.fabric.heal(id);
        }
    });
}
