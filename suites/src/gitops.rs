//! Is what the operators' repository says what runs? From the files over the Helm release and the objects to the
//! agents.

mod chains;
mod claims;
mod flux;
mod follow;
mod helm_release;
mod reading;
mod versions;

#[cfg(test)]
mod tests;

use meshproof_contract::Suite;

#[cfg(test)]
pub(crate) use tests::world::world;

/// The suite.
pub const SUITE: Suite = Suite {
    name: "gitops",
    about: "What the operators' repository says of Cilium (`--gitops`, `--values`), what the Helm release in force \
            has, what the objects in the cluster say and what every agent runs with are the same, value by value; the \
            first link that breaks is the finding. Flux is ready and not behind, and one version of Cilium runs, the \
            pinned one. It only reads. Without a repository the chain starts at the Helm release, without the right \
            to read that at the objects.",
    checks: &[&claims::Claims, &flux::Flux, &versions::Versions],
};
