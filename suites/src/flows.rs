//! The operators' own flows: who reaches what, and how well. Each flow is a trial.

mod backends;
mod commands;
mod judge;
mod service_level;
mod speech;

pub mod allowed;
pub mod denied;

#[cfg(test)]
mod tests;

#[cfg(test)]
pub use tests::world;

use meshproof_contract::{Admission, Needs, Suite};

/// The suite.
pub const SUITE: Suite = Suite {
    name: "flows",
    about: "What operators write down in `flows` of meshproof.yaml, or in files given with `--flows`: a client by \
            namespace, labels and service account, a destination, and what must become of it. A probe pod with the \
            client's identity tries it; the pod is never ready, so no Service leads to it. Without flows there are no \
            trials. docs/flows.md has examples.",
    checks: &[&allowed::Allowed, &denied::Denied],
};

/// What both checks need. Their clients are deployed for the flows that are selected. Alone in their clusters: others
/// would add to the times that are judged.
const NEEDS: Needs = Needs {
    scenario: None,
    claim: None,
    admission: Admission::ExclusiveInCluster,
    mutates: false,
};
