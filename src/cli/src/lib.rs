//! The `meshproof` command as a library, so that the test target can run the suites on the lab in the same way.
//!
//! The composition root, and the only crate that knows clusters, lab and suites together. Commands call the session,
//! never the other way round.

mod args;
mod cli_error;
mod command;
mod config;
#[doc(hidden)]
pub mod fuzz;
mod logging;
mod mesh_outage;
mod rollout;
mod runtime;
mod session;
mod suite_tests;
mod watch;

pub use command::main;
pub use session::lab::hidden_role;
pub use suite_tests::main as suite_tests;

/// The probe image of this version.
const DEFAULT_IMAGE: &str = concat!("meshproof.dev/agent:", env!("CARGO_PKG_VERSION"));
