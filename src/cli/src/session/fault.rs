//! The faults of the lab's catalogue, also in a build that has no lab.

#[cfg(all(feature = "lab", target_os = "linux"))]
pub use meshproof_lab::{FAULT_SIZES as SIZES, FaultSpec};

/// In place of the lab's own where there is no lab: what the commands read of a fault.
#[cfg(not(all(feature = "lab", target_os = "linux")))]
#[derive(Clone, Copy, Debug)]
pub struct FaultSpec {
    /// Its name.
    pub name: &'static str,
    /// What is wrong while it is injected, in one line.
    pub what: &'static str,
    /// The suites that it concerns.
    pub suites: &'static [&'static str],
}

/// In place of the lab's own where there is no lab.
#[cfg(not(all(feature = "lab", target_os = "linux")))]
pub const SIZES: [f64; 3] = [0.5, 1.5, 3.0];

#[cfg(not(all(feature = "lab", target_os = "linux")))]
impl FaultSpec {
    /// Whether it has a size.
    pub fn has_size(&self) -> bool {
        false
    }

    /// What is wrong while it is injected.
    pub fn told(&self, _size: Option<f64>) -> String {
        self.what.to_owned()
    }
}
