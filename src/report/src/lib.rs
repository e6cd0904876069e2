//! A run as a report: folded from the event log, rendered as JSON, JUnit, HTML, Markdown and metrics, and kept in a
//! folder of its own.
//!
//! Folding and rendering are pure; only [`folder`], [`log`] and [`stored`] touch files. Knows events, not where they
//! come from.
//! What a check saw is typed in the contract: nothing here looks into a text (a test says so).

mod attachment;
mod figure;
pub mod folder;
pub mod gate;
mod html;
mod junit;
pub mod log;
mod markdown;
mod metrics;
pub mod model;
mod sarif;
mod schema;
pub mod stored;
mod svg;

pub use folder::{FolderError, RunFolder};
pub use html::html;
pub use junit::junit;
pub use log::{LogError, read_log};
pub use markdown::markdown;
pub use metrics::metrics;
pub use model::RunReport;
pub use sarif::sarif;
pub use schema::{event_schema, gate_schema, json, report_schema};
pub use stored::{StoredError, read_run, read_runs};

#[cfg(test)]
mod fixture;
#[cfg(test)]
mod snapshot;
#[cfg(test)]
mod wording;
