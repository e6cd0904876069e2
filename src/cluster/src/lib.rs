//! The environment over the Kubernetes API: contexts, deployment, readiness, agents, Cilium objects, cleaning up.
//!
//! Works on any Kubernetes clusters; nothing here knows the lab. In the order of a run: [`Contexts`] are connected,
//! [`discover()`](discover::discover) reads what is there, [`Run`](run::Run) takes the Lease and the namespaces,
//! [`Run::deploy`](run::Run::deploy) brings up the agents and gives the [`ClusterEnvironment`] that checks use, and
//! [`Run::tear_down`](run::Run::tear_down) removes everything again.

pub mod api;
pub mod context;
mod agent;
mod exec;
pub mod member;
pub mod name;
pub mod object;
mod progress;
mod readiness;

pub use api::ApiError;
pub use context::{ContextError, Contexts, IN_CLUSTER, Role};
pub use member::Member;
pub use progress::Progress;
