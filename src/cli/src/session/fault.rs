//! Faults of the lab, as the commands show them.

/// One fault of the catalogue.
#[derive(Clone, Debug)]
pub struct FaultEntry {
    /// Its name.
    pub name: String,
    /// What is broken while it is injected, in one line.
    pub summary: String,
    /// The suites that it concerns.
    pub suites: Vec<String>,
}
