//! The backends that agents should have, by Services and EndpointSlices of all clusters of a mesh (semantics B7 to
//! B12).

use crate::{
    kit::cilium::remotes::mesh_name,
    state::{
        look::Look,
        object::Name,
        service::{Affinity, Backend, Port, Service, Slice},
    },
};
use meshproof_contract::{CheckContext, ClusterName, NodeName};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
};

/// A traffic policy keeps some nodes' backends out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// All count.
    Cluster,
    /// Only those of the agent's own node must be there.
    Local,
}

/// What a frontend must and may have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Expected {
    /// Active backends that must be there.
    pub required: BTreeSet<SocketAddr>,
    /// Of those, the ones of other clusters.
    pub remote: BTreeSet<SocketAddr>,
    /// Backends that may be there, the required ones among them.
    pub allowed: BTreeSet<SocketAddr>,
    /// Clusters that are not part of the run may add others.
    pub open: bool,
}

struct Side<'a> {
    cluster: ClusterName,
    services: BTreeMap<&'a Name, &'a Service>,
    slices: BTreeMap<&'a Name, Vec<&'a Slice>>,
    /// Since 1.19 a cluster may share only namespaces that are annotated.
    shares_all: bool,
}

/// Services and slices of the clusters of a mesh.
pub struct Mesh<'a> {
    own: Side<'a>,
    others: Vec<Side<'a>>,
    /// There are clusters in the mesh whose API is not part of the run.
    has_strangers: bool,
    /// Services of this run, which suite service tries.
    ours: BTreeSet<Name>,
    /// Namespaces of this run, where Services come and go.
    own_namespaces: BTreeSet<String>,
    /// Agents may prefer near backends (`enable-service-topology`).
    topology: bool,
    /// Agents serve more than cluster IPs (semantics B14).
    pub replaces_kube_proxy: bool,
}

impl<'a> Mesh<'a> {
    /// From what a look read, the instance's cluster first.
    ///
    /// # Errors
    /// When the objects of one cluster could not be read.
    pub fn of(context: &CheckContext, look: &'a Look, clusters: &[ClusterName]) -> Result<Self, String> {
        let facts = context.environment.facts();
        let own = context.instance.from();
        let side = |cluster: &ClusterName| -> Result<Side<'a>, String> {
            let look = look.cluster(cluster)?;
            let cilium = facts.cluster(cluster).and_then(|found| found.cilium.as_ref());
            let flag = cilium.and_then(|cilium| cilium.flag("clustermesh-default-global-namespace"));
            let mut slices: BTreeMap<_, Vec<_>> = BTreeMap::new();
            for slice in look.slices.as_ref()? {
                slices.entry(&slice.service).or_default().push(slice);
            }
            Ok(Side {
                cluster: cluster.clone(),
                services: look.services.as_ref()?.iter().map(|one| (&one.name, one)).collect(),
                slices,
                shares_all: flag != Some(false),
            })
        };
        let others = clusters.iter().filter(|cluster| *cluster != own);
        let cilium = facts.cluster(own).and_then(|found| found.cilium.as_ref());
        let known: BTreeSet<String> = facts.clusters.iter().map(|one| mesh_name(&facts, &one.name)).collect();
        let remotes = cilium.and_then(|cilium| cilium.remotes.as_ref());
        let ours = facts.services.iter().filter(|service| service.cluster == *own);
        let of_services = facts.services.iter().map(|service| service.namespace.clone());
        let of_agents = facts.agents.iter().map(|agent| agent.namespace.clone());
        Ok(Self {
            own_namespaces: of_services.chain(of_agents).collect(),
            ours: ours
                .map(|service| (service.namespace.clone(), service.name.clone()))
                .collect(),
            own: side(own)?,
            others: others.map(side).collect::<Result<_, _>>()?,
            has_strangers: remotes.is_none_or(|remotes| remotes.iter().any(|remote| !known.contains(remote))),
            replaces_kube_proxy: cilium.and_then(|cilium| cilium.flag("kube-proxy-replacement")) != Some(false),
            topology: cilium.and_then(|cilium| cilium.flag("enable-service-topology")) == Some(true),
        })
    }

    /// The Services of the cluster whose agents are compared.
    pub fn services(&self) -> impl Iterator<Item = &'a Service> {
        self.own.services.values().copied()
    }

    /// One of them.
    pub fn service(&self, name: &Name) -> Option<&'a Service> {
        self.own.services.get(name).copied()
    }

    /// Whether it is one of this run.
    pub fn is_ours(&self, name: &Name) -> bool {
        self.ours.contains(name)
    }

    /// Whether it is in a namespace of this run, or is a Service of it.
    pub fn is_in_our_namespaces(&self, (namespace, _): &Name) -> bool {
        self.own_namespaces.contains(namespace)
    }

    /// The clusters that have a Service of this name without the annotation that merges it with this one.
    pub fn unmerged(&self, service: &Service) -> Vec<&ClusterName> {
        let others = self.others.iter().filter(|_| service.is_global());
        let apart = others.filter(|side| side.services.get(&service.name).is_some_and(|twin| !twin.is_global()));
        apart.map(|side| &side.cluster).collect()
    }

    /// Changes whenever an object does that decides about a Service's backends.
    pub fn version(&self, name: &Name) -> String {
        let sides = [&self.own].into_iter().chain(&self.others);
        let of_side = |side: &Side<'a>| {
            let service = side.services.get(name).map(|service| service.version.clone());
            let mut slices: Vec<_> = side
                .slices
                .get(name)
                .into_iter()
                .flatten()
                .map(|s| s.version.clone())
                .collect();
            slices.sort();
            format!("{}:{} {}", side.cluster, service.unwrap_or_default(), slices.join(" "))
        };
        sides.map(of_side).collect::<Vec<_>>().join(", ")
    }

    /// Other ports of the Service than this whose remote backends are the same, which Cilium mixes up (#45109).
    pub fn shares_target(&self, service: &Service, port: &Port) -> bool {
        let mine = self.remote(service, port);
        let others = service
            .ports
            .iter()
            .filter(|other| *other != port && other.protocol == port.protocol);
        others
            .map(|other| self.remote(service, other))
            .any(|other| !mine.is_disjoint(&other))
    }

    fn remote(&self, service: &Service, port: &Port) -> BTreeSet<SocketAddr> {
        self.backends_elsewhere(service, port)
            .map(|(address, _)| address)
            .collect()
    }

    /// What the other clusters add, whatever the affinity.
    fn backends_elsewhere<'b>(
        &'b self,
        service: &'b Service,
        port: &'b Port,
    ) -> impl Iterator<Item = (SocketAddr, (&'b Backend, bool))> + 'b {
        let others = self.others.iter().filter(|_| service.is_global());
        others.flat_map(move |side| {
            let twin = side.services.get(&service.name);
            let is_merged = twin.is_some_and(|twin| twin.is_global() && twin.is_shared());
            let slices = side.slices.get(&service.name).into_iter().flatten();
            let slices = slices.filter(move |slice| is_merged && !slice.mirrored);
            slices.flat_map(move |slice: &'b &'a Slice| {
                let slice: &'b Slice = slice;
                let fits = |name: &str, protocol: &str| {
                    protocol == port.protocol && (name == port.name || name.is_empty() || port.name.is_empty())
                };
                slice
                    .at(fits)
                    .map(|(address, backend)| (address, (backend, side.shares_all)))
            })
        })
    }

    /// What a frontend of this port must and may have on a node.
    pub fn expected(&self, service: &Service, port: &Port, policy: Policy, node: &NodeName) -> Expected {
        let mut expected = Expected {
            open: service.is_global() && self.has_strangers,
            ..Expected::default()
        };
        let (mut local, mut remote) = (BTreeSet::new(), BTreeSet::new());
        for slice in self.own.slices.get(&service.name).into_iter().flatten() {
            let is_of = |name: &str, protocol: &str| name == port.name && protocol == port.protocol;
            for (address, backend) in slice.at(is_of) {
                let is_near = policy == Policy::Cluster || backend.node.as_ref() == Some(node);
                if backend.ready && !backend.terminating && is_near && !slice.mirrored {
                    local.insert(address);
                }
            }
            // A port without a name fits every name (`matchesFrontend` in `pkg/loadbalancer/writer`).
            let fits = |name: &str, protocol: &str| {
                protocol == port.protocol && (name == port.name || name.is_empty() || port.name.is_empty())
            };
            let possible = slice.at(fits).filter(|(_, backend)| backend.ready || backend.serving);
            expected.allowed.extend(possible.map(|(address, _)| address));
        }
        for (address, (backend, shares_all)) in self.backends_elsewhere(service, port) {
            if backend.ready && shares_all && policy == Policy::Cluster {
                remote.insert(address);
            }
            if backend.ready || backend.serving {
                expected.allowed.insert(address);
            }
        }
        match service.affinity() {
            Affinity::None | Affinity::WrittenNone => {}
            Affinity::Unknown => remote.clear(),
            Affinity::Local if !local.is_empty() => remote.clear(),
            Affinity::Remote if !remote.is_empty() => local.clear(),
            Affinity::Local | Affinity::Remote => {}
        }
        if !self.topology {
            expected.required.extend(local.union(&remote));
            expected.remote = remote;
        }
        expected
    }
}
