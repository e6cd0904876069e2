//! Which checks may run at the same time.

/// Whether other checks may run beside a check.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Admission {
    /// Others run at the same time. It disturbs nothing and relies on everything.
    #[default]
    Shared,
    /// It changes or loads what others observe in its own clusters only: it runs alone there, and beside the exclusive
    /// ones of other clusters.
    ExclusiveInCluster,
    /// It changes or loads what others observe, so it runs alone.
    Exclusive,
    /// It disturbs parts of clusters and relies on others: it runs beside checks that neither disturb nor rely on what
    /// it disturbs, and that do not disturb what it relies on. So never beside shared ones.
    Footprint(Footprint),
}

/// What a check disturbs, and what must be left alone for its observation to mean anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Footprint {
    /// What it disturbs; never nothing.
    pub disturbs: &'static [(End, Part)],
    /// What it relies on beside that.
    pub relies_on: &'static [(End, Part)],
}

/// An end of the instance on which a check runs; both are the same cluster for an instance on one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum End {
    /// The cluster that it starts from.
    From,
    /// The cluster that it goes to.
    To,
}

/// A part of a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// The pods of a workload, by its name in the scenario of the check.
    Workload(&'static str),
    /// Its nodes, with what every node runs: the Cilium agent among them.
    Nodes,
    /// What it tells other clusters and learns of them: the clustermesh-apiserver.
    Mesh,
    /// Cilium's operator.
    Operator,
    /// Cluster DNS.
    Dns,
}
