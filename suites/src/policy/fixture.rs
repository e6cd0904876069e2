//! What one policy check works with: borrowed subject pods, their peers, and what policies mean in the cluster's
//! version.

pub mod cluster_dns;
pub mod external_hosts;
mod house;
mod identity;
mod semantics;

use super::{
    cell::{Cell, Traffic},
    participant::{Participant, SCENARIO, participants},
    subjects::{LABEL, SubjectGroup},
};
use crate::kit::cilium::{fqdn_labels::Labelled, remotes::mesh_name};
use cluster_dns::ClusterDns;
use external_hosts::ExternalHost;
use futures::future::try_join_all;
use house::{House, Pods};
use meshproof_contract::{CheckContext, ClusterName, Facts, Instance, NodeName, Verdict, facts::PodNetwork};
use meshproof_oracle::{NamedPorts, Party, Surroundings};
use semantics::semantics;
use serde_json::{Value, json};
use std::{
    collections::BTreeSet,
    slice,
    sync::{Arc, OnceLock, atomic::AtomicBool},
};

/// Subject pods that take part in a case at most: as many as most groups have. Policies are enforced on every node
/// alike, and `policy::takes_effect` looks at each.
const SUBJECTS: usize = 2;

/// The pods of one case.
pub struct Fixture {
    /// The cluster whose API gets the policies, and in which the subject pods are.
    pub cluster: ClusterName,
    /// Its name in the mesh.
    pub mesh: String,
    /// The name in the mesh of the other end's cluster; the same for an instance on one cluster.
    pub peer_mesh: String,
    /// Namespace of the subject pods.
    pub namespace: String,
    /// The pods that the policies select.
    pub subjects: Vec<Arc<Participant>>,
    /// Pods that no policy selects, in the clusters of the instance.
    pub peers: Vec<Arc<Participant>>,
    /// Agents on the nodes' own network, where any run.
    pub hosts: Vec<Arc<Participant>>,
    /// The external hosts of meshproof.yaml, as a subject pod resolves them.
    pub external_hosts: Vec<ExternalHost>,
    /// Cluster DNS, where its replicas are pods that policies can select.
    pub dns: Option<ClusterDns>,
    /// What the expectation depends on besides policies and flows.
    pub surroundings: Surroundings,
    /// Whether Cilium's agents once did not answer in time: they are not queried again.
    pub agents_slow: AtomicBool,
    /// What agents had for a host that stayed closed under a rule that names it.
    pub labelled: OnceLock<Labelled>,
    /// Policies of others that count beside those of a case.
    pub house: House,
    /// The borrowed group.
    pub group: SubjectGroup,
}

impl Fixture {
    /// Borrows a group of subject pods and reads who their peers are.
    pub async fn new(context: &CheckContext) -> Result<Self, Verdict> {
        let mut one = Self::several(context, 1).await?;
        one.pop()
            .ok_or_else(|| Verdict::inconclusive("no group of subject pods"))
    }

    /// As many as wanted, or as there are groups, each with a group of its own.
    pub async fn several(context: &CheckContext, wanted: usize) -> Result<Vec<Self>, Verdict> {
        let borrowed = SubjectGroup::borrow(&context.shared, context.instance.to(), wanted).await;
        try_join_all(borrowed.into_iter().map(|group| Self::of(context, group, SUBJECTS))).await
    }

    /// With a subject pod on every node.
    pub async fn on_every_node(context: &CheckContext) -> Result<Self, Verdict> {
        let group = SubjectGroup::borrow_every_node(&context.shared, context.instance.to()).await;
        Self::of(context, group, usize::MAX).await
    }

    async fn of(context: &CheckContext, group: SubjectGroup, most: usize) -> Result<Self, Verdict> {
        let facts = context.environment.facts();
        let cluster = context.instance.to().clone();
        let clusters: BTreeSet<ClusterName> = [context.instance.from().clone(), cluster.clone()].into();
        let clusters: Vec<ClusterName> = clusters.into_iter().collect();
        let found = participants(context, &clusters).await;
        let found = found.map_err(|error| Verdict::inconclusive(format!("cannot read the pods: {error}")))?;
        let mut fixture = Self {
            dns: cluster_dns::find(context, &facts, &cluster).await,
            mesh: mesh_name(&facts, &cluster),
            peer_mesh: mesh_name(&facts, context.instance.from()),
            // Names of ports of other pods do not matter: the probes' names are used nowhere else.
            surroundings: Surroundings {
                semantics: semantics(&facts, &cluster),
                named_ports: NamedPorts::of(found.iter().filter_map(|found| match &found.party {
                    Party::Endpoint(endpoint) => Some(endpoint),
                    Party::Node { .. } | Party::World { .. } => None,
                })),
            },
            agents_slow: AtomicBool::new(false),
            labelled: OnceLock::new(),
            namespace: String::new(),
            subjects: Vec::new(),
            peers: Vec::new(),
            hosts: Vec::new(),
            external_hosts: Vec::new(),
            house: House::absent(&cluster),
            cluster,
            group,
        };
        found.into_iter().for_each(|participant| fixture.add(participant));
        fixture.subjects.truncate(most);
        if fixture.subjects.is_empty() {
            return Err(Verdict::inconclusive(format!(
                "{}: no pod of subject group {} is ready, so no policy can be tested on it{}",
                fixture.cluster,
                fixture.group.name(),
                missing_agents(&facts, &fixture.cluster)
            )));
        }
        identity::require(&facts, fixture.subjects.iter().chain(&fixture.peers))?;
        fixture.house = house::find(context, &facts, &fixture.pods()).await?;
        fixture.house.open(context).await?;
        fixture.external_hosts = external_hosts::resolve(context, &facts, &fixture.subjects[0]).await;
        Ok(fixture)
    }

    /// Its pods, for what others decide about them.
    fn pods(&self) -> Pods<'_> {
        Pods {
            cluster: &self.cluster,
            namespace: &self.namespace,
            group: self.group.name(),
            selector: self.selector(),
            subjects: &self.subjects,
            peers: self
                .peers
                .iter()
                .chain(self.dns.iter().map(|dns| &dns.replica))
                .collect(),
        }
    }

    /// Sorts a participant in; subject pods of other groups are left out.
    fn add(&mut self, participant: Participant) {
        let participant = Arc::new(participant);
        match &participant.party {
            Party::Endpoint(endpoint) => match endpoint.labels.get(LABEL) {
                Some(group) if group == self.group.name() && *participant.cluster() == self.cluster => {
                    self.namespace.clone_from(&endpoint.namespace);
                    self.subjects.push(participant);
                }
                Some(_) => {}
                None => self.peers.push(participant),
            },
            Party::Node { .. } => self.hosts.push(participant),
            Party::World { .. } => {}
        }
    }

    /// Cells from each subject pod to each external host.
    pub fn cells_to_external_hosts(&self) -> Vec<Cell> {
        let cells = self.external_hosts.iter().flat_map(|host| {
            let connect = Traffic::ConnectByName {
                name: host.name.clone(),
                port: host.port,
            };
            Self::cells(&self.subjects, slice::from_ref(&host.participant), &[connect])
        });
        cells.collect()
    }

    /// Notes on which nodes policies are tested, if that is not every ready one: groups have one pod each, but for the
    /// one with a pod on every node.
    pub fn note_tested_nodes(&self, context: &CheckContext) {
        let facts = context.environment.facts();
        let nodes = facts.cluster(&self.cluster).map_or(&[][..], |cluster| &cluster.nodes);
        let has_subject = |node: &NodeName| self.subjects.iter().any(|subject| &subject.agent.node == node);
        if nodes.iter().any(|node| node.ready && !has_subject(&node.name)) {
            let on: BTreeSet<&str> = self
                .subjects
                .iter()
                .map(|subject| subject.agent.node.as_str())
                .collect();
            context.note(format!(
                "subject group {} is on {}; policy::every_node tests every node",
                self.group.name(),
                Vec::from_iter(on).join(" and ")
            ));
        }
    }

    /// Notes where entity `kube-apiserver` has nobody to admit or nobody to refuse among the nodes: every node that
    /// serves the API is of it (semantics A39).
    pub fn note_untested_api_servers(&self, context: &CheckContext) {
        let own = self.hosts.iter().filter(|host| *host.cluster() == self.cluster);
        let serving: BTreeSet<bool> = own
            .filter_map(|host| match host.party {
                Party::Node { serves_api, .. } => Some(serves_api),
                Party::Endpoint(_) | Party::World { .. } => None,
            })
            .collect();
        let which = match (serving.contains(&true), serving.contains(&false)) {
            (true, true) => return,
            (true, false) => "all nodes with an agent serve the API, so it has no node to refuse",
            (false, true) => "no node with an agent serves the API, so it has no node to admit",
            (false, false) => "no agent runs on the nodes' own network, so no node took part",
        };
        context.note(format!("entity kube-apiserver is tested in part only: {which}"));
    }

    /// A policy's selector of the subject pods.
    pub fn selector(&self) -> Value {
        json!({"matchLabels": {LABEL: self.group.name()}})
    }

    /// The same for policies without a namespace.
    pub fn cluster_wide_selector(&self) -> Value {
        json!({"matchLabels": {LABEL: self.group.name(), "k8s:io.kubernetes.pod.namespace": self.namespace}})
    }

    /// The peers that a matrix uses: all of the subject pods' cluster, and of another cluster one of each workload on
    /// each node, since nodes enforce policies independently.
    pub fn peers_of(&self, instance: &Instance) -> Vec<Arc<Participant>> {
        let mut seen = BTreeSet::new();
        let mut first = |peer: &Participant| {
            let agent = &peer.agent;
            seen.insert((agent.id.cluster.clone(), agent.workload.clone(), agent.node.clone()))
        };
        let chosen = self.peers.iter();
        chosen
            .filter(|peer| peer.cluster() == instance.to() || first(peer))
            .cloned()
            .collect()
    }

    /// The namespace of peers that is not the subject pods'.
    pub fn other_namespace(&self) -> String {
        let namespaces = self.peers.iter().map(|peer| peer.agent.namespace.as_str());
        let mut different = namespaces.filter(|namespace| *namespace != self.namespace);
        different.next().unwrap_or("meshproof-peer").to_owned()
    }

    /// Cells from each of `from` to each of `to`, for each kind of traffic.
    pub fn cells(from: &[Arc<Participant>], to: &[Arc<Participant>], traffic: &[Traffic]) -> Vec<Cell> {
        let pairs = from.iter().flat_map(|from| to.iter().map(move |to| (from, to)));
        pairs
            .filter(|(from, to)| from.agent.id != to.agent.id)
            .flat_map(|(from, to)| {
                traffic.iter().map(|traffic| Cell {
                    from: from.clone(),
                    to: to.clone(),
                    traffic: traffic.clone(),
                })
            })
            .collect()
    }
}

/// The last states of the scenario's agents that should run in the cluster and do not, in parentheses.
fn missing_agents(facts: &Facts, cluster: &ClusterName) -> String {
    let missing = facts.missing_agents.iter().filter(|m| &m.cluster == cluster);
    let has_others = facts
        .agents
        .iter()
        .any(|a| a.scenario == SCENARIO && a.network == PodNetwork::Pod);
    let mut states: BTreeSet<String> = missing.map(|m| format!("{}: {}", m.workload, m.state)).collect();
    if !has_others && states.is_empty() {
        states.insert(format!("scenario {SCENARIO} has no agents"));
    }
    if states.is_empty() {
        return String::new();
    }
    format!(" ({})", states.into_iter().collect::<Vec<_>>().join("; "))
}
