//! The environment over the Kubernetes API: contexts, deployment, readiness, agents, Cilium objects, cleaning up.
//!
//! Works on any Kubernetes clusters; nothing here knows the lab. In the order of a run: [`Contexts`] are connected,
//! [`discover()`](discover::discover) reads what is there, [`Run`] takes the Lease and the namespaces, [`Run::deploy`]
//! brings up the agents and gives the [`ClusterEnvironment`] that checks use, and [`Run::tear_down`] removes everything
//! again.

pub mod access;
mod agent;
pub mod api;
pub mod clean;
mod cleanup;
pub mod client;
pub mod context;
pub mod discover;
mod environment;
mod exec;
#[doc(hidden)]
pub mod fuzz;
mod house;
mod kubelet_reachability;
mod lease;
pub mod manifest;
pub mod name;
mod namespace;
mod node_watch;
mod progress_sink;
mod readiness;
mod ready;
pub mod registry;
pub mod rights;
pub mod run;
pub mod schedulable;
mod silent_pods;
mod stuck_pods;

pub use api::ApiError;
pub use clean::{CleanError, Cleaned, Live, clean};
pub use client::ClusterClient;
pub use context::{ContextError, Contexts, IN_CLUSTER, Role};
pub use discover::{Discovery, GlobalService, discover, global_services};
pub use environment::{
    ClusterEnvironment,
    disruption::{DisruptionOptions, NodePower},
};
pub use lease::{Holder, LeaseError};
pub use manifest::Image;
pub use meshproof_contract::PullPolicy;
pub use namespace::NamespaceError;
pub use progress_sink::ProgressSink;
pub use registry::{InvalidCredentials, RegistryCredentials};
pub use run::{DeployError, DeployOptions, Run, StartError, TearDownError};
