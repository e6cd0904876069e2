//! The environment over the Kubernetes API: contexts, deployment, readiness, agents, Cilium objects, cleaning up.
//!
//! Works on any Kubernetes clusters; nothing here knows the lab. In the order of a run: [`Contexts`] are connected,
//! [`discover()`](discover::discover) reads what is there, [`Run`] takes the Lease and the namespaces, [`Run::deploy`] brings up
//! the agents and gives the [`ClusterEnvironment`] that checks use, and [`Run::tear_down`] removes everything again.

mod agent;
pub mod api;
pub mod clean;
pub mod context;
mod dead;
pub mod discover;
mod environment;
mod exec;
#[doc(hidden)]
pub mod fuzz;
pub mod home;
mod kubelets;
mod lease;
mod leftover;
pub mod member;
pub mod name;
mod namespace;
pub mod object;
mod progress;
mod readiness;
pub mod rights;
pub mod run;

pub use api::ApiError;
pub use clean::{CleanError, Cleaned, Live, clean};
pub use context::{ContextError, Contexts, IN_CLUSTER, Role};
pub use discover::{Discovery, discover};
pub use environment::{
    ClusterEnvironment,
    disturbance::{Disruptive, NodePower},
};
pub use lease::{Holder, LeaseError};
pub use member::Member;
pub use namespace::NamespaceError;
pub use object::{Image, PullPolicy};
pub use progress::Progress;
pub use run::{DeployError, DeployOptions, Run, StartError, TearDownError};
