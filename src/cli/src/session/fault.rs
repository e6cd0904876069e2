//! Faults of the lab, as the command tells them.

/// One fault of the catalogue.
#[derive(Clone, Debug)]
pub struct FaultEntry {
    /// Its name.
    pub name: String,
    /// What is wrong while it is in force, in one line.
    pub summary: String,
    /// The suites that it concerns.
    pub suites: Vec<String>,
}
