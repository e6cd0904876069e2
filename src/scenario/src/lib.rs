//! Scenario files: what suites deploy, as data. Knows the format and its rules, not how anything is deployed.
//!
//! A file is read into [`file::ScenarioFile`], where every name still knows its line, and resolved into [`Scenario`],
//! which cannot contradict itself. Users add their own files beside the built-in ones.

mod builtin;
pub mod error;
pub mod file;
mod flows;
mod resolve;
mod scenario;

pub use builtin::{builtin, builtin_names};
pub use error::{Problem, ScenarioError};
pub use flows::flows;
pub use scenario::{
    Allowance, Clusters, Exposure, Namespace, Placement, Protocol, Role, Scenario, Service, ServicePort, ServiceType,
    SessionAffinity, Shared, StandIn, Workload,
};

use std::path::Path;

/// Reads and resolves a user's scenario file.
pub fn read(path: &Path) -> Result<Scenario, ScenarioError> {
    let text = std::fs::read_to_string(path).map_err(|source| ScenarioError::Unreadable {
        path: path.display().to_string(),
        source,
    })?;
    parse(&path.display().to_string(), &text)
}

/// Resolves the text of a scenario file; `path` names it in errors.
pub fn parse(path: &str, text: &str) -> Result<Scenario, ScenarioError> {
    let file: file::ScenarioFile = serde_saphyr::from_str(text).map_err(|e| ScenarioError::malformed(path, &e))?;
    resolve::resolve(path, file)
}

/// The JSON schema of scenario files, as committed in `scenarios/scenario.schema.json`.
pub fn schema() -> serde_json::Value {
    schemars::schema_for!(file::ScenarioFile).into()
}

#[cfg(test)]
mod tests;
