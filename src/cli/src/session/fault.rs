//! Faults of the lab, as the commands show them, also where there is no lab.

/// One fault of the catalogue.
#[derive(Clone, Copy, Debug)]
pub struct FaultEntry {
    /// Its name.
    pub name: &'static str,
    /// What is broken while it is injected, in one line.
    pub summary: &'static str,
    /// The suites that it concerns.
    pub suites: &'static [&'static str],
}
