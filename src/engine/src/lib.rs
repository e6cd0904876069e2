//! Selects checks, and runs them as libtest-mimic trials: in parallel within a limit, exclusive ones alone, each
//! with a deadline, all of them stoppable. Reports what happens as events.
//!
//! Knows neither which suites exist nor how the environment works: it is given both. The only crate that names
//! libtest_mimic.

mod admission;
mod harness;
mod plan;
mod precondition;
mod run;
mod selection;
mod silence;
mod summary;
mod trial_runner;
mod undo_log;

#[cfg(test)]
mod fake;

pub use harness::{TestArguments, ignore_all};
pub use plan::{Plan, Trial};
pub use precondition::unclaimed;
pub use run::{Printer, RunOptions, run, simulate};
pub use selection::{Filter, SelectError, nearest, select};
pub use summary::Summary;
pub use trial_runner::Limits;
