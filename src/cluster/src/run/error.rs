//! Why a run could not start, deploy or tear down.

use crate::{ApiError, lease::LeaseError, namespace::NamespaceError};
use meshproof_contract::{ClusterName, EnvironmentError};

/// Why the clusters could not be taken.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Another run is under way.
    #[error(transparent)]
    Lease(#[from] LeaseError),
    /// A namespace is somebody else's, or does not go.
    #[error(transparent)]
    Namespace(#[from] NamespaceError),
    /// A call failed.
    #[error(transparent)]
    Api(#[from] ApiError),
    /// What an earlier run left does not go.
    #[error(transparent)]
    Environment(#[from] EnvironmentError),
    /// It was called off.
    #[error("interrupted while the clusters were taken")]
    Interrupted,
}

/// Why no agents could be had.
#[derive(Debug, thiserror::Error)]
pub enum DeployError {
    /// A scenario names a cluster that is not in this run.
    #[error("scenario {scenario}: cluster {cluster:?} is not in this run; there are: {}", .known.join(", "))]
    UnknownCluster {
        /// The scenario.
        scenario: String,
        /// The name in it.
        cluster: String,
        /// The clusters of the run.
        known: Vec<String>,
    },
    /// Two scenarios need the same thing for themselves.
    #[error("scenarios {first} and {second} cannot be deployed together: both have {what}")]
    Collision {
        /// One.
        first: String,
        /// The other.
        second: String,
        /// What.
        what: String,
    },
    /// No agent of a cluster can be used.
    #[error(
        "{cluster}: none of {expected} agents can be used: {state}; do the nodes have the image {image}? (--image, --pull-policy)"
    )]
    NoAgents {
        /// The cluster.
        cluster: ClusterName,
        /// How many there should be.
        expected: usize,
        /// The states, the commonest first.
        state: String,
        /// The image.
        image: String,
    },
    /// Agents of another version, or no way to them.
    #[error(transparent)]
    Environment(#[from] EnvironmentError),
    /// A call failed.
    #[error(transparent)]
    Api(#[from] ApiError),
}

/// What could not be removed.
#[derive(Debug, thiserror::Error)]
#[error("failed to remove everything: {}; `meshproof clean` tries again", .failures.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
pub struct TearDownError {
    /// The failure of each cluster that has one.
    pub failures: Vec<StartError>,
}
