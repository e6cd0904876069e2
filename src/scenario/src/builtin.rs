//! The scenarios that suites bring along, embedded in the executable.

use crate::{Scenario, ScenarioError, parse};

const BUILTIN: &[(&str, &str)] = &[
    ("connectivity", include_str!("../../../scenarios/connectivity.yaml")),
    ("service", include_str!("../../../scenarios/service.yaml")),
    ("encryption", include_str!("../../../scenarios/encryption.yaml")),
    ("failover", include_str!("../../../scenarios/failover.yaml")),
    ("policy", include_str!("../../../scenarios/policy.yaml")),
];

/// The built-in scenario of that name.
pub fn builtin(name: &str) -> Result<Scenario, ScenarioError> {
    match BUILTIN.iter().find(|(known, _)| *known == name) {
        Some((_, text)) => parse(&format!("scenarios/{name}.yaml"), text),
        None => Err(ScenarioError::UnknownBuiltin {
            name: name.to_owned(),
            known: builtin_names().collect(),
        }),
    }
}

/// The names of the built-in scenarios.
pub fn builtin_names() -> impl Iterator<Item = &'static str> {
    BUILTIN.iter().map(|(name, _)| *name)
}
