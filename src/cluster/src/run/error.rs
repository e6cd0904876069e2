//! Why a run could not start, deploy or tear down.

use crate::{ApiError, lease::LeaseError, namespace::NamespaceError};
use meshproof_contract::{ClusterName, EnvironmentError};

/// Why a run could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Another run is in progress.
    #[error(transparent)]
    Lease(#[from] LeaseError),
    /// A namespace is somebody else's, or was not deleted.
    #[error(transparent)]
    Namespace(#[from] NamespaceError),
    /// A call failed.
    #[error(transparent)]
    Api(#[from] ApiError),
    /// What an earlier run left was not deleted.
    #[error(transparent)]
    Environment(#[from] EnvironmentError),
    /// It was interrupted.
    #[error("interrupted while the run acquired its clusters")]
    Interrupted,
}

/// Why the scenarios could not be deployed.
#[derive(Debug, thiserror::Error)]
pub enum DeployError {
    /// A scenario names a cluster that is not in this run.
    #[error("scenario {scenario}: cluster {cluster:?} is not part of this run; known clusters: {}", .known.join(", "))]
    UnknownCluster {
        /// The scenario.
        scenario: String,
        /// The name in it.
        cluster: String,
        /// The clusters of the run.
        known: Vec<String>,
    },
    /// Two scenarios would deploy the same thing.
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
    #[error("{cluster}: none of {expected} agents is usable: {state}{}", hint(.state, .image))]
    NoAgents {
        /// The cluster.
        cluster: ClusterName,
        /// How many there should be.
        expected: usize,
        /// Their most frequent state, and how many have it.
        state: String,
        /// The image.
        image: String,
    },
    /// Agents of another version, or that cannot be reached.
    #[error(transparent)]
    Environment(#[from] EnvironmentError),
    /// A call failed.
    #[error(transparent)]
    Api(#[from] ApiError),
}

/// Which clusters still hold something of the run.
#[derive(Debug, thiserror::Error)]
#[error("failed to remove everything: {}; try `meshproof clean`", joined(.failures))]
pub struct TearDownError {
    /// The failure of each cluster that has one.
    pub failures: Vec<StartError>,
}

fn joined(failures: &[StartError]) -> String {
    let failures: Vec<_> = failures.iter().map(ToString::to_string).collect();
    failures.join("; ")
}

/// What to check when no agent is usable, unless the state already says it.
fn hint(state: &str, image: &str) -> String {
    if state.contains("meshproof rbac") {
        String::new()
    } else if state.contains("not allowed to") {
        "; `meshproof rbac` prints the required ClusterRole".to_owned()
    } else {
        format!("; check that the nodes have or can pull image {image} (--image, --pull-policy)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(state: &str) -> String {
        let error = DeployError::NoAgents {
            cluster: "apps".into(),
            expected: 6,
            state: state.to_owned(),
            image: "registry.example/agent:1".to_owned(),
        };
        error.to_string()
    }

    #[test]
    fn a_missing_right_is_not_blamed_on_the_image() {
        let forbidden = text("port-forward: not allowed to get and create pods/portforward: forbidden");
        assert!(
            forbidden.ends_with("; `meshproof rbac` prints the required ClusterRole"),
            "{forbidden}"
        );
        let pull = text("ImagePullBackOff (3 agents)");
        assert_eq!(
            pull,
            "apps: none of 6 agents is usable: ImagePullBackOff (3 agents); check that the nodes have or can pull \
             image registry.example/agent:1 (--image, --pull-policy)"
        );
    }
}
