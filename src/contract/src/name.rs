//! Names as types, so that a cluster cannot be passed where a node is meant.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;

macro_rules! name {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            /// The name as given.
            pub fn new(name: impl Into<String>) -> Self {
                Self(name.into())
            }
            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }
        impl From<&str> for $name {
            fn from(name: &str) -> Self {
                Self(name.to_owned())
            }
        }
        impl From<String> for $name {
            fn from(name: String) -> Self {
                Self(name)
            }
        }
    };
}

name!(
    /// The role name of a cluster in a run (`infra`, `apps`), not its kubeconfig context.
    ClusterName
);
name!(
    /// A Kubernetes node's name; unique within its cluster only.
    NodeName
);
name!(
    /// A check's stable id, `suite::check`; never changes once released, since baselines refer to it.
    CheckId
);
name!(
    /// A fault that the lab can inject, in kebab case.
    FaultName
);
name!(
    /// One run of meshproof; labels everything that the run creates.
    RunId
);
name!(
    /// A check in one direction or on one cluster: the id with its instance, `suite::check[infra->apps]`.
    TrialName
);

impl CheckId {
    /// The part before the first `::`, the suite.
    pub fn suite(&self) -> &str {
        self.0.split("::").next().unwrap_or(&self.0)
    }
}

impl TrialName {
    /// The check that it runs: `suite::check`.
    pub fn check(&self) -> CheckId {
        self.0.split('[').next().unwrap_or(&self.0).into()
    }
    /// The name within its suite: `check[infra->apps]`.
    pub fn short(&self) -> &str {
        self.0.split_once("::").map_or(self.as_str(), |(_, rest)| rest)
    }
}

/// A probe agent: one pod of one cluster.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub struct AgentId {
    /// The cluster that the pod runs in.
    pub cluster: ClusterName,
    /// The pod's name (its namespace is the run's own).
    pub pod: String,
}

impl fmt::Display for AgentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.cluster, self.pod)
    }
}
