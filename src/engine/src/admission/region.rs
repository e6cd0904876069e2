//! What a trial disturbs and relies on, in the clusters of the run.

use meshproof_contract::{Admission, ClusterName, End, Footprint, Instance, Part};
use std::collections::BTreeSet;

/// What a trial disturbs and relies on.
#[derive(Debug)]
pub(super) struct Claim {
    disturbs: Region,
    relies_on: Region,
}

/// A piece of the world.
#[derive(Debug)]
enum Region {
    Everything,
    /// These clusters as a whole.
    Clusters(BTreeSet<ClusterName>),
    Parts(BTreeSet<(ClusterName, Part)>),
}

impl Claim {
    /// That of a trial on this instance; `clusters` are those of the run.
    pub(super) fn of(admission: Admission, instance: &Instance, clusters: &BTreeSet<ClusterName>) -> Self {
        let ends = [instance.from(), instance.to()];
        let (disturbs, relies_on) = match admission {
            Admission::Shared => (Region::nothing(), Region::Everything),
            Admission::ExclusiveInCluster if ends.iter().all(|end| clusters.contains(*end)) => {
                let ends = ends.into_iter().cloned().collect();
                (Region::Clusters(ends), Region::nothing())
            }
            Admission::ExclusiveInCluster | Admission::Exclusive => (Region::Everything, Region::nothing()),
            Admission::Footprint(Footprint { disturbs, relies_on }) => {
                (Region::parts(disturbs, instance), Region::parts(relies_on, instance))
            }
        };
        Self { disturbs, relies_on }
    }

    /// Whether it disturbs nothing.
    pub(super) fn is_shared(&self) -> bool {
        self.disturbs.is_nothing()
    }

    /// Whether it disturbs parts of clusters.
    pub(super) fn is_footprint(&self) -> bool {
        matches!(&self.disturbs, Region::Parts(parts) if !parts.is_empty())
    }

    /// Whether one disturbs what the other disturbs or relies on.
    pub(super) fn meets(&self, other: &Self) -> bool {
        self.disturbs.meets(&other.disturbs)
            || self.disturbs.meets(&other.relies_on)
            || other.disturbs.meets(&self.relies_on)
    }
}

impl Region {
    fn nothing() -> Self {
        Region::Parts(BTreeSet::new())
    }

    fn parts(parts: &[(End, Part)], instance: &Instance) -> Self {
        let cluster = |end: &End| match end {
            End::From => instance.from().clone(),
            End::To => instance.to().clone(),
        };
        Region::Parts(parts.iter().map(|(end, part)| (cluster(end), *part)).collect())
    }

    fn is_nothing(&self) -> bool {
        match self {
            Region::Everything => false,
            Region::Clusters(clusters) => clusters.is_empty(),
            Region::Parts(parts) => parts.is_empty(),
        }
    }

    fn meets(&self, other: &Self) -> bool {
        match (self, other) {
            (Region::Everything, some) | (some, Region::Everything) => !some.is_nothing(),
            (Region::Clusters(one), Region::Clusters(other)) => !one.is_disjoint(other),
            (Region::Parts(one), Region::Parts(other)) => !one.is_disjoint(other),
            (Region::Clusters(clusters), Region::Parts(parts)) | (Region::Parts(parts), Region::Clusters(clusters)) => {
                parts.iter().any(|(cluster, _)| clusters.contains(cluster))
            }
        }
    }
}
