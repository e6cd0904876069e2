//! A run as a report: folded from the event log, rendered as JSON, JUnit, HTML, Markdown and metrics, and kept in a
//! folder of its own.
//!
//! Folding and rendering are pure; only [`folder`] and [`log`] touch files. Knows events, and nothing of how they
//! came about.

mod attachment;
mod figure;
mod fold;
pub mod folder;
mod html;
mod junit;
pub mod log;
mod markdown;
mod metrics;
pub mod model;
mod schema;
mod svg;

pub use fold::Fold;
pub use folder::{FolderError, RunFolder};
pub use html::html;
pub use junit::junit;
pub use log::{LogError, read_log};
pub use markdown::markdown;
pub use metrics::metrics;
pub use model::RunReport;
pub use schema::{event_schema, json, report_schema};

#[cfg(test)]
mod fixture;
