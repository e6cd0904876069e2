//! A check over every path of one locality. What such a check says for itself is a [`PathProbe`]: id, texts, faults,
//! what it sends and how it judges the answers. The rest is the same for all and is here.

use super::{
    needs,
    paths::{Locality, Paths, WorkloadPair},
};
use async_trait::async_trait;
use meshproof_contract::{Check, CheckContext, CheckId, CheckText, Needs, Scope, Verdict};

/// What one kind of path check says for itself.
#[async_trait]
pub trait PathProbe: Send + Sync {
    /// Its id on a locality; [`Locality::id`] makes it of a stem.
    fn id(&self, locality: Locality) -> CheckId;
    /// Its texts on a locality.
    fn text(&self, locality: Locality) -> CheckText;
    /// The faults that turn it red on a locality.
    fn faults(&self, locality: Locality) -> &'static [&'static str];
    /// The faults that make it inconclusive on a locality.
    fn blinded_by(&self, _locality: Locality) -> &'static [&'static str] {
        &[]
    }
    /// The faults that can make it inconclusive on a locality.
    fn dimmed_by(&self, _locality: Locality) -> &'static [&'static str] {
        &[]
    }
    /// What it needs.
    fn needs(&self) -> Needs {
        needs::SHARED
    }
    /// Between which workloads the paths are.
    fn workloads(&self) -> WorkloadPair {
        WorkloadPair::PODS
    }
    /// Probes the paths and concludes; mostly [`matrix::probe_and_conclude`](super::matrix::probe_and_conclude).
    async fn run(&self, context: &CheckContext, paths: &Paths) -> Verdict;
}

/// A path probe on one locality: a check.
#[derive(Clone, Copy, Debug)]
pub struct PathCheck<P> {
    probe: P,
    locality: Locality,
}

impl<P> PathCheck<P> {
    /// Between pods on the same node.
    pub const fn same_node(probe: P) -> Self {
        let locality = Locality::SameNode;
        Self { probe, locality }
    }
    /// Between the nodes of a cluster.
    pub const fn other_node(probe: P) -> Self {
        let locality = Locality::OtherNode;
        Self { probe, locality }
    }
    /// Between clusters.
    pub const fn other_cluster(probe: P) -> Self {
        let locality = Locality::OtherCluster;
        Self { probe, locality }
    }
    /// On what it runs.
    pub const fn locality(&self) -> Locality {
        self.locality
    }
}

impl<P: Copy> PathCheck<P> {
    /// The checks of all localities.
    pub const fn all(probe: P) -> [Self; 3] {
        [
            Self::same_node(probe),
            Self::other_node(probe),
            Self::other_cluster(probe),
        ]
    }
}

#[async_trait]
impl<P: PathProbe> Check for PathCheck<P> {
    fn id(&self) -> CheckId {
        self.probe.id(self.locality)
    }
    fn text(&self) -> CheckText {
        self.probe.text(self.locality)
    }
    fn scope(&self) -> Scope {
        self.locality.scope()
    }
    fn needs(&self) -> Needs {
        self.probe.needs()
    }
    fn faults(&self) -> &'static [&'static str] {
        self.probe.faults(self.locality)
    }
    fn blinded_by(&self) -> &'static [&'static str] {
        self.probe.blinded_by(self.locality)
    }
    fn dimmed_by(&self) -> &'static [&'static str] {
        self.probe.dimmed_by(self.locality)
    }
    async fn run(&self, context: &CheckContext) -> Verdict {
        let facts = context.environment.facts();
        match Paths::of(&facts, &context.instance, self.locality, self.probe.workloads()) {
            Ok(paths) => {
                if let Some(sample) = paths.sample {
                    context.note(sample.to_string());
                }
                self.probe.run(context, &paths).await
            }
            Err(verdict) => verdict,
        }
    }
}
