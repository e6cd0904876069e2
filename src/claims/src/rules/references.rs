//! References that lead nowhere. They are followed while the repository is laid out (`layout`), and found there.

use crate::finding::{Rule, Severity};

/// A helmfile names a file of values that is not there.
pub const VALUES_MISSING: Rule = Rule {
    id: "values-file-missing",
    severity: Severity::Error,
    finds: "A helmfile names a file of values that the repository does not have.",
    reason: "helmfile stops with an error, and the bootstrap installs nothing.",
};

/// A HelmRelease takes values from a ConfigMap that nothing makes.
pub const VALUES_FROM_MISSING: Rule = Rule {
    id: "values-from-missing",
    severity: Severity::Error,
    finds: "A HelmRelease takes values from a ConfigMap that nothing in the repository makes.",
    reason: "Flux reports the release as not ready and leaves what runs as it is: changes in Git have no effect.",
};

/// The ConfigMap is made without what is asked of it.
pub const CONFIG_MAP_KEY_MISSING: Rule = Rule {
    id: "values-from-key",
    severity: Severity::Error,
    finds: "A ConfigMap of values is generated without the key, or from a file that is not there.",
    reason: "Flux reports the release as not ready, or Kustomize does not build.",
};
