//! What the operators' repository claims of their clusters, and what in it cannot be meant: Helm values, releases and
//! manifests, read with file, line and column, and checked without a cluster.
//!
//! Reads files and nothing else. It contacts no cluster, renders no template and prints no value that its tables do not
//! know.

pub mod agent;
pub mod chart;
pub mod check;
pub mod claimed;
pub mod condition;
pub mod drift;
pub mod finding;
pub mod installation;
pub mod layout;
pub mod page;
pub mod place;
pub mod policy;
pub mod prediction;
pub mod release;
pub mod render;
pub mod repository;
pub mod rules;
pub mod sources;
pub mod stated;
pub mod table;
pub mod values;
pub mod version;
pub mod yaml;

pub use check::{Report, Request, check};
pub use finding::{Finding, Severity};
pub use installation::Installation;
pub use repository::Repository;
