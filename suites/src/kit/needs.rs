//! What checks need that use the agents and services of the scenario `connectivity`.

use super::paths::SCENARIO;
use meshproof_contract::{Admission, Needs};

/// The scenario, shared with whatever else runs.
pub const SHARED: Needs = Needs {
    scenario: Some(SCENARIO),
    claim: None,
    admission: Admission::Shared,
    mutates: false,
};

/// The same for what makes or changes objects.
pub const CHANGING: Needs = Needs {
    mutates: true,
    ..SHARED
};

/// The scenario in its clusters to itself: what measures time would measure its neighbours otherwise.
pub const ALONE: Needs = Needs {
    admission: Admission::ExclusiveInCluster,
    ..SHARED
};
