//! Selects checks, and runs them as libtest-mimic trials: in parallel within a limit, exclusive ones alone, each
//! with a deadline, all of them stoppable. Tells what happens as events.
//!
//! Knows neither which suites exist nor what an environment is made of: it is given both. The only crate that names
//! libtest_mimic.

mod admission;
mod conduct;
mod footprint;
mod harness;
mod plan;
mod precondition;
mod run;
mod selection;
mod summary;

#[cfg(test)]
mod fake;

pub use conduct::Limits;
pub use harness::{TestArguments, ignore_all};
pub use plan::{Plan, Trial};
pub use run::{Printer, RunOptions, run};
pub use selection::{Filter, SelectError, nearest, select};
pub use summary::Summary;
